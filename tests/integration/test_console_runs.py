"""An agent's own run in the console: its guided form, and a workflow's tree on the task page."""

import re
from typing import Any

import orjson
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from agents.models import Task
from agents.registry import list_agents
from audit.models import LedgerEvent
from tests.integration.console_cast import make_task, sign_in, text_of, world
from tests.integration.test_console_tasks import CSV, fill

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

QA_FORM = "/tasks/new/qa-verification-agent/"
SUMMARY_FORM = "/tasks/new/summarization-agent/"
RESEARCH_FORM = "/tasks/new/market-research-agent/"
EXTRACTION_FORM = "/tasks/new/data-extraction-agent/"
FLOW_FORM = "/tasks/new/integration-agent/"


# --- the form ---------------------------------------------------------------------------------------------------
def test_each_agent_has_a_form_for_each_of_its_inputs() -> None:
    client = sign_in("olga")
    choice = text_of(client.get("/tasks/new/"))
    for agent in list_agents():
        path = f"/tasks/new/{agent.id}/"
        assert f'href="{path}"' in choice
        assert f'href="{path}"' in text_of(client.get(f"/agents/{agent.id}/"))
        page = text_of(client.get(path))
        for name in agent.config.input_schema["properties"]:
            assert f'name="in_{name}"' in page, (agent.id, name)


def test_a_submitted_form_becomes_an_own_run() -> None:
    client = sign_in("olga")
    sent = fill(client, QA_FORM, in_target="examples/project", in_suite="lint", in_timeout="30", priority="7")
    answer = client.post(QA_FORM, sent)
    task = Task.objects.get()
    assert answer["Location"] == f"/tasks/{task.id}/"
    assert (task.agent_id, task.skill_id, task.submitted_by, task.priority) == ("qa-verification-agent", "", "olga", 7)
    assert task.input == {"target": "examples/project", "suite": "lint", "timeout": 30}
    assert client.post(QA_FORM, sent)["Location"] == answer["Location"]
    assert Task.objects.count() == 1
    page = text_of(client.get(answer["Location"]))
    assert "Own run of Quality Assurance &amp; Verification on examples/project" in page


def test_a_list_of_texts_is_one_a_line() -> None:
    client = sign_in("olga")
    client.post(RESEARCH_FORM, fill(client, RESEARCH_FORM, in_urls="https://a.example/\r\n\n  https://b.example/ \n"))
    assert Task.objects.get().input == {"urls": ["https://a.example/", "https://b.example/"]}


def test_what_a_form_suggests_has_the_shape_that_is_asked_for() -> None:
    client = sign_in("olga")
    values = fill(client, SUMMARY_FORM)
    assert orjson.loads(values["in_source"]) == {"type": "text", "content": ""}
    assert "in_constraints" not in values  # optional: an example stands behind the empty area
    client.post(SUMMARY_FORM, values | {"in_format": "swot", "in_source": '{"type": "text", "content": "long"}'})
    assert Task.objects.get().input == {"source": {"type": "text", "content": "long"}, "format": "swot"}


