"""Editing agents in the console: the form, the draft, the versions, the status, files, try-outs."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from agents import registry
from agents.models import Agent, AgentDraft, AgentVersion, Task
from audit.models import LedgerEvent
from tests.integration.console_cast import make_task, sign_in, text_of, world

__all__ = ["world"]
pytestmark = [
    pytest.mark.usefixtures("world"),
    pytest.mark.django_db(transaction=True),
]  # what is done on commit is done

AGENT = "qa-verification-agent"
PAGE = f"/agents/{AGENT}/"
EDIT = f"{PAGE}edit/"


@pytest.fixture
def ada() -> Client:
    return sign_in("ada")


@pytest.fixture
def bob() -> Client:
    """A second admin."""
    User.objects.create_user("bob").groups.add(Group.objects.get(name="admin"))
    return sign_in("bob")


def fill(client: Client, path: str, **changes: Any) -> dict[str, Any]:
    """Return what a browser would send of a form as it was served, with some fields changed."""
    form = client.get(path).context["form"]
    values = {bound.html_name: bound.value() for bound in form} | changes
    sent = {name: value for name, value in values.items() if value is not None and value is not False}
    return {name: str(value).replace("\n", "\r\n") for name, value in sent.items()}


def save(client: Client, **changes: Any) -> str:
    """Save a draft by the form and return its page's address."""
    answer = client.post(EDIT, fill(client, EDIT, **changes))
    assert answer.status_code == 302, answer.context["form"].errors
    return str(answer["Location"])


def publish(client: Client, **changes: Any) -> None:
    client.post(f"{save(client, **changes)}publish/", {"reason": "for a test"})


def in_force() -> Any:
    return registry.get_agent(AGENT).config


# --- the form ---------------------------------------------------------------------------------------------------
def test_the_form_as_served_changes_nothing_of_any_agent(ada: Client) -> None:
    for agent in registry.list_agents():
        path = f"/agents/{agent.id}/edit/"
        answer = ada.post(path, fill(ada, path))
        assert answer.status_code == 302, (agent.id, answer.context["form"].errors)
        assert ada.get(answer["Location"]).context["changes"] == [], agent.id


def test_every_field_that_is_edited_is_in_the_draft(ada: Client) -> None:
    sent = {
        "displayName": "Checks",
        "tier": "cheap",
        "timeoutSeconds": "60",
        "retries": "1",
        "concurrent": "4",
        "limits.maxSteps": "5",
        "limits.maxCalls": "6",
        "limits.maxOutputTokens": "700",
        "limits.maxCostGbp": "0.25",
        "limits.monthlyCapGbp": "8",
        "constraints.reviewRequired": "on",
        "constraints.maxPatchCharacters": "10",
        "constraints.maxFilesPerTask": "11",
        "constraints.maxSummaryWords": "12",
        "prompt": "You verify what others have made.\nSay what failed, and where.\n",
        "inputSchema": '{"type": "object", "title": "In"}',
        "outputSchema": '{"type": "object", "title": "Out"}',
    }
    page = ada.get(save(ada, **sent))
    assert {change.field for change in page.context["changes"]} == set(sent)
    assert "Say what failed, and where." in text_of(page)
    assert "\r" not in AgentDraft.objects.get().config["prompt"]
    assert AgentDraft.objects.get().config["limits"]["maxCostGbp"] == "0.25"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("displayName", ""),
        ("timeoutSeconds", "0"),
        ("timeoutSeconds", "soon"),
        ("limits.maxSteps", "201"),
        ("limits.maxCostGbp", "-0.1"),
        ("limits.maxCostGbp", "NaN"),
        ("limits.monthlyCapGbp", "0.01"),
        ("prompt", "too short"),
        ("prompt", "x" * 20_001),
        ("inputSchema", "{"),
        ("inputSchema", '{"type": "array"}'),
        ("outputSchema", '{"type": "object", "properties": {"a": {"type": "nothing"}}}'),
        ("outputSchema", '"text"'),
    ],
)
def test_what_does_not_fit_is_marked_at_its_field_and_the_input_kept(ada: Client, field: str, value: str) -> None:
    answer = ada.post(EDIT, fill(ada, EDIT, displayName="Kept name") | {field: value})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {field}
    assert ("Kept name" in text_of(answer)) or field == "displayName"
    assert "Nothing was saved" in text_of(answer)
    assert not AgentDraft.objects.exists()


