"""A rule in words: every field that is set is heard."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings

from tests.unit.gate_cast import rule
from tests.unit.matrix_cast import WHOLE_RULES
from toolgate.policy import Rule, dump_rule, load_policy
from toolgate.seed import SEED
from toolgate.words.rules import describe_rule, list_names, show_bytes, show_moment, show_period, show_pounds

SILENT = {"id", "description"}  # shown beside the sentence


def _leaves(wire: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the place of each field that can be left out."""
    found = []
    for name, value in wire.items():
        here = (*path, name)
        if here in {("conditions",), ("limits",), ("approval",)}:
            found += _leaves(value, here)
        elif path or name in {"exceptAgents", "validFrom", "validUntil", "shadow"}:
            found.append(here)
    return found


def _without(wire: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    rest = deepcopy(wire)
    place = rest
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return rest


@settings(max_examples=300)
@given(one=WHOLE_RULES)
def test_every_field_that_is_set_is_heard(one: Rule) -> None:
    wire = dump_rule(one)
    sentence = describe_rule(one)
    assert sentence == describe_rule(wire)
    assert sentence.endswith(".")
    assert "None" not in sentence
    for path in _leaves(wire):
        is_default = path == ("approval", "fourEyes") and wire["approval"]["fourEyes"]
        if path[0] not in SILENT and not is_default:
            assert describe_rule(_without(wire, path)) != sentence, path


@pytest.mark.parametrize(
    ("given_rule", "words"),
    [
        (rule(limits={"callsPerTask": 20, "ratePerSecond": 2}),
         "agent may call skill, at most 20 calls a task and 2 calls a second."),
        (rule(effect="deny"), "agent may not call skill."),
        (rule(effect="deny", agent="*", skill="*"), "No agent may call any skill."),
        (rule(effect="ask", agent="*", exceptAgents=["a", "b"]),
         "Every agent but a and b has to ask a person before it calls skill."),
        (rule(domains=["a.org", "b.org", "c.org", "d.org", "e.org"]),
         "agent may call skill on a.org, b.org, c.org or 2 more hosts."),
        (rule(domains=["a.org", "b.org", "c.org", "d.org"]), "agent may call skill on a.org, b.org, c.org or d.org."),
        (rule(domains=[], readPaths=[""], writePaths=["out"]),
         "agent may call skill on no host at all, reading anywhere in the workspace, writing below out."),
        (rule(arguments={"dryRun": {"equals": False}, "n": {"min": 1, "max": 5_000}}, shadow=True),
         "Log only: agent may call skill, where dryRun is false, where n is 1 to 5,000."),
        (rule(effect="ask", approval={"quorum": 2, "approvers": ["ana", "group:finance"], "expiresSeconds": 3_600}),
         "agent has to ask a person before it calls skill, 2 people of ana and the group finance have to approve and "
         "the question expires after 1 hour."),
        (rule(timeWindow={"zone": "Europe/London", "days": ["fri", "mon"], "start": "09:00:00", "end": "17:30:00"}),
         "agent may call skill, from 09:00 to 17:30 on Mon and Fri (Europe/London)."),
        (rule(validUntil="2026-12-01T09:00:00Z"), "agent may call skill, until 1 Dec 2026, 09:00 UTC."),
    ],
)  # fmt: skip
def test_it_says_a_rule_in_plain_words(given_rule: dict[str, Any], words: str) -> None:
    assert describe_rule(given_rule) == words


def test_every_rule_of_the_seed_has_a_sentence_of_its_own() -> None:
    sentences = [describe_rule(one) for one in load_policy(SEED.read_bytes()).rules]
    assert len(set(sentences)) == len(sentences) > 20


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 B"), (999, "999 B"), (1_000, "1 KB"), (1_234, "1,234 B"), (1_500, "1.5 KB"), (2_000_000, "2 MB"),
     (123_456_780, "123,456.78 KB"), (10_000_000_000, "10 GB")],
)  # fmt: skip
def test_sizes_are_exact(count: int, words: str) -> None:
    assert show_bytes(count) == words


def test_values_carry_their_unit() -> None:
    assert [show_pounds(text) for text in ("5", "5.0000", "0.5", "1234.5678")] == ["£5", "£5", "£0.50", "£1,234.5678"]
    assert [show_period(seconds) for seconds in (3_600, 7_200, 90)] == ["an hour", "in 2 hours", "in 90 seconds"]
    assert show_moment("2026-12-01T09:00:00+05:30") == "1 Dec 2026, 09:00 +05:30"
    assert list_names(["a"]) == "a"
