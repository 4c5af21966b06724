"""A configured secret that somebody sends, or a skill or model quotes, is in nothing that is written about a task.

What a task was given stays in its own row, for whoever may read tasks. Everything else is looked through here: logs,
audit events, transcripts and metrics; and at the border that a model's words and a tool's results cross, what the
redactor leaves of them.
"""

import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.border import find_redactor
from agents.endings import finish
from agents.models import Step, Task
from agents.orders import Failed, Lease, TaskError
from agents.providers.base import ModelMessage, ToolCall
from audit import documents
from audit.documents import TranscriptDocument
from audit.models import LedgerEvent, TranscriptEntry
from audit.transactions import write_transaction
from orchestrator_site.logs import JsonFormatter
from tests.integration.console_cast import console_world, make_task, sign_in, text_of
from tests.running import RunningServer
from tests.transcript_cast import Run, ship

CANARY = "Canary-7f3a.key+in=use"  # of no well-known shape: only its exact value gives it away
PIECE = CANARY[6:]  # markers show the first characters


# --- a whole server -------------------------------------------------------------------------------------------
def test_a_servers_logs_trail_and_metrics_do_not_hold_it(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "var", OPENAI_API_KEY=CANARY).start()
    try:
        with server.client() as client:
            order = {"filePath": f"examples/{CANARY}.txt", "changes": [{"type": "delete", "oldText": CANARY}]}
            task_ids = [
                server.submit(client, agentId="build-refactor-agent", skillId="workspacePatch", input=order),
                server.submit(
                    client, agentId="data-extraction-agent", skillId="documentParser",
                    input={"content": f"a,b\n{CANARY},c", "format": "csv"},
                ),
            ]  # fmt: skip
            tasks = [wait_for(client, task_id) for task_id in task_ids]
            metrics = client.get("/metrics").text
            trail = client.get("/api/audit", params={"limit": "200"}).text
            refused = client.get(f"/api/tasks/{CANARY}").text
    finally:
        server.stop()
    assert [task["status"] for task in tasks] == ["failed", "succeeded"]
    assert "[redacted: secret Cana…]" in tasks[0]["error"]["message"]
    assert PIECE in orjson.dumps(tasks[1]["result"]).decode()  # what the task was asked for is its own
    assert task_ids[0] in trail
    assert "agent_tasks_started" in metrics
    for where, text in {"log": server.output.read_text(), "metrics": metrics, "trail": trail, "404": refused}.items():
        assert PIECE not in text, where
    assert PIECE not in "".join(read_tables(server.var / "state.sqlite3", "audit_ledgerevent", "audit_transcriptentry"))


def wait_for(client: Any, task_id: str) -> Any:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        task = client.get(f"/api/tasks/{task_id}").json()
        if task["status"] in {"succeeded", "failed"}:
            return task
        time.sleep(0.1)
    raise AssertionError("the task did not end in time")


def read_tables(state: Path, *names: str) -> list[str]:
    connection = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
    try:
        return [repr(row) for name in names for row in connection.execute(f"SELECT * FROM {name}")]
    finally:
        connection.close()


# --- the border -----------------------------------------------------------------------------------------------
@pytest.fixture
def canary(settings: Any) -> str:
    """Configure the canary as a provider's key."""
    settings.ANTHROPIC_API_KEY = CANARY
    return CANARY


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SECRET_KEY"])
def test_the_keys_are_redacted(settings: Any, name: str) -> None:
    setattr(settings, name, CANARY)
    assert PIECE not in find_redactor().text(f"it is {CANARY}, they said")


@pytest.mark.parametrize("name", ["MONGODB_URI", "REDIS_URL"])
def test_the_passwords_in_addresses_are_redacted(settings: Any, name: str) -> None:
    setattr(settings, name, "mongodb://user:Canary-7f3a.key%2Bin%3Duse@db.example/?w=majority")
    assert PIECE not in find_redactor().text(f"it is {CANARY}, they said")


