"""Three web processes are restarted one after the other: nobody's request fails, and nobody misses an event."""

import asyncio

from tests.deploy.rolling_cast import DRAIN_SECONDS, GRACE_SECONDS, ORDER_EACH, WEBS, look_on, run_rolling

RESTARTING = 1012


def test_a_rolling_restart_fails_no_request_and_loses_no_event() -> None:
    with run_rolling() as rolling:
        outcome = asyncio.run(look_on(rolling))
    load, viewers = outcome.load, outcome.viewers
    assert not load.failures, f"{load.failures}\n{outcome.proxy_said}"
    assert len(load.took) > 200
    for viewer in viewers:
        assert viewer.first is not None
        assert viewer.lacks == 0
        assert viewer.seen == list(range(viewer.first + 1, outcome.head + 1))
    assert outcome.head - max(viewer.first or 0 for viewer in viewers) >= len(load.took) // ORDER_EACH
    # Each socket was cut off by its own process, with a code that says: come back at once.
    codes = [code for viewer in viewers for code in viewer.codes.elements()]
    assert len(codes) >= len(viewers)
    assert set(codes) == {RESTARTING}
    assert len(outcome.end_seconds) == WEBS
    assert all(DRAIN_SECONDS <= seconds < DRAIN_SECONDS + GRACE_SECONDS for seconds in outcome.end_seconds)
