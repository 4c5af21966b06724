"""What the engine decides is what Cedar decides about the same rules: 100,000 made-up cases in every run.

Compared are the effect and the rules that decided, over: agents, skills, wildcards and `exceptAgents`; domains, exact
and wildcards; `readPaths` and `writePaths` as folders and as globs of `*` and `**`; a path that is a file's or may be a
folder's; tests of arguments by `equals`, `oneOf`, `min`, `max`, `minLength`, `maxLength` on texts, whole numbers and
switches, also where they are missing, null or of another type; `argumentBytes`; `tainted`; `validFrom` and
`validUntil`; shadow rules, which Cedar is never told of; deny before ask before allow before the default.

Not compared, for Cedar has no such thing: patterns, `?` in globs, numbers with a fraction, windows in a zone's time,
limits, approval terms, reasons, and how far a call may go on. More than two hosts or paths are not made up.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import cedarpy
import pytest

from tests.unit.cedar_rules import SCHEMA, translate_policy, translate_request
from tests.unit.gate_cast import settle_taint
from toolgate.engine import CompiledPolicy, compile_policy, decide
from toolgate.policy import read_policy
from toolgate.types import Action, Principal, Request, Resource

SEEDS = range(20)
POLICIES, REQUESTS = 25, 200  # of one seed
NOW = "2026-01-01T00:00:00Z"
MOMENTS = ("2025-12-31T23:59:59Z", NOW, "2026-01-01T00:00:01Z")

AGENTS, SKILLS = ("agent", "agent", "*", "third"), ("skill", "skill", "*", "other")
HOSTS = ("a.org", "x.a.org", "y.x.a.org", "ba.org", "b.org")
DOMAINS = ("a.org", "*.a.org", "x.a.org", "*.x.a.org", "b.org")
PATHS = ("", "d", "d/e", "d/e/1", "d/ef/2", "f/g", "f/g/h/3", "k", "dd/e")
PLACES = ("", "d", "d/e", "f", "f/g/h", "k", "d/*", "d*/e", "*/e*", "d/**", "**/e", "f/**/h", "**", "*")
VALUES = (True, False, 0, 1, 2, 3, "", "a", "ab", None)
Outcome = tuple[str, tuple[str, ...]]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_decides_as_cedar_does(seed: int) -> None:
    random, schema, effects = Random(seed), cedarpy.Schema.from_str(SCHEMA), Counter[str]()
    for number in range(POLICIES):
        rules = make_rules(random, count=random.randint(1, 8) if number % 5 else 25)  # of many rules there is an index
        compiled = compile_policy(read_policy(rules), 1)
        requests = [make_request(random) for _ in range(REQUESTS)]
        for request, expected in zip(requests, ask_cedar(rules, requests, schema), strict=True):
            outcome = ask_engine(compiled, request)
            assert outcome == expected, (request, rules)
            effects[outcome[0]] += 1
    assert effects.total() == POLICIES * REQUESTS
    assert all(effects[effect] > effects.total() / 50 for effect in ("allow", "ask", "deny")), effects


def ask_engine(policy: CompiledPolicy, request: Request) -> Outcome:
    decision = decide(policy, request, now=datetime.fromisoformat(NOW))
    return decision.effect.value, decision.deciding_rules


# --- Cedar ----------------------------------------------------------------------------------------------------
def ask_cedar(rules: list[dict[str, Any]], requests: list[Request], schema: cedarpy.Schema) -> list[Outcome]:
    """Return Cedar's answers; where a rule that asks is in the way, those that it gives once a person has approved."""
    text = translate_policy(rules)
    checked = cedarpy.validate_policies(text, SCHEMA)
    assert checked.validation_passed, checked.errors[0]
    policies, asking = cedarpy.PolicySet.from_str(text), {rule["id"] for rule in rules if rule["effect"] == "ask"}

    def judge(approved: bool, some: list[Request]) -> list[Outcome]:
        translated = [translate_request(request, NOW, approved=approved) for request in some]
        results = cedarpy.is_authorized_batch(translated, policies, "[]", schema)
        return [read_result(result) for result in results]

    outcomes = judge(False, requests)
    denied = [
        number for number, (effect, ids) in enumerate(outcomes) if effect == "deny" and (not ids or asking & set(ids))
    ]
    for number, (effect, ids) in zip(denied, judge(True, [requests[number] for number in denied]), strict=True):
        outcomes[number] = (
            ("ask", name_asking(outcomes[number][1], ids, asking)) if effect == "allow" else (effect, ids)
        )
    return outcomes


