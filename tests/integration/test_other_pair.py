"""Suites once more on the other pair of stores: PostgreSQL, and docket on Redis where the engine matters.

Other locks, other placeholders, stricter types, the database's own clock, real concurrency of the server.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AUDIT = ("backlog", "ledger", "sequencer", "verification", "commands", "transcripts")
PROOF = ("audit_writers", "proof_tiles", "proof_checkpoints", "proof_publishing")
API = ("api_tasks", "api_task_reads", "api_files", "api_approvals", "tokens", "accounts", "editing")
APPROVALS = ("approvals", "approvals_votes", "approvals_edits", "approvals_grants", "approvals_machine")
GATE = ("usage", "enforcement", *APPROVALS, "publishing")
POLICY = ("policy_drafts", "policy_pages", "api_policy")
# What runs, and how many tests that are at least: a suite that was moved away must not pass unseen.
SUITES = {
    "audit": ([f"tests/integration/test_audit_{name}.py" for name in AUDIT], 80),
    "proof": ([f"tests/integration/test_{name}.py" for name in PROOF], 38),
    "gate": ([f"tests/integration/test_gate_{name}.py" for name in GATE], 170),
    "policy": ([f"tests/integration/test_{name}.py" for name in POLICY], 44),
    "api": ([f"tests/integration/test_{name}.py" for name in API], 250),
    "budget": (["tests/integration/test_spending.py", "tests/integration/test_console_cost.py"], 55),
    "replay": (["tests/integration/test_what_if.py", "tests/integration/test_shadow.py"], 30),
}


def run_again(paths: Sequence[str], *, at_least: int, **stores: str) -> None:
    """Run suites in a process of their own on `stores`, and see that enough of them ran and none was skipped."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *paths, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=ROOT,
        env={"APPROVAL_EXAMPLES": "15", **os.environ, **stores},  # what locks are about, tests with threads show
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) >= at_least
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_holds_on_postgresql(name: str, postgres: str, mongodb: str) -> None:
    paths, at_least = SUITES[name]
    run_again(paths, at_least=at_least, STATE_DATABASE_URL=postgres, MONGODB_TEST_URI=mongodb)


def test_the_queue_and_the_loop_hold_on_postgresql_and_docket(postgres: str, valkey: str) -> None:
    run_again(["tests/contract"], at_least=80, STATE_DATABASE_URL=postgres, REDIS_URL=valkey)
