"""The stop switches by every door: who may turn them, what is kept of it, what is shown and refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agents import registry
from agents.exceptions import NothingToChange
from agents.gate_facts import RegisteredFleet
from agents.models import FleetSwitch, SkillSwitch
from agents.switches.changes import list_stages, quarantine_skill, resume_fleet, set_agent_status, stop_fleet
from agents.switches.stops import Stop, Switches, end_stopped, find_cut
from agents.types import AgentStatus
from audit.models import LedgerEvent
from orchestrator_site.roles import ROLES, Permission, Role
from tests.integration.api_cast import AGENT, SKILL, api_of, events_of, problem_of
from tests.integration.console_cast import sign_in, text_of, world
from toolgate.engine import decide
from toolgate.exceptions import ReasonRequired, TextInvalid
from toolgate.in_force import policy_in_force

__all__ = ["world"]

pytestmark = pytest.mark.usefixtures("world")
NOW = datetime(2026, 11, 12, 9, 0, tzinfo=UTC)
WHO: dict[str, Any] = {"author": "ada", "reason": "an incident", "now": NOW}
MAY = ["olga", "ana", "ada"]
MAY_NOT = ["vera", "axel"]


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the switches at each look: nothing commits in these tests, so nothing tells of a change."""
    monkeypatch.setattr(registry, "FRESH_SECONDS", 0.0)


# --- who may --------------------------------------------------------------------------------------------------
def test_operators_approvers_and_admins_may_stop_viewers_and_auditors_not() -> None:
    may = {role for role, granted in ROLES.items() if Permission.FLEET_STOP in granted}
    assert may == {Role.OPERATOR, Role.APPROVER, Role.ADMIN}


@pytest.mark.parametrize("user", MAY_NOT)
def test_who_may_not_stop_is_refused_by_every_door(user: str) -> None:
    api, client = api_of(user, "agents:read"), sign_in(user)
    for path, body in (
        ("fleet", {"state": "stopped", "reason": "x"}),
        (f"agents/{AGENT}/status", {"status": "paused", "reason": "x"}),
        (f"skills/{SKILL}/status", {"status": "quarantined", "reason": "x"}),
    ):
        problem_of(api.post(path, body), 403, "forbidden")
    for path in ("/fleet/switch/", f"/agents/{AGENT}/status/", f"/skills/{SKILL}/status/"):
        assert client.post(path, {"state": "stopped", "status": "quarantined", "reason": "x"}).status_code == 403
    with pytest.raises(CommandError, match="fleet:stop"):
        call_command("fleet", "stop", "--reason", "x", "--user", user)
    assert not FleetSwitch.objects.exists()
    assert not SkillSwitch.objects.exists()
    assert "Stop the fleet" not in text_of(client.get("/"))


@pytest.mark.parametrize("user", MAY)
def test_who_may_stop_finds_the_link_on_every_page_and_stops(user: str) -> None:
    client = sign_in(user)
    assert "Stop the fleet…" in text_of(client.get("/agents/"))
    answer = client.post("/fleet/switch/", {"state": "stopped", "reason": "odd mails"}, follow=True)
    assert "The fleet is stopped" in text_of(answer)
    assert [event.actor for event in events_of("fleet.stopped")] == [f"user:{user}"]
    for path in ("/", "/tasks/", "/agents/"):
        page = text_of(sign_in("vera").get(path))
        assert "The fleet is stopped." in page, path
        assert f"By {user}," in page
        assert "odd mails" in page


# --- the fleet ------------------------------------------------------------------------------------------------
def test_each_stage_is_an_event_with_who_why_and_where_from() -> None:
    stop_fleet(**WHO)
    resume_fleet(slots=1, author="olga", now=NOW)
    resume_fleet(slots=10, author="olga", reason="one went well", now=NOW)
    resume_fleet(author="ana", now=NOW)
    found = LedgerEvent.objects.filter(type__startswith="fleet.").order_by("id")
    assert [(event.type, event.actor, event.body) for event in found] == [
        ("fleet.stopped", "user:ada", {"slots": None, "from": None, "reason": "an incident"}),
        ("fleet.resumed", "user:olga", {"slots": 1, "from": "stopped", "reason": ""}),
        ("fleet.resumed", "user:olga", {"slots": 10, "from": 1, "reason": "one went well"}),
        ("fleet.resumed", "user:ana", {"slots": None, "from": 10, "reason": ""}),
    ]
    assert FleetSwitch.objects.count() == 1