def name_asking(touching: tuple[str, ...], permitting: tuple[str, ...], asking: set[str]) -> tuple[str, ...]:
    """Return who asks: what touches the call; and what permits it, if that only asks and none of it touches."""
    if set(permitting) - asking or set(permitting) & set(touching):
        return touching
    return tuple(sorted({*touching, *permitting}))


def read_result(result: cedarpy.AuthzResult) -> Outcome:
    """Return the effect, and the ids of the rules in whose name Cedar gave it."""
    assert result.diagnostics.errors == []  # a policy that fails is passed over: the comparison would be worth nothing
    ids = set(result.diagnostics.id_annotations_by_reason.values())
    return "allow" if result.allowed else "deny", tuple(sorted(ids))


# --- made-up rules and requests -------------------------------------------------------------------------------
def make_rules(random: Random, *, count: int) -> list[dict[str, Any]]:
    return [make_rule(random, f"r{number:02}") for number in range(count)]


def make_rule(random: Random, id_: str) -> dict[str, Any]:
    effect = random.choice(("allow", "allow", "allow", "ask", "deny"))
    conditions: dict[str, Callable[[], Any]] = {
        "domains": lambda: pick(random, DOMAINS, 3),
        "readPaths": lambda: pick(random, PLACES, 2),
        "writePaths": lambda: pick(random, PLACES, 2),
        "arguments": lambda: {name: make_test(random) for name in pick(random, ("n", "m"), 2)},
        "argumentBytes": lambda: random.choice(({"min": 10}, {"max": 10}, {"min": 5, "max": 20})),
        "about_taint": lambda: True,
    }
    chosen = {key: make() for key, make in conditions.items() if random.random() < 0.25}
    rule = {
        "id": id_, "agent": random.choice(AGENTS), "skill": random.choice(SKILLS), "effect": effect,
        "conditions": settle_taint(effect, chosen),
    }  # fmt: skip
    if rule["agent"] == "*" and random.random() < 0.3:
        rule["exceptAgents"] = random.choice((["agent"], ["third"], ["agent", "third"]))
    if random.random() < 0.2:
        rule[random.choice(("validFrom", "validUntil"))] = random.choice(MOMENTS)
    return rule | ({"shadow": True} if random.random() < 0.1 else {})


def make_test(random: Random) -> dict[str, Any]:
    known = [value for value in VALUES if value is not None]
    return random.choice((
        {"equals": random.choice(known)}, {"oneOf": pick(random, known, 3)}, {"min": random.randint(0, 3)},
        {"max": random.randint(0, 3)}, {"min": 1, "max": 2}, {"minLength": 1}, {"maxLength": random.randint(0, 2)},
    ))  # fmt: skip


def make_request(random: Random) -> Request:
    resource = Resource(
        hosts=tuple(random.choices(HOSTS, k=random.choice((0, 1, 1, 2)))),
        read_paths=tuple(random.choices(PATHS, k=random.choice((0, 1, 1, 2)))),
        write_paths=tuple(random.choices(PATHS, k=random.choice((0, 0, 1, 2)))),
        arguments={name: random.choice(VALUES) for name in ("n", "m") if random.random() < 0.8},
        argument_bytes=random.choice((0, 4, 10, 30)),
        files_only=random.random() < 0.5,
    )
    return Request(
        principal=Principal(agent_id=random.choice(("agent", "agent", "agent", "third")), version=1),
        action=Action(skill_id=random.choice(("skill", "skill", "skill", "other")), version="1"),
        resource=resource,
        tainted=random.random() < 0.3,
    )


def pick(random: Random, values: Any, most: int) -> list[Any]:
    return random.sample(values, k=random.randint(1, most))
