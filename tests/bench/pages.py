"""The console's pages over 1,000 and over 100,000 tasks, with all that belongs to them, in SQLite: milliseconds a page.

CPU time of the thread that answers, with everything around the view, as the test client asks: so what else the machine
does hardly shows. The two sizes are asked in turn; *x* is the larger's p95 by the smaller's. The audit trail's pages
have a table of their own, *explorer*.
"""

import gzip
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZES = (1_000, 100_000)
ROUNDS = 20
P95 = 18  # of 20, the 19th
# The tables that grow with the tasks, with their columns that hold ids; a key that is counted up is left out.
TABLES = {
    "agents_task": ("id",),
    "agents_run": ("task_id",),
    "agents_step": ("id", "task_id"),
    "agents_artifact": ("task_id",),
    "toolgate_decisionrecord": ("id", "task_id"),
    "toolgate_approval": ("id", "task_id", "digest"),
    "toolgate_grant": ("id", "approval_id"),
}


def run() -> list[dict[str, Any]]:
    """Return a row for each page: p95 at each size and their ratio, the larger's median, questions and size as sent."""
    from tests.integration.test_page_queries import PAGES

    with _world() as worlds:
        return [_measure(page, worlds) for page in PAGES]


def _measure(page: str, worlds: dict[int, "_World"]) -> dict[str, Any]:
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    counts: dict[int, tuple[int, int]] = {}
    for world in worlds.values():
        world.use()
        counts[world.size] = world.look(page)
    for _ in range(ROUNDS):
        for world in worlds.values():
            world.use()
            times[world.size].append(world.time(page))
    small, large = (sorted(times[size])[P95] for size in SIZES)
    queries, size = counts[SIZES[1]]
    return {
        "page": page,
        f"p95 at {SIZES[0]:,}": small,
        f"p95 at {SIZES[1]:,}": large,
        "x": large / small,
        "x of medians": statistics.median(times[SIZES[1]]) / statistics.median(times[SIZES[0]]),
        "queries": queries,
        "KB": size / 1_000,
    }


class _World:
    """A store of one size, and a client that is signed in as an admin."""

    def __init__(self, folder: str, size: int) -> None:
        from tests.integration.test_page_queries import names

        self.size = size
        self._path = str(Path(folder, f"state-{size}.sqlite3"))
        self.use()
        started = time.perf_counter()
        self._client = fill_store(size)
        self._names = names()
        print(
            f"  {size:,} tasks, {Path(self._path).stat().st_size / 1e6:.0f} MB, {time.perf_counter() - started:.0f} s"
        )

    def use(self) -> None:
        """Turn to this store; what the process remembers of the other is forgotten."""
        from django.db import connections

        from agents.registry import look_again
        from orchestrator_site.console import forget_budget_alert

        if connections["default"].settings_dict["NAME"] != self._path:
            connections.close_all()
            connections["default"].settings_dict["NAME"] = self._path
        look_again()
        forget_budget_alert()

    def look(self, page: str) -> tuple[int, int]:
        """Return how many questions a page asks, and its size as it is sent."""
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as asked:
            answer = self._client.get(page.format(**self._names))
        assert answer.status_code == 200, (page, answer.status_code)
        return len(asked), len(gzip.compress(answer.content))

    def time(self, page: str) -> float:
        """Return the milliseconds of one page; the connection is open, as a server's is."""
        from django.db import connection

        connection.ensure_connection()
        started = time.thread_time()
        self._client.get(page.format(**self._names))
        return (time.thread_time() - started) * 1_000


@contextmanager
def _world() -> Iterator[dict[int, _World]]:
    from django.conf import settings
    from django.db import connections
    from django.test.utils import override_settings

    before = connections["default"].settings_dict["NAME"]
    static = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            with override_settings(STORAGES=static, ALLOWED_HOSTS=["*"]):
                yield {size: _World(folder, size) for size in SIZES}
        finally:
            connections.close_all()
            connections["default"].settings_dict["NAME"] = before


def fill_store(size: int) -> Any:
    """Make the store that the connection names, with so many tasks; return a client that is signed in as an admin."""
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.test import Client
    from django.utils import timezone

    from agents.registry import forget_fleet, seed_agents
    from tests.many import fill
    from toolgate.in_force import forget_policy
    from toolgate.seed import seed_policy

    call_command("migrate", verbosity=0)
    forget_fleet()
    forget_policy()
    now = timezone.now()
    seed_agents(now=now)
    seed_policy(now=now)
    fill(SIZES[0], now=now)
    _copy(size // SIZES[0] - 1)
    user = User.objects.create_user("bench")
    user.groups.add(Group.objects.get_or_create(name="admin")[0])
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _copy(times: int) -> None:
    """Add all tasks so many times more, with all that belongs to them, under ids of their own."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        for table, ids in TABLES.items():
            names = [name for name, *_ in _describe(cursor, table) if name != "id" or "id" in ids]
            cursor.execute(f"SELECT max(rowid) FROM {table}")
            last = cursor.fetchone()[0]
            for copy in range(1, times + 1):
                made = ", ".join(_rename(name, copy) if name in ids else name for name in names)
                rows = f"SELECT {made} FROM {table} WHERE rowid <= {last}"
                cursor.execute(f"INSERT INTO {table} ({', '.join(names)}) {rows}")


def _rename(name: str, copy: int) -> str:
    """Return the id of a copy: other in the middle, and in the eight characters that lists show."""
    return f"substr({name}, 1, 12) || '{copy:04x}' || substr({name}, 17, 12) || '{copy * 7919 % 65536:04x}'"


def _describe(cursor: Any, table: str) -> list[Any]:
    from django.db import connection

    return list(connection.introspection.get_table_description(cursor, table))
