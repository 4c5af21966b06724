"""Approvals: bound to one call, answered once by another person, used once, in time."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.integration.gate_cast import FakeSkill, ask, in_threads, judge, make_call, publish, rule
from toolgate import approvals, queries
from toolgate.approvals import decide_approval, expire_due, open_approval, supersede_approvals
from toolgate.approvals.states import close
from toolgate.digests import digest_call
from toolgate.enforcement import invoke
from toolgate.exceptions import (
    ApprovalDecided,
    ApprovalLate,
    ApprovalNotFound,
    ApprovalSuperseded,
    OwnRequest,
    TextInvalid,
)
from toolgate.in_force import forget_policy
from toolgate.models import Approval, ApprovalState, CallCounter, RateCell
from toolgate.signals import approval_decided
from toolgate.types import Reason

pytestmark = pytest.mark.django_db(transaction=True)
RULES = [rule("allow", limits={"callsPerTask": 5}), rule("ask", "ask", arguments={"dryRun": {"equals": False}})]


@pytest.fixture(autouse=True)
def asking_policy():
    forget_policy()
    publish(*RULES)
    yield
    forget_policy()


@pytest.fixture
def heard():
    """What receivers of the signal were told, and whether it was inside a transaction."""
    told = []

    def receive(sender, approval, now, **_):
        from django.db import connection

        told.append((approval.id, approval.state, connection.in_atomic_block))

    approval_decided.connect(receive)
    yield told
    approval_decided.disconnect(receive)


def answer(approval, *, approve=True, user="ana", note="", now=None):
    return decide_approval(approval.id, approve=approve, user=user, note=note, now=now or timezone.now())


def again(call, **changes):
    """The same call, later: what a resumed task brings to the gate."""
    return make_call(task_id=call.task_id, arguments=call.arguments, **({"now": timezone.now()} | changes))


def events(*types):
    return list(LedgerEvent.objects.filter(type__in=types).order_by("id").values_list("type", "actor"))


# --- ask ------------------------------------------------------------------------------------------------------
def test_asking_opens_one_question_bound_to_the_call():
    call = make_call()
    approval = ask(call, expires_seconds=60)
    assert approval.digest == digest_call(approval.agent_id, approval.skill_id, call.arguments, 1)
    assert (approval.state, approval.kind, approval.rule_id, approval.four_eyes) == ("pending", "call", "ask", True)
    assert (approval.submitted_by, approval.arguments, approval.policy_version) == ("olga", call.arguments, 1)
    assert approval.expires_at == call.now + timedelta(seconds=60)
    assert ask(again(call)).id == approval.id
    assert Approval.objects.count() == 1
    assert events("approval.asked") == [("approval.asked", "agent:build-refactor-agent")]


def test_asking_spends_nothing():
    ask(make_call())
    assert not CallCounter.objects.exists()
    assert not RateCell.objects.exists()


def test_nobody_is_asked_about_a_call_beyond_the_ceiling():
    call = make_call(task_id="t")
    for _ in range(5):
        assert judge(make_call(task_id="t", arguments={"dryRun": True})).effect == "allow"
    verdict = judge(call)
    assert (verdict.effect, verdict.reason, verdict.approval_needed) == ("deny", Reason.CALL_CEILING, False)


def test_the_expiry_defaults_to_the_setting(settings):
    settings.APPROVAL_EXPIRY_SECONDS = 77
    call = make_call()
    assert ask(call).expires_at == call.now + timedelta(seconds=77)


# --- answer ---------------------------------------------------------------------------------------------------
def test_an_approved_call_runs_exactly_once(heard):
    call = make_call()
    approval = ask(call)
    approved = answer(approval, note=" looks right ")
    assert (approved.state, approved.decided_by, approved.note) == ("approved", "ana", "looks right")
    assert heard == [(approval.id, "approved", True)]
    verdict = judge(again(call))
    assert (verdict.effect, verdict.reason, verdict.detail) == ("allow", Reason.APPROVED, "approved by ana")
    skill = FakeSkill()
    invoke(verdict.permit, skill.run, call.arguments, lambda permit: None)
    assert len(skill.runs) == 1
    approval.refresh_from_db()
    assert (approval.state, approval.used_at is not None) == ("used", True)
    second = judge(again(call))
    assert (second.effect, second.reason) == ("ask", Reason.APPROVAL_REQUIRED)
    assert events("approval.granted", "approval.used") == [
        ("approval.granted", "user:ana"),
        ("approval.used", "system"),
    ]
    assert CallCounter.objects.get().count == 1


def test_of_many_workers_with_one_approval_one_gets_through():
    call = make_call()
    answer(ask(call))
    verdicts = in_threads(24, lambda number: judge(again(call)))
    assert sorted(verdict.effect for verdict in verdicts) == ["allow"] + ["ask"] * 23
    assert CallCounter.objects.get().count == 1
    assert len(events("approval.used")) == 1


def test_who_read_the_row_too_early_changes_nothing(heard):
    first = ask(make_call())
    stale = queries.get_approval(first.id)
    answer(first)
    now = timezone.now()
    with write_transaction():
        assert not close(stale, ApprovalState.REFUSED, now=now, decided_by="axel")
    first, stale = queries.get_approval(first.id), queries.get_approval(first.id)
    with write_transaction():
        assert approvals.use_approval(first, now=now)
        assert not approvals.use_approval(stale, now=now)
    assert len(heard) == 1
    assert len(events("approval.granted", "approval.refused", "approval.used")) == 2


def test_an_approval_that_runs_out_before_its_use_is_not_used():
    approval = ask(make_call())
    answer(approval)
    approval.refresh_from_db()
    with write_transaction():
        assert not approvals.use_approval(approval, now=approval.expires_at)
        assert approvals.use_approval(approval, now=approval.expires_at - timedelta(microseconds=1))


def test_of_many_answers_at_once_one_is_kept(heard):
    approval = ask(make_call())

    def try_it(number):
        try:
            return answer(approval, approve=number % 2 == 0, user=f"ana{number}").decided_by
        except ApprovalDecided:
            return None

    kept = [who for who in in_threads(16, try_it) if who]
    approval.refresh_from_db()
    assert kept == [approval.decided_by]
    assert len(heard) == 1
    assert len(events("approval.granted", "approval.refused")) == 1


def test_a_second_answer_is_refused():
    approval = ask(make_call())
    answer(approval)
    with pytest.raises(ApprovalDecided, match="already approved by ana"):
        answer(approval, user="axel")
    with pytest.raises(ApprovalDecided):
        answer(approval, approve=False)


@pytest.mark.parametrize("user", ["olga", "OLGA", "user:olga", "\uff4flga"])
@pytest.mark.parametrize("approve", [True, False])
def test_nobody_answers_their_own_request(user, approve, heard):
    approval = ask(make_call())
    with pytest.raises(OwnRequest):
        answer(approval, user=user, approve=approve)
    approval.refresh_from_db()
    assert (approval.state, heard) == ("pending", [])


def test_a_rule_may_do_without_four_eyes():
    publish(RULES[0], RULES[1] | {"approval": {"fourEyes": False}})
    assert answer(ask(make_call()), user="olga").state == "approved"


def test_an_unknown_approval_and_an_unkeepable_note_are_told():
    approval = ask(make_call())
    with pytest.raises(ApprovalNotFound):
        decide_approval("nope", approve=True, user="ana", note="", now=timezone.now())
    for note in ("a\x00b", "x" * 2001, "\ud800"):
        with pytest.raises(TextInvalid):
            answer(approval, note=note)
    approval.refresh_from_db()
    assert approval.state == "pending"


def test_a_refused_call_is_denied_with_the_note():
    call = make_call()
    answer(ask(call), approve=False, note="not on a Friday")
    for _ in range(2):
        verdict = judge(again(call))
        assert (verdict.effect, verdict.reason) == ("deny", Reason.APPROVAL_REJECTED)
        assert "ana refused this call: not on a Friday" in verdict.detail
    publish(*RULES, rule("more"))
    assert judge(again(call)).reason is Reason.APPROVAL_REJECTED


def test_a_receiver_that_fails_takes_the_answer_back():
    approval = ask(make_call())

    def fail(sender, **_):
        raise ZeroDivisionError

    approval_decided.connect(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            answer(approval)
    finally:
        approval_decided.disconnect(fail)
    approval.refresh_from_db()
    assert (approval.state, events("approval.granted")) == ("pending", [])


# --- binding --------------------------------------------------------------------------------------------------
def test_an_approval_is_for_its_arguments_task_and_agent():
    call = make_call(arguments={"filePath": "a.py", "dryRun": False})
    answer(ask(call))
    other = judge(make_call(task_id=call.task_id, arguments={"filePath": "b.py", "dryRun": False}))
    assert (other.effect, other.reason) == ("ask", Reason.APPROVAL_MISMATCH)
    assert judge(make_call(arguments=call.arguments)).reason is Reason.APPROVAL_REQUIRED
    assert judge(again(call)).effect == "allow"


def test_a_changed_policy_makes_the_task_ask_again(heard):
    call = make_call()
    approval = ask(call)
    publish(*RULES, rule("more"))
    with pytest.raises(ApprovalSuperseded, match="version 1, but version 2"):
        answer(approval)
    approval.refresh_from_db()
    assert (approval.state, heard) == ("superseded", [(approval.id, "superseded", True)])
    assert approval.decided_by == ""
    fresh = ask(again(call))
    assert (fresh.id != approval.id, fresh.policy_version) == (True, 2)
    answer(fresh)
    assert judge(again(call)).effect == "allow"


def test_a_policy_changed_after_the_approval_voids_it():
    call = make_call()
    approval = ask(call)
    answer(approval)
    publish(*RULES, rule("more"))
    verdict = judge(again(call))
    assert (verdict.effect, verdict.reason, verdict.permit) == ("ask", Reason.APPROVAL_MISMATCH, None)
    approval.refresh_from_db()
    assert approval.state == "superseded"


def test_a_refusal_is_kept_though_the_policy_changed():
    approval = ask(make_call())
    publish(*RULES, rule("more"))
    assert answer(approval, approve=False).state == "refused"


def test_an_approval_does_not_lift_a_deny_or_an_agents_quarantine():
    call = make_call()
    answer(ask(call))
    quarantined = again(call, principal={"status": "quarantined"})
    assert judge(quarantined).reason is Reason.AGENT_QUARANTINED
    publish(*RULES, rule("no", "deny"))
    assert judge(again(call)).effect == "deny"


def test_an_approved_call_over_its_rate_keeps_its_approval():
    publish(*RULES, rule("slow", limits={"ratePerSecond": 1}))
    now = timezone.now()
    assert judge(make_call(arguments={"dryRun": True}, now=now)).effect == "allow"
    call = make_call(now=now)
    approval = ask(call)
    answer(approval)
    waiting = judge(again(call, now=now))
    assert (waiting.effect, waiting.reason) == ("deny", Reason.RATE_LIMITED)
    approval.refresh_from_db()
    assert approval.state == "approved"
    assert judge(again(call, now=now + timedelta(seconds=1))).effect == "allow"


# --- time -----------------------------------------------------------------------------------------------------
def test_an_answer_after_the_expiry_is_not_kept(heard):
    call = make_call()
    approval = ask(call, expires_seconds=60)
    with pytest.raises(ApprovalLate):
        answer(approval, now=call.now + timedelta(seconds=60))
    approval.refresh_from_db()
    assert (approval.state, heard) == ("expired", [(approval.id, "expired", True)])
    with pytest.raises(ApprovalLate):
        answer(approval)


def test_what_expired_is_denied_once_and_then_asked_again():
    call = make_call()
    first = ask(call, expires_seconds=60)
    assert expire_due(call.now + timedelta(seconds=59)) == []
    assert [one.id for one in expire_due(now=call.now + timedelta(seconds=60))] == [first.id]
    assert expire_due(call.now + timedelta(seconds=61)) == []
    assert judge(again(call)).reason is Reason.APPROVAL_EXPIRED
    assert ask(again(call)).id != first.id
    assert events("approval.expired") == [("approval.expired", "system")]


def test_an_approval_that_was_not_used_in_time_is_void():
    call = make_call()
    approval = ask(call, expires_seconds=60)
    answer(approval, now=call.now)
    verdict = judge(again(call, now=call.now + timedelta(seconds=60)))
    assert (verdict.effect, verdict.reason) == ("deny", Reason.APPROVAL_EXPIRED)
    approval.refresh_from_db()
    assert approval.state == "expired"
    assert judge(again(call, now=call.now + timedelta(seconds=61))).effect == "ask"


def test_of_an_answer_and_the_expiry_at_once_one_is_kept(heard):
    call = make_call()
    approval = ask(call, expires_seconds=60)
    late = call.now + timedelta(seconds=61)

    def try_it(number):
        try:
            return len(expire_due(late)) if number % 2 else answer(approval, now=call.now).state
        except (ApprovalDecided, ApprovalLate):
            return 0

    in_threads(8, try_it)
    assert len(heard) == 1
    assert len(events("approval.granted", "approval.expired")) == 1


# --- the rest -------------------------------------------------------------------------------------------------
def test_a_task_that_is_over_takes_its_questions_with_it(heard):
    pending, approved = make_call(task_id="t"), make_call(task_id="t", arguments={"dryRun": False, "n": 1})
    ask(pending)
    answer(ask(approved))
    heard.clear()
    with write_transaction():
        approvals.lock_approvals("t")
        assert supersede_approvals("t", now=timezone.now()) == 2
    assert (set(Approval.objects.values_list("state", flat=True)), heard) == ({"superseded"}, [])
    assert judge(again(approved)).effect == "ask"


def test_leave_to_repeat_a_step_is_for_one_repetition():
    call = make_call(arguments={"dryRun": True, "n": 1})
    with write_transaction():
        approval = open_approval(call, kind="step_unknown")
        assert open_approval(again(call), kind="step_unknown").id == approval.id
    assert (approval.kind, approval.rule_id) == ("step_unknown", "")
    assert approvals.find_granted(call) is None
    publish(*RULES, rule("more"))
    answer(approval)
    assert approvals.find_granted(again(call)).id == approval.id
    assert judge(again(call)).effect == "allow"
    with write_transaction():
        assert approvals.use_granted(again(call))
        assert not approvals.use_granted(again(call))
    assert approvals.find_granted(again(call)) is None


def test_the_gate_takes_leave_to_repeat_for_an_approval_of_the_same_call():
    call = make_call()
    with write_transaction():
        approval = open_approval(call, kind="step_unknown")
    answer(approval)
    assert judge(again(call)).reason is Reason.APPROVED
    assert approvals.find_granted(again(call)) is None


def test_the_inbox_is_ordered_and_paged():
    first, second = ask(make_call(), expires_seconds=900), ask(make_call(), expires_seconds=60)
    assert [one.id for one in queries.list_approvals("pending")] == [second.id, first.id]
    assert [one.id for one in queries.list_approvals(before=second.id, limit=1)] == [first.id]
    assert [one.id for one in queries.list_waiting_approvals()] == [second.id, first.id]
    answer(second)
    assert [one.id for one in queries.list_approvals(decided=True)] == [second.id]
    assert [one.id for one in queries.list_approvals(decided=False)] == [first.id]
    assert queries.count_pending_approvals() == 1
    assert [one.id for one in queries.list_approvals_of_task(first.task_id)] == [first.id]
    assert queries.get_approval(first.id).id == first.id
    with pytest.raises(ApprovalNotFound):
        queries.get_approval("nope")
