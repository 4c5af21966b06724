"""Edit, then approve: other arguments are another digest, under the same rules; and they are what runs."""

from datetime import timedelta

import pytest

from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.integration.approval_cast import (
    AGENT,
    SKILL,
    again,
    answer,
    arguments,
    asked,
    call_of,
    fleet,
    rule,
    when_strict,
)
from tests.integration.gate_cast import judge, publish
from toolgate.approvals import expire_due, find_edit, list_open_terms, list_votes, open_approval, use_granted
from toolgate.digests import digest_call
from toolgate.exceptions import AnswerInvalid, ApprovalChanged, ApprovalLate, ApprovalSuperseded, NotApprover
from toolgate.models import Approval
from toolgate.types import Reason

__all__ = ["fleet"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]


def test_the_changed_call_is_what_is_approved_and_the_asked_one_is_kept():
    call, approval = asked(rule("ask"))
    before = approval.digest
    edited = answer(approval, arguments=arguments("better"), digest=before)
    assert (edited.state, edited.arguments, edited.asked_arguments) == (
        "approved",
        arguments("better"),
        call.arguments,
    )
    assert edited.digest == digest_call(AGENT, SKILL, arguments("better"), 1) != before
    assert find_edit(again(call)) == arguments("better")
    event = LedgerEvent.objects.get(type="approval.edited")
    assert (event.actor, event.body["digestBefore"], event.body["digest"]) == ("user:ana", before, edited.digest)
    changed = judge(again(call, brought=arguments("better")))
    assert (changed.effect, changed.reason) == ("allow", Reason.APPROVED)
    assert find_edit(again(call)) is None
    assert find_edit(again(call), repeated=True) == arguments("better")


def test_the_arguments_that_were_asked_for_do_not_run_on_the_changed_approval():
    call, approval = asked(rule("ask"))
    answer(approval, arguments=arguments("better"))
    verdict = judge(again(call))
    assert (verdict.effect, verdict.reason) == ("ask", Reason.APPROVAL_MISMATCH)


def test_arguments_that_are_the_same_are_no_edit():
    call, approval = asked(rule("ask"))
    approved = answer(approval, arguments={"data": {"a": "x"}, "schema": {"a": {"type": "string"}}})
    assert (approved.state, approved.asked_arguments, approved.arguments) == ("approved", None, call.arguments)
    assert not LedgerEvent.objects.filter(type="approval.edited").exists()


@pytest.mark.parametrize(
    "wrong", [{"data": {}}, {"data": {}, "schema": {}, "more": 1}, {"data": {"a": 2**70}, "schema": {}}]
)
def test_arguments_that_the_skill_does_not_take_change_nothing(wrong):
    _, approval = asked(rule("two", quorum=2))
    answer(approval, "ben")
    with pytest.raises(AnswerInvalid, match="Nothing was changed"):
        answer(approval, arguments=wrong)
    approval.refresh_from_db()
    assert (approval.state, approval.asked_arguments, len(list_votes(approval))) == ("pending", None, 1)


def test_an_edit_makes_earlier_votes_void_and_counts_as_one():
    _, approval = asked(rule("two", quorum=2))
    answer(approval, "ana")
    assert answer(approval, "ben", arguments=arguments("better")).state == "pending"
    approval.refresh_from_db()
    assert [vote.user for vote in list_votes(approval)] == ["ben"]
    assert answer(approval, "ana", digest=approval.digest).state == "approved"
    assert approval.votes.count() == 2


def test_who_does_not_say_what_they_saw_approves_nothing_that_was_changed():
    _, approval = asked(rule("two", quorum=2))
    answer(approval, "ana", arguments=arguments("better"))
    with pytest.raises(ApprovalChanged):
        answer(approval, "ben")
    assert answer(approval, "ben", approve=False).state == "refused"  # a no is for any form of it


def test_the_first_form_is_kept_through_a_second_edit():
    call, approval = asked(rule("three", quorum=3))
    answer(approval, "ana", arguments=arguments("better"))
    answer(approval, "ben", arguments=arguments("best"))
    approval.refresh_from_db()
    assert (approval.asked_arguments, approval.arguments) == (call.arguments, arguments("best"))


def test_who_looked_at_the_older_form_decides_nothing():
    _, approval = asked(rule("two", quorum=2))
    seen = approval.digest
    answer(approval, "ana", arguments=arguments("better"))
    for approve in (True, False):
        with pytest.raises(ApprovalChanged):
            answer(approval, "ben", approve=approve, digest=seen)
    assert len(list_votes(Approval.objects.get())) == 1


def test_an_edit_is_no_way_around_a_deny():
    _, approval = asked(rule("ask"), rule("never", "deny", conditions=when_strict()))
    with pytest.raises(AnswerInvalid, match="rule never denies") as refused:
        answer(approval, arguments=arguments(strict=True))
    assert refused.value.code == "argument_not_allowed"
    approval.refresh_from_db()
    assert (approval.state, approval.votes.count()) == ("pending", 0)


