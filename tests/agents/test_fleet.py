"""All eleven agents, as they are shipped, carry a task out on either vendor's wire format, over real connections.

Real are the configurations, prompts, skills, rules, the worker and the vendors' SDKs; what the models say is scripted.
"""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from llmock.pytest_plugin import LLMock
from llmock.scenarios import Reply, ToolCall

from agents import registry
from agents.models import Step, Task
from agents.schemas import list_problems
from agents.skills.source_fetch import SourceFetch
from agents.skills.source_fetch.target import FetchPolicy
from agents.states import TERMINAL
from audit.models import LedgerEvent
from tests.agents.conftest import MODELS, list_reservations
from tests.agents.scenes import ARTICLE, NOTES, PAGE, PROJECT, SCENES, SUMMARY, TOTALS, Scene, parse, research
from tests.contract.scripted import publish_rules
from tests.security.https_server import LOOPBACK, HttpsServer, NameTable, run_https_server
from toolgate.approvals import decide_approval
from toolgate.exceptions import OwnRequest
from toolgate.models import Approval, DecisionRecord
from toolgate.queries import list_permissions

PATHS = {"responses": "/v1/responses", "chat": "/v1/chat/completions", "anthropic": "/anthropic/v1/messages"}
ON_CHAT = {"summarization-agent", "build-refactor-agent"}
RESEARCHER, CARRIER = "market-research-agent", "integration-agent"
CASES = [
    pytest.param(scene, wire, id=f"{scene.agent}-{wire}")
    for scene in SCENES
    for wire in PATHS
    if wire != "chat" or scene.agent in ON_CHAT
]


def cue(llmock: LLMock, scene: Scene) -> None:
    """Have the model say the scene's lines."""
    for turn in scene.turns:
        llmock.add(Reply(tool_calls=tuple(ToolCall(name, arguments) for name, arguments in turn)))
    llmock.add(Reply(text=json.dumps(scene.answer)))


@pytest.fixture
def play(use, think, worker, until, settings):
    """Play a scene on one wire format; people answer what they are asked."""

    def _play(scene: Scene, wire: str) -> tuple[Task, LLMock]:
        vendor = "anthropic" if wire == "anthropic" else "openai"
        llmock = use(vendor, api=wire if vendor == "openai" else "responses")
        cue(llmock, scene)
        workspace = settings.WORKSPACE_ROOT
        shutil.copytree(workspace / PROJECT, workspace / "skills" / "document_parser")  # to be audited
        with worker():
            task = think(scene.agent, scene.input)
            until(lambda: is_at_rest(task), f"{scene.agent} to answer or to ask")
            while task.state == "awaiting_approval":
                answer_as_another(task)
                until(lambda: is_at_rest(task), f"{scene.agent} to go on")
        return task, llmock

    return _play


def is_at_rest(task: Task) -> bool:
    task.refresh_from_db()
    return task.state in {*TERMINAL, "awaiting_approval"}


def answer_as_another(task: Task) -> None:
    """Approve what is asked, as ana; olga, who submitted it, may not. A person is slower than the agent's rate."""
    time.sleep(1.1)
    approval = Approval.objects.get(task_id=task.id, state="pending")
    with pytest.raises(OwnRequest):
        decide_approval(approval.id, approve=True, user="olga", note="", now=timezone.now())
    decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())


def assert_done(task: Task, scene: Scene, llmock: LLMock, wire: str) -> None:
    """See that the task ended well, that its output holds, and that the conversation was one of this wire format."""
    config = registry.get_agent(scene.agent).config
    assert (task.state, task.error_message, task.attempt) == ("succeeded", "", 1)
    assert list_problems(config.output_schema, task.result) == ()
    for pointer, value in scene.holds.items():
        assert find(task.result, pointer) == value, pointer
    requests = llmock.requests
    assert {request.path for request in requests} == {PATHS[wire]}
    assert len(requests) == len(scene.turns) + 1
    vendor = "anthropic" if wire == "anthropic" else "openai"
    model = MODELS[config.tier][vendor]
    assert {request.model for request in requests} == {model.partition(":")[2]}
    llmock.assert_resilient(strict=True)
    assert_paid(task, model, turns=len(requests))
    assert_told(scene, requests)


def assert_paid(task: Task, model: str, *, turns: int) -> None:
    paid = [(one.model, one.state, one.is_estimate) for one in list_reservations(task)]
    assert paid == [(model, "settled", False)] * turns
    assert task.cost_micro > 0


def assert_told(scene: Scene, requests: list[Any]) -> None:
    """See that the model was told its task, was offered what the gate permits, and read what came of each call."""
    offered = {permission.skill_id for permission in list_permissions(scene.agent)}
    for request in requests:
        assert {tool.get("name") or tool["function"]["name"] for tool in request.body["tools"]} == offered
    told = json.dumps(requests[-1].body, ensure_ascii=False)
    names = [name for turn in scene.turns for name, _ in turn]
    assert all(f'from=\\"{name}\\"' in told for name in names)
    assert registry.get_agent(scene.agent).config.display_name in told


