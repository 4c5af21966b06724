"""`manage.py task`: orders, their progress and their ends at a terminal, with the rights of the user it is used for."""

import io
import re
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agents.models import Task
from orchestrator_site.terminal import following
from orchestrator_site.terminal.following import Follower
from tests.integration.api_cast import AGENT, INPUT, ORDER, SKILL, events_of, make_token, open_world, world
from tests.integration.console_cast import PATCHER, make_task, make_waiting_task

__all__ = ["open_world", "world"]

HOSTILE = "a\x1b[2J\x9b31m\u202eb\u0085\x07\r\nERROR: forged"
ACTS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def run(*arguments: str, code: int = 0, err: Any = None) -> str:
    out = io.StringIO()
    try:
        call_command("task", *arguments, stdout=out, stderr=err or io.StringIO())
        ended = 0
    except SystemExit as end:
        ended = int(str(end.code))
    assert ended == code
    return out.getvalue()


def submit(*more: str, given: str = orjson.dumps(INPUT).decode()) -> dict[str, Any]:
    wire: dict[str, Any] = orjson.loads(
        run("submit", AGENT, SKILL, "--input", given, "--user", "olga", "--json", *more)
    )
    return wire


# --- submit ---------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("world")
def test_it_submits_as_the_api_does(client: Any) -> None:
    wire = submit("--priority", "7", "--run-at", "2030-01-01T00:00:00Z" if timezone.now().year > 2029 else _tomorrow())
    task = Task.objects.get()
    assert (wire["taskId"], wire["status"], task.priority, task.submitted_by) == (task.id, "queued", 7, "olga")
    headers = {"Authorization": f"Bearer {make_token('olga')}"}
    assert client.get(f"/api/tasks/{task.id}", headers=headers).json() == wire
    assert [event.actor for event in events_of("task.submitted")] == ["user:olga"]


def _tomorrow() -> str:
    return f"{timezone.now() + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("way", ["file", "stdin", "text"])
def test_it_takes_its_input_from_a_file_from_stdin_or_as_it_stands(way: str, tmp_path: Path, monkeypatch: Any) -> None:
    text = orjson.dumps(INPUT)
    (tmp_path / "input.json").write_bytes(text)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    given = {"file": str(tmp_path / "input.json"), "stdin": "-", "text": text.decode()}[way]
    assert submit(given=given)["input"] == INPUT


@pytest.mark.usefixtures("world")
def test_a_key_names_the_same_task_here_and_over_the_api(client: Any) -> None:
    first = submit("--key", "k-1")
    headers = {"Authorization": f"Bearer {make_token('olga')}", "Idempotency-Key": "k-1"}
    again = client.post("/api/tasks", ORDER, content_type="application/json", headers=headers)
    assert again.json()["taskId"] == first["taskId"] == submit("--key", "k-1")["taskId"]
    with pytest.raises(CommandError, match="used for task"):
        run("submit", AGENT, SKILL, "--input", '{"data": [], "schema": {}}', "--key", "k-1", "--user", "olga")


MISTAKES = [
    (("submit", "nobody", "--input", "{}", "--user", "olga"), "no agent of this id.*`manage.py agents list` shows"),
    (("submit", AGENT, "nothing", "--input", "{}", "--user", "olga"), "`manage.py skills list` shows"),
    (("submit", AGENT, SKILL, "--input", "{}", "--user", "olga"), r"skills show.*\n  #/input/data: Field required"),
    (("submit", AGENT, SKILL, "--input", "{", "--user", "olga"), "The input is not JSON: .* Nothing was done"),
    (("submit", AGENT, SKILL, "--input", "/nowhere", "--user", "olga"), "/nowhere cannot be read: No such file"),
    (("submit", AGENT, SKILL, "--input", '{"a": NaN}', "--user", "olga"), "not finite"),
    (("submit", AGENT, SKILL, "--input", "{}", "--priority", "900", "--user", "olga"), "#/priority: "),
    (("submit", AGENT, SKILL, "--input", "{}", "--run-at", "soon", "--user", "olga"), "#/runAt: a time such as"),
    (("submit", AGENT, SKILL, "--input", "{}", "--key", "ä", "--user", "olga"), "visible ASCII"),
    (("submit", AGENT, SKILL, "--input", "{}", "--user", "vera"), "No role of vera gives tasks:write"),
    (("submit", AGENT, SKILL, "--input", "{}", "--user", "ghost"), "no active user ghost"),
    (("show", "nothing"), "There is no task nothing"),
    (("follow", "nothing"), "There is no task nothing"),
    (("cancel", "nothing", "--user", "olga"), "There is no task nothing"),
    (("retry", "nothing", "--user", "vera"), "No role of vera gives tasks:write"),
    (("list", "--limit", "0"), "imit is not a whole number"),
    (("list", "--cursor", "x"), "ursor is not the `next`"),
]


@pytest.mark.usefixtures("world")
def test_a_mistake_is_told_with_its_cure_and_does_nothing() -> None:
    for arguments, words in MISTAKES:  # in one world: making it takes longer than all of them
        with pytest.raises(CommandError, match=re.compile(words, re.DOTALL)) as error:
            run(*arguments)
        assert error.value.returncode == 3, arguments  # a task that failed is 1, one that was cancelled 2
    assert not Task.objects.exists()