def test_a_stop_needs_a_reason_and_a_change() -> None:
    with pytest.raises(ReasonRequired):
        stop_fleet(author="ada", reason=" ", now=NOW)
    with pytest.raises(TextInvalid):
        stop_fleet(author="ada", reason="x" * 2001, now=NOW)
    with pytest.raises(NothingToChange):
        resume_fleet(author="ada", now=NOW)
    assert not FleetSwitch.objects.exists()
    stop_fleet(**WHO)
    with pytest.raises(NothingToChange, match="by ada"):
        stop_fleet(author="olga", reason="me too", now=NOW)
    assert len(events_of("fleet.stopped")) == 1


@pytest.mark.parametrize(("most", "stages"), [(40, [1, 10, None]), (8, [1, 2, None]), (7, [1, None]), (1, [1, None])])
def test_the_stages_are_one_a_quarter_and_all(settings: Any, most: int, stages: list[int | None]) -> None:
    settings.MAX_AGENTS = most
    assert list_stages() == stages


def test_a_stage_of_all_slots_is_the_whole_fleet(settings: Any) -> None:
    stop_fleet(**WHO)
    resume_fleet(slots=settings.MAX_AGENTS, author="ada", now=NOW)
    assert FleetSwitch.objects.get().slots is None


def test_the_page_leads_through_the_stages() -> None:
    client = sign_in("olga")
    assert "Stop the fleet</button>" in text_of(client.get("/fleet/"))
    stop_fleet(**WHO)
    page = text_of(client.get("/fleet/"))
    assert "Stop the fleet</button>" not in page
    assert [f'value="{stage}"' in page for stage in ("1", "10", "all")] == [True] * 3
    client.post("/fleet/switch/", {"state": "10"})
    page = text_of(client.get("/fleet/"))
    assert "at most 10 tasks at once" in page
    assert [f'value="{stage}"' in page for stage in ("1", "10", "all")] == [True, False, True]
    client.post("/fleet/switch/", {"state": "all"})
    assert "resumed in part" not in text_of(client.get("/"))
    client.post("/fleet/switch/", {"state": "7"})
    assert len(events_of("fleet.resumed")) == 2


def test_the_fleet_over_the_api() -> None:
    olga = api_of("olga")
    assert olga.get("fleet").json()["state"] == "running"
    problem_of(olga.post("fleet", {"state": "stopped"}), 422, "reason_required")
    problem_of(olga.post("fleet", {"state": "stopped", "slots": 3, "reason": "x"}), 422, "body_invalid")
    stopped = olga.post("fleet", {"state": "stopped", "reason": "odd mails"})
    assert (stopped.status_code, stopped.json()["state"], stopped.json()["changedBy"]) == (200, "stopped", "olga")
    problem_of(olga.post("fleet", {"state": "stopped", "reason": "again"}), 409, "nothing_to_change")
    resumed = olga.post("fleet", {"state": "running", "slots": 1}).json()
    assert (resumed["state"], resumed["slots"], resumed["allSlots"]) == ("running", 1, 40)


def test_a_stopped_fleet_takes_orders_and_stays_healthy() -> None:
    stop_fleet(**WHO)
    order = {"agentId": AGENT, "skillId": SKILL, "input": {"data": {}, "schema": {}}}
    answer = api_of("olga").post("tasks", order)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert api_of("olga").get("/health").status_code == 200


def test_the_gate_lets_nothing_through_while_the_fleet_is_stopped() -> None:
    asked = RegisteredFleet().describe_call(AGENT, SKILL, {"data": {}, "schema": {}}, tainted=False)
    assert decide(policy_in_force(), asked.request, now=NOW).effect == "allow"
    stop_fleet(**WHO)
    asked = RegisteredFleet().describe_call(AGENT, SKILL, {"data": {}, "schema": {}}, tainted=False)
    decision = decide(policy_in_force(), asked.request, now=NOW)
    assert (decision.effect, decision.reason, decision.detail) == (
        "deny", "agent_disabled", "the whole fleet is stopped",
    )  # fmt: skip


# --- an agent, a skill ----------------------------------------------------------------------------------------
def test_an_agent_over_the_api() -> None:
    ana = api_of("ana")
    paused = ana.post(f"agents/{AGENT}/status", {"status": "paused", "reason": "slow"})
    assert (paused.status_code, paused.json()["status"]) == (200, "paused")
    problem_of(ana.post(f"agents/{AGENT}/status", {"status": "paused", "reason": "slow"}), 409, "nothing_to_change")
    problem_of(ana.post(f"agents/{AGENT}/status", {"status": "gone", "reason": "slow"}), 422, "body_invalid")
    problem_of(ana.post("agents/nobody/status", {"status": "paused", "reason": "slow"}), 404, "not_found")


