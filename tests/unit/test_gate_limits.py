"""The arithmetic of rates and of periods, and the normal form that rules are matched against."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgate.limits import (
    MAX_SKEW_MICROS,
    SECOND_MICROS,
    Buckets,
    count_in_window,
    make_pace,
    make_window,
    spend_call,
    to_micros,
)
from toolgate.normal import NotNormal, is_host, is_path, is_plain_id, normalise_host, normalise_resource
from toolgate.types import Reason, Resource

RATES = st.integers(1, 1000)
HOUR = 3600 * SECOND_MICROS


def test_micros_are_exact() -> None:
    at = datetime(2026, 1, 1, 12, 0, 0, 123457, tzinfo=UTC)
    assert to_micros(at) == int(at.timestamp()) * SECOND_MICROS + 123457


def test_a_burst_then_one_an_interval() -> None:
    pace, arrival, now, granted = make_pace(rate=2, burst=3), None, 1_000_000, []
    for step in range(21):
        spent = spend_call(arrival, pace, now + step * 100_000)
        arrival = spent.arrival
        granted += [step] if spent.wait == 0 else []
    assert granted == [0, 1, 2, 5, 10, 15, 20]


def test_a_refusal_says_how_long_and_keeps_the_cell() -> None:
    pace = make_pace(rate=1, burst=1)
    first = spend_call(None, pace, 0)
    refused = spend_call(first.arrival, pace, 400_000)
    assert (refused.wait, refused.arrival) == (600_000, first.arrival)
    assert spend_call(refused.arrival, pace, 400_000 + refused.wait).wait == 0


@given(RATES, st.integers(1, 50), st.lists(st.integers(0, 300_000), min_size=1, max_size=200))
def test_no_window_holds_more_than_the_burst_and_the_rate(rate: int, burst: int, gaps: list[int]) -> None:
    pace, arrival, now, granted = make_pace(rate=rate, burst=burst), None, 0, []
    for gap in gaps:
        now += gap
        spent = spend_call(arrival, pace, now)
        arrival = spent.arrival
        if spent.wait == 0:
            granted.append(now)
    for first in range(len(granted)):
        window = granted[-1] - granted[first]
        assert len(granted) - first <= burst + window * rate / SECOND_MICROS + 1e-9


@given(RATES, st.integers(1, 50), st.lists(st.integers(-HOUR, HOUR), min_size=1, max_size=60))
def test_no_wait_is_longer_than_an_interval_and_the_skew(rate: int, burst: int, jumps: list[int]) -> None:
    pace, arrival, now = make_pace(rate=rate, burst=burst), None, 100 * HOUR
    for jump in jumps:
        now += jump
        spent = spend_call(arrival, pace, now)
        arrival = spent.arrival
        assert 0 <= spent.wait <= pace.interval + MAX_SKEW_MICROS
        assert spent.wait == 0 or spend_call(arrival, pace, now + spent.wait).wait == 0


def test_a_clock_set_back_an_hour_blocks_nobody_and_opens_no_flood() -> None:
    pace, arrival, now = make_pace(rate=2, burst=2), None, 10 * HOUR
    for _ in range(2):
        arrival = spend_call(arrival, pace, now).arrival
    waits = []
    for _ in range(4):
        spent = spend_call(arrival, pace, now - HOUR)
        arrival = spent.arrival
        waits.append(spent.wait)
    assert waits == [0, 500_000, 500_000, 500_000]


def test_a_clock_a_second_behind_gets_no_extra_calls() -> None:
    pace = make_pace(rate=1, burst=1)
    ahead = spend_call(None, pace, 10 * SECOND_MICROS)
    assert spend_call(ahead.arrival, pace, 9 * SECOND_MICROS).wait == 2 * SECOND_MICROS


# --- periods --------------------------------------------------------------------------------------------------
PERIODS = st.sampled_from([1, 3, 60, 3600])


@st.composite
def calls_over_time(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, int]]]:
    """Return a period's seconds, an amount, and calls (when by some worker's clock, and what it counts) in their order.

    Time runs on, at the pace of the period; each worker's clock is behind by as much as clocks may be apart.
    """
    seconds, amount = draw(PERIODS), draw(st.integers(1, 12))
    step, now, calls = seconds * SECOND_MICROS // 4, 10**15, []
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.integers(0, step) | st.just(step * 4) | st.just(0))
        behind = draw(st.integers(0, MAX_SKEW_MICROS) | st.just(0))
        calls.append((now - behind, draw(st.integers(1, amount))))
    return seconds, amount, calls


@settings(max_examples=200, deadline=None)
@given(calls_over_time())
def test_no_stretch_as_long_as_the_period_holds_more_than_the_amount(
    made_up: tuple[int, int, list[tuple[int, int]]],
) -> None:
    seconds, amount, calls = made_up
    window, log = make_window(seconds=seconds), list[tuple[int, int]]()
    buckets: Buckets = ()
    for now, size in calls:
        counted = count_in_window(buckets, window, amount=amount, size=size, now=now)
        buckets = counted.buckets
        # It is no stricter than a log would be over a period, a bucket and the clocks' skew.
        oldest = now - window.period - window.width
        recent = sum(logged for at, logged in log if at > oldest)
        assert counted.wait == 0 or recent + size > amount
        if counted.wait == 0:
            log.append((now, size))
        else:
            assert counted.wait <= window.period + window.width + MAX_SKEW_MICROS
            assert count_in_window(buckets, window, amount=amount, size=size, now=now + counted.wait).wait == 0
            assert count_in_window(buckets, window, amount=amount, size=size, now=now + counted.wait - 1).wait == 1
    for start, _ in log:
        assert sum(size for at, size in log if start <= at <= start + window.period) <= amount


@pytest.mark.parametrize("seconds", [1, 5, 7, 60, 61, 86_400, 31 * 86_400])
def test_a_window_keeps_few_buckets(seconds: int) -> None:
    window, now = make_window(seconds=seconds), 10**15
    buckets: Buckets = ()
    for _ in range(1000):
        now += window.period // 200
        buckets = count_in_window(buckets, window, amount=10**9, size=1, now=now).buckets
    assert len(buckets) <= 62 + MAX_SKEW_MICROS // window.width
    assert window.width <= max(window.period / 59, SECOND_MICROS / 10)


def test_a_period_forgets_at_most_a_bucket_late() -> None:
    window = make_window(seconds=60)
    full = count_in_window((), window, amount=2, size=2, now=90 * SECOND_MICROS).buckets
    waiting = count_in_window(full, window, amount=2, size=1, now=91 * SECOND_MICROS)
    assert (waiting.used, waiting.wait, waiting.buckets) == (2, 60 * SECOND_MICROS, full)
    exact = count_in_window(full, window, amount=2, size=1, now=151 * SECOND_MICROS)
    assert (exact.used, exact.wait) == (1, 0)


def test_a_clock_set_back_makes_nobody_wait_for_it() -> None:
    window = make_window(seconds=60)
    ahead = count_in_window((), window, amount=1, size=1, now=100 * HOUR).buckets
    refused = count_in_window(ahead, window, amount=1, size=1, now=50 * HOUR)
    assert 60 * SECOND_MICROS <= refused.wait <= 61 * SECOND_MICROS
    again = count_in_window(refused.buckets, window, amount=1, size=1, now=50 * HOUR + refused.wait)
    assert again.wait == 0


# --- normal form ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["a", "market-research-agent", "a.b_c", "A" * 64])
def test_an_id_is_plain(text: str) -> None:
    assert is_plain_id(text)


@pytest.mark.parametrize(
    "text", ["", "a" * 65, "a b", "a\n", "a\x00", "\uff41", "a\u200bb", "é", "a'--", "a;drop", "../a", None, 3, b"a"]
)
def test_an_id_is_nothing_else(text: object) -> None:
    assert not is_plain_id(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("GitHub.com", "github.com"),
        ("github.com.", "github.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a_b.example.org", "a_b.example.org"),
    ],
)
def test_a_host_has_one_form(text: str, host: str) -> None:
    assert normalise_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "localhost", "10.0.0.1", "0x7f.1", "127.1", "1.1", "[::1]", "::1", "a..b", ".a.org", "a.org..",
        "-a.org", "a-.org", "a.org:443", "user@a.org", "a.org/x", "a.org\n", "a .org", "*.a.org", "a" * 64 + ".org",
        "x." * 130 + "org", "a.org\x00", "a。", "\ud800.org", "\uff11\uff12\uff17.0.0.1",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        normalise_host(text)
    assert not is_host(text)


@pytest.mark.parametrize("path", ["", "a", "a/b", "a/.b", "a/...", "a/..b", "ä/é", "a b", "%2e%2e/a", ".git/config"])
def test_a_path_in_normal_form(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize(
    "path",
    ["/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/..", "../a", "a/../b", "a\\b", "a\x00", "a\n", "a" * 5000],
)
def test_a_path_that_is_not_is_refused(path: str) -> None:
    assert not is_path(path)
    for name, reason in (("read_paths", Reason.READ_PATH), ("write_paths", Reason.WRITE_PATH)):
        with pytest.raises(NotNormal) as caught:
            normalise_resource(Resource(**{name: ("ok", path)}))
        assert caught.value.reason is reason


def test_a_resource_in_normal_form_is_left_alone_and_hosts_are_brought_to_it() -> None:
    plain = Resource(hosts=("a.org",), read_paths=("a",))
    assert normalise_resource(plain) is plain
    assert normalise_resource(Resource(hosts=("A.ORG.",))).hosts == ("a.org",)
    with pytest.raises(NotNormal) as caught:
        normalise_resource(Resource(hosts=("10.0.0.1",)))
    assert caught.value.reason is Reason.DOMAIN_NOT_ALLOWED


@given(st.text(max_size=40))
def test_a_path_in_normal_form_never_leaves(text: str) -> None:
    if is_path(text):
        parts = text.split("/") if text else []
        assert not {"", ".", ".."} & set(parts)
        assert all(one != ".." for pair in pairwise(parts) for one in pair)


def test_retry_after_is_in_the_future_of_the_cell() -> None:
    pace = make_pace(rate=3, burst=1)
    assert pace.interval == 333_334  # rounded up: never more than three a second
    assert timedelta(microseconds=pace.interval * 3) >= timedelta(seconds=1)
