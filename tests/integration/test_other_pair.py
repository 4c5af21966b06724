"""The queue's suite once more, on the other pair of stores: PostgreSQL with docket on Redis."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_contract_holds_on_postgresql_and_docket(postgres: str, valkey: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/contract", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=ROOT,
        check=False,
        env={**os.environ, "STATE_DATABASE_URL": postgres, "REDIS_URL": valkey},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) >= 25
    assert "skipped" not in done.stdout
