"""Counters under real threads: nobody gets the last call twice, and a refusal spends nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.transactions import write_transaction
from tests.integration.gate_cast import in_threads, make_call
from toolgate.limits import Buckets, count_in_window, make_pace, make_window, spend_call, to_micros
from toolgate.models import CallCounter, PeriodCell, RateCell
from toolgate.types import Limit, LimitKind, Reason, Spent
from toolgate.usage import peek_limits, spend_limits, take_call, take_rate

pytestmark = pytest.mark.django_db(transaction=True)


def calls(rule_id="r", amount=3):
    return Limit(rule_id=rule_id, kind="calls_per_task", amount=amount)


def rate(rule_id="r", amount=1, burst=1):
    return Limit(rule_id=rule_id, kind="rate", amount=amount, burst=burst)


def limit(kind, amount, rule_id="r", seconds=60):
    return Limit(rule_id=rule_id, kind=LimitKind(kind), amount=amount, seconds=seconds)


def tables():
    return [list(model.objects.order_by("key").values()) for model in (CallCounter, RateCell, PeriodCell)]


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


def test_a_hundred_callers_at_once_share_a_period_of_ten():
    now = timezone.now()

    def spend(number):
        with write_transaction():
            call = make_call(task_id=f"t{number}", now=now + timedelta(milliseconds=number % 7))
            return spend_limits([limit("calls_per_period", 10)], call)

    spendings = in_threads(100, spend)
    assert [spending.refused for spending in spendings].count(None) == 10
    assert {spending.reason for spending in spendings if spending.refused} == {Reason.RATE_LIMITED}
    assert all(59 < spending.retry_after_seconds < 62 for spending in spendings if spending.refused)
    assert sum(count for _, count in PeriodCell.objects.get().buckets) == 10


def test_a_hundred_callers_at_once_share_the_bytes_of_a_task():
    def spend(number):
        with write_transaction():
            return spend_limits([limit("bytes_per_task", 250)], make_call(task_id="t", argument_bytes=20)).refused

    assert in_threads(100, spend).count(None) == 12
    assert CallCounter.objects.get().count == 240


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(-5_000_000, 9_000_000), st.integers(1, 9)), min_size=1, max_size=10),
)
def test_the_store_counts_a_period_as_the_arithmetic_does(seconds, amount, steps):
    window, now = make_window(seconds=seconds), timezone.now()
    buckets: Buckets = ()
    with transaction.atomic():
        PeriodCell.objects.all().delete()
        for jump, size in steps:
            now += timedelta(microseconds=jump)
            call = make_call(task_id="t", now=now, argument_bytes=size)
            spending = spend_limits([limit("bytes_per_period", amount, seconds=seconds)], call)
            if size > amount:
                assert spending.reason is Reason.CALL_CEILING  # it could never run: to wait would be in vain
                continue
            counted = count_in_window(buckets, window, amount=amount, size=size, now=to_micros(now))
            buckets = counted.buckets
            assert (spending.retry_after_seconds or 0) == pytest.approx(counted.wait / 1_000_000)
            assert [tuple(bucket) for bucket in PeriodCell.objects.get().buckets] == list(buckets)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (calls("a", 5), rate("b", 1), Reason.RATE_LIMITED),
        (calls("b", 1), calls("a", 5), Reason.CALL_CEILING),
        (rate("b", 1), rate("a", 9, 9), Reason.RATE_LIMITED),
        (limit("calls_per_period", 5, "a"), rate("b", 1), Reason.RATE_LIMITED),
        (limit("calls_per_period", 1, "b"), limit("calls_per_period", 5, "a"), Reason.RATE_LIMITED),
        (limit("bytes_per_period", 30), limit("calls_per_period", 5), Reason.RATE_LIMITED),
        (limit("bytes_per_task", 30), calls("a", 5), Reason.CALL_CEILING),
        (limit("bytes_per_task", 90), limit("calls_per_period", 1), Reason.RATE_LIMITED),
    ],
)
def test_all_limits_are_spent_or_none(first, second, reason):
    call = make_call(task_id="t", argument_bytes=20)
    with transaction.atomic():
        assert spend_limits([first, second], call).refused is None
        before = tables()
        refused = spend_limits([first, second], call)
    assert refused.reason is reason
    assert tables() == before
    assert (refused.retry_after_seconds is None) == (reason is Reason.CALL_CEILING)


def test_what_lies_before_the_refusal_is_given_back_of_every_kind():
    limits = [
        calls("r", 9), limit("bytes_per_task", 900), limit("calls_per_period", 9), limit("bytes_per_period", 900),
        rate("r", 1),
    ]  # fmt: skip
    now = timezone.now()
    with transaction.atomic():
        assert spend_limits(limits, make_call(task_id="t", argument_bytes=20, now=now)).refused is None
        before = tables()
        assert [len(rows) for rows in before] == [2, 1, 2]
        for later in (0, 100, 900):
            refused = spend_limits(
                limits, make_call(task_id="t", argument_bytes=20, now=now + timedelta(milliseconds=later))
            )
            assert refused.refused == limits[-1]
            assert tables() == before


@pytest.mark.parametrize(("kind", "field"), [("spend_per_task", "task_micro"), ("spend_per_day", "day_micro")])
@pytest.mark.parametrize(
    ("micro", "reason"), [(0, Reason.ALLOWED), (1_499_999, Reason.ALLOWED), (1_500_000, Reason.BUDGET_EXHAUSTED)]
)
def test_nothing_runs_once_so_much_is_spent(kind, field, micro, reason):
    spent = Spent(**({"task_micro": 0, "day_micro": 0} | {field: micro}))
    with transaction.atomic():
        spending = spend_limits([limit(kind, 1_500_000), calls("r", 3)], replace(make_call(task_id="t"), spent=spent))
    assert (spending.reason, spending.retry_after_seconds) == (reason, None)
    assert CallCounter.objects.filter(count__gt=0).exists() is (reason is Reason.ALLOWED)


def test_what_nobody_knows_to_be_unspent_is_taken_for_spent():
    with transaction.atomic():
        spending = spend_limits([limit("spend_per_day", 1_500_000)], make_call(task_id="t"))
    assert spending.reason is Reason.BUDGET_EXHAUSTED
    assert "unknown" in spending.detail


def test_a_look_at_the_counters_shows_what_was_recorded_and_spends_nothing():
    limits = [
        calls("r", 9), limit("bytes_per_task", 900), limit("calls_per_period", 9, "s"), limit("bytes_per_period", 900),
        limit("spend_per_task", 5), limit("spend_per_day", 7), rate("s", 5, 5),
    ]  # fmt: skip
    call = replace(make_call(task_id="t", argument_bytes=20), spent=Spent(task_micro=3, day_micro=4))
    untouched = {
        "r": {
            "callsPerTask": 9, "calls": 0, "bytesPerTask": 900, "bytes": 0, "bytesPerPeriod": 900,
            "bytesPeriodSeconds": 60, "bytesInPeriod": 0, "spendPerTaskMicroGbp": 5, "taskSpentMicroGbp": 3,
            "spendPerDayMicroGbp": 7, "daySpentMicroGbp": 4,
        },
        "s": {"callsPerPeriod": 9, "callsPeriodSeconds": 60, "callsInPeriod": 0, "ratePerSecond": 5},
    }  # fmt: skip
    with transaction.atomic():
        assert peek_limits(limits, call) == untouched
        assert tables() == [[], [], []]
        spending = spend_limits(limits, call)
        assert spending.counters == peek_limits(limits, call)
    assert spending.counters["r"]["bytes"] == 20


def test_bytes_that_nobody_has_measured_are_measured():
    with transaction.atomic():
        spend_limits([limit("bytes_per_task", 900)], make_call(task_id="t", arguments={"a": 1}))
    assert CallCounter.objects.get().count == len(b'{"a":1}')


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