def test_a_skill_over_the_api_and_on_its_page() -> None:
    ana = api_of("ana")
    answer = ana.post(f"skills/{SKILL}/status", {"status": "quarantined", "reason": "wrong dates"})
    assert (answer.status_code, answer.json()["status"]) == (200, "quarantined")
    problem_of(ana.post("skills/nothing/status", {"status": "quarantined", "reason": "x"}), 404, "not_found")
    assert [(e.skill_id, e.actor, e.body["reason"]) for e in events_of("skill.quarantined")] == [
        (SKILL, "user:ana", "wrong dates")
    ]
    vera = sign_in("vera")
    assert "Quarantined" in text_of(vera.get("/skills/"))
    page = text_of(vera.get(f"/skills/{SKILL}/"))
    assert "wrong dates" in page
    assert "Release</button>" not in page
    sign_in("olga").post(f"/skills/{SKILL}/status/", {"status": "enabled", "reason": "mended"})
    assert not SkillSwitch.objects.get().quarantined
    assert len(events_of("skill.released")) == 1
    assert vera.get("/skills/nothing/").status_code == 404


def test_the_gate_is_told_of_a_quarantined_skill() -> None:
    quarantine_skill(SKILL, **WHO)
    asked = RegisteredFleet().describe_call(AGENT, SKILL, {"data": {}, "schema": {}}, tainted=False)
    assert decide(policy_in_force(), asked.request, now=NOW).reason == "skill_quarantined"
    assert {skill.id for skill in RegisteredFleet().list_skills() if skill.quarantined} == {SKILL}


# --- the command line -----------------------------------------------------------------------------------------
def test_the_commands_turn_each_switch_and_say_so(capsys: Any) -> None:
    call_command("fleet", "stop", "--reason", "odd mails", "--user", "olga")
    call_command("fleet", "resume", "--slots", "2", "--user", "olga")
    call_command("fleet", "status")
    call_command("agents", "pause", AGENT, "--reason", "slow", "--user", "ana")
    call_command("skills", "quarantine", SKILL, "--reason", "wrong dates", "--user", "ada")
    call_command("skills", "release", SKILL, "--reason", "mended", "--user", "ada")
    call_command("agents", "enable", AGENT, "--reason", "faster", "--user", "ana", "--json")
    said, brace, rest = capsys.readouterr().out.partition("{")
    assert json.loads(brace + rest)["status"] == "enabled"
    assert "stopped, by olga: odd mails" in said
    assert said.count("0 running of at most 2 at once") == 2
    assert f"{AGENT} is paused." in said
    assert f"{SKILL} is released." in said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("fleet", "resume", "--user", "ada"), "already"),
        (("fleet", "resume", "--slots", "0", "--user", "ada"), "from 1 up"),
        (("agents", "pause", "nobody", "--reason", "x", "--user", "ada"), "no agent of this id"),
        (("agents", "enable", AGENT, "--reason", "x", "--user", "ada"), "already"),
        (("skills", "release", SKILL, "--reason", "x", "--user", "ada"), "not quarantined"),
        (("skills", "quarantine", "nothing", "--reason", "x", "--user", "ada"), "no skill of this id"),
    ],
)
def test_a_command_that_changes_nothing_says_why(command: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command(*command)


# --- the table ------------------------------------------------------------------------------------------------
def test_the_widest_switch_decides() -> None:
    set_agent_status(AGENT, AgentStatus.QUARANTINED, **WHO)
    quarantine_skill(SKILL, **WHO)
    stop_fleet(**WHO)
    everything = registry.read_switches()
    assert find_cut(everything, agent_id=AGENT, skill_id=SKILL) is Stop.FLEET_STOPPED
    working = Switches(is_stopped=False, agents=everything.agents, quarantined=everything.quarantined)
    assert find_cut(working, agent_id=AGENT, skill_id=SKILL) is Stop.AGENT_QUARANTINED
    assert find_cut(working, agent_id="content-agent", skill_id=SKILL) is Stop.SKILL_QUARANTINED
    assert find_cut(working, agent_id="content-agent") is None


def test_a_paused_agent_is_not_cut_off() -> None:
    paused = Switches(is_stopped=False, agents={AGENT: AgentStatus.PAUSED}, quarantined=frozenset())
    assert find_cut(paused, agent_id=AGENT, skill_id=SKILL) is None
    assert find_cut(paused, agent_id="gone") is None


def test_a_worker_that_stops_gives_its_runs_back() -> None:
    lease: Any = None
    assert end_stopped(None, lease).reason == ""
