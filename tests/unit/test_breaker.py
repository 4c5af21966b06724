"""The circuit breaker: when it opens, whom it lets through, and whose word it takes."""

from hypothesis import given
from hypothesis import strategies as st

from agents.breaker import Breaker, CircuitState, Ticket


def admitted(breaker: Breaker, now: float) -> Ticket:
    ticket = breaker.admit(now)
    assert ticket is not None
    return ticket


def state_of(breaker: Breaker) -> CircuitState:
    return breaker.state


def fail(breaker: Breaker, *times: float, wait_seconds: float = 0.0) -> None:
    for now in times:
        breaker.fail(admitted(breaker, now), now=now, wait_seconds=wait_seconds)


def make_open(**values: float) -> Breaker:
    breaker = Breaker(max_failures=3, window_seconds=60, cool_down_seconds=30)
    fail(breaker, 0, 1, 2, **values)
    assert state_of(breaker) is CircuitState.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_no_call_goes_through() -> None:
    breaker = Breaker(max_failures=3)
    fail(breaker, 0, 1)
    assert state_of(breaker) is CircuitState.CLOSED
    fail(breaker, 2)
    assert state_of(breaker) is CircuitState.OPEN
    assert breaker.admit(3) is None
    assert breaker.count_wait(3) == 29


def test_a_success_between_them_starts_the_count_anew() -> None:
    breaker = Breaker(max_failures=3)
    fail(breaker, 0, 1)
    breaker.succeed(admitted(breaker, 2))
    fail(breaker, 3, 4)
    assert state_of(breaker) is CircuitState.CLOSED


def test_failures_that_lie_far_apart_do_not_open_it() -> None:
    breaker = Breaker(max_failures=3, window_seconds=60)
    fail(breaker, 0, 50, 100, 150, 200)
    assert state_of(breaker) is CircuitState.CLOSED


def test_after_the_cool_down_one_call_goes_through() -> None:
    breaker = make_open()
    assert breaker.admit(31.9) is None
    assert breaker.admit(32) is not None
    assert state_of(breaker) is CircuitState.HALF_OPEN
    assert breaker.admit(32) is None
    assert breaker.count_wait(32) == 1


def test_the_probe_decides() -> None:
    breaker = make_open()
    breaker.fail(admitted(breaker, 40), now=41)
    assert (breaker.state, breaker.count_wait(41)) == (CircuitState.OPEN, 30)
    breaker.succeed(admitted(breaker, 80))
    assert state_of(breaker) is CircuitState.CLOSED
    fail(breaker, 81, 82)
    assert state_of(breaker) is CircuitState.CLOSED


def test_a_probe_that_shows_nothing_makes_way_for_another() -> None:
    breaker = make_open()
    breaker.forget(admitted(breaker, 40))
    assert state_of(breaker) is CircuitState.HALF_OPEN
    assert breaker.admit(40) is not None


def test_a_vendor_is_left_alone_as_long_as_it_asks_for() -> None:
    assert make_open(wait_seconds=100).count_wait(2) == 100


def test_outcomes_of_calls_from_before_the_change_count_for_nothing() -> None:
    breaker = Breaker(max_failures=3, cool_down_seconds=30)
    early = [admitted(breaker, 0) for _ in range(3)]
    fail(breaker, 1, 2, 3)
    breaker.succeed(early[0])
    assert state_of(breaker) is CircuitState.OPEN
    admitted(breaker, 40)
    breaker.fail(early[1], now=41)
    breaker.forget(early[2])
    assert state_of(breaker) is CircuitState.HALF_OPEN
    assert breaker.admit(42) is None


@given(st.lists(st.tuples(st.sampled_from(["admit", "succeed", "fail", "forget"]), st.integers(0, 20)), max_size=60))
def test_a_half_open_circuit_never_has_two_probes(steps: list[tuple[str, int]]) -> None:
    breaker, now = Breaker(max_failures=2, cool_down_seconds=10), 0.0
    tickets: list[Ticket] = []
    probes: list[Ticket] = []
    for act, seconds in steps:
        now += seconds
        if act == "admit":
            ticket = breaker.admit(now)
            if ticket is None:
                continue
            tickets.append(ticket)
            if breaker.state is CircuitState.HALF_OPEN:
                assert not probes
                probes.append(ticket)
        elif tickets:
            ticket = tickets.pop(0)
            probes = [probe for probe in probes if probe is not ticket]
            if act == "fail":
                breaker.fail(ticket, now=now)
            else:
                getattr(breaker, act)(ticket)
