"""The audit suites once more, on PostgreSQL: other locks, other placeholders, the database's own clock."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITES = ("ledger", "sequencer", "verification", "commands")


def test_the_audit_holds_on_postgresql(postgres: str, mongodb: str) -> None:
    files = [f"tests/integration/test_audit_{suite}.py" for suite in SUITES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=ROOT,
        env={**os.environ, "STATE_DATABASE_URL": postgres, "MONGODB_TEST_URI": mongodb},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) >= 65
    assert "skipped" not in done.stdout
