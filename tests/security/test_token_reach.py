"""A token that is limited to some agents: every route of the API heeds it, or is closed to it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from audit.reach import find_beyond
from audit.sequencer import Sequencer
from orchestrator_site.readers import check_metrics, check_stream
from orchestrator_site.tokens import issue_token
from tests.integration.api_cast import Api, events_of, forget_all, problem_of
from tests.integration.console_cast import (
    FETCHER,
    PATCH,
    PATCHER,
    make_task,
    make_waiting_task,
    world,
)
from tests.security.test_doors import ADDRESSES, view_of
from toolgate.approvals import decide_approval
from toolgate.models import Grant

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")
WORKFLOWS = "integration-agent"
CLOSED = "agent_not_granted"


@pytest.fixture(autouse=True)
def fresh(settings: Any, tmp_path: Any) -> None:
    forget_all()
    settings.WORKSPACE_ROOT = tmp_path


def token_for(*agents: str, scopes: tuple[str, ...] = ("all",)) -> str:
    owner = User.objects.get(username="ada")
    return issue_token("limited", owner=owner, scopes=scopes, agents=agents, now=timezone.now())[1]


def api_for(*agents: str) -> Api:
    return Api(token_for(*agents))


def refuse(answer: Any, agent: str) -> None:
    """See that an answer refuses this agent, and that it is in the trail with the reason."""
    problem = problem_of(answer, 403, CLOSED)
    assert agent in problem["detail"] or not agent
    event = events_of("token.refused")[-1]
    assert (event.decision, event.reason, event.actor) == ("deny", CLOSED, "user:ada")
    assert (event.body["agent"], event.body["token"]) == (agent, "limited")


# --- every route ----------------------------------------------------------------------------------------------
def test_a_route_that_says_nothing_of_agents_is_closed_to_it() -> None:
    """Which routes heed a limit is written here too: a new one is closed until somebody has thought about it."""
    heeding = {address for address in ADDRESSES if getattr(view_of(address), "heeds_agents", False)}
    assert heeding == {
        "/api/agents", "/api/agents/x", "/api/agents/x/status", "/api/approvals", "/api/approvals/x",
        "/api/approvals/x/decision", "/api/audit", "/api/files", "/api/grants", "/api/grants/x/revoke",
        "/api/health/deep", "/api/schema/", "/api/skills", "/api/tasks", "/api/tasks/x", "/api/tasks/x/artifacts/x",
        "/api/tasks/x/cancel", "/api/tasks/x/retry", "/api/tasks/x/transcript", "/api/workflows",
    }  # fmt: skip
    api = api_for(PATCHER)
    for address in sorted(set(ADDRESSES) - heeding):
        view = view_of(address)
        if view is None or not hasattr(view, "required_scope"):
            continue
        for method in ("GET", "POST", "PUT", "DELETE"):
            if hasattr(view, method.lower()):
                refuse(api.send(method, address), "")


@pytest.mark.parametrize(
    ("agents", "asked", "beyond"),
    [(None, "a", None), (None, "", None), ({"a"}, "a", None), ({"a"}, "b", "b"), ({"a"}, "", ""), (set(), "a", "a")],
)
def test_what_a_limit_reaches(agents: set[str] | None, asked: str, beyond: str | None) -> None:
    grant = type("Grant", (), {"agents": None if agents is None else frozenset(agents)})
    assert find_beyond(grant, [asked]) == beyond


def test_what_carries_no_limit_of_its_own_reaches_nobody() -> None:
    assert find_beyond(object(), ["a"]) == "a"
    assert find_beyond(None, ["a"]) == "a"


# --- tasks ----------------------------------------------------------------------------------------------------
def test_orders_are_taken_for_its_agents_alone() -> None:
    api = api_for("normalization-agent")
    order = {"skillId": "normalizer", "input": {"data": [], "schema": {"a": {"type": "date"}}}}
    assert api.post("tasks", order | {"agentId": "normalization-agent"}).status_code == 202
    refuse(api.post("tasks", order | {"agentId": PATCHER}), PATCHER)
    refuse(api.post("tasks", {"agentId": FETCHER, "input": {}}), FETCHER)
    assert [event.body["agent"] for event in events_of("token.refused")] == [PATCHER, FETCHER]


def test_a_workflow_is_taken_when_every_step_is_of_its_agents() -> None:
    step = {"name": "one", "agentId": "normalization-agent", "skillId": "normalizer", "input": {
        "data": [], "schema": {"a": {"type": "date"}}}}  # fmt: skip
    other = step | {"name": "two", "agentId": PATCHER, "skillId": PATCH}
    inner = {"name": "in", "agentId": WORKFLOWS, "input": {"steps": [other]}}
    api = api_for(WORKFLOWS, "normalization-agent")
    assert api.post("workflows", {"steps": [step]}).status_code == 202
    for steps in ([step, other], [step, inner]):
        refuse(api.post("workflows", {"steps": steps}), PATCHER)
        refuse(api.post("tasks", {"agentId": WORKFLOWS, "input": {"steps": steps}}), PATCHER)
    refuse(api_for("normalization-agent").post("workflows", {"steps": [step]}), WORKFLOWS)


def test_another_agents_task_is_neither_read_nor_touched() -> None:
    own, other = make_task(state="queued"), make_task(state="queued", agent_id=PATCHER, skill_id=PATCH)
    flow = make_task(agent_id=WORKFLOWS, skill_id="", input={"steps": [{"name": "a", "agentId": PATCHER}]})
    api = api_for(FETCHER, WORKFLOWS)
    assert [task["taskId"] for task in api.get("tasks").json()["results"]] == [own.id]
    assert api.get("tasks", agentId=FETCHER).json()["results"][0]["taskId"] == own.id
    refuse(api.get("tasks", agentId=PATCHER), PATCHER)
    assert api.get(f"tasks/{own.id}").status_code == 200
    for task in (other, flow):
        refuse(api.get(f"tasks/{task.id}"), PATCHER)
        refuse(api.get(f"tasks/{task.id}/transcript"), PATCHER)
        refuse(api.post(f"tasks/{task.id}/cancel"), PATCHER)
        refuse(api.post(f"tasks/{task.id}/retry"), PATCHER)
    other.refresh_from_db()
    assert other.state == "queued"
    assert api.post(f"tasks/{own.id}/cancel").status_code == 202
    problem_of(api.get("tasks/none"), 404, "not_found")


async def test_another_agents_task_is_not_followed(transactional_db: None) -> None:
    from asgiref.sync import sync_to_async

    def prepare() -> tuple[str, str, dict[str, str]]:
        own, other = make_task(), make_task(agent_id=PATCHER, skill_id=PATCH)
        return own.id, other.id, {"authorization": f"Bearer {token_for(FETCHER)}"}

    own, other, headers = await sync_to_async(prepare)()
    assert await check_stream(headers, own) is None
    refusal = await check_stream(headers, other)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, CLOSED)
    [event] = await sync_to_async(events_of)("token.refused")
    assert (event.reason, event.body["agent"]) == (CLOSED, PATCHER)


def test_the_metrics_of_the_whole_fleet_are_closed_to_it() -> None:
    refusal = check_metrics(f"Bearer {token_for(FETCHER)}")
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, CLOSED)
    assert check_metrics(f"Bearer {issue_unlimited()}") is None


def issue_unlimited() -> str:
    owner = User.objects.get(username="ada")
    return issue_token("whole", owner=owner, scopes=["metrics:read"], now=timezone.now())[1]


# --- agents, approvals, grants --------------------------------------------------------------------------------
def test_of_agents_it_sees_and_switches_its_own() -> None:
    api = api_for(FETCHER)
    assert [agent["agentId"] for agent in api.get("agents").json()["results"]] == [FETCHER]
    assert api.get(f"agents/{FETCHER}").status_code == 200
    refuse(api.get(f"agents/{PATCHER}"), PATCHER)
    stop = {"status": "paused", "reason": "x"}
    assert api.post(f"agents/{FETCHER}/status", stop).status_code == 200
    refuse(api.post(f"agents/{PATCHER}/status", stop), PATCHER)


def test_approvals_and_grants_of_others_are_neither_shown_nor_answered() -> None:
    _, approval = make_waiting_task()
    rule = {"ruleId": "build-refactor-patch-write", "quorum": 1, "approvers": None, "fourEyes": True}
    terms = [rule | {"expiresSeconds": None, "slaSeconds": None}]
    _, other = make_waiting_task(rule_id=rule["ruleId"], terms=terms)
    decide_approval(other.id, approve=True, user="ana", scope="task", now=timezone.now())
    grant = Grant.objects.get()
    api = api_for(FETCHER)
    for path in ("approvals", "grants"):
        assert api.get(path).json()["results"] == []
        assert api_for(PATCHER).get(path).json()["results"]
    refuse(api.get(f"approvals/{approval.id}"), PATCHER)
    refuse(api.post(f"approvals/{approval.id}/decision", {"decision": "approve"}), PATCHER)
    refuse(api.post(f"grants/{grant.id}/revoke"), PATCHER)
    grant.refresh_from_db()
    assert grant.revoked_at is None


# --- the trail ------------------------------------------------------------------------------------------------
def test_of_the_trail_it_sees_what_is_about_its_agents(audit_store: Any) -> None:
    stop = {"status": "paused", "reason": "x"}
    whole = Api(issue_token("w", owner=User.objects.get(username="ada"), scopes=["all"], now=timezone.now())[1])
    for agent in (FETCHER, PATCHER, WORKFLOWS):
        assert whole.post(f"agents/{agent}/status", stop).status_code == 200
    sequencer = Sequencer("one")
    while sequencer.step():
        pass
    api = api_for(FETCHER, WORKFLOWS)
    for query in ({}, {"type": "agent.paused"}, {"type": "agent."}, {"actor": "ada"}, {"limit": "1"}):
        seen = {event["agentId"] for event in api.get("audit", **query).json()["results"]}
        assert seen <= {FETCHER, WORKFLOWS}, query
        assert seen, query
    assert {event["agentId"] for event in api.get("audit", agentId=FETCHER).json()["results"]} == {FETCHER}
    assert api.get("audit", q=PATCHER).json()["results"] == []
    refuse(api.get("audit", agentId=PATCHER), PATCHER)
