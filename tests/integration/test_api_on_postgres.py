"""The API's suites once more, on PostgreSQL: other locks, stricter types, real concurrency of the server."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITES = (
    "test_api_tasks",
    "test_api_task_reads",
    "test_api_files",
    "test_api_approvals",
    "test_tokens",
    "test_accounts",
)


def test_the_api_holds_on_postgresql(postgres: str) -> None:
    files = [f"tests/integration/{suite}.py" for suite in SUITES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=ROOT,
        env={**os.environ, "STATE_DATABASE_URL": postgres},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) >= 210
    assert "skipped" not in done.stdout