def test_saving_again_goes_on_with_the_draft(ada: Client) -> None:
    first = save(ada, timeoutSeconds="60")
    assert ada.get(EDIT).context["form"]["timeoutSeconds"].value() == 60
    assert save(ada, retries="1") == first
    config = AgentDraft.objects.get().config
    assert (config["timeoutSeconds"], config["retries"]) == (60, 1)


# --- draft, publish, conflict -----------------------------------------------------------------------------------
def test_a_draft_is_published_with_a_reason(ada: Client) -> None:
    page = save(ada, timeoutSeconds="60")
    refused = ada.post(f"{page}publish/", {"reason": " "}, follow=True)
    assert "give a reason" in text_of(refused)
    assert in_force().timeout_seconds == 300
    done = ada.post(f"{page}publish/", {"reason": "they hang"}, follow=True)
    assert "Version 2 is in force" in text_of(done)
    assert "they hang" in text_of(done)
    assert in_force().timeout_seconds == 60
    assert LedgerEvent.objects.filter(type="agent.published", actor="user:ada", agent_id=AGENT).count() == 1


def test_the_second_of_two_sees_what_was_published_and_rebases(ada: Client, bob: Client) -> None:
    mine = save(bob, timeoutSeconds="60", retries="1")
    publish(ada, timeoutSeconds="90", concurrent="7")
    told = bob.post(f"{mine}publish/", {"reason": "faster"}, follow=True)
    assert "version 2 is in force now" in text_of(told)
    assert in_force().timeout_seconds == 90
    page = bob.get(mine)
    assert [change.field for change in page.context["meanwhile"]] == ["timeoutSeconds", "concurrent"]
    assert page.context["contested"] == ["Timeout in seconds"]
    rebased = bob.post(f"{mine}rebase/")["Location"]
    assert [change.field for change in bob.get(rebased).context["changes"]] == ["timeoutSeconds", "retries"]
    bob.post(f"{rebased}publish/", {"reason": "faster"})
    assert (in_force().timeout_seconds, in_force().concurrent, in_force().retries) == (60, 7, 1)


def test_an_old_form_is_told_that_its_draft_moved_on(ada: Client, bob: Client) -> None:
    mine = save(bob, timeoutSeconds="60")
    old = fill(bob, EDIT, retries="1")
    publish(ada, concurrent="7")
    bob.post(f"{mine}rebase/")
    answer = bob.post(EDIT, old)
    assert answer.status_code == 422
    assert "version 2" in text_of(answer)


def test_a_draft_of_another_can_be_read_and_not_touched(ada: Client, bob: Client) -> None:
    page = save(ada, timeoutSeconds="60")
    seen = text_of(bob.get(page))
    assert "Publish version" not in seen
    bob.post(f"{page}publish/", {"reason": "mine"})
    bob.post(f"{page}discard/")
    assert bob.get(f"{page}try/").status_code == 404
    assert AgentDraft.objects.get().closed_at is None
    assert in_force().timeout_seconds == 300


def test_a_discarded_draft_is_closed_and_the_form_starts_anew(ada: Client) -> None:
    page = save(ada, timeoutSeconds="60")
    ada.post(f"{page}discard/")
    assert "Closed" in text_of(ada.get(page))
    assert ada.get(EDIT).context["form"]["timeoutSeconds"].value() == 300


def test_what_a_person_writes_never_becomes_markup(ada: Client) -> None:
    prompt = "<script>alert(1)</script> \u202e is what this prompt begins with, to be shown as text."
    for page in (save(ada, prompt=prompt, displayName="<b>Bold</b>"), EDIT):
        shown = text_of(ada.get(page))
        assert "<script>alert" not in shown
        assert "<b>Bold" not in shown
    assert "\\u202e" in text_of(ada.get(f"{PAGE}drafts/{AgentDraft.objects.get().id}/"))


