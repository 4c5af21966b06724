"""`verify_audit` over a trail of a million events in ledger and store, with 3,907 signed checkpoints.

*Whole* reads both; *ledger alone* is what `rebuild_audit` begins with; *new* has `--since` with 1,000 events after it.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests import servers
from tests.bench.trail import run_program

COUNT = 1_000_000
NAMES = {"whole": "whole", "ledger": "ledger alone", "since": "new, with --since"}


def run() -> list[dict[str, Any]]:
    """Return a row for each kind of run; CPU is that of the process alone, memory the most that it ever held."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, servers.run_mongodb() as mongodb:
        uri = f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true"
        figures = run_program("verify", str(COUNT), folder=Path(folder), mongodb=uri)
    return [
        {
            "run": title,
            "events read": f"{figures[f'{name}Checked']:,}",
            "seconds": figures[name],
            "events/s": figures[f"{name}Checked"] / figures[name],
            "CPU µs/event": figures[f"{name}Cpu"] / figures[f"{name}Checked"] * 1_000_000,
            "MB before": figures["rssBefore"],
            "MB": figures["rss"],
        }
        for name, title in NAMES.items()
    ]
