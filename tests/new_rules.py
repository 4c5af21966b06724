"""Two processes on one store: one publishes rules, the other decides all the while. How soon does it decide by them?

`measure` starts both; each is this module, run as a program with its part as the argument.
"""

import os
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path
from time import monotonic, sleep

ROOT = Path(__file__).resolve().parents[1]
DECIDE_EVERY_SECONDS = 0.005
# Past the half second of the cache, and never the same part of it.
PUBLISH_EVERY_SECONDS = 0.67


def measure(publications: int, *, store: str = "") -> list[float]:
    """Return, for each publication, the seconds from its commit to the other process's first decision by it.

    `store` is a STATE_DATABASE_URL whose database is empty; without it SQLite in a folder of its own.
    Raises: RuntimeError if a process fails.
    """
    with tempfile.TemporaryDirectory(prefix="new-rules-") as folder:
        stores = {"STATE_DATABASE_URL": store} if store else {}
        environment = {**os.environ, **stores, "ORCHESTRATOR_VAR": folder, "SECRET_KEY": "new-rules" * 5}
        _run(environment, "manage.py", "migrate", "--verbosity", "0")
        with _start(environment, "decide", str(publications)) as decider:
            assert decider.stdout is not None
            first = decider.stdout.readline()  # it decides
            with _start(environment, "publish", str(publications)) as publisher:
                published, _ = publisher.communicate(timeout=120)
            decided, _ = decider.communicate(timeout=120)
        if (publisher.returncode, decider.returncode) != (0, 0):
            raise RuntimeError(f"a process failed: {publisher.returncode}, {decider.returncode}: {first}{decided}")
    commits, firsts = _parse(published), _parse(decided)
    return [
        min(at for version, at in firsts.items() if version >= number) - committed
        for number, committed in commits.items()
    ]


def _run(environment: dict[str, str], *command: str) -> None:
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True, timeout=120)


def _start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.new_rules", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def _parse(lines: str) -> dict[int, float]:
    return {int(number): float(at) for number, at in (line.split() for line in lines.splitlines())}


# --- the two processes ------------------------------------------------------------------------------------------
def decide(publications: int) -> None:
    """Decide without end, and print each version that is new with the time, until the last one is there."""
    from tests.integration.gate_cast import judge, make_call

    known = -1
    while known < publications:
        version = judge(make_call()).policy_version
        if version != known:
            print(version, monotonic(), flush=True)
            known = version
        sleep(DECIDE_EVERY_SECONDS)


def publish(publications: int) -> None:
    """Publish so many versions, and print each with the time of its commit."""
    from tests.integration.gate_cast import publish as put
    from tests.integration.gate_cast import rule

    for number in count(1):
        print(put(rule("a", limits={"callsPerTask": number})), monotonic(), flush=True)
        if number == publications:
            return
        sleep(PUBLISH_EVERY_SECONDS)


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    django.setup()
    {"decide": decide, "publish": publish}[sys.argv[1]](int(sys.argv[2]))
