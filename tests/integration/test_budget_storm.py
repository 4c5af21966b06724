"""No cap is overshot: 16 processes on one store, which die between steps, change caps and see the month end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900  # seconds; some twenty are needed on two cores that do nothing else


def run_storm(var: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """Run `tests.budget_storm` on a store of its own and return both of its reports."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.budget_storm", *arguments],
        cwd=ROOT,
        env={**os.environ, "ORCHESTRATOR_VAR": str(var), "COST_BUDGET_CAP": "60"} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    report: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        report |= json.loads(line)
    return report | {"complaints": done.stderr[-6000:]}


def expect_all_well(report: dict[str, Any]) -> None:
    """See that all of it happened: both months, refusals, every way in which a call can end, deaths."""
    assert report["wrong"] == []
    assert (report["violations"], report["faults"]) == (0, 0), report["complaints"]
    assert report["crashes"] > 0
    assert set(report["months"]) == {"2026-11", "2026-12"}
    expected = {"reserved", "settled", "released", "reconciled", "refused", "capped", "crossed"}
    assert {f"budget.{name}" for name in expected} == set(report["events"]) - {"budget.adjusted"}  # a cap that follows


def make_database(postgres: str, name: str) -> str:
    """Make an empty database on the server and return its address."""
    import psycopg

    with psycopg.connect(postgres.replace("postgres://", "postgresql://"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.rsplit("/", 1)[0] + f"/{name}"


def test_no_cap_is_overshot_on_postgresql(postgres: str, tmp_path: Path) -> None:
    database = make_database(postgres, "storm")
    report = run_storm(tmp_path, "--processes", "16", "--operations", "640", STATE_DATABASE_URL=database)
    expect_all_well(report)
    assert report["operations"] >= 10_000
    assert report["states"]["settled"] > 500


def test_no_cap_is_overshot_on_sqlite(tmp_path: Path) -> None:
    report = run_storm(tmp_path, "--processes", "4", "--operations", "300", "--crash", "0.01", STATE_DATABASE_URL="")
    expect_all_well(report)


def test_a_hold_that_does_not_look_at_the_cap_is_found_out(tmp_path: Path) -> None:
    few = ("--processes", "2", "--operations", "150", "--unconditional")
    report = run_storm(tmp_path, *few, STATE_DATABASE_URL="", COST_BUDGET_CAP="1")
    assert report["violations"] > 0
    assert report["wrong"] != []