def test_rules_that_ask_about_the_changed_call_have_their_say():
    call, approval = asked(rule("ask"), rule("strict", conditions=when_strict(), approvers=["ben"]))
    assert [one["ruleId"] for one in approval.terms] == ["ask"]
    assert answer(approval, "ana", arguments=arguments(strict=True)).state == "pending"
    approval.refresh_from_db()
    assert [one.rule_id for one in list_open_terms(approval)] == ["strict"]
    with pytest.raises(NotApprover):
        answer(approval, "cleo", digest=approval.digest)
    assert answer(approval, "ben", digest=approval.digest).state == "approved"
    assert judge(again(call, brought=arguments(strict=True))).effect == "allow"


def test_a_deny_that_comes_after_the_edit_denies():
    call, approval = asked(rule("ask"))
    answer(approval, arguments=arguments("better"))
    publish(rule("may", "allow"), rule("ask"), rule("no", "deny"))
    assert judge(again(call, brought=arguments("better"))).effect == "deny"


def test_under_a_new_policy_the_changed_call_is_asked_about_again():
    call, approval = asked(rule("ask"))
    answer(approval, arguments=arguments("better"))
    publish(rule("may", "allow"), rule("ask"), rule("more"))
    changed = again(call, brought=find_edit(again(call)))
    verdict = judge(changed)
    assert (verdict.effect, verdict.reason) == ("ask", Reason.APPROVAL_MISMATCH)
    with write_transaction():
        fresh = open_approval(changed, verdict, asked=call.arguments)
    assert (fresh.arguments, fresh.asked_arguments) == (arguments("better"), call.arguments)
    answer(fresh)
    assert find_edit(again(call)) == arguments("better")


def test_where_the_rules_no_longer_ask_the_answer_is_used_up_all_the_same():
    call, approval = asked(rule("ask", conditions=when_strict()), call=call_of(strict=True))
    answer(approval, arguments=arguments("mild"))
    mild = again(call, brought=arguments("mild"))
    assert judge(mild).reason is Reason.ALLOWED
    with write_transaction():
        assert use_granted(mild)
        assert not use_granted(mild)
    assert find_edit(again(call)) is None


def test_a_refused_question_refuses_both_forms():
    call, approval = asked(rule("two", quorum=2))
    answer(approval, "ana", arguments=arguments("better"))
    answer(approval, "ben", approve=False, note="neither")
    for form in (call.arguments, arguments("better")):
        assert judge(again(call, brought=form)).reason is Reason.APPROVAL_REJECTED


def test_a_changed_call_that_was_not_made_in_time_is_denied_once_and_asked_again():
    call, approval = asked(rule("ask"), expires_seconds=60)
    answer(approval, arguments=arguments("better"), now=call.now)
    late = call.now + timedelta(seconds=60)
    assert find_edit(again(call, now=late)) is None
    assert judge(again(call, now=late)).reason is Reason.APPROVAL_EXPIRED
    approval.refresh_from_db()
    assert approval.state == "expired"
    assert judge(again(call, now=late)).reason is Reason.APPROVAL_REQUIRED


@pytest.mark.parametrize("end", ["pending", "refused", "expired"])
def test_an_edit_that_was_not_approved_is_nobodys_call(end):
    call, approval = asked(rule("two", quorum=2), expires_seconds=60)
    answer(approval, "ana", arguments=arguments("better"))
    if end == "refused":
        answer(approval, "ben", approve=False)
    if end == "expired":
        expire_due(call.now + timedelta(seconds=60))
    approval.refresh_from_db()
    assert approval.state == end
    assert find_edit(again(call)) is None
    assert find_edit(again(call), repeated=True) is None


def test_what_json_cannot_hold_was_never_changed_by_anybody():
    assert find_edit(again(call_of(), brought={"strict": False, "data": {1, 2}})) is None


def test_an_edit_out_of_time_or_under_an_older_policy_is_not_kept():
    call, approval = asked(rule("ask"), expires_seconds=60)
    with pytest.raises(ApprovalLate):
        answer(approval, arguments=arguments("better"), now=call.now + timedelta(seconds=60))
    call, approval = asked(rule("ask"), rule("more"))
    publish(rule("may", "allow"), rule("ask"))
    with pytest.raises(ApprovalSuperseded):
        answer(approval, arguments=arguments("better"))
    approval.refresh_from_db()
    assert (approval.state, approval.asked_arguments) == ("superseded", None)


@pytest.mark.parametrize("kind", ["step_unknown", "review"])
def test_what_is_not_a_call_cannot_be_changed_or_widened(kind):
    publish(rule("may", "allow"))
    with write_transaction():
        approval = open_approval(call_of(), kind=kind)
    for options in ({"arguments": arguments("better")}, {"scope": "task"}):
        with pytest.raises(AnswerInvalid):
            answer(approval, **options)
    assert answer(approval).state == "approved"
