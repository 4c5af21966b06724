"""Counters under real threads: nobody gets the last call twice, and a refusal spends nothing."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.transactions import write_transaction
from tests.integration.gate_cast import in_threads, make_call
from toolgate.limits import make_pace, spend_call, to_micros
from toolgate.models import CallCounter, RateCell
from toolgate.types import Limit, Reason
from toolgate.usage import spend_limits, take_call, take_rate

pytestmark = pytest.mark.django_db(transaction=True)


def calls(rule_id="r", amount=3):
    return Limit(rule_id=rule_id, kind="calls_per_task", amount=amount)


def rate(rule_id="r", amount=1, burst=1):
    return Limit(rule_id=rule_id, kind="rate", amount=amount, burst=burst)


def test_calls_are_counted_up_to_the_ceiling():
    with transaction.atomic():
        assert [take_call("k", 3) for _ in range(5)] == [1, 2, 3, None, None]
        assert take_call("other", 3) == 1
        assert take_call("none", 0) is None
    assert CallCounter.objects.get(key="k").count == 3


def test_a_hundred_callers_at_once_share_a_ceiling_of_ten():
    def take(number):
        with write_transaction():
            return take_call("k", 10)

    taken = in_threads(100, take)
    assert sorted(count for count in taken if count is not None) == list(range(1, 11))
    assert CallCounter.objects.get(key="k").count == 10


def test_a_hundred_callers_at_once_share_a_burst_of_ten():
    now = timezone.now()

    def take(number):
        with write_transaction():
            return take_rate("k", 1, 10, now)

    waits = in_threads(100, take)
    assert waits.count(None) == 10
    assert all(0 < wait <= 1 for wait in waits if wait is not None)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 5),
    st.lists(st.integers(-8_000_000, 2_000_000) | st.just(-3_600_000_000), min_size=1, max_size=12),
)
def test_the_store_counts_as_the_arithmetic_does(per_second, burst, jumps):
    pace, arrival, now = make_pace(rate=per_second, burst=burst), None, timezone.now()
    with transaction.atomic():
        RateCell.objects.all().delete()
        for jump in jumps:
            now += timedelta(microseconds=jump)
            spent = spend_call(arrival, pace, to_micros(now))
            arrival = spent.arrival
            wait = take_rate("k", per_second, burst, now)
            assert (wait or 0) == pytest.approx(spent.wait / 1_000_000)
            assert RateCell.objects.get(key="k").arrival_micros == arrival


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (calls("a", 5), rate("b", 1), Reason.RATE_LIMITED),
        (calls("b", 1), calls("a", 5), Reason.CALL_CEILING),
        (rate("b", 1), rate("a", 9, 9), Reason.RATE_LIMITED),
    ],
)
def test_all_limits_are_spent_or_none(first, second, reason):
    call = make_call(task_id="t")
    with transaction.atomic():
        assert spend_limits([first, second], call).refused is None
        before = (list(CallCounter.objects.order_by("key").values()), list(RateCell.objects.order_by("key").values()))
        refused = spend_limits([first, second], call)
    assert refused.reason is reason
    after = (list(CallCounter.objects.order_by("key").values()), list(RateCell.objects.order_by("key").values()))
    assert after == before


def test_a_ceiling_is_told_before_a_rate():
    call = make_call(task_id="t")
    limits = [rate("r", 1), calls("r", 1)]
    with transaction.atomic():
        assert spend_limits(limits, call).refused is None
        spending = spend_limits(limits, call)
    assert (spending.reason, spending.retry_after_seconds) == (Reason.CALL_CEILING, None)


def test_a_ceiling_is_a_tasks_and_a_rate_is_an_agents():
    one, other = make_call(task_id="one"), make_call(task_id="other")
    with transaction.atomic():
        assert spend_limits([calls("r", 1)], one).refused is None
        assert spend_limits([calls("r", 1)], other).refused is None
        assert spend_limits([rate("r", 1)], one).refused is None
        assert spend_limits([rate("r", 1)], other).reason is Reason.RATE_LIMITED
        elsewhere = make_call(task_id="one", agent="qa-verification-agent")
        assert spend_limits([rate("r", 1)], elsewhere).refused is None


def test_callers_with_many_limits_do_not_lock_each_other_out():
    limits = [rate(name, 1000, 1000) for name in "abcd"]

    def spend(number):
        with write_transaction():
            shuffled = limits if number % 2 else limits[::-1]
            return spend_limits(shuffled, make_call(task_id=f"t{number}")).refused

    assert in_threads(40, spend) == [None] * 40


def test_what_is_rolled_back_was_never_spent():
    with transaction.atomic():
        take_call("k", 3)
        take_rate("k", 1, 1, timezone.now())
        transaction.set_rollback(True)
    assert not CallCounter.objects.exists()
    assert not RateCell.objects.exists()