# --- versions ---------------------------------------------------------------------------------------------------
def test_versions_are_listed_compared_and_restored(ada: Client) -> None:
    publish(ada, timeoutSeconds="60", prompt="You verify what others have made.\nNothing else.\n")
    publish(ada, retries="1")
    page = text_of(ada.get(PAGE))
    assert re.findall(r">Version (\d)</a>", page) == ["3", "2", "1"]
    differs = ada.get(f"{PAGE}compare/?from=1&to=3")
    assert [change.field for change in differs.context["changes"]] == ["timeoutSeconds", "retries", "prompt"]
    assert "<ins>+ Nothing else.</ins>" in text_of(differs)
    ada.post(f"{PAGE}versions/1/restore/", {"reason": "it was better"})
    assert registry.get_agent(AGENT).version == 4
    assert in_force() == registry.get_config(AGENT, 1)
    assert "it was better" in text_of(ada.get(f"{PAGE}versions/4/"))


def test_a_version_is_not_restored_without_a_reason(ada: Client) -> None:
    publish(ada, timeoutSeconds="60")
    told = ada.post(f"{PAGE}versions/1/restore/", {"reason": ""}, follow=True)
    assert "give a reason" in text_of(told)
    assert registry.get_agent(AGENT).version == 2


@pytest.mark.parametrize("path", ["versions/9/", "versions/99999999999999999999/", "compare/?from=8", "drafts/none/"])
def test_what_never_was_is_not_found(ada: Client, path: str) -> None:
    assert ada.get(PAGE + path).status_code == 404


def test_a_mistyped_comparison_is_the_usual_one(ada: Client) -> None:
    assert ada.get(f"{PAGE}compare/?from=x&to=-1").status_code == 200


def test_who_only_reads_is_offered_nothing_to_change(ada: Client) -> None:
    publish(ada, timeoutSeconds="60")
    draft = save(ada, timeoutSeconds="61")
    for path in (PAGE, f"{PAGE}versions/1/", draft, f"{PAGE}compare/"):
        page = text_of(sign_in("vera").get(path))
        assert 'method="post" action="/agents/' not in page
        assert EDIT not in page


# --- status -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", ["paused", "quarantined", "disabled"])
def test_an_agent_is_stopped_and_started_with_reasons(ada: Client, status: str) -> None:
    path = f"{PAGE}status/"
    assert "give a reason" in text_of(ada.post(path, {"status": status}, follow=True))
    assert Agent.objects.get(id=AGENT).status == "enabled"
    page = text_of(ada.post(path, {"status": status, "reason": "an incident"}, follow=True))
    assert Agent.objects.get(id=AGENT).status == status
    assert f'value="{status}"' not in page
    ada.post(path, {"status": "enabled", "reason": "it is over"})
    assert Agent.objects.get(id=AGENT).status == "enabled"


@pytest.mark.parametrize("status", ["", "unknown", "Enabled", "deleted"])
def test_a_status_that_there_is_not_changes_nothing(ada: Client, status: str) -> None:
    page = ada.post(f"{PAGE}status/", {"status": status, "reason": "an incident"}, follow=True)
    assert "Nothing was changed" in text_of(page)
    assert Agent.objects.get(id=AGENT).status == "enabled"


# --- files ------------------------------------------------------------------------------------------------------
def upload(client: Client, content: bytes, name: str = "agent.json") -> Any:
    return client.post(f"{PAGE}import/", {"file": SimpleUploadedFile(name, content)})


def test_an_exported_version_is_imported_as_a_draft_and_published_never(ada: Client) -> None:
    publish(ada, timeoutSeconds="60")
    answer = ada.get(f"{PAGE}export/?version=1")
    assert answer["Content-Disposition"] == f'attachment; filename="{AGENT}-1.json"'
    assert LedgerEvent.objects.get(type="agent.exported").body == {"version": 1}
    imported = upload(ada, answer.content)
    assert imported["Location"].startswith(f"{PAGE}drafts/")
    assert AgentDraft.objects.get(closed_at=None).config == AgentVersion.objects.get(agent_id=AGENT, version=1).config
    assert registry.get_agent(AGENT).version == 2


