"""Programs over a state and a store of their own, each run as `python -m tests.bench.trail NAME …`; prints JSON.

`verify COUNT` lays a signed trail of so many events and verifies it; `expose RATE SECONDS` writes events and looks when
a checkpoint over each is in the second place.
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BATCH = 4_096
SINCE = 1_000  # events that are new to a run with --since
LOOK_SECONDS = 0.002


def run_program(*arguments: str, folder: Path, mongodb: str) -> Any:
    """Run one of the programs here over `folder` and return what it printed."""
    environment = os.environ | {
        "ORCHESTRATOR_VAR": str(folder),
        "DATABASE_URL": mongodb,
        "SECRET_KEY": "bench" * 10,
        "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings",
        "LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "tests.bench.trail", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


# --- verification ---------------------------------------------------------------------------------------------
def verify_trail(count: int) -> dict[str, Any]:
    """Lay a trail and return the seconds of a whole run, of one over the ledger alone, and of one with `since`."""
    from audit.checking.verification import verify

    lay_seconds = timed(lambda: lay_trail(count))
    figures: dict[str, Any] = {"lay": lay_seconds, "rssBefore": read_rss()}
    for name, values in {"whole": {}, "ledger": {"store": False}, "since": {"since": count - SINCE}}.items():
        reports: list[Any] = []
        cpu = time.process_time()
        figures[name] = timed(lambda values=values, reports=reports: reports.append(verify(**values)))
        assert reports[0].holds, reports[0].findings
        figures[f"{name}Cpu"] = time.process_time() - cpu
        figures[f"{name}Checked"] = reports[0].ledger_checked
    figures["rss"] = read_rss()
    return figures


def timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_rss() -> int:
    """Return the most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def lay_trail(count: int) -> None:
    """Write a trail as the product would leave it, straight into ledger, tree, second place and store."""
    from audit.documents import ensure_indexes, open_store
    from audit.ledger import iterate_numbered
    from audit.proof.publishing import file_next
    from tests.bench.long_trail import write_trail

    write_trail(count)
    while file_next():
        pass
    ensure_indexes()
    for documents in batched(iterate_numbered(after=0, to=count), BATCH, strict=False):
        with open_store(seconds=None) as collection:
            collection.insert_many(documents, ordered=False)


# --- the bound that remains -----------------------------------------------------------------------------------
def expose(rate: float, seconds: float) -> list[float]:
    """Return, for each event, the seconds from its commit until a checkpoint over it is in the second place."""
    from audit.models import LedgerEvent

    with run_sequencer(), watch_folder() as seen:
        committed = write_events(rate, seconds)
        time.sleep(3)
    numbers = dict(LedgerEvent.objects.filter(seq__gt=0).values_list("event_id", "seq"))
    return [next(at for size, at in seen if size >= (numbers[id_] or 0)) - done for id_, done in committed.items()]


def write_events(rate: float, seconds: float) -> dict[str, float]:
    """Record events at `rate`, a transaction each; return when each was committed."""
    from django.utils import timezone

    from audit.events import Event, EventType
    from audit.ledger import record
    from audit.transactions import write_transaction

    committed = {}
    started = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        event = Event(type=EventType.TASK_CANCELLED, at=timezone.now(), actor="system", task_id=f"t-{number}")
        with write_transaction():
            record(event)
        committed[event.id] = time.monotonic()
    return committed


@contextmanager
def run_sequencer() -> Iterator[None]:
    """Run the production command, and wait until it leads."""
    from audit.lease import get_head

    process = subprocess.Popen([sys.executable, "manage.py", "sequencer"], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while not get_head().holder:
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def watch_folder() -> Iterator[list[tuple[int, float]]]:
    """Give the sizes of the checkpoints that come into the second place, each with the time at which it was there."""
    from django.conf import settings

    seen: list[tuple[int, float]] = []
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(Path(settings.AUDIT_CHECKPOINT_DIR), seen, stop))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _watch(folder: Path, seen: list[tuple[int, float]], stop: threading.Event) -> None:
    read: dict[Path, int] = {}
    while not stop.wait(LOOK_SECONDS):
        for path in folder.glob("*.checkpoints"):
            with path.open("rb") as file:
                file.seek(read.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n\n") + 2] if b"\n\n" in text else b""
            now = time.monotonic()
            read[path] = read.get(path, 0) + len(whole)
            seen.extend((int(note.split(b"\n")[1]), now) for note in whole.split(b"\n\n")[::2] if note)


def main(name: str, *arguments: str) -> None:
    """Set up a state of its own, run a program, and print what it found."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    programs: dict[str, Any] = {
        "verify": lambda count: verify_trail(int(count)),
        "expose": lambda rate, seconds: expose(float(rate), float(seconds)),
    }
    json.dump(programs[name](*arguments), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
