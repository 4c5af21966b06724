"""The bound that remains: from an event's commit until a checkpoint over it lies in the second place.

Until then, who has full rights on both databases can take it away unseen. One sequencer, one writer, SQLite.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests import servers
from tests.bench.trail import run_program

CASES = {"at rest: one event in 1.3 s": (1 / 1.3, 40.0), "200 events/s": (200.0, 20.0)}


def run() -> list[dict[str, Any]]:
    """Return a row for each rate: the quantiles in milliseconds."""
    return [{"load": name} | measure(*case) for name, case in CASES.items()]


def measure(rate: float, seconds: float) -> dict[str, Any]:
    """Return the quantiles of one rate."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, servers.run_mongodb() as mongodb:
        uri = f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true"
        delays = sorted(run_program("expose", str(rate), str(seconds), folder=Path(folder), mongodb=uri))
    quantiles = {"p50 ms": 0.5, "p99 ms": 0.99, "max ms": 1.0}
    return {"events": len(delays)} | {
        name: delays[min(len(delays) - 1, int(share * len(delays)))] * 1000 for name, share in quantiles.items()
    }