def test_a_toml_file_of_the_fleet_is_imported_too(ada: Client, settings: Any) -> None:
    content = (
        (settings.FLEET_DIR / f"{AGENT}.toml").read_bytes().replace(b"timeoutSeconds = 300", b"timeoutSeconds = 7")
    )
    assert upload(ada, content, "agent.toml").status_code == 302
    assert AgentDraft.objects.get().config["timeoutSeconds"] == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "content-agent"}, "keeps its id"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"surprise": True}, "surprise"),
        ({"inputSchema": {"type": "array"}}, "describe an object"),
    ],
)
def test_a_file_that_does_not_fit_is_told_where(ada: Client, changes: dict[str, Any], words: str) -> None:
    document = json.loads(ada.get(f"{PAGE}export/").content) | changes
    answer = upload(ada, json.dumps(document).encode())
    assert answer.status_code == 422
    assert words in " ".join(answer.context["form"].errors["file"])
    assert not AgentDraft.objects.exists()


@pytest.mark.parametrize("content", [b"neither [", b"\xff", b"x" * 250_000])
def test_a_file_that_is_none_is_told_so(ada: Client, content: bytes) -> None:
    assert upload(ada, content).status_code == 422


# --- try-outs ---------------------------------------------------------------------------------------------------
INPUT = {"target": "examples/project", "suite": "unit-tests"}


def test_a_try_out_is_a_real_task_that_names_its_draft(ada: Client) -> None:
    page = save(ada, timeoutSeconds="60")
    answer = ada.post(f"{page}try/", fill(ada, f"{page}try/", input=json.dumps(INPUT)))
    task = Task.objects.get()
    assert answer["Location"] == f"/tasks/{task.id}/"
    assert (task.draft_id, task.skill_id, task.submitted_by, task.input) == (page.split("/")[4], "", "ada", INPUT)
    assert LedgerEvent.objects.filter(type="task.submitted", task_id=task.id).count() == 1
    for shown in (answer["Location"], "/tasks/", PAGE, page):
        assert "Try-out of a draft" in text_of(ada.get(shown)), shown


def test_a_try_out_sent_twice_is_one_task_and_changed_is_another(ada: Client) -> None:
    path = f"{save(ada, timeoutSeconds='60')}try/"
    sent = fill(ada, path, input=json.dumps(INPUT))
    assert ada.post(path, sent)["Location"] == ada.post(path, sent)["Location"]
    ada.post(path, sent | {"input": json.dumps(INPUT | {"suite": "lint"})})
    assert Task.objects.count() == 2


def test_a_try_out_starts_with_the_newest_run_s_input_or_an_example(ada: Client) -> None:
    path = f"{save(ada, timeoutSeconds='60')}try/"
    example = json.loads(ada.get(path).context["form"]["input"].value())
    assert set(example) == {"target", "suite"}
    make_task(agent_id=AGENT, skill_id="", input=INPUT)
    assert json.loads(ada.get(path).context["form"]["input"].value()) == INPUT


@pytest.mark.parametrize("sent", ["[]", "{", "", '{"target": 1, "suite": "lint"}', '{"target": "x"}'])
def test_an_input_that_the_draft_does_not_take_is_told_and_kept(ada: Client, sent: str) -> None:
    path = f"{save(ada, timeoutSeconds='60')}try/"
    answer = ada.post(path, fill(ada, path) | {"input": sent})
    assert answer.status_code == 422
    assert answer.context["form"].errors["input"]
    assert answer.context["form"]["input"].value() == sent
    assert not Task.objects.exists()


def test_a_try_out_is_judged_by_the_draft_s_own_schema(ada: Client) -> None:
    schema = {"type": "object", "required": ["depth"], "properties": {"depth": {"type": "integer"}}}
    path = f"{save(ada, inputSchema=json.dumps(schema))}try/"
    assert ada.post(path, fill(ada, path, input=json.dumps(INPUT))).status_code == 422
    assert ada.post(path, fill(ada, path, input='{"depth": 3}')).status_code == 302


def test_an_ended_try_out_has_a_page_too(ada: Client) -> None:
    draft = save(ada, timeoutSeconds="60").split("/")[4]
    task = make_task(agent_id=AGENT, skill_id="", input=INPUT, draft_id=draft, state="failed", error_code="timeout")
    assert "Try-out of a draft" in text_of(ada.get(f"/tasks/{task.id}/"))
