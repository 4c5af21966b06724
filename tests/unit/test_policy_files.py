"""A policy as a file: readable, and the same policy when it is read back."""

import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgate.editing.files import read_file, write_json, write_toml
from toolgate.exceptions import PolicyInvalid
from toolgate.policy import Policy, load_policy, policy_digest, read_policy

SEED = Path(__file__).resolve().parents[2] / "toolgate" / "seed" / "policy.toml"

HIDDEN = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufeff")
# Text as the store keeps it: any character that UTF-8 has.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
NAMES = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=12)
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
TESTS = st.one_of(
    st.fixed_dictionaries({"equals": SCALARS}),
    st.fixed_dictionaries({"oneOf": st.lists(SCALARS, max_size=4)}),
    st.fixed_dictionaries({"min": st.integers(-9, 9)}, optional={"max": st.floats(10, 20)}),
    st.fixed_dictionaries({"maxLength": st.integers(0, 10_000)}),
    st.fixed_dictionaries({"pattern": st.sampled_from(["a.*", r"\d+\.\w", "[^'\"]+"])}),
)
HOSTS = st.lists(
    st.sampled_from(["a.org", "*.example.org", "docs.example.com", "x.y.z.example.net"]), min_size=1, max_size=9
)
FOLDERS = st.lists(st.sampled_from(["", "a/b", "a/**/*.txt", "reports with spaces"]), min_size=1, max_size=9)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "domains": HOSTS,
        "readPaths": FOLDERS,
        "writePaths": FOLDERS,
        "arguments": st.dictionaries(st.sampled_from(["url", "dryRun", "filePath", "n"]), TESTS, max_size=3),
        "argumentBytes": st.fixed_dictionaries({"max": st.integers(0, 1_000_000_000)}),
        "timeWindow": st.fixed_dictionaries(
            {"zone": st.sampled_from(["Europe/London", "UTC"])},
            optional={"days": st.just(["mon", "fri"]), "start": st.sampled_from(["09:00", "09:30:15", "00:00:00.5"])},
        ),
    },
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "callsPerTask": st.integers(1, 1_000_000),
        "ratePerSecond": st.integers(1, 50),
        "callsPerPeriod": st.fixed_dictionaries({"amount": st.integers(1, 99), "seconds": st.integers(1, 86_400)}),
        "bytesPerTask": st.integers(1, 1_000_000_000_000),
        "spendPerDay": st.decimals("0.0001", "9999", places=4).map(str),
    },
)
APPROVAL = st.fixed_dictionaries(
    {},
    optional={
        "fourEyes": st.booleans(),
        "quorum": st.integers(1, 10),
        "approvers": st.lists(st.sampled_from(["ana", "group:approver"]), min_size=1, max_size=2),
        "slaSeconds": st.integers(1, 999),
    },
)
MOMENTS = st.datetimes().filter(lambda at: at.year > 1900).map(lambda at: f"{at.isoformat()}+02:00")


@st.composite
def rules(draw: Any) -> dict[str, Any]:
    """A rule of any kind, in wire form."""
    effect = draw(st.sampled_from(["allow", "ask", "deny"]))
    rule = {
        "id": draw(NAMES.filter(lambda name: name[0].isalnum())),
        "agent": draw(st.one_of(st.just("*"), NAMES)),
        "skill": draw(st.one_of(st.just("*"), NAMES)),
        "effect": effect,
        "description": draw(TEXTS),
        "conditions": draw(CONDITIONS),
    }
    if rule["agent"] == "*" and draw(st.booleans()):
        rule["exceptAgents"] = draw(st.lists(NAMES, min_size=1, max_size=3))
    if effect != "deny":
        rule["limits"] = draw(LIMITS)
    if effect == "ask":
        rule["approval"] = draw(APPROVAL)
    if draw(st.booleans()):
        rule["conditions"]["tainted"] = effect != "allow"
    if draw(st.booleans()):
        rule["validUntil"] = draw(MOMENTS)
    return rule | ({"shadow": True} if draw(st.booleans()) else {})


POLICIES = st.lists(rules(), max_size=8, unique_by=lambda rule: rule["id"]).map(read_policy)


@settings(deadline=None, max_examples=100)
@given(POLICIES, st.lists(TEXTS, max_size=3))
def test_what_is_written_is_read_back_exactly(policy: Policy, heading: list[str]) -> None:
    for text in (write_toml(policy, heading=heading), write_json(policy)):
        again = read_file(text.encode())
        assert policy_digest(again) == policy_digest(policy)
        assert {rule.id: rule for rule in again.rules} == {rule.id: rule for rule in policy.rules}
        assert not HIDDEN & set(text) or text.startswith("{")
    assert len(tomllib.loads(write_toml(policy))["rules"]) == len(policy.rules)


def test_it_is_written_for_people() -> None:
    policy = read_policy(
        [
            {"id": "z", "agent": "b", "skill": "s", "effect": "deny"},
            {"id": "y", "agent": "a", "skill": "t", "effect": "allow", "description": "why",
             "conditions": {"domains": [f"host-{number}.example.org" for number in range(6)], "readPaths": ["x"]},
             "limits": {"callsPerTask": 20, "ratePerSecond": 2}},
            {"id": "x", "agent": "a", "skill": "s", "effect": "ask"},
            {"id": "w", "agent": "*", "skill": "s", "effect": "deny"},
        ]
    )  # fmt: skip
    assert (
        write_toml(policy, heading=["Policy version 3, by ada:\nbecause"])
        == """\
# Policy version 3, by ada: because

# --- every agent ---
[[rules]]
id = "w"
agent = "*"
skill = "s"
effect = "deny"


# --- a ---
[[rules]]
id = "x"
agent = "a"
skill = "s"
effect = "ask"
approval = {fourEyes = true}

[[rules]]
id = "y"
agent = "a"
skill = "t"
effect = "allow"
description = "why"
limits = {callsPerTask = 20, ratePerSecond = 2}

[rules.conditions]
domains = [
    "host-0.example.org",
    "host-1.example.org",
    "host-2.example.org",
    "host-3.example.org",
    "host-4.example.org",
    "host-5.example.org",
]
readPaths = ["x"]


# --- b ---
[[rules]]
id = "z"
agent = "b"
skill = "s"
effect = "deny"
"""
    )


def test_the_seed_goes_out_and_in() -> None:
    seed = load_policy(SEED.read_bytes())
    assert policy_digest(read_file(write_toml(seed).encode())) == policy_digest(seed)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"rules": 1}',
        b'{"rules": [], "x": 1}',
        b'{"rules": [{"id": "x"}]}',
        b"rules = 1",
        b"\xff",
        b"[[rules]]\nid='x'",
        b"",
    ],
)
def test_what_is_no_policy_is_refused(content: bytes) -> None:
    with pytest.raises(PolicyInvalid):
        read_file(content)


def test_no_rules_are_a_policy_too() -> None:
    for text in (write_toml(Policy(rules=())), write_json(Policy(rules=()))):
        assert read_file(text.encode()).rules == ()
