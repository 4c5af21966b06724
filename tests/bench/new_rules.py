"""Seconds from the commit of new rules until another process decides by them.

It decides 200 times a second on the same store, and looks for a newer version twice a second.
"""

from typing import Any

from tests.new_rules import measure
from tests.servers import run_postgres

PUBLICATIONS = 20


def run() -> list[dict[str, Any]]:
    """Return a row a store."""
    rows = [_row("SQLite", measure(PUBLICATIONS))]
    with run_postgres() as url:
        rows.append(_row("PostgreSQL", measure(PUBLICATIONS, store=url)))
    return rows


def _row(store: str, seconds: list[float]) -> dict[str, Any]:
    mean = sum(seconds) / len(seconds)
    return {"store": store, "publications": len(seconds), "mean s": mean, "longest s": max(seconds)}
