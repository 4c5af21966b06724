"""The rules' schema and its digest, and the rules that come with the product."""

from datetime import UTC, datetime
from typing import Any

import pytest

from toolgate.engine import compile_policy, decide
from toolgate.exceptions import PolicyInvalid
from toolgate.policy import dump_policy, load_policy, policy_digest, read_policy
from toolgate.seed import SEED
from toolgate.types import Action, Decision, Principal, Reason, Request, Resource

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE: dict[str, Any] = {"id": "r", "agent": "a", "skill": "s", "effect": "allow"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"effect": "maybe"}, "effect"),
        ({"efect": "deny"}, "efect"),
        ({"agent": ""}, "agent"),
        ({"agent": "a b"}, "agent"),
        ({"skill": "**"}, "skill"),
        ({"id": "Über"}, "id"),
        ({"conditions": {"domains": ["https://github.com"]}}, "domains"),
        ({"conditions": {"domains": ["GitHub.com"]}}, "domains"),
        ({"conditions": {"domains": ["localhost"]}}, "domains"),
        ({"conditions": {"domains": ["10.0.0.1"]}}, "domains"),
        ({"conditions": {"domains": ["*.com"]}}, "domains"),
        ({"conditions": {"domains": ["*"]}}, "domains"),
        ({"conditions": {"domains": ["a.*.com"]}}, "domains"),
        ({"conditions": {"domains": "github.com"}}, "domains"),
        ({"conditions": {"readPaths": ["/etc"]}}, "readPaths"),
        ({"conditions": {"readPaths": ["a/../b"]}}, "readPaths"),
        ({"conditions": {"writePaths": ["a/"]}}, "writePaths"),
        ({"conditions": {"writePaths": ["."]}}, "writePaths"),
        ({"conditions": {"arguments": {"n": {}}}}, "exactly one"),
        ({"conditions": {"arguments": {"n": {"equals": 1, "max": 2}}}}, "exactly one"),
        ({"conditions": {"arguments": {"n": {"max": "2"}}}}, "max"),
        ({"conditions": {"arguments": {"n": {"max": True}}}}, "max"),
        ({"conditions": {"arguments": {"n.m": {"max": 2}}}}, "arguments"),
        ({"limits": {"callsPerTask": 0}}, "callsPerTask"),
        ({"limits": {"ratePerSecond": 0.5}}, "ratePerSecond"),
        ({"limits": {"burst": 3}}, "burst"),
        ({"approval": {"fourEyes": False}}, "ask rule"),
        ({"effect": "deny", "limits": {"callsPerTask": 3}}, "deny rule"),
        ({"effect": "deny", "conditions": {"domains": []}}, "empty list"),
        ({"effect": "ask", "conditions": {"writePaths": []}}, "empty list"),
        ({"conditions": {"tainted": True}}, "text from outside"),
        ({"effect": "ask", "conditions": {"tainted": False}}, "clean tasks only"),
        ({"effect": "deny", "conditions": {"tainted": False}}, "clean tasks only"),
        ({"effect": "ask", "conditions": {"tainted": "yes"}}, "tainted"),
        ({"exceptAgents": ["b"]}, "agent * only"),
        ({"agent": "*", "exceptAgents": []}, "exceptAgents"),
        ({"agent": "*", "exceptAgents": ["*"]}, "exceptAgents"),
    ],
)
def test_it_refuses_what_is_no_rule(change: dict[str, Any], word: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy([RULE | change])
    assert any(word in problem for problem in caught.value.problems)


def test_it_refuses_an_id_used_twice() -> None:
    with pytest.raises(PolicyInvalid, match="used twice: r"):
        read_policy([RULE, RULE])


def test_it_refuses_what_is_no_toml() -> None:
    with pytest.raises(PolicyInvalid, match="TOML"):
        load_policy(b"[[rules]")
    with pytest.raises(PolicyInvalid, match="TOML"):
        load_policy(b"\xff")


def test_it_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(PolicyInvalid):
        read_policy([RULE | {"description": {1, 2}}])


def test_a_version_that_an_earlier_release_stored_is_still_itself() -> None:
    """What is in force is dropped if its digest is another: a field that is new must not show where it is not set."""
    common = {"description": "", "conditions": {}, "limits": {}}
    tests = {"n": {"min": 1, "max": 2.5}, "m": {"equals": True}, "k": {"oneOf": ["a", 1, 1.0]}}
    conditions = {"domains": ["a.org", "*.b.org"], "readPaths": [""], "writePaths": ["a/b"], "arguments": tests}
    limits = {"callsPerTask": 3, "ratePerSecond": 2, "burst": 4}
    deny = {"id": "b", "agent": "*", "exceptAgents": ["x"], "skill": "*", "effect": "deny"}
    mine = {"agent": "x", "skill": "s"}
    stored = [
        {"id": "a", **mine, "effect": "allow", "description": "d", "conditions": conditions, "limits": limits},
        {**deny, **common, "conditions": {"tainted": True}},
        {"id": "c", **mine, "effect": "ask", **common, "approval": {"fourEyes": False}},
        {"id": "d", **mine, "effect": "ask", **common, "approval": {"fourEyes": True}},
        {"id": "e", **mine, "effect": "allow", **common, "conditions": {"domains": [], "tainted": False}},
    ]
    policy = read_policy(stored)
    assert dump_policy(policy) == stored
    assert policy_digest(policy) == "8529517572467bcde320bb87c900f486eedb6a38b1666813c4222cd10597023b"


def test_wire_form_and_digest_survive_a_round_trip_and_ignore_order() -> None:
    policy = load_policy(SEED.read_bytes())
    wire = dump_policy(policy)
    again = read_policy(reversed(wire))
    assert dump_policy(again) == wire
    assert policy_digest(again) == policy_digest(policy)
    wire[0]["limits"]["callsPerTask"] += 1
    assert policy_digest(read_policy(wire)) != policy_digest(policy)


# --- the seed -------------------------------------------------------------------------------------------------
SEEDED = {  # (agent, skill): calls a task, rate a second
    ("market-research-agent", "sourceFetch"): (20, 2),
    ("data-extraction-agent", "documentParser"): (50, 5),
    ("data-extraction-agent", "normalizer"): (30, None),
    ("qa-verification-agent", "testRunner"): (20, 1),
    ("summarization-agent", "documentParser"): (30, 5),
    ("summarization-agent", "normalizer"): (20, 5),
    ("build-refactor-agent", "workspacePatch"): (50, 1),
    ("build-refactor-agent", "testRunner"): (20, 1),
    ("security-agent", "documentParser"): (20, None),
    ("security-agent", "normalizer"): (10, None),
    ("normalization-agent", "normalizer"): (100, None),
    ("normalization-agent", "documentParser"): (50, None),
    ("content-agent", "documentParser"): (50, None),
    ("integration-agent", "documentParser"): (30, None),
    ("integration-agent", "normalizer"): (20, None),
    ("skill-audit-agent", "testRunner"): (50, None),
    ("skill-audit-agent", "documentParser"): (20, None),
    ("system-monitor-agent", "documentParser"): (100, None),
}
AGENTS = sorted({agent for agent, _ in SEEDED})
TOUCHES = {
    "sourceFetch": Resource(hosts=("arxiv.org",)),
    "documentParser": Resource(read_paths=("uploads/a.csv",)),
    "normalizer": Resource(arguments={"strict": False}),
    "workspacePatch": Resource(read_paths=("src/a.py",), write_paths=(), arguments={"dryRun": True}),
    "testRunner": Resource(read_paths=("examples/project",)),
}


@pytest.fixture(scope="module")
def seed() -> Any:
    return compile_policy(load_policy(SEED.read_bytes()), 1)


def judge(seed: Any, agent: str, skill: str, resource: Resource, *, tainted: bool = False) -> Decision:
    request = Request(
        principal=Principal(agent_id=agent, version=1),
        action=Action(skill_id=skill, version="1"),
        resource=resource,
        tainted=tainted,
    )
    return decide(seed, request, now=NOW)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("skill", sorted(TOUCHES))
def test_each_agent_may_use_its_skills_with_their_limits_and_no_other(seed: Any, agent: str, skill: str) -> None:
    decision = judge(seed, agent, skill, TOUCHES[skill])
    expected = SEEDED.get((agent, skill))
    assert decision.effect == ("allow" if expected else "deny")
    if expected is None:
        assert decision.reason is Reason.SKILL_NOT_ALLOWED
        return
    limits = {limit.kind: (limit.amount, limit.burst) for limit in decision.limits}
    calls, rate = expected
    assert limits == {"calls_per_task": (calls, 1)} | ({"rate": (rate, rate)} if rate else {})


@pytest.mark.parametrize("agent", [*AGENTS, "an-agent-made-later"])
@pytest.mark.parametrize("skill", sorted(TOUCHES))
def test_reading_text_from_outside_changes_what_writes_and_what_leaves_and_nothing_else(
    seed: Any, agent: str, skill: str
) -> None:
    clean, tainted = (judge(seed, agent, skill, TOUCHES[skill], tainted=state) for state in (False, True))
    assert tainted == clean  # all of these read, or preview; the one that fetches fetches on


def test_a_tainted_task_is_asked_before_it_writes_and_before_it_fetches(seed: Any) -> None:
    writes = Resource(read_paths=("a.py",), write_paths=("a.py",), arguments={"dryRun": False})
    asked = judge(seed, "build-refactor-agent", "workspacePatch", writes, tainted=True)
    assert (asked.effect, asked.deciding_rules) == ("ask", ("build-refactor-patch-write", "tainted-patch-write"))
    extra = [
        {"id": "w", "agent": "content-agent", "skill": "workspacePatch", "effect": "allow"},
        {"id": "f", "agent": "content-agent", "skill": "sourceFetch", "effect": "allow"},
    ]
    wider = compile_policy(read_policy([*load_policy(SEED.read_bytes()).rules, *extra]), 2)
    for skill, resource, rule in (
        ("workspacePatch", writes, "tainted-patch-write"),
        ("sourceFetch", TOUCHES["sourceFetch"], "tainted-fetch"),
    ):
        assert judge(wider, "content-agent", skill, resource).effect == "allow"
        asked = judge(wider, "content-agent", skill, resource, tainted=True)
        assert (asked.effect, asked.terms[0].rule_id) == ("ask", rule)


@pytest.mark.parametrize("path", ["", "uploads/a.csv", "examples/orders.csv", "artifacts/extracted/x.json", "src/a.py"])
@pytest.mark.parametrize("agent", [agent for agent, skill in SEEDED if skill == "documentParser"])
def test_who_reads_the_workspace_reads_all_of_it(seed: Any, agent: str, path: str) -> None:
    decision = judge(seed, agent, "documentParser", Resource(read_paths=(path,)))
    assert (decision.effect, decision.read_scopes) == ("allow", ("",))


def test_market_research_reaches_eight_hosts_and_two_folders(seed: Any) -> None:
    decision = judge(seed, "market-research-agent", "sourceFetch", TOUCHES["sourceFetch"])
    assert len(decision.domains) == 8
    assert (decision.read_scopes, decision.write_scopes) == (("research",), ("artifacts/research",))
    for host in ("example.com", "raw.github.com", "github.com.evil.org", "evilgithub.com"):
        refused = judge(seed, "market-research-agent", "sourceFetch", Resource(hosts=(host,)))
        assert (refused.effect, refused.reason) == ("deny", Reason.DOMAIN_NOT_ALLOWED)
        assert host in refused.detail


@pytest.mark.parametrize("arguments", [{"dryRun": False}, {}, {"dryRun": None}, {"dryRun": 0}, {"dryRun": "true"}])
def test_a_patch_that_is_not_surely_a_dry_run_is_asked_about(seed: Any, arguments: dict[str, Any]) -> None:
    resource = Resource(read_paths=("a.py",), write_paths=("a.py",), arguments=arguments)
    decision = judge(seed, "build-refactor-agent", "workspacePatch", resource)
    assert (decision.effect, decision.terms[0].rule_id) == ("ask", "build-refactor-patch-write")
    assert {limit.kind: limit.amount for limit in decision.limits} == {"calls_per_task": 50, "rate": 1}
    assert decision.terms[0].four_eyes
