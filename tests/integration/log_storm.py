"""Programs of their own for tests that kill processes.

`python -m tests.integration.log_storm write SECONDS [PAUSE]` writes with ten processes, which rest for PAUSE seconds
after each transaction, and prints the id of each event once it is committed; some are rolled back, whole or to a
savepoint, and some connections end.
`python -m tests.integration.log_storm sequence` takes the lease over at once, says that it leads, and sequences.
`python -m tests.integration.log_storm check` takes these ids, waits until a sequencer has brought
everything away, and prints what is wrong with the log, if anything.
"""

import os
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import django

from tests.audit_cast import make_event, wait_until

WRITERS = 10


class ChangedMind(Exception):
    """The change is not wanted after all."""


def write(seconds: float, pause: float = 0.0) -> None:
    """Write until the time is over, each process on its own."""
    children = []
    for number in range(WRITERS):
        child = os.fork()
        if child == 0:
            try:
                _write_alone(random.Random(number), time.monotonic() + seconds, pause)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _write_alone(draw: random.Random, ends_at: float, pause: float) -> None:
    from django.db import connection

    while time.monotonic() < ends_at:
        with suppress(ChangedMind):
            ids = _write_some(draw)
            os.write(1, "".join(f"{id_}\n" for id_ in ids).encode())
        if draw.random() < 0.02:
            connection.close()
        time.sleep(pause)


def _write_some(draw: random.Random) -> list[str]:
    """Record some events in one transaction; return the ids of those that last."""
    from django.db import transaction

    from audit.ledger import record
    from audit.transactions import write_transaction

    with write_transaction():
        events = [make_event() for _ in range(draw.randint(1, 4))]
        record(*events)
        if draw.random() < 0.2:
            with suppress(ChangedMind), transaction.atomic():
                record(make_event(), make_event())
                raise ChangedMind
            events.append(make_event())
            record(events[-1])
        if draw.random() < 0.1:
            raise ChangedMind
    return [event.id for event in events]


def sequence() -> None:
    """Sequence until SIGTERM."""
    from audit import bell
    from audit.sequencer import Sequencer

    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        bell.recorded.ring()

    signal.signal(signal.SIGTERM, end)
    sequencer = Sequencer(f"process {os.getpid()}", steal=True, poll_seconds=0.02)
    while not sequencer.status().leading:
        sequencer.step()
    print("leads", flush=True)
    sequencer.run_forever(stop)


def check(committed: set[str]) -> Iterator[str]:
    """Give what is wrong with events, numbers, writers' counts and checkpoints, once all is shipped and filed."""
    from audit.lease import get_head
    from audit.models import LedgerEvent

    wait_until(_is_done, seconds=60)
    numbers = Counter(LedgerEvent.objects.values_list("seq", flat=True))
    if set(numbers) != set(range(1, get_head().seq + 1)) or set(numbers.values()) != {1}:
        yield "a number is missing or twice"
    counts = defaultdict(list)
    for writer, number in LedgerEvent.objects.order_by("seq").values_list("writer", "writer_seq"):
        counts[writer].append(number)
    for writer, count in counts.items():
        if count != list(range(1, len(count) + 1)):
            yield f"writer {writer} counted {count}"
    if missing := committed - set(LedgerEvent.objects.values_list("event_id", flat=True)):
        yield f"{len(missing)} events that were committed are missing"
    yield from check_checkpoints()


def _is_done() -> bool:
    from audit.status import get_checkpoint_status, get_ledger_status

    signed = get_checkpoint_status()
    return get_ledger_status().waiting == 0 and signed.unsigned == 0 and signed.unfiled_since is None


def check_checkpoints() -> Iterator[str]:
    """Give what is wrong with the signed checkpoints, in the database and in the folder."""
    from django.conf import settings

    from audit.lease import get_head
    from audit.models import Checkpoint
    from audit.proof.keys import load_verifier
    from audit.proof.log import prove_growth, read_frontier
    from audit.proof.merkle import is_consistent
    from audit.proof.notes import open_note

    rows = list(Checkpoint.objects.order_by("size"))
    signed = [open_note(row.note, load_verifier()) for row in rows]
    for old, new in pairwise(signed):
        if not is_consistent(old.size, old.root, new.size, new.root, prove_growth(old.size, new.size)):
            yield f"checkpoint {new.size} does not continue {old.size}"
        if new.size - old.size > 256:
            yield f"{new.size - old.size} events between checkpoints"
    if not signed or signed[-1].size != get_head().seq or signed[-1].root != read_frontier(get_head().seq).root:
        yield "the newest checkpoint is not of the whole log"
    filed = "".join(path.read_text() for path in sorted(settings.AUDIT_CHECKPOINT_DIR.glob("*.checkpoints")))
    if missing := [row.size for row in rows if f"{row.note}\n" not in filed]:
        yield f"checkpoints {missing} are not filed"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    django.setup()
    if sys.argv[1] == "write":
        write(*map(float, sys.argv[2:]))
    elif sys.argv[1] == "sequence":
        sequence()
    else:
        print("\n".join(check(set(sys.stdin.read().split()))))
