"""What only approvals show: the clock of their SLA, who is asked, what was approved. No database."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from orchestrator_site.templatetags import approvals
from toolgate.approvals.terms import count_votes
from toolgate.types import Terms

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (899, "answer due in 14 min"),
        (59.9, "answer due in 59 s"),
        (0, "answer overdue by 0 s"),
        (-185, "answer overdue by 3 min"),
        (-90_000, "answer overdue by 1 d"),
    ],
)
def test_the_clock_says_when_an_answer_is_due_or_how_late_it_is(seconds: float, words: str) -> None:
    assert approvals.describe_sla(NOW + timedelta(seconds=seconds), now=NOW) == words


def test_the_clock_can_be_read_by_the_page_and_is_empty_without_an_sla() -> None:
    shown = str(approvals.sla_clock(SimpleNamespace(sla_at=NOW)))
    assert 'datetime="2026-11-23T12:00:00.000Z" data-show="sla"' in shown
    assert approvals.sla_clock(SimpleNamespace(sla_at=None)) == ""


def test_one_person_under_two_names_is_one_vote() -> None:
    votes = [SimpleNamespace(user=user, counts_for=["r"]) for user in ("ana", "ANA", "user:ana", "\uff41na", "ben")]
    assert count_votes(Terms(rule_id="r"), votes) == 2
    assert count_votes(Terms(rule_id="other"), votes) == 0


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "anybody who may decide approvals"),
        (("ana",), "ana"),
        (("ana", "ben", "group:leads"), "ana, ben or somebody of the group leads"),
        (("group:\u202ex",), "somebody of the group \\u202ex"),
    ],
)
def test_who_is_asked_is_named(names: tuple[str, ...], words: str) -> None:
    assert approvals.approver_words(names) == words


@pytest.mark.parametrize(
    ("scope", "words"),
    [("once", "once"), ("task", "further ones in this task"), ("minutes", "further ones for some minutes")],
)
def test_a_scope_is_said_in_words(scope: str, words: str) -> None:
    assert approvals.scope_words(SimpleNamespace(scope=scope)).endswith(words)
