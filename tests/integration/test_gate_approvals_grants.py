"""Grants: leave for what some rules ask about, within a task or for some minutes; nothing else is lifted."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.integration.approval_cast import again, answer, asked, call_of, fleet, rule, when_strict
from tests.integration.gate_cast import in_threads, judge, publish
from toolgate.approvals import find_grant_of, list_grants, revoke_grant, supersede_approvals
from toolgate.approvals.grants import use_leave
from toolgate.exceptions import GrantNotFound, GrantOver
from toolgate.models import Approval, CallCounter, Grant
from toolgate.types import Reason

__all__ = ["fleet"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]


def effect_of(word="y", **more):
    return judge(call_of(word, **more)).effect


def test_approved_once_gives_no_grant():
    call, approval = asked(rule("ask"))
    answer(approval)
    assert not Grant.objects.exists()
    assert effect_of(task_id=call.task_id) == "ask"


def test_for_some_minutes_further_calls_of_any_task_pass_and_are_counted():
    call, approval = asked(rule("ask"))
    now = timezone.now()
    assert answer(approval, scope="minutes", minutes=10, now=now).scope == "minutes"
    verdict = judge(call_of("y"))
    until = now + timedelta(minutes=10)
    assert (verdict.effect, verdict.reason) == ("allow", Reason.APPROVED)
    assert verdict.detail == f"granted by ana until {until:%Y-%m-%d %H:%M} UTC"
    grant = find_grant_of(approval.id)
    assert (grant.uses, grant.expires_at, grant.task_id, [one.id for one in list_grants(now)]) == (
        1,
        until,
        "",
        [grant.id],
    )
    assert judge(call_of("z", now=until)).effect == "ask"
    assert list_grants(until) == []
    assert LedgerEvent.objects.get(type="grant.given").actor == "user:ana"
    assert judge(again(call)).detail == "approved by ana"
    assert Approval.objects.get(id=approval.id).state == "used"
    grant.refresh_from_db()
    assert grant.uses == 1


def test_for_this_task_others_are_asked_about_still():
    call, approval = asked(rule("ask"))
    answer(approval, scope="task")
    assert effect_of(task_id=call.task_id) == "allow"
    assert effect_of() == "ask"


def test_all_who_vote_have_to_agree_to_what_is_granted():
    _, approval = asked(rule("two", quorum=2))
    answer(approval, "ana", scope="minutes", minutes=60)
    assert answer(approval, "ben").scope == "once"
    assert not Grant.objects.exists()
    call, approval = asked(rule("two", quorum=2))
    now = timezone.now()
    answer(approval, "ana", scope="minutes", minutes=60, now=now)
    answer(approval, "ben", scope="task", now=now)
    grant = Grant.objects.get()
    assert (grant.task_id, grant.expires_at, grant.granted_by) == (
        call.task_id,
        now + timedelta(hours=1),
        ["ana", "ben"],
    )
    _, approval = asked(rule("two", quorum=2))
    answer(approval, "ana", scope="minutes", minutes=60, now=now)
    answer(approval, "ben", scope="minutes", minutes=5, now=now)
    assert find_grant_of(approval.id).expires_at == now + timedelta(minutes=5)


def test_a_rule_that_was_not_asked_or_has_changed_asks():
    _, approval = asked(rule("ask"), rule("strict", conditions=when_strict()))
    answer(approval, scope="minutes", minutes=10)
    assert effect_of(strict=True) == "ask"
    assert effect_of() == "allow"
    publish(rule("may", "allow"), rule("ask"), rule("unrelated", conditions=when_strict()))
    assert effect_of() == "allow"  # another version, the same rule
    publish(rule("may", "allow"), rule("ask", quorum=2))
    assert effect_of() == "ask"
    publish(rule("may", "allow"), rule("ask"))
    assert effect_of() == "allow"


def test_a_grant_lifts_no_deny_no_stop_and_no_ceiling():
    bounded = rule("may", "allow") | {"limits": {"callsPerTask": 1}}
    publish(bounded, rule("ask"), rule("no", "deny", conditions=when_strict()))
    _, approval = asked()
    answer(approval, scope="minutes", minutes=10)
    assert effect_of(strict=True) == "deny"
    assert judge(call_of(principal={"status": "quarantined"})).reason is Reason.AGENT_QUARANTINED
    call = call_of("y")
    assert judge(call).effect == "allow"
    assert judge(again(call)).reason is Reason.CALL_CEILING
    assert CallCounter.objects.get().count == 1
    assert Grant.objects.get().uses == 1


def test_with_four_eyes_a_grant_serves_no_task_of_who_gave_it():
    _, approval = asked(rule("ask"))
    answer(approval, "ana", scope="minutes", minutes=10)
    assert judge(replace(call_of("y"), submitted_by="ANA")).effect == "ask"
    assert effect_of() == "allow"


def test_a_refused_call_stays_refused_under_a_grant():
    call, approval = asked(rule("ask"))
    answer(approval, approve=False)
    _, other = asked(call=call_of("y"))
    answer(other, scope="minutes", minutes=10)
    assert judge(again(call)).reason is Reason.APPROVAL_REJECTED


def test_a_revoked_grant_serves_nothing_more():
    _, approval = asked(rule("ask"))
    answer(approval, scope="minutes", minutes=10)
    grant = Grant.objects.get()
    revoked = revoke_grant(grant.id, user="ben", now=timezone.now())
    assert (revoked.revoked_by, effect_of(), list_grants(timezone.now())) == ("ben", "ask", [])
    assert LedgerEvent.objects.get(type="grant.revoked").actor == "user:ben"
    with pytest.raises(GrantOver, match="revoked by ben"):
        revoke_grant(grant.id, user="ana", now=timezone.now())
    with pytest.raises(GrantNotFound):
        revoke_grant("nope", user="ana", now=timezone.now())


@pytest.mark.unrecorded  # a use is counted beside its decision, which is left out here
def test_a_grant_that_ends_between_its_finding_and_its_use_serves_nothing():
    _, approval = asked(rule("ask"))
    answer(approval, scope="minutes", minutes=10)
    grant, now = find_grant_of(approval.id), timezone.now()
    with write_transaction():
        assert use_leave(grant, now=now)
        assert not use_leave(grant, now=grant.expires_at)
    revoke_grant(grant.id, user="ana", now=now)
    with write_transaction():
        assert not use_leave(grant, now=now)


def test_a_revoked_grant_hides_no_live_one():
    (_, first), (_, second) = asked(rule("ask")), asked(call=call_of("n"))
    answer(first, scope="minutes", minutes=10)
    answer(second, scope="minutes", minutes=60)  # the longest is looked at first
    revoke_grant(find_grant_of(second.id).id, user="ana", now=timezone.now())
    assert effect_of() == "allow"


def test_of_many_calls_and_a_revocation_at_once_each_counted_use_ran():
    _, approval = asked(rule("ask"))
    answer(approval, scope="minutes", minutes=10)
    grant = Grant.objects.get()

    def work(number):
        if number == 6:
            revoke_grant(grant.id, user="ben", now=timezone.now())
            return "revoked"
        return effect_of(str(number))

    effects = in_threads(16, work)
    grant.refresh_from_db()
    assert grant.uses == effects.count("allow")
    assert effect_of() == "ask"


def test_what_was_granted_for_a_task_ends_with_its_cancellation():
    call, approval = asked(rule("ask"))
    answer(approval, scope="task")
    with write_transaction():
        supersede_approvals(call.task_id, now=timezone.now())
    assert Grant.objects.get().revoked_by == "system"
    assert effect_of(task_id=call.task_id) == "ask"
