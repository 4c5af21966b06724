"""What is found odd about rules, and what is not; and that "certain" holds against the engine."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gate_cast import NOW, POLICIES, RESOURCES, RULES, TIMED_POLICIES, TIMED_RULES, number_rules
from toolgate.engine import compile_policy, decide
from toolgate.explaining.lint import SEVERITIES, Finding, lint_policy
from toolgate.fleet import SkillFacts
from toolgate.policy import load_policy, read_policy
from toolgate.seed import SEED
from toolgate.types import Action, Decision, Principal, Request, Resource


def skill(id_: str, *capabilities: str, arguments: tuple[str, ...] = ("n", "m")) -> SkillFacts:
    return SkillFacts(id=id_, summary="", capabilities=frozenset(capabilities), arguments=arguments, quarantined=False)


WEB, FILES, WRITER, PLAIN = (
    skill("web", "network"),
    skill("files", "read_workspace"),
    skill("writer", "read_workspace", "write_workspace"),
    skill("plain"),
)
LIMITS = {"callsPerTask": 5}
AT = {"at": (NOW + timedelta(days=1)).isoformat(), "past": (NOW - timedelta(days=1)).isoformat()}


def lint(*rules: dict[str, Any], skills: tuple[SkillFacts, ...] = (WEB, FILES, WRITER, PLAIN)) -> list[Finding]:
    return lint_policy(read_policy(rules), skills=skills, agent_ids=["agent", "other"], now=NOW)


def a_rule(id_: str, effect: str = "allow", skill: str = "files", conditions: Any = None, **more: Any) -> Any:
    return {"id": id_, "agent": "agent", "skill": skill, "effect": effect, "conditions": conditions or {}, **more}


def argument(name: str = "n", **test: Any) -> dict[str, Any]:
    return {"arguments": {name: test}}


A_DAY = {"zone": "UTC", "start": "09:00:00", "end": "17:00:00"}
# code → rules that show it, and rules next to them that do not
CASES: list[tuple[str, list[Any], list[Any]]] = [
    ("unknown_agent", [a_rule("a", agent="nobody")], [a_rule("a", agent="*", exceptAgents=["other"])]),
    ("unknown_agent", [a_rule("a", agent="*", exceptAgents=["nobody"])], [a_rule("a")]),
    ("unknown_skill", [a_rule("a", skill="file")], [a_rule("a", skill="*")]),
    ("expired", [a_rule("a", validUntil=AT["past"])], [a_rule("a", validUntil=AT["at"])]),
    ("empty_list", [a_rule("a", conditions={"readPaths": []})], [a_rule("a", conditions={"readPaths": [""]})]),
    ("empty_list", [a_rule("a", skill="web", conditions={"domains": []})], [a_rule("a", skill="web")]),
    ("never_matches", [a_rule("a", conditions={"domains": ["a.org"]})], [a_rule("a", conditions={"readPaths": ["d"]})]),
    ("never_matches", [a_rule("a", conditions=argument(oneOf=[]))], [a_rule("a", conditions=argument(oneOf=[1]))]),
    ("never_matches", [a_rule("a", conditions=argument(min=2, max=1))],
     [a_rule("a", conditions=argument(min=1, max=1))]),
    ("never_matches", [a_rule("a", conditions=argument(minLength=2, maxLength=1))],
     [a_rule("a", conditions=argument(minLength=2))]),
    ("never_matches", [a_rule("a", conditions=argument("k", equals=1))],
     [a_rule("a", conditions=argument(equals=1))]),
    ("never_matches", [a_rule("a", conditions={"argumentBytes": {"min": 2, "max": 1}})],
     [a_rule("a", conditions={"argumentBytes": {"min": 1, "max": 2}})]),
    ("never_matches", [a_rule("a", "deny", conditions={"domains": ["a.org"]})],
     [a_rule("a", "deny", skill="web", conditions={"domains": ["a.org"]})]),
    ("never_matches", [a_rule("a", "deny", skill="web", conditions={"writePaths": ["d"]})],
     [a_rule("a", "deny", skill="writer", conditions={"writePaths": ["d"]})]),
    ("idle_condition", [a_rule("a", skill="plain", conditions={"readPaths": ["d"]})],
     [a_rule("a", skill="plain", conditions={"readPaths": [""]})]),
    ("cannot_evaluate", [a_rule("a", "deny", conditions=argument("k", equals=1))],
     [a_rule("a", "deny", conditions=argument(equals=1))]),
    ("cannot_evaluate", [a_rule("a", "ask", conditions=argument(oneOf=[]))],
     [a_rule("a", conditions=argument(oneOf=[]))]),
    ("ask_nobody", [a_rule("a", "ask", approval={"quorum": 3, "approvers": ["ana", "ada"]})],
     [a_rule("a", "ask", approval={"quorum": 3, "approvers": ["ana", "group:approver"]})]),
    ("ask_nobody", [a_rule("a", "ask", approval={"quorum": 2, "approvers": ["ana", "ana"]})],
     [a_rule("a", "ask", approval={"quorum": 2, "approvers": ["ana", "ada"]})]),
    ("ask_nobody", [a_rule("a", "ask", approval={"quorum": 2, "approvers": ["ana"]})],
     [a_rule("a", "ask", approval={"quorum": 2})]),
    ("wildcard_allow", [a_rule("a", skill="web", agent="*")], [a_rule("a", skill="files", agent="*")]),
    ("unlimited_danger", [a_rule("a", skill="web")], [a_rule("a", skill="web", limits=LIMITS)]),
    ("unlimited_danger", [a_rule("a", skill="*")], [a_rule("a", skill="plain")]),
    ("open_danger", [a_rule("a", skill="web")], [a_rule("a", skill="web", conditions={"domains": ["a.org"]})]),
    ("open_danger", [a_rule("a", skill="writer")], [a_rule("a", skill="writer", conditions={"writePaths": ["d"]})]),
    ("skill_without_rule", [a_rule("a")], [a_rule("a", skill="*")]),
    ("skill_without_rule", [a_rule("a", skill="*", shadow=True)], [a_rule("a", skill="*", limits=LIMITS)]),
    ("unreachable", [a_rule("a", conditions={"readPaths": ["d"]}), a_rule("b", "deny", agent="*")],
     [a_rule("a"), a_rule("b", "deny", agent="*", exceptAgents=["agent"])]),
    ("unreachable", [a_rule("a", skill="web", conditions={"domains": ["x.a.org"]}),
                     a_rule("b", "deny", skill="web", conditions={"domains": ["*.a.org"]})],
     [a_rule("a", skill="web", conditions={"domains": ["a.org"]}),
      a_rule("b", "deny", skill="web", conditions={"domains": ["*.a.org"]})]),
    # A call that reads nothing lies inside every folder, and touches none.
    ("unreachable", [a_rule("a", "ask", conditions=argument(equals="x")), a_rule("b", "deny", skill="*")],
     [a_rule("a", conditions={"readPaths": ["d/e"]}), a_rule("b", "deny", conditions={"readPaths": ["d"]})]),
    ("unreachable", [a_rule("a", conditions=argument(min=3)), a_rule("b", "deny", conditions=argument(min=2))],
     [a_rule("a", conditions=argument(min=1)), a_rule("b", "deny", conditions=argument(min=2))]),
    ("unreachable", [a_rule("a", conditions={"readPaths": ["d"]}), a_rule("b", "deny", validUntil=None)],
     [a_rule("a"), a_rule("b", "deny", validUntil=AT["at"])]),
    ("unreachable", [a_rule("a", conditions={"timeWindow": A_DAY}), a_rule("b", "deny")],
     [a_rule("a"), a_rule("b", "deny", conditions={"timeWindow": A_DAY})]),
    ("contradictory", [a_rule("a", conditions={"readPaths": ["d"]}),
                       a_rule("b", "deny", conditions={"readPaths": ["d"]})],
     [a_rule("a", conditions={"readPaths": ["d"]}), a_rule("b", "deny", conditions={"readPaths": ["d/e"]})]),
    ("contradictory", [a_rule("a"), a_rule("b", "deny")], [a_rule("a"), a_rule("b", "deny", shadow=True)]),
    ("contradictory", [a_rule("a", conditions=argument(equals=True)),
                       a_rule("b", "deny", conditions=argument(equals=True))],
     [a_rule("a", conditions=argument(equals=True)), a_rule("b", "deny", conditions=argument(equals=1))]),
    ("shadowed", [a_rule("a", conditions={"readPaths": ["d/e"]}), a_rule("b", conditions={"readPaths": ["d"]})],
     [a_rule("a", conditions={"readPaths": ["d/ef"]}), a_rule("b", conditions={"readPaths": ["d/e"]})]),
    ("shadowed", [a_rule("a", conditions={"readPaths": ["d/*.py"]}), a_rule("b", conditions={"readPaths": ["d"]})],
     [a_rule("a", conditions={"readPaths": ["d/*.py"]}), a_rule("b", conditions={"readPaths": ["d/e"]})]),
    ("shadowed", [a_rule("a", conditions=argument(oneOf=["x", "yy"])), a_rule("b", conditions=argument(maxLength=2))],
     [a_rule("a", conditions=argument(oneOf=["x", "yyy"])), a_rule("b", conditions=argument(maxLength=2))]),
    ("shadowed", [a_rule("a", "deny"), a_rule("b", "deny", skill="*")],
     [a_rule("a", "deny"), a_rule("b", "ask", skill="*")]),
    ("shadowed", [a_rule("a", conditions={"tainted": False}), a_rule("b")],
     [a_rule("a", conditions={"tainted": False}), a_rule("b", conditions={"readPaths": ["d"]})]),
    ("adds_only_limits", [a_rule("a"), a_rule("b", limits=LIMITS)],
     [a_rule("a", limits=LIMITS), a_rule("b", limits=LIMITS)]),
    ("adds_only_limits", [a_rule("a", "ask"), a_rule("b", "ask", approval={"quorum": 2})],
     [a_rule("a", "ask"), a_rule("b", "ask")]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "odd", "sound"), CASES)
def test_each_finding_is_shown_by_some_rules_and_not_by_their_neighbours(code: str, odd: Any, sound: Any) -> None:
    found = [finding for finding in lint(*odd) if finding.code == code]
    assert found, lint(*odd)
    ids = {one["id"] for one in odd}
    assert all(ids.issuperset(finding.rule_ids) and finding.severity == SEVERITIES[code] for finding in found)
    assert [finding for finding in lint(*sound) if finding.code == code] == []


def test_every_code_has_a_case() -> None:
    assert {code for code, _, _ in CASES} == set(SEVERITIES)


def test_of_two_rules_that_are_alike_the_later_is_told_of() -> None:
    found = [finding for finding in lint(a_rule("a"), a_rule("b")) if finding.code == "shadowed"]
    assert [finding.rule_ids for finding in found] == [("b", "a")]


def test_errors_come_first() -> None:
    found = lint(a_rule("a", skill="web"), a_rule("b", agent="nobody"), a_rule("c", validUntil=AT["past"]))
    order = [["error", "warning", "note"].index(finding.severity) for finding in found]
    assert order == sorted(order)
    assert order[0] == 0


def test_the_seeded_rules_have_no_error_and_no_warning() -> None:
    policy = load_policy(SEED.read_bytes())
    agents = {one.agent for one in policy.rules if one.agent != "*"}
    skills = [
        skill("sourceFetch", "network", arguments=("url",)),
        skill("documentParser", "read_workspace", arguments=("filePath",)),
        skill("normalizer", arguments=("strict",)),
        skill("workspacePatch", "read_workspace", "write_workspace", arguments=("dryRun", "filePath")),
        skill("testRunner", "read_workspace", "run_command", arguments=("command",)),
    ]
    found = lint_policy(policy, skills=skills, agent_ids=agents, now=NOW)
    assert [finding for finding in found if finding.severity != "note"] == []


# --- against the engine ---------------------------------------------------------------------------------------
def judge(rules: list[dict[str, Any]], resource: Resource, now: datetime, *, tainted: bool) -> Decision:
    request = Request(
        principal=Principal(agent_id="agent", version=1),
        action=Action(skill_id="skill", version="1"),
        resource=resource,
        tainted=tainted,
    )
    return decide(compile_policy(read_policy(rules), 1), request, now=now)


def simplify(one: dict[str, Any], keep: int) -> dict[str, Any]:
    """Return a rule with at most `keep` conditions: two rules of one or none are often one inside the other."""
    names = sorted(one["conditions"])[:keep]
    return one | {"conditions": {name: one["conditions"][name] for name in names}}


def simplify_all(both: tuple[list[dict[str, Any]], int]) -> list[dict[str, Any]]:
    return [simplify(one, both[1]) for one in both[0]]


SIMPLE = st.tuples(POLICIES | TIMED_POLICIES, st.integers(0, 2)).map(simplify_all)
PAIRS = st.tuples(st.tuples(TIMED_RULES, TIMED_RULES).map(list).map(number_rules), st.just(1)).map(simplify_all)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(SIMPLE, POLICIES, PAIRS),
    st.lists(RESOURCES, min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([NOW, NOW + timedelta(hours=10), NOW + timedelta(days=1)]),
)
def test_what_is_said_of_reach_and_shadow_is_certain(
    rules: list[dict[str, Any]], resources: list[Resource], tainted: bool, later: datetime
) -> None:
    skills = [skill("skill", "network", "read_workspace", "write_workspace"), skill("other")]
    found = lint_policy(read_policy(rules), skills=skills, agent_ids=["agent", "other"], now=NOW)
    for finding in found:
        if finding.code not in {"unreachable", "shadowed", "adds_only_limits"}:
            continue
        without = [one for one in rules if one["id"] != finding.rule_ids[0]]
        for resource in resources:
            before, after = (judge(some, resource, later, tainted=tainted) for some in (rules, without))
            assert before.effect is after.effect, finding
            if finding.code == "unreachable":
                assert (before.deciding_rules, before.limits) == (after.deciding_rules, after.limits), finding


@settings(max_examples=200, deadline=None)
@given(RULES, st.sampled_from([(), ("oneOf",), ("range",), ("empty",)]), RESOURCES, st.booleans())
def test_a_rule_that_is_said_never_to_match_allows_nothing(
    one: dict[str, Any], flaw: tuple[str, ...], resource: Resource, tainted: bool
) -> None:
    flaws = {"oneOf": argument(oneOf=[]), "range": argument(min=2, max=1), "empty": {"readPaths": []}}
    conditions = dict(one["conditions"])
    conditions.pop("tainted", None)
    for name in flaw:
        conditions |= flaws[name]
    flawed = one | {"id": "r", "effect": "allow", "conditions": conditions}
    found = lint_policy(
        read_policy([flawed]), skills=[skill("skill", "network", "write_workspace")], agent_ids=["agent"], now=NOW
    )
    if {finding.code for finding in found} & {"never_matches", "empty_list"}:
        assert judge([flawed], resource, NOW, tainted=tainted).effect == "deny"