@pytest.mark.parametrize(
    ("path", "changes", "field", "words"),
    [
        (QA_FORM, {"in_target": ""}, "in_target", "required"),
        (QA_FORM, {"in_target": "x", "in_suite": "fast"}, "in_suite", "not one of"),
        (QA_FORM, {"in_target": "x", "in_suite": "lint", "in_timeout": "0"}, "in_timeout", "greater than"),
        (RESEARCH_FORM, {}, "__all__", "One of these is needed: urls; or query"),
        (RESEARCH_FORM, {"in_urls": "u", "in_query": "q"}, "__all__", "more than one"),
        (
            SUMMARY_FORM,
            {"in_format": "swot", "in_source": '{"type": "song"}'},
            "in_source",
            "type: This must be one of",
        ),
        (SUMMARY_FORM, {"in_format": "swot", "in_source": '{"type": "text"}'}, "in_source", "content: This is needed"),
        (FLOW_FORM, {"in_steps": "[]"}, "in_steps", "at least 1"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(path: str, changes: dict[str, Any], field: str, words: str) -> None:
    client = sign_in("olga")
    answer = client.post(path, fill(client, path, **changes))
    assert answer.status_code == 422
    assert words in " ".join(answer.context["form"].errors[field])
    assert not Task.objects.exists()


def test_a_file_sent_along_is_named_where_its_path_belongs(settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    client = sign_in("olga")
    values = fill(client, EXTRACTION_FORM)
    assert orjson.loads(values["in_files"]) == [{"path": "@file", "format": "pdf"}]
    upload = SimpleUploadedFile("my expenses.csv", CSV)
    client.post(EXTRACTION_FORM, values | {"in_files": '[{"path": "@file", "format": "csv"}]', "attachment": upload})
    [file] = Task.objects.get().input["files"]
    assert file["path"].startswith("uploads/")
    assert (tmp_path / file["path"]).read_bytes() == CSV


def test_a_file_and_its_mark_come_together(settings: Any, tmp_path: Any) -> None:
    settings.WORKSPACE_ROOT = tmp_path
    client = sign_in("olga")
    without = client.post(EXTRACTION_FORM, fill(client, EXTRACTION_FORM))
    assert "names @file, so a file is needed" in text_of(without)
    unnamed = fill(client, EXTRACTION_FORM, in_files='[{"path": "a.csv", "format": "csv"}]')
    answer = client.post(EXTRACTION_FORM, unnamed | {"attachment": SimpleUploadedFile("a.csv", CSV)})
    assert "Write @file where" in " ".join(answer.context["form"].errors["attachment"])
    assert not Task.objects.exists()
    assert list(tmp_path.rglob("*.csv")) == []


def test_the_workflow_that_the_form_suggests_can_be_sent_as_it_is() -> None:
    client = sign_in("olga")
    answer = client.post(FLOW_FORM, fill(client, FLOW_FORM))
    assert answer.status_code == 302, answer.context["form"].errors
    assert [step["name"] for step in Task.objects.get().input["steps"]] == ["parse", "normalise"]


def test_a_workflow_that_cannot_be_carried_out_is_told_and_a_denial_is_audited() -> None:
    client = sign_in("olga")
    circle = [{"name": "a", "agentId": "content-agent", "input": {}, "dependsOn": ["a"]}]
    answer = client.post(FLOW_FORM, fill(client, FLOW_FORM, in_steps=orjson.dumps(circle).decode()))
    assert "wait for each other: a → a" in " ".join(answer.context["form"].errors["in_steps"])
    stranger = [{"name": "a", "agentId": "nobody", "input": {}}]
    answer = client.post(FLOW_FORM, fill(client, FLOW_FORM, in_steps=orjson.dumps(stranger).decode()))
    assert "item 1 → agentId: There is no agent" in " ".join(answer.context["form"].errors["in_steps"])
    event = LedgerEvent.objects.get(type="task.refused")
    assert (event.agent_id, event.actor, event.reason) == ("nobody", "user:olga", "agent_unknown")


def test_an_own_run_can_be_ordered_again_with_changes() -> None:
    task = make_task(agent_id="market-research-agent", skill_id="", input={"urls": ["https://a.example/", "b"]})
    client = sign_in("olga")
    assert f'{RESEARCH_FORM}?copy={task.id}"' in text_of(client.get(f"/tasks/{task.id}/"))
    assert fill(client, f"{RESEARCH_FORM}?copy={task.id}")["in_urls"] == "https://a.example/\nb"
    flow = make_task(agent_id="integration-agent", skill_id="", input={"steps": [{"name": "x"}]})
    assert orjson.loads(fill(client, f"{FLOW_FORM}?copy={flow.id}")["in_steps"]) == [{"name": "x"}]


def test_who_has_no_provider_is_told_so_in_one_line(settings: Any) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        setattr(settings, name, "")
    client = sign_in("olga")
    assert "no provider is set up" in text_of(client.get(QA_FORM))
    assert "no provider is set up" not in text_of(client.get(FLOW_FORM))
    assert "no provider is set up" not in text_of(client.get("/tasks/new/qa-verification-agent/testRunner/"))
    settings.ANTHROPIC_API_KEY = "key"
    assert "no provider is set up" not in text_of(client.get(QA_FORM))


@pytest.mark.parametrize("path", ["/tasks/new/nobody/", "/tasks/new/qa-verification-agent/nothing/"])
def test_a_form_for_nobody_is_not_found(path: str) -> None:
    assert sign_in("olga").get(path).status_code == 404


# --- the tree ---------------------------------------------------------------------------------------------------
def step(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "agentId": "normalization-agent", "skillId": "normalizer", "input": {}} | more


def rows_of(page: str) -> list[str]:
    """Return the tree's lines as plain words."""
    table = page[page.index('id="tree"') :].partition("</table>")[0]
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in table.split("<tr>")[2:]]


def test_a_workflows_page_shows_its_steps_and_those_inside_them() -> None:
    inner = {"name": "nest", "agentId": "integration-agent", "input": {"steps": [step("in"), step("in2")]}}
    steps = [step("a", optional=True), inner, step("z")]
    task = make_task(state="running", agent_id="integration-agent", skill_id="", input={"steps": steps})
    child = {"agent_id": "normalization-agent", "skill_id": "normalizer", "parent_task_id": task.id}
    make_task(**child, workflow_step="a", cost_micro=42_100)
    nest = make_task(
        state="running", agent_id="integration-agent", skill_id="", parent_task_id=task.id, workflow_step="nest",
        input=inner["input"],
    )  # fmt: skip
    leaf = make_task(**child | {"parent_task_id": nest.id}, state="failed", workflow_step="in")
    client = sign_in("vera")
    page = text_of(client.get(f"/tasks/{task.id}/"))
    assert "Workflow of 3 steps" in page
    lines = rows_of(page)
    assert len(lines) == 5
    assert f'href="/tasks/{nest.id}/">nest</a>' in page
    assert lines[0].startswith("a optional Succeeded normalization-agent → normalizer")
    assert lines[0].endswith("1.0 s £0.0321")
    assert lines[1].startswith("nest Running integration-agent")
    assert lines[2].startswith("nest / in Failed")
    assert lines[3].startswith("nest / in2 waits its turn")
    assert lines[4].startswith("z waits its turn")
    inside = text_of(client.get(f"/tasks/{leaf.id}/"))
    assert f'href="/tasks/{nest.id}/"' in inside
    assert "<strong>in</strong>" in inside


def test_a_step_that_was_never_started_is_said_to_be_so() -> None:
    result = {"steps": [{"name": "a", "taskId": None, "status": "skipped", "durationMs": 0}], "totalMs": 1}
    flow = {"agent_id": "integration-agent", "skill_id": "", "input": {"steps": [step("a")]}}
    client = sign_in("vera")
    for task, words in (
        (make_task(**flow, result=result), "skipped"),
        (make_task(**flow, state="failed"), "not started"),
    ):
        assert rows_of(text_of(client.get(f"/tasks/{task.id}/")))[0].startswith(f"a {words}")


def test_a_task_that_is_no_workflow_has_no_tree() -> None:
    client = sign_in("vera")
    for task in (make_task(), make_task(agent_id="integration-agent", skill_id="", input={"steps": "nonsense"})):
        page = text_of(client.get(f"/tasks/{task.id}/"))
        assert 'id="tree"' not in page
