"""Three web processes behind haproxy restarted one after the other, under 50 requests a second and 100 sockets.

Each fifth request is an order, and so an event; all others read. A socket that is cut off is opened again through the
proxy and goes on after its last event; `away` is how long a screen had none. Needs Debian's haproxy.
"""

import asyncio
from typing import Any

from tests.deploy.rolling_cast import Outcome, look_on, run_rolling


def run() -> list[dict[str, Any]]:
    """Return one row."""
    with run_rolling() as rolling:
        return [measure(asyncio.run(look_on(rolling)))]


def measure(outcome: Outcome) -> dict[str, Any]:
    """Return what was seen from outside."""
    took, viewers = sorted(outcome.load.took), outcome.viewers
    lost = sum(len(set(range((one.first or 0) + 1, outcome.head + 1)) - set(one.seen)) for one in viewers)
    away = sorted(viewer.away_seconds for viewer in viewers)
    return {
        "requests": len(took),
        "failed": outcome.load.failures.total(),
        "p50 ms": 1000 * took[len(took) // 2],
        "p99 ms": 1000 * took[int(len(took) * 0.99)],
        "sockets": len(viewers),
        "cut off": sum(viewer.codes.total() for viewer in viewers),
        "events each": outcome.head - max(viewer.first or 0 for viewer in viewers),
        "lost": lost,
        "twice": sum(len(viewer.seen) - len(set(viewer.seen)) for viewer in viewers),
        "away s, median": away[len(away) // 2],
        "away s, most": away[-1],
        "a stop s, most": max(outcome.end_seconds),
    }
