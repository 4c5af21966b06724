"""Events a second from the ledger into the audit store, and the CPU that hashing and proof take of each.

The events wait in the ledger when the clock starts; it runs until the last is numbered, signed and acknowledged by the
store. The embedded one is started with --sync-on-commit, as in the product; beside it stands the server that
MONGODB_TEST_URI names, if it does. *proof µs* is CPU for the salt, both digests, the tree, its tiles and signatures
alone; *CPU µs* is that of the whole process.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from tests import servers

EVENTS = 30_000
ROUNDS = 3  # of the CPU figure, of which the best counts
ASKED_PER_SECOND = 2_000
ASKED_MICROSECONDS = 10
BODY = {
    "decisionId": "0f" * 16, "decidingRules": ["fetch-allowed", "budget-of-the-month"], "policyVersion": 7,
    "agentVersion": 3, "skillVersion": "1", "argumentsDigest": "0f" * 32, "counters": {"calls-a-day": [12, 400]},
    "detail": "allowed by fetch-allowed",
}  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Return a row for each pair of stores."""
    rows = []
    with servers.run_mongodb() as embedded, servers.run_postgres() as postgres:
        stores = {"embedded": f"mongodb://127.0.0.1:{embedded.port}/?directConnection=true"}
        if uri := os.environ.get("MONGODB_TEST_URI"):
            stores["MONGODB_TEST_URI"] = uri
        for store, address in stores.items():
            for state, url in (("SQLite", ""), ("PostgreSQL", postgres)):
                rows.append({"state": state, "store": store} | _measure_apart(url, address))
    return rows


def _measure_apart(state: str, store: str) -> dict[str, Any]:
    """Measure in a process of its own, on empty stores."""
    with tempfile.TemporaryDirectory(prefix="bench-sequencer-") as folder:
        environment = os.environ | {
            "ORCHESTRATOR_VAR": folder,
            "STATE_DATABASE_URL": state,
            "DATABASE_URL": store,
            "LOG_LEVEL": "ERROR",
        }
        command = [sys.executable, "-m", "tests.bench.sequencer"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2_000:])
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


def measure() -> dict[str, Any]:
    """Return the figures of this process's stores."""
    from django.conf import settings
    from django.core.management import call_command

    settings.MONGODB_DATABASE = f"bench_{secrets.token_hex(4)}"
    call_command("migrate", verbosity=0)
    proof = min(_time_proof() for _ in range(ROUNDS))
    _fill()
    seconds, cpu = _drain()
    return {
        "events": EVENTS,
        "events/s": EVENTS / seconds,
        "asked": ASKED_PER_SECOND,
        "CPU µs": cpu / EVENTS * 1e6,
        "proof µs": proof * 1e6,
        "at most": ASKED_MICROSECONDS,
    }


def _make_events(count: int) -> list[Any]:
    from tests.audit_cast import make_event

    return [make_event(n, body=BODY) for n in range(count)]


def _fill() -> None:
    from audit.ledger import record
    from audit.transactions import write_transaction

    for _ in range(EVENTS // 1_000):
        with write_transaction():
            record(*_make_events(1_000))


def _drain() -> tuple[float, float]:
    """Return how many seconds, and how many of CPU, it took until everything was in the store."""
    from audit import bell
    from audit.sequencer import Sequencer

    sequencer, stop = Sequencer("bench"), threading.Event()
    thread = threading.Thread(target=sequencer.run_forever, args=(stop,))
    began, cpu = time.perf_counter(), time.process_time()
    thread.start()
    while sequencer.status().shipped_seq < EVENTS:
        time.sleep(0.01)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    stop.set()
    bell.recorded.ring()
    thread.join()
    return seconds, cpu


def _time_proof() -> float:
    """Return the seconds of CPU for what a proof needs of an event."""
    from datetime import UTC, datetime

    from audit.proof.merkle import TILE_WIDTH, fold
    from audit.proof.signing import Signer
    from audit.proof.tiles import Tree
    from audit.sequencer import _seal
    from audit.shipper import BATCH

    batches = [_make_rows(BATCH) for _ in range(40)]
    tree, signer = Tree(), Signer()
    began = time.process_time()
    for number, rows in enumerate(batches):
        grown = list(tree.grow(_seal(rows, after=tree.frontier.size)))
        for full in (each for each in grown if each.leaves and each.frontier.size % TILE_WIDTH == 0):
            fold(full.leaves or ())
        signer.sign_due([each.frontier for each in grown], clock=lambda: datetime.now(UTC), monotonic=float(number))
        tree = grown[-1]
    return (time.process_time() - began) / (len(batches) * BATCH)


def _make_rows(count: int) -> list[Any]:
    from audit.canonical import canonical_bytes
    from audit.ids import new_id
    from audit.ledger import LedgerRow
    from audit.wire import format_at
    from tests.audit_cast import NOW

    body = canonical_bytes(BODY).decode()
    return [
        LedgerRow(
            row_id=n,
            document={
                "_id": new_id(), "type": "decision.made", "at": format_at(NOW), "actor": "agent:research-agent",
                "taskId": new_id(), "agentId": "research-agent", "skillId": "sourceFetch", "decision": "allow",
                "reason": "allowed", "traceId": new_id(), "causeId": None, "writer": new_id(), "writerSeq": n,
                "body": body,
            },
        )
        for n in range(count)
    ]  # fmt: skip


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    django.setup()
    print(json.dumps(measure()))
