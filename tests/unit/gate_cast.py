"""Rules, requests and how to make up many of them, for the tests of the gate's rules."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from toolgate.engine import compile_policy, decide
from toolgate.policy import read_policy
from toolgate.types import Action, Decision, Effect, Principal, Request, Resource

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRINCIPAL = Principal(agent_id="agent", version=1)
ACTION = Action(skill_id="skill", version="1")


CONDITION_KEYS = ("domains", "readPaths", "writePaths", "arguments", "argumentBytes", "timeWindow", "tainted")


def rule(
    id_: str = "r", effect: str = "allow", agent: str = "agent", skill: str = "skill", **more: Any
) -> dict[str, Any]:
    conditions = {key: more.pop(key) for key in CONDITION_KEYS if key in more}
    return {"id": id_, "agent": agent, "skill": skill, "effect": effect, "conditions": conditions, **more}


def judge(
    rules: list[dict[str, Any]], resource: Resource | None = None, *, now: datetime = NOW, **request: Any
) -> Decision:
    parts = {"principal": PRINCIPAL, "action": ACTION, "resource": resource or Resource()} | request
    return decide(compile_policy(read_policy(rules), 7), Request(**parts), now=now)


# --- made up ---------------------------------------------------------------------------------------------------
HOSTS = st.sampled_from(["a.org", "x.a.org", "y.x.a.org", "b.org"])
PATTERNS = st.sampled_from(["a.org", "*.a.org", "x.a.org", "*.x.a.org", "b.org"])
FOLDERS = st.sampled_from(["", "d", "d/e", "d/ef", "f", "f/g/h"])
GLOBS = st.sampled_from(["*", "**", "d/*", "d/**", "?/e", "**/e", "d/**/1", "*/e*/?", "f/g/*/3", "**/h/**", "d*"])
PATHS = st.sampled_from(["", "d", "d/e", "d/e/1", "d/ef/2", "f/g", "f/g/h/3", "k", "e", "d/e/1/x", "dd/e"])
TESTS = st.one_of(
    st.builds(lambda value: {"equals": value}, st.sampled_from([True, 1, "a"])),
    st.builds(lambda low: {"min": low}, st.integers(0, 3)),
    st.builds(lambda high: {"max": high}, st.integers(0, 3)),
    st.sampled_from([{"minLength": 2}, {"maxLength": 1}, {"minLength": 1, "maxLength": 3}]),
    st.builds(lambda pattern: {"pattern": pattern}, st.sampled_from(["a", "[ab]+", ".*b", "a|ab"])),
)
SIZES = st.sampled_from([{"min": 10}, {"max": 10}, {"min": 5, "max": 20}])
WINDOWS = st.fixed_dictionaries(
    {"zone": st.sampled_from(["UTC", "Europe/London", "Asia/Tokyo", "America/New_York"])},
    optional={
        "days": st.sampled_from([["thu"], ["wed"], ["wed", "fri"]]),
        "start": st.sampled_from(["00:00", "08:00", "19:00"]),
        "end": st.sampled_from(["00:00", "09:00", "09:01", "18:00"]),
    },
)
MOMENTS = st.sampled_from([NOW - timedelta(days=1), NOW - timedelta(seconds=1), NOW, NOW + timedelta(days=1)])


def settle_taint(effect: str, conditions: dict[str, Any]) -> dict[str, Any]:
    """Return conditions that hold, where they are about taint, for the tasks that a rule of this effect may name."""
    kept = {key: value for key, value in conditions.items() if key != "about_taint"}
    return kept | ({"tainted": effect != "allow"} if conditions.get("about_taint") else {})


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "domains": st.lists(PATTERNS, min_size=1, max_size=3),
        "readPaths": st.lists(FOLDERS | GLOBS, min_size=1, max_size=2),
        "writePaths": st.lists(FOLDERS | GLOBS, min_size=1, max_size=2),
        "arguments": st.dictionaries(st.sampled_from(["n", "m"]), TESTS, min_size=1),
        "argumentBytes": SIZES,
        "about_taint": st.booleans(),
    },
)
TIMED_CONDITIONS = st.builds(lambda plain, window: plain | window, CONDITIONS, st.just({}) | st.builds(
    lambda window: {"timeWindow": window}, WINDOWS
))  # fmt: skip
VALIDITIES: st.SearchStrategy[dict[str, datetime]] = st.just({}) | st.fixed_dictionaries(
    {}, optional={"validFrom": MOMENTS, "validUntil": MOMENTS}
).filter(
    lambda times: (
        "validFrom" not in times or times.get("validUntil", datetime.max.replace(tzinfo=UTC)) > times["validFrom"]
    )
)


def make_rules(conditions: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda effect, agent, skill, conditions: {
            "agent": agent, "skill": skill, "effect": effect, "conditions": settle_taint(effect, conditions),
        } | ({"exceptAgents": ["other"]} if agent == "*" else {}),
        st.sampled_from(["allow", "allow", "ask", "deny"]),
        st.sampled_from(["agent", "agent", "*", "other"]),
        st.sampled_from(["skill", "skill", "*", "other"]),
        conditions,
    )  # fmt: skip


def number_rules(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"id": f"r{number:02}"} for number, one in enumerate(rules)]


RULES = make_rules(CONDITIONS)
TIMED_RULES = st.builds(
    lambda one, times: one | {key: at.isoformat() for key, at in times.items()},
    make_rules(TIMED_CONDITIONS),
    VALIDITIES,
)
POLICIES = st.lists(RULES, max_size=30).map(number_rules)
TIMED_POLICIES = st.lists(TIMED_RULES, max_size=12).map(number_rules)
RESOURCES = st.builds(
    Resource,
    hosts=st.lists(HOSTS, max_size=2).map(tuple),
    read_paths=st.lists(PATHS, max_size=2).map(tuple),
    write_paths=st.lists(PATHS, max_size=2).map(tuple),
    arguments=st.dictionaries(
        st.sampled_from(["n", "m"]), st.sampled_from([True, 0, 1, 2, 3, 1.0, "a", "b", "ab", None])
    ),
    argument_bytes=st.sampled_from([0, 4, 10, 30]),
    files_only=st.booleans(),
)
STRICTNESS = {Effect.DENY: 2, Effect.ASK: 1, Effect.ALLOW: 0}
