"""`make test-again`: run alone what failed in the last suite, where it was little enough to blame a busy machine.

On a machine shared with others a test that waits for a server may wait too long. It may then pass alone, once; what
fails twice has failed. More than a handful of failures, or a run that did not come to its end, is never run again.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

MOST: Final = 5
CACHE: Final = Path(".pytest_cache")


def main() -> str | int:
    """Return the exit code of the second run, or why there was none."""
    if (CACHE / "exit").read_text().strip() != "1":
        return "test-again: the first run did not come to its end"
    failed = list(json.loads((CACHE / "v/cache/lastfailed").read_text()))
    if not 0 < len(failed) <= MOST:
        return f"test-again: {len(failed)} tests failed, and no more than {MOST} are run again"
    heading = f"FAILED ONCE, NOW AGAIN AND ALONE: {len(failed)} of the tests"
    print("\n".join(["=" * 100, heading, *failed, "=" * 100]), flush=True)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-n", "0", *failed], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
