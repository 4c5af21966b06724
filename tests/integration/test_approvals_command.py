"""`manage.py approvals`: the queue at a terminal, with the rights of the user it is used for."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agents.models import Task
from tests.integration.api_cast import events_of
from tests.integration.console_cast import PATCH_INPUT, PATCHER, make_waiting_task, world
from toolgate.approvals import list_grants
from toolgate.models import Approval

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("approvals", *arguments, stdout=out)
    return out.getvalue()


def make_request(**columns: Any) -> Approval:
    return make_waiting_task(rule_id="build-refactor-patch-write", **columns)[1]


def test_it_lists_and_shows_what_waits() -> None:
    assert "Nothing waits" in run("list")
    approval = make_request()
    assert f"{approval.id}  {PATCHER} → workspacePatch" in run("list")
    shown = run("show", approval.id)
    assert f"digest {approval.digest}" in shown
    assert '"filePath": "examples/project/report.py"' in shown
    assert "0 of 1 approval, from anybody who may decide approvals, other than who submitted the task" in shown


def test_the_terminal_is_not_acted_on() -> None:
    approval = make_request(arguments={"filePath": "a\x1b[2Jb\u202ec\u0085"}, asked_arguments={"filePath": "\x07"})
    for text in (run("list"), run("show", approval.id)):
        assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text) == []
        assert "\\u001b[2Jb\\u202ec" in text


def test_it_approves_in_the_name_of_a_user_and_the_task_goes_on() -> None:
    approval = make_request()
    assert "Approved once." in run("approve", approval.id, "--user", "ana", "--note", "read it")
    assert Task.objects.get(id=approval.task_id).state == "queued"
    [event] = events_of("approval.granted")
    assert (event.actor, event.body["note"]) == ("user:ana", "read it")


def test_it_refuses_with_a_note() -> None:
    approval = make_request()
    assert "Refused." in run("refuse", approval.id, "--user", "ana", "--note", "no")
    assert Approval.objects.get(id=approval.id).state == "refused"


def test_it_approves_other_arguments_from_a_file(tmp_path: Path) -> None:
    approval, file = make_request(), tmp_path / "arguments.json"
    file.write_bytes(orjson.dumps(PATCH_INPUT | {"filePath": "examples/other.py"}))
    wire = orjson.loads(run("approve", approval.id, "--user", "ana", "--arguments", str(file), "--json"))
    assert (wire["status"], wire["arguments"]["filePath"]) == ("approved", "examples/other.py")
    shown = run("show", approval.id)
    assert '+   "filePath": "examples/other.py"' in shown
    assert "\n@@ " in shown


def test_it_grants_lists_and_revokes() -> None:
    approval = make_request()
    run("approve", approval.id, "--user", "ana", "--scope", "minutes", "--minutes", "5")
    [grant] = list_grants(timezone.now())
    assert grant.id in run("grants")
    assert orjson.loads(run("grants", "--json"))["results"][0]["grantedBy"] == ["ana"]
    assert "Revoked." in run("revoke", grant.id, "--user", "ana")
    assert "No grant is in force." in run("grants")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("approve", "ID", "--user", "nobody"), "There is no active user nobody"),
        (("approve", "ID", "--user", "vera"), "No role of vera gives approvals:decide"),
        (("refuse", "ID", "--user", "olga"), "No role of olga"),
        (("approve", "none", "--user", "ana"), "There is no approval"),
        (("show", "none"), "There is no approval"),
        (("approve", "ID", "--user", "ana", "--arguments", "/nowhere.json"), "cannot be read"),
        (("approve", "ID", "--user", "ana", "--scope", "minutes"), "goes with a number"),
        (("approve", "ID", "--user", "ana", "--digest", "0" * 64), "Somebody changed the arguments"),
        (("revoke", "none", "--user", "ana"), "There is no grant"),
    ],
)
def test_a_mistake_is_one_clear_line_and_decides_nothing(arguments: tuple[str, ...], words: str) -> None:
    approval = make_request()
    with pytest.raises(CommandError, match=words) as error:
        run(*(approval.id if one == "ID" else one for one in arguments))
    assert "\n" not in str(error.value)
    assert Approval.objects.get(id=approval.id).state == "pending"


@pytest.mark.parametrize("text", ["[", "[1]"])
def test_a_file_that_holds_no_arguments_is_refused(text: str, tmp_path: Path) -> None:
    approval, file = make_request(), tmp_path / "arguments.json"
    file.write_text(text)
    with pytest.raises(CommandError, match=r"is not (JSON|a JSON object)"):
        run("approve", approval.id, "--user", "ana", "--arguments", str(file))
    assert Approval.objects.get(id=approval.id).state == "pending"
