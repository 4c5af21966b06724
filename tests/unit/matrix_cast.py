"""Rules with every field of the schema, skills and agents, and what a browser sends of a form."""

from datetime import UTC, datetime
from typing import Any

from bs4 import BeautifulSoup
from hypothesis import strategies as st

from tests.unit.gate_cast import TIMED_RULES
from toolgate.fleet import AgentFacts, SkillFacts
from toolgate.policy import Rule, dump_rule, read_policy

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def agent(id_: str = "agent", status: str = "enabled") -> AgentFacts:
    return AgentFacts(id=id_, name=f"The {id_}", status=status)


def skill(id_: str = "skill", *capabilities: str) -> SkillFacts:
    return SkillFacts(
        id=id_, summary="Does it", capabilities=frozenset(capabilities), arguments=("n", "m", "url"), quarantined=False
    )


SKILL = skill("skill", "network", "read_workspace", "write_workspace")

AMOUNTS = st.sampled_from([1, 7, 20, 12_000])
SIZES = st.sampled_from([1, 999, 1_234, 1_500, 2_000_000, 123_456_789])
SECONDS = st.sampled_from([60, 90, 3_600, 7_200, 86_400])
POUNDS = st.sampled_from(["5", "0.5", "1234.5678"])
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "callsPerTask": AMOUNTS,
        "ratePerSecond": AMOUNTS,
        "callsPerPeriod": st.fixed_dictionaries({"amount": AMOUNTS, "seconds": SECONDS}),
        "bytesPerTask": SIZES,
        "bytesPerPeriod": st.fixed_dictionaries({"amount": SIZES, "seconds": SECONDS}),
        "spendPerTask": POUNDS,
        "spendPerDay": POUNDS,
    },
)
TERMS = st.fixed_dictionaries(
    {},
    optional={
        "fourEyes": st.booleans(),
        "quorum": st.integers(1, 3),
        "approvers": st.sampled_from([["ana"], ["group:finance", "bob"]]),
        "expiresSeconds": SECONDS,
        "slaSeconds": SECONDS,
    },
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["n", "m", "url", "other"]),
    st.one_of(
        st.builds(lambda value: {"equals": value}, st.sampled_from([True, 12, 1.5, "a b", "12", "", " x ", '"q"'])),
        st.builds(lambda values: {"oneOf": values}, st.sampled_from([["a", "b,c", 3], [True], []])),
        st.sampled_from([{"min": 1}, {"max": 2.5}, {"min": -1, "max": 5_000}, {"maxLength": 3}, {"pattern": "[ab]+ "}]),
    ),
    min_size=1,
)


def _complete(rule: dict[str, Any], limits: Any, terms: Any, arguments: Any, lists: Any, shadow: bool) -> Rule:
    whole = rule | {"id": "r", "shadow": shadow, "description": "why", "conditions": rule["conditions"] | arguments}
    if rule["effect"] != "deny":
        whole["limits"] = limits | ({"burst": 3} if "ratePerSecond" in limits else {})
    if rule["effect"] == "ask":
        whole["approval"] = terms
    if rule["effect"] == "allow":
        whole["conditions"] = whole["conditions"] | lists
    return read_policy([whole]).rules[0]


# Every field of the schema is set in some of them.
WHOLE_RULES = st.builds(
    _complete,
    TIMED_RULES,
    LIMITS,
    TERMS,
    st.just({}) | st.builds(lambda tests: {"arguments": tests}, ARGUMENTS),
    st.sampled_from([{}, {"domains": []}, {"readPaths": ["", "a/*.txt"]}, {"writePaths": ["any"]}]),
    st.booleans(),
)


def wire(rule: Rule | dict[str, Any]) -> dict[str, Any]:
    """Return a rule as it is stored, defaults filled in."""
    return dump_rule(rule if isinstance(rule, Rule) else read_policy([rule]).rules[0])


def send(*parts: Any, **changes: Any) -> dict[str, Any]:
    """Return what a browser sends of forms as they are shown, with some fields changed; None leaves one out."""
    soup = BeautifulSoup("".join(part.as_p() for part in parts), "html.parser")
    sent: dict[str, Any] = {}
    for tag in soup.find_all(["input", "textarea", "select"]):
        name, kind = str(tag.get("name", "")), tag.get("type")
        if kind in {"checkbox", "radio"}:
            if tag.has_attr("checked"):
                value = tag.get("value", "on")
                sent[name] = [*sent.get(name, []), value] if kind == "checkbox" and value != "on" else value
        elif tag.name == "select":
            sent[name] = next((option["value"] for option in tag.find_all("option", selected=True)), "")
        elif tag.name == "textarea":
            sent[name] = tag.text.removeprefix("\n").replace("\n", "\r\n")
        else:
            sent[name] = tag.get("value", "")
    return {name: value for name, value in (sent | changes).items() if value is not None}