def find(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


@pytest.mark.parametrize(("scene", "wire"), CASES)
def test_an_agent_carries_out_its_task(play, scene, wire):
    task, llmock = play(scene, wire)
    assert_done(task, scene, llmock, wire)
    skills = [name for turn in scene.turns for name, _ in turn]
    calls = Step.objects.filter(task=task, kind="skill").order_by("fence", "ordinal")
    assert list(calls.values_list("skill_id", "state")) == [(name, "done") for name in skills]


def test_every_agent_of_the_fleet_is_played(settings):
    played = {scene.agent for scene in SCENES} | {RESEARCHER, CARRIER}
    assert {config.id for config in registry.read_fleet(settings.FLEET_DIR)} == played
    assert len(played) == 11


# --- what some of them do beyond that -------------------------------------------------------------------------
def scene_of(agent_id: str) -> Scene:
    return next(scene for scene in SCENES if scene.agent == agent_id)


def test_a_security_report_counts_once_another_person_has_read_it(play):
    task, _ = play(scene_of("security-agent"), "responses")
    approval = Approval.objects.get(task_id=task.id)
    assert (approval.kind, approval.state, approval.decided_by) == ("review", "used", "ana")
    assert approval.arguments == task.result


def test_a_refactoring_writes_what_another_person_approved_and_nothing_else(play, settings):
    task, _ = play(scene_of("build-refactor-agent"), "anthropic")
    approval = Approval.objects.get(task_id=task.id)
    assert (approval.skill_id, approval.state, approval.decided_by) == ("workspacePatch", "used", "ana")
    before, after = settings.EXAMPLES_DIR, settings.WORKSPACE_ROOT / "examples"
    names = [path.relative_to(before) for path in before.rglob("*") if path.is_file()]
    changed = [str(name) for name in names if (before / name).read_bytes() != (after / name).read_bytes()]
    assert changed == [TOTALS.removeprefix("examples/")]
    assert "rounding=ROUND_HALF_UP" in (settings.WORKSPACE_ROOT / TOTALS).read_text()
    effects = DecisionRecord.objects.filter(task_id=task.id).order_by("at", "id").values_list("skill_id", "effect")
    patch, run = "workspacePatch", "testRunner"
    assert list(effects) == [(run, "allow"), (patch, "allow"), (patch, "ask"), (patch, "allow"), (run, "allow")]


def test_the_monitor_is_handed_the_fleets_counters(play):
    _, llmock = play(scene_of("system-monitor-agent"), "anthropic")
    (request,) = llmock.requests
    assert "Counted by the orchestrator" in json.dumps(request.body)
    assert "tasksCompleted" in json.dumps(request.body["messages"])


@pytest.fixture
def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fleet: None) -> Iterator[HttpsServer]:
    """Give a web server that sourceFetch takes for the public internet, with a rule that names its host."""
    with run_https_server(tmp_path) as server:
        table = NameTable({"docs.example.org": [[LOOPBACK]], "www.example.org": [[LOOPBACK]]})
        monkeypatch.setattr(socket, "getaddrinfo", table.getaddrinfo)
        networks = (f"{LOOPBACK}/32",)
        policy = FetchPolicy(port=server.port, certificates=str(server.certificates), extra_networks=networks)
        monkeypatch.setitem(registry.SKILLS, "sourceFetch", SourceFetch(policy))
        rule = {"id": "a-page", "agent": RESEARCHER, "skill": "sourceFetch", "effect": "allow"}
        publish_rules([rule | {"conditions": {"domains": ["docs.example.org"]}}])
        server.answer("/bearings", PAGE, content_type="text/html")
        yield server


@pytest.mark.parametrize("wire", ["responses", "anthropic"])
def test_research_fetches_from_hosts_that_a_rule_names_and_reports_the_others(play, https, wire):
    scene = research(https.url("/bearings"), https.url("/bearings", host="www.example.org"))
    task, llmock = play(scene, wire)
    assert_done(task, scene, llmock, wire)
    assert [host for host, _, _ in https.seen] == ["docs.example.org"]
    assert task.result["findings"][0]["fetchedAt"] != scene.answer["findings"][0]["fetchedAt"]
    assert task.tainted
    told = json.dumps(llmock.requests[-1].body)
    assert "Prices of bearings rose" in told
    assert "domain_not_allowed" in told


@pytest.mark.parametrize("wire", ["responses", "anthropic"])
def test_a_workflows_steps_are_runs_of_agents_that_hand_data_on(play, use, wire):
    source = {"type": "file", "content": NOTES}
    steps = [
        {"name": "sum", "agentId": "summarization-agent", "input": {"source": source, "format": "key_findings"}},
        {
            "name": "write",
            "agentId": "content-agent",
            "input": {"type": "blog_post", "source": {"$from": "sum", "path": "/summary"}},
            "dependsOn": ["sum"],
        },
    ]
    llmock = use("openai")
    llmock.add(Reply(tool_calls=(ToolCall(*parse(NOTES)),)), Reply(text=json.dumps(SUMMARY)))
    task, llmock = play(Scene(agent=CARRIER, input={"steps": steps}, answer=ARTICLE), wire)
    assert (task.state, [step["status"] for step in task.result["steps"]]) == ("succeeded", ["succeeded"] * 2)
    assert list_problems(registry.get_agent(CARRIER).config.output_schema, task.result) == ()
    sum_, write = Task.objects.filter(parent_task_id=task.id).order_by("created_at")
    assert (sum_.trace_id, write.trace_id) == (task.trace_id,) * 2
    assert write.input["source"] == sum_.result["summary"]
    assert len(llmock.requests) == 3
    assert all(list_reservations(step) for step in (sum_, write))
    assert list_reservations(task) == []
    ends = LedgerEvent.objects.filter(type="task.succeeded").values_list("task_id", flat=True)
    assert sorted(ends) == sorted([task.id, sum_.id, write.id])
