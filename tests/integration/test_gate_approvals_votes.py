"""What it takes to approve: quorum, approvers and four eyes of every rule that asks; one refusal refuses."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import LedgerEvent
from tests.integration.approval_cast import again, answer, asked, call_of, fleet, rule, when_strict
from tests.integration.gate_cast import in_threads, judge, publish
from toolgate import approvals, metrics
from toolgate.approvals import decide_equal, escalate_due, find_objection, list_equal, list_open_terms
from toolgate.exceptions import AlreadyVoted, AnswerInvalid, ApprovalChanged, ApprovalDecided, NotApprover, OwnRequest
from toolgate.models import Approval, ApprovalVote
from toolgate.signals import approval_decided
from toolgate.types import Reason

__all__ = ["fleet"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]


def events(*types):
    return list(LedgerEvent.objects.filter(type__in=types).order_by("id").values_list("type", "actor"))


# --- quorum ---------------------------------------------------------------------------------------------------
def test_a_quorum_of_two_takes_two_persons_and_moves_the_task_once():
    call, approval = asked(rule("two", quorum=2))
    heard = []
    approval_decided.connect(receiver := lambda approval, **_: heard.append(approval.state))
    try:
        first = answer(approval, "ana", note="fine")
        assert (first.state, heard, judge(again(call)).effect) == ("pending", [], "ask")
        second = answer(approval, "ben")
    finally:
        approval_decided.disconnect(receiver)
    assert (second.state, second.decided_by, heard) == ("approved", "ben", ["approved"])
    assert judge(again(call)).detail == "approved by ana and ben"
    assert events("approval.voted", "approval.granted") == [
        ("approval.voted", "user:ana"),
        ("approval.granted", "user:ben"),
    ]


@pytest.mark.parametrize("name", ["ana", "ANA", "user:ana", "\uff41na"])
def test_one_vote_a_person_whatever_the_spelling(name):
    _, approval = asked(rule("two", quorum=2))
    answer(approval, "ana")
    with pytest.raises(AlreadyVoted):
        answer(approval, name)
    approval.refresh_from_db()
    assert (approval.state, ApprovalVote.objects.count()) == ("pending", 1)


def test_votes_of_many_at_once_approve_once_with_the_quorum_and_no_more():
    _, approval = asked(rule("three", quorum=3))

    def vote(number):
        try:
            return answer(approval, f"user{number}").state
        except ApprovalDecided:
            return None

    states = [state for state in in_threads(12, vote) if state]
    assert sorted(states) == ["approved", "pending", "pending"]
    assert ApprovalVote.objects.count() == 3
    assert len(events("approval.granted")) == 1


def test_one_refusal_refuses_also_of_one_who_had_approved():
    call, approval = asked(rule("two", quorum=2))
    answer(approval, "ana")
    assert answer(approval, "ana", approve=False, note="on second thoughts").state == "refused"
    with pytest.raises(ApprovalDecided):
        answer(approval, "ben")
    assert judge(again(call)).reason is Reason.APPROVAL_REJECTED


# --- approvers ------------------------------------------------------------------------------------------------
def test_only_whom_the_rule_names_counts_by_name_or_by_group():
    _, approval = asked(rule("named", quorum=2, approvers=["ana", "group:leads"]))
    for user, groups in (("mallory", ()), ("mallory", ("Leads", "group:leads")), ("leads", ()), ("Ana", ())):
        with pytest.raises(NotApprover, match="It takes ana, group:leads"):
            answer(approval, user, groups=groups)
        with pytest.raises(NotApprover):
            answer(approval, user, groups=groups, approve=False)
    assert answer(approval, "ben", groups=frozenset({"leads"})).state == "pending"
    assert answer(approval, "ana").state == "approved"


def test_every_rule_that_asks_has_to_be_content():
    _, approval = asked(rule("money", approvers=["ana"]), rule("safety", approvers=["ben"], quorum=1))
    assert {one["ruleId"] for one in approval.terms} == {"money", "safety"}
    assert answer(approval, "ana").state == "pending"
    assert [one.rule_id for one in list_open_terms(approval)] == ["safety"]
    assert answer(approval, "ben").state == "approved"


def test_who_meets_only_what_is_settled_adds_nothing_but_may_refuse():
    _, approval = asked(rule("any"), rule("ben", approvers=["ben"]))
    answer(approval, "ana")
    with pytest.raises(NotApprover, match="It takes ben"):
        answer(approval, "cleo")
    assert answer(approval, "cleo", approve=False).state == "refused"


def test_four_eyes_hold_for_each_rule_by_itself():
    _, approval = asked(rule("own", fourEyes=False), rule("other", fourEyes=True))
    assert answer(approval, "olga").state == "pending"
    assert [one.rule_id for one in list_open_terms(approval)] == ["other"]
    assert answer(approval, "ana").state == "approved"
    _, strict = asked(rule("own", fourEyes=True, quorum=2))
    with pytest.raises(OwnRequest):
        answer(strict, "olga")
    assert not strict.votes.exists()


def test_the_page_is_told_why_somebody_cannot_approve_without_changing_anything():
    now = timezone.now()
    _, approval = asked(rule("two", quorum=2, approvers=["ana", "ben", "olga"]))
    answer(approval, "ana")

    def objection(user, now=now):
        return type(find_objection(approval, user=user, groups=(), now=now)).__name__

    assert [objection(user) for user in ("ana", "ben", "olga", "mallory")] == [
        "AlreadyVoted",
        "NoneType",
        "OwnRequest",
        "NotApprover",
    ]
    assert objection("ben", now + timedelta(days=2)) == "ApprovalLate"
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_a_rule_that_begins_to_ask_after_the_approval_is_not_answered_by_it():
    """What asks can change under one policy: by taint, or by the clock."""
    call, approval = asked(rule("plain"), rule("outside", conditions={"tainted": True}, quorum=2))
    answer(approval)
    verdict = judge(again(call, tainted=True))
    assert (verdict.effect, verdict.reason) == ("ask", Reason.APPROVAL_MISMATCH)
    assert "outside" in verdict.detail
    approval.refresh_from_db()
    assert approval.state == "superseded"


def test_leave_to_repeat_a_step_is_no_quorum():
    publish(rule("may", "allow"), rule("two", quorum=2))
    call = call_of()
    from audit.transactions import write_transaction

    with write_transaction():
        approval = approvals.open_approval(call, kind=approvals.STEP_UNKNOWN)
    answer(approval)
    assert judge(again(call)).effect == "ask"
    approval.refresh_from_db()
    assert approval.state == "approved"


def test_an_answer_that_makes_no_sense_is_not_kept():
    _, approval = asked(rule("ask"))
    senseless = [
        {"scope": "ever"},
        {"scope": "minutes"},
        {"scope": "minutes", "minutes": 0},
        {"scope": "minutes", "minutes": 1441},
        {"scope": "once", "minutes": 5},
        {"approve": False, "scope": "task"},
        {"approve": False, "arguments": {}},
    ]
    for options in senseless:
        with pytest.raises(AnswerInvalid):
            answer(approval, **options)
    approval.refresh_from_db()
    assert (approval.state, approval.votes.count()) == ("pending", 0)


# --- times ----------------------------------------------------------------------------------------------------
def test_the_shortest_of_the_rules_times_holds(settings):
    settings.APPROVAL_SLA_SECONDS, settings.APPROVAL_EXPIRY_SECONDS = 50, 500
    call, approval = asked(rule("a", expiresSeconds=100, slaSeconds=30), rule("b", expiresSeconds=90))
    assert approval.expires_at == call.now + timedelta(seconds=90)
    assert approval.sla_at == call.now + timedelta(seconds=30)
    call, approval = asked(rule("c"))
    assert approval.expires_at == call.now + timedelta(seconds=500)
    assert approval.sla_at == call.now + timedelta(seconds=50)


def test_what_waits_too_long_is_escalated_once_under_many_workers():
    call, approval = asked(rule("a", slaSeconds=30))
    late = call.now + timedelta(seconds=31, milliseconds=500)
    counter = metrics.AUTO_ESCALATIONS.labels(escalation_reason="sla")._value
    before = counter.get()
    assert escalate_due(call.now + timedelta(seconds=29)) == []
    escalated = in_threads(8, lambda number: len(escalate_due(late)))
    assert sum(escalated) == 1
    assert counter.get() == before + 1
    assert events("approval.escalated") == [("approval.escalated", "system")]
    body = LedgerEvent.objects.get(type="approval.escalated").body
    assert (body["waitedSeconds"], body["slaSeconds"]) == (31, 30)
    approval.refresh_from_db()
    assert (approval.state, approval.escalated_at) == ("pending", late)
    assert answer(approval).state == "approved"


def test_what_was_answered_is_not_escalated():
    call, approval = asked(rule("a", slaSeconds=30))
    answer(approval)
    assert escalate_due(call.now + timedelta(hours=1)) == []


# --- equal questions ------------------------------------------------------------------------------------------
def test_equal_questions_of_other_tasks_are_found_and_answered_each_by_itself():
    _, first = asked(rule("two", conditions=when_strict()), rule("ask"))
    _, second = asked()
    _, third = asked()
    asked(call=call_of("other"))
    asked(call=call_of(strict=True))
    assert [one.id for one in list_equal(first)] == [second.id, third.id]
    Approval.objects.filter(id=second.id).update(submitted_by="ana")
    ids = [first.id, second.id, third.id, "nope", first.id]
    outcomes = decide_equal(ids, approve=True, user="ana", digest=first.digest, now=timezone.now())
    assert [(id_, getattr(outcome, "state", None) or outcome.code) for id_, outcome in outcomes] == [
        (first.id, "approved"),
        (second.id, "four_eyes"),
        (third.id, "approved"),
        ("nope", "approval_unknown"),
    ]
    assert [one.id for one in list_equal(first)] == [second.id]


def test_what_is_not_the_same_call_is_not_answered_with_the_others():
    _, first = asked(rule("ask"))
    _, other = asked(call=call_of("other"))
    ((_, outcome),) = decide_equal([other.id], approve=True, user="ana", digest=first.digest, now=timezone.now())
    assert isinstance(outcome, ApprovalChanged)
    other.refresh_from_db()
    assert other.state == "pending"
