"""The explorer's pages over 10,000 and over 1,000,000 events in the embedded store, milliseconds from click to page.

The store is filled directly. *Rare* is a search for two things that no event has together: it answers with how far it
has looked, and goes on from there.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any

SIZES = (10_000, 1_000_000)
BATCH = 5_000
ROUNDS = 25
TYPES = ("decision.made", "step.finished", "run.started", "task.succeeded", "budget.settled")
PAGES = {
    "first page": "",
    "older page": "?before={middle}",
    "one agent": "?agent=agent-3",
    "one noun": "?type=task.",
    "one task": "?task={task}",
    "an id in a body": "?q={decision}",
    "nobody's id": "?q=nowhere",
    "a day": "?since={since}&until={until}",
    "rare": "?agent=agent-3&decision=ask&skill=normalizer",
    "an entry": "{middle}/",
}


def run() -> list[dict[str, Any]]:
    """Return a row for each page: the median at each size, and how much longer the larger one took."""
    with _world() as client:
        for size in SIZES:
            _use(size)
            _fill(size)
        rows = []
        for name, path in PAGES.items():  # both sizes one after the other, for the machine's load comes and goes
            small, large = (_time(client, path, size) for size in SIZES)
            rows.append({"page": name, f"at {SIZES[0]:,}": small, f"at {SIZES[1]:,}": large, "x": large / small})
    return rows


def _use(size: int) -> None:
    """Turn to the store with so many events."""
    from django.conf import settings

    from audit import documents
    from audit.exploring.queries import forget_head
    from audit.lease import HEAD
    from audit.models import TreeHead

    settings.MONGODB_DATABASE = f"bench_{size}"
    documents.disconnect()
    forget_head()
    TreeHead.objects.update_or_create(name=HEAD, defaults={"seq": size, "shipped_seq": size})


def _names(size: int) -> dict[str, Any]:
    middle = size // 2
    return {
        "middle": middle,
        "task": _task(middle),
        "decision": _id("decision", middle),
        "since": _at(middle).isoformat().replace("+00:00", "Z"),
        "until": _at(middle + 500).isoformat().replace("+00:00", "Z"),
    }


def _time(client: Any, path: str, size: int) -> float:
    _use(size)
    path, times = path.format(**_names(size)), []
    client.get(f"/audit/{path}")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = client.get(f"/audit/{path}")
        times.append((time.perf_counter() - started) * 1_000)
        assert answer.status_code == 200, (path, answer.status_code)
    return statistics.median(times)


def _fill(count: int) -> None:
    from audit.documents import ensure_indexes, open_store

    ensure_indexes()
    for seqs in batched(range(1, count + 1), BATCH, strict=False):
        with open_store(seconds=None) as collection:
            collection.insert_many([_make(seq) for seq in seqs], ordered=False)


def _make(seq: int) -> dict[str, Any]:
    from audit.ids import collect_ids
    from audit.proof.leaves import seal
    from audit.wire import format_at

    document: dict[str, Any] = {
        "_id": _id("event", seq), "type": TYPES[seq % 5], "at": format_at(_at(seq)), "actor": f"agent:agent-{seq % 11}",
        "taskId": _task(seq), "agentId": f"agent-{seq % 11}", "skillId": ("normalizer", "sourceFetch")[seq % 2],
        "decision": "ask" if seq % 22 == 5 else None, "reason": None, "traceId": _id("trace", seq // 20),
        "causeId": _id("event", seq - 1), "writer": "w", "writerSeq": seq,
        "body": f'{{"decisionId":"{_id("decision", seq)}","stepId":"{_id("step", seq)}"}}',
    }  # fmt: skip
    seal(document, seq=seq, salt=f"{seq:032x}")
    document["ids"] = collect_ids(document)
    return document


def _id(kind: str, number: int) -> str:
    return f"{kind[0]}{number:031x}"


def _task(seq: int) -> str:
    return _id("task", seq // 20)


def _at(seq: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seq)


@contextmanager
def _world() -> Iterator[Any]:
    """Give a client signed in as an auditor, on a state and a store of its own."""
    from django.conf import settings
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from django.test.utils import override_settings

    from audit import documents
    from tests import servers

    static = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, servers.run_mongodb() as mongodb:
        connection.settings_dict["NAME"] = str(Path(folder, "state.sqlite3"))
        uri = f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true"
        with override_settings(STORAGES=static, ALLOWED_HOSTS=["*"], MONGODB_URI=uri, MONGODB_DATABASE="bench"):
            call_command("migrate", verbosity=0)
            person = User.objects.create_user("axel")
            person.groups.add(Group.objects.get_or_create(name="auditor")[0])
            client = Client()
            client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
            yield client
            documents.disconnect()
            connection.close()