# --- list and show --------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("world")
def test_the_list_is_the_apis_with_its_filters_and_pages(client: Any) -> None:
    made = [make_task(state=state) for state in ("failed", "succeeded", "failed")]
    page = orjson.loads(run("list", "--status", "failed", "--limit", "1", "--json"))
    headers = {"Authorization": f"Bearer {make_token('olga')}"}
    assert client.get("/api/tasks?status=failed&limit=1", headers=headers).json() == page
    text = run("list", "--status", "failed", "--limit", "1")
    assert f"--cursor {page['next']}" in text
    rest = run("list", "--status", "failed", "--cursor", page["next"])
    assert {made[0].id, made[2].id} == {page["results"][0]["taskId"], re.findall(r"^[0-9a-f]{32}", rest, re.M)[0]}
    assert run("list", "--agent", "nobody") == "No task fits.\n"


@pytest.mark.usefixtures("world")
def test_show_says_what_a_person_can_do_about_a_failure() -> None:
    error = {"error_code": "domain_not_allowed", "error_message": "example.com is none of the hosts"}
    task = make_task(state="failed", **error)
    said = run("show", task.id)
    assert "domain_not_allowed: example.com is none of the hosts" in said
    assert "Allow the host for this agent and retry" in said
    assert f"manage.py task retry {task.id}" in said


@pytest.mark.usefixtures("world")
def test_nothing_that_agents_or_people_wrote_acts_on_the_terminal() -> None:
    task, _ = make_waiting_task(submitted_by=HOSTILE)
    Task.objects.filter(id=task.id).update(input={"x": HOSTILE}, error_code="odd", error_message=HOSTILE)
    Task.objects.filter(id=task.id).update(result={HOSTILE: [HOSTILE]}, submitted_by=HOSTILE, agent_id=HOSTILE[:20])
    said = [run(*verb) for verb in (("show", task.id), ("list",), ("show", task.id, "--json"), ("list", "--json"))]
    for text in said:
        assert ACTS.findall(text) == []
        assert "\nERROR: forged" not in text
    assert "\\u001b[2J\\u009b31m\\u202eb\\u0085\\u0007" in said[0]
    assert orjson.loads(said[2])["input"] == {"x": HOSTILE}


# --- cancel, retry, follow ------------------------------------------------------------------------------------
@pytest.mark.usefixtures("world")
def test_it_cancels_and_retries() -> None:
    task_id = submit()["taskId"]
    assert run("cancel", task_id, "--user", "olga") == f"{task_id}: cancelled.\n"
    with pytest.raises(CommandError, match=r"is cancelled and cannot be cancelled\. Nothing was changed"):
        run("cancel", task_id, "--user", "olga")
    assert orjson.loads(run("retry", task_id, "--user", "olga", "--json"))["status"] == "queued"
    assert [event.actor for event in events_of("task.retried")] == ["user:olga"]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 2)])
def test_following_ends_with_the_tasks_own_exit_code(state: str, code: int) -> None:
    task_id = submit()["taskId"]
    Task.objects.filter(id=task_id).update(state=state, error_code="boom" if state == "failed" else "")
    said = run("follow", task_id, code=code)
    assert "An order was accepted (task.submitted)" in said
    assert f"\n{state}\n" in said
    *events, last = map(orjson.loads, run("follow", task_id, "--json", code=code).splitlines())
    assert [event["type"] for event in events] == ["task.submitted"]
    assert (last["taskId"], last["status"]) == (task_id, state)


@pytest.mark.usefixtures("world")
def test_it_says_how_an_approval_is_answered(monkeypatch: Any) -> None:
    task_id = submit()["taskId"]
    _, approval = make_waiting_task(rule_id="build-refactor-patch-write")
    from audit.events import Event, EventType
    from audit.ledger import record
    from audit.transactions import write_transaction

    body = {"approvalId": approval.id, "kind": "call", "digest": "", "policyVersion": 1, "ruleId": "", "note": ""}
    body |= {"submittedBy": "olga", "expiresAt": ""}
    with write_transaction():
        record(Event(type=EventType.APPROVAL_ASKED, at=timezone.now(), actor="system", task_id=task_id, body=body))
    follower = Follower(task_id)
    monkeypatch.setattr("orchestrator_site.terminal.following.time.sleep", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(follower.follow())
    err = io.StringIO()
    said = run("follow", task_id, code=130, err=err)
    assert f"{PATCHER} wants to call workspacePatch: a person has to answer" in said
    assert f"manage.py approvals approve {approval.id} --user NAME" in said
    assert f"the task goes on. manage.py task follow {task_id} takes it up again" in err.getvalue()


def _interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("open_world")
def test_each_event_is_told_once_while_it_goes_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    task_id, told = submit()["taskId"], []
    follower = Follower(task_id)

    def cancel() -> None:
        from django.db import connection

        run("cancel", task_id, "--user", "olga")
        connection.close()

    for event in follower.follow():
        told.append(event.type)
        if event.type == "task.submitted":
            canceller = threading.Thread(target=cancel)
            canceller.start()
    canceller.join()
    assert told == ["task.submitted", "task.cancelled"]