def test_the_databases_password_and_the_embedded_stores_are_redacted(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MONGODB_URI_FILE = tmp_path / "mongodb.uri"
    assert PIECE in find_redactor().text(f"it is {CANARY}")
    settings.MONGODB_URI_FILE.write_text("mongodb://user:Canary-7f3a.key%2Bin%3Duse@127.0.0.1:1/\n")
    assert PIECE not in find_redactor().text(f"it is {CANARY}")
    settings.MONGODB_URI_FILE.unlink()
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", CANARY)
    assert PIECE not in find_redactor().text(f"it is {CANARY}")


def test_an_operators_patterns_are_redacted(settings: Any) -> None:
    settings.REDACT_PATTERNS = [r"Canary-[a-z0-9.+=]+"]
    assert find_redactor().text(CANARY) == "[redacted: pattern Cana…]"


def test_what_crossed_the_border_holds_none_of_it_in_store_page_and_download(
    canary: str, transactional_db: None, settings: Any, audit_store: Any
) -> None:
    redactor = find_redactor()
    said = ModelMessage(
        text=f"I use {canary}", tool_calls=(ToolCall(id="c1-0", name="sourceFetch", arguments={"url": canary}),)
    )
    arguments = redactor.value(said.tool_calls[0].arguments)
    with console_world(settings):
        run = Run(make_task(skill_id="", input={"query": "x"}))
        run.prompt(task=redactor.text(f"Fetch with {canary}"))
        run.reply(redactor.text(said.text), ("sourceFetch", arguments))
        run.call(arguments, redactor.value({"content": f"<p>{canary}</p>", "headers": {canary: [canary]}}))
        ship()
        page = text_of(sign_in("ada").get(f"/tasks/{run.task.id}/"))
        answer = sign_in("ada").get(f"/tasks/{run.task.id}/transcript.json")
        download = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
        stored = repr(list(documents.get_collection(TranscriptDocument).find({})))
    for text in (
        page,
        download,
        stored,
        repr(list(TranscriptEntry.objects.values())),
        repr(list(Step.objects.values())),
    ):
        assert "[redacted: secret Cana" in text
        assert PIECE not in text


def test_an_error_that_quotes_it_ends_a_task_without_it(canary: str, transactional_db: None) -> None:
    task = make_task(state="running", worker_id="w", fence=1)
    lease = lease_of(task)
    Step.objects.create(id="s", task=task, fence=1, ordinal=1, kind="skill", state="intent", started_at=task.created_at)
    error = TaskError(code="provider_rejected", message=f"Incorrect API key provided: {canary}")
    with write_transaction():
        assert finish(lease, Failed(error=error, step_id="s"), now=task.created_at)
    task.refresh_from_db()
    assert task.error_message == "Incorrect API key provided: [redacted: secret Cana…]"
    assert PIECE not in repr(list(LedgerEvent.objects.values()))
    assert PIECE not in repr(list(Step.objects.values()))


def lease_of(task: Task) -> Lease:
    values: dict[str, Any] = dict.fromkeys(Lease.__dataclass_fields__)
    values |= {
        "task_id": task.id, "worker_id": "w", "fence": 1, "agent_id": task.agent_id, "agent_version": 1,
        "skill_id": task.skill_id, "attempt": 1, "trace_id": task.trace_id, "task_type": "market-research",
        "started_at": task.created_at,
    }  # fmt: skip
    return Lease(**values)


def test_no_line_of_the_log_holds_it(canary: str) -> None:
    def log(message: str, *arguments: object, **more: Any) -> str:
        record = logging.LogRecord("a", logging.ERROR, __file__, 1, message, arguments, more.pop("exc_info", None))
        vars(record).update(more)
        return JsonFormatter().format(record)

    try:
        raise ValueError(f"the vendor said:\n{canary}")
    except ValueError as error:
        raised = (ValueError, error, error.__traceback__)
    lines = [
        log(f"failed with {canary}"), log("failed with %s", canary), log("failed", detail={"sent": [canary]}),
        log("failed", exc_info=raised), log("failed", key="\n" + "sk-" + "ant-api03-" + "a1" * 20),
    ]  # fmt: skip
    for line in lines:
        assert PIECE not in line
        assert "a1a1" not in line
        assert "[redacted: " in line
        assert orjson.loads(line)["level"] == "ERROR"
