"""The grid at a glance, held against what the engine decides."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gate_cast import POLICIES, PRINCIPAL, judge, rule
from tests.unit.matrix_cast import NOW, SKILL, agent, skill
from toolgate.fleet import AgentFacts
from toolgate.matrix.cells import (
    MAX_LABEL,
    UNSET,
    Cell,
    Change,
    RuleIndex,
    build_grid,
    find_group,
    find_main_rule,
    label_agents,
    summarise_pair,
)
from toolgate.policy import read_policy
from toolgate.types import Effect

FLEET = (
    "build-refactor-agent", "content-agent", "data-extraction-agent", "integration-agent", "market-research-agent",
    "normalization-agent", "qa-verification-agent", "security-agent", "skill-audit-agent", "summarization-agent",
    "system-monitor-agent",
)  # fmt: skip


def look(*rules: dict[str, Any]) -> Cell:
    return summarise_pair("agent", SKILL, RuleIndex(read_policy(rules).rules).find("agent", "skill"), now=NOW)


# --- one cell ---------------------------------------------------------------------------------------------------
def test_without_a_rule_a_cell_is_unset() -> None:
    cell = look(rule(agent="other"), rule("s", skill="other"))
    assert (cell.effect, cell.count, cell.limit, cell.is_conditional) == (UNSET, 0, "", False)


@pytest.mark.parametrize(
    ("rules", "effect", "conditional"),
    [
        ([rule()], "allow", False),
        ([rule(), rule("s", "ask", arguments={"dryRun": {"equals": False}})], "ask", True),
        ([rule(), rule("s", "deny")], "deny", False),
        ([rule(), rule("s", "deny", domains=["a.org"])], "allow", True),
        ([rule("s", "ask", tainted=True)], UNSET, False),
        ([rule(), rule("s", "ask", agent="*", tainted=True)], "allow", True),
        ([rule(), rule("s", "ask", agent="*", exceptAgents=["agent"], tainted=True)], "allow", False),
        ([rule(readPaths=[""], writePaths=[""])], "allow", False),
        ([rule(readPaths=["docs"])], "allow", True),
        ([rule(), rule("s", "ask", readPaths=[""])], "ask", True),
        ([rule(), rule("s", "deny", writePaths=[""])], "allow", True),
        ([rule(), rule("s", "deny", shadow=True)], "allow", False),
    ],
)
def test_it_tells_the_effect_and_whether_conditions_can_turn_it(
    rules: list[dict[str, Any]], effect: str, conditional: bool
) -> None:
    cell = look(*rules)
    assert (cell.effect, cell.is_conditional) == (effect, conditional)


def test_a_condition_that_the_skill_cannot_meet_is_none() -> None:
    one = read_policy([rule(domains=["a.org"], writePaths=["out"], readPaths=["docs"])]).rules
    assert not summarise_pair("agent", skill("skill"), one, now=NOW).is_conditional


@settings(max_examples=300)
@given(policy=POLICIES)
def test_a_plain_cell_is_what_the_engine_decides(policy: list[dict[str, Any]]) -> None:
    """Where nothing is marked as conditional, a call that touches nothing comes to what the cell shows."""
    facts = skill("skill", "network", "read_workspace", "write_workspace")
    found = RuleIndex(read_policy(policy).rules).find(PRINCIPAL.agent_id, "skill")
    cell = summarise_pair(PRINCIPAL.agent_id, facts, found, now=NOW)
    if not cell.is_conditional:
        decided = judge(policy, now=NOW).effect
        assert decided == (Effect.DENY if cell.effect == UNSET else cell.effect)


@pytest.mark.parametrize(
    ("limits", "label"),
    [
        ({"callsPerTask": 20, "ratePerSecond": 2}, "20/task"),
        ({"callsPerPeriod": {"amount": 5, "seconds": 3_600}, "ratePerSecond": 2}, "5/h"),
        ({"callsPerPeriod": {"amount": 5, "seconds": 7_200}}, "5/7200 s"),
        ({"ratePerSecond": 2}, "2/s"),
        ({"spendPerDay": "5.00"}, "£5/d"),
        ({"spendPerTask": "0.5"}, "£0.50/task"),
        ({"bytesPerTask": 2_000_000}, "2 MB"),
        ({"callsPerTask": 12_000}, "12k/task"),
        ({}, ""),
    ],
)
def test_it_names_the_limit_that_is_felt_first(limits: dict[str, Any], label: str) -> None:
    assert look(rule(limits=limits)).limit == label


def test_of_two_limits_the_tighter_counts_and_those_of_a_refused_pair_do_not() -> None:
    two = rule("r", limits={"callsPerTask": 20}), rule("s", limits={"callsPerTask": 8})
    assert look(*two).limit == "8/task"
    assert look(*two, rule("t", "deny")).limit == ""


def test_validity_takes_a_rule_out_and_tells_of_its_end() -> None:
    def until(**distance: float) -> dict[str, str]:
        return {"validUntil": (NOW + timedelta(**distance)).isoformat()}

    assert look(rule(**until(days=-1))).effect == UNSET
    assert look(rule(**until(days=-1))).expired == ("r",)
    assert look(rule(**until(seconds=0))).expired == ("r",)
    assert look(rule(validFrom=(NOW + timedelta(days=1)).isoformat())).pending == ("r",)
    assert look(rule(**until(days=2))).ends_at == NOW + timedelta(days=2)
    assert look(rule(**until(days=30))).ends_at is None


def test_shadow_rules_are_counted_and_decide_nothing() -> None:
    cell = look(rule(), rule("s", "deny", shadow=True))
    assert (cell.effect, cell.rules, cell.shadows, cell.count) == ("allow", ("r",), ("s",), 2)


def test_the_main_rule_is_the_only_one_that_is_enforced() -> None:
    policy = read_policy([rule(), rule("s", "deny", shadow=True), rule("t", agent="*")]).rules
    own = RuleIndex(policy).find_own("agent", "skill")
    assert [one.id for one in own] == ["r", "s"]
    assert find_main_rule(own) is own[0]
    assert find_main_rule(read_policy([rule(), rule("s", "ask")]).rules) is None


# --- the grid ---------------------------------------------------------------------------------------------------
def make_grid(rules: list[dict[str, Any]], base: list[dict[str, Any]] | None = None, **options: Any) -> Any:
    agents = options.pop("agents", (agent("agent"), agent("other")))
    skills = (
        skill("fetch", "network"),
        skill("skill", "read_workspace"),
        skill("run", "read_workspace", "run_command"),
    )
    return build_grid(
        read_policy(rules).rules, agents=agents, skills=skills, now=NOW,
        base=None if base is None else read_policy(base).rules, **options,
    )  # fmt: skip


def cells_of(grid: Any) -> dict[tuple[str, str], Cell]:
    return {(cell.agent_id, cell.skill_id): cell for _, rows in grid.groups for row in rows for cell in row.cells}


def test_skills_are_grouped_by_what_they_can_do() -> None:
    assert [(name, [row.skill.id for row in rows]) for name, rows in make_grid([]).groups] == [
        ("network", ["fetch"]), ("files", ["skill"]), ("commands", ["run"]),
    ]  # fmt: skip
    assert find_group(skill("pure")) == "data"


def test_it_marks_what_a_draft_changes() -> None:
    base = [rule(), rule("gone", agent="other"), rule("same", skill="fetch")]
    grid = make_grid([rule(limits={"callsPerTask": 3}), rule("same", skill="fetch"), rule("new", skill="run")], base)
    changes = {pair: cell.change for pair, cell in cells_of(grid).items() if cell.change}
    assert changes == {
        ("agent", "skill"): Change.CHANGED, ("other", "skill"): Change.REMOVED, ("agent", "run"): Change.ADDED,
    }  # fmt: skip
    assert grid.changed == 3


def test_a_wide_rule_changes_every_cell_it_reaches() -> None:
    assert make_grid([rule(agent="*", skill="*", effect="deny")], []).changed == 6


@pytest.mark.parametrize(
    ("query", "agents", "skills"),
    [
        ("", 2, 3), ("FETCH", 2, 1), ("other", 1, 3), ("the other", 1, 3), ("nobody", 0, 0), ("e", 2, 1),
    ],
)  # fmt: skip
def test_a_query_keeps_agents_or_skills(query: str, agents: int, skills: int) -> None:
    grid = make_grid([], query=query)
    assert (len(grid.columns), sum(len(rows) for _, rows in grid.groups)) == (agents, skills)


def test_a_filter_by_effect_switches_the_others_off() -> None:
    cells = cells_of(make_grid([rule()], effect="allow"))
    assert [pair for pair, cell in cells.items() if not cell.is_off] == [("agent", "skill")]


def test_rules_beside_the_grid_are_those_of_no_single_cell() -> None:
    policy = read_policy([rule(), rule("wide", agent="*"), rule("lost", agent="gone"), rule("any", skill="*")]).rules
    others = RuleIndex(policy).list_others(["agent"], ["skill"])
    assert [one.id for one in others] == ["any", "lost", "wide"]


# --- labels -----------------------------------------------------------------------------------------------------
def test_the_fleet_has_short_labels() -> None:
    assert list(label_agents(FLEET).values()) == [
        "refactor", "content", "extract", "workflow", "research", "normalise", "qa", "security", "audit", "summary",
        "monitor",
    ]  # fmt: skip


@given(ids=st.lists(st.from_regex(r"[a-zA-Z0-9._-]{1,64}", fullmatch=True), unique=True, max_size=12))
def test_no_label_is_empty_or_too_long(ids: list[str]) -> None:
    labels = label_agents(ids)
    assert set(labels) == set(ids)
    assert all(0 < len(label) <= MAX_LABEL for label in labels.values())


def test_two_agents_that_would_share_a_label_do_not() -> None:
    facts = [AgentFacts(id=one, name=one, status="enabled") for one in ("skill-audit-agent", "money-audit-agent")]
    labels = label_agents(one.id for one in facts)
    assert len(set(labels.values())) == 2
