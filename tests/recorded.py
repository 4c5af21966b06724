"""The guard that every change of state is an event: it watches what the product writes, in every test there is.

Per connection it follows the outermost transaction, a test's own one left aside. If product code in it changed a row
of a table that is not exempt, some event must have been recorded in the same transaction; so, too, for a statement
outside of any. What a test writes by itself is the test's own affair.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.backends.signals import connection_created
from django.db.transaction import Atomic

ROOT: Final = str(Path(__file__).resolve().parents[1])
PRODUCT: Final = tuple(f"{ROOT}/{package}/" for package in ("audit", "toolgate", "agents", "orchestrator_site"))
TESTS: Final = f"{ROOT}/tests/"
GUARD: Final = __file__

# Whole tables that hold no state of their own. Everything else is state.
EXEMPT_TABLES: Final = {
    "agents_worker": "a process's lease and heartbeat",
    "toolgate_callcounter": "what a limit has counted; each decision tells its counters",
    "toolgate_ratecell": "the same of a rate",
    "toolgate_periodcell": "the same of a period",
    "orchestrator_site_webhookstate": "how far the ledger was followed; a change of the callbacks' secret is an event",
    "orchestrator_site_webhookdelivery": "what an event of the ledger made, and what came of it: its own record",
    "orchestrator_site_webhookattempt": "the same of each attempt",
    "django_session": "a browser's cookie; signing in and out are events",
    "usersessions_usersession": "from where that cookie is used, to the minute",
    "django_migrations": "the schema",
    "django_content_type": "the schema",
    "auth_permission": "the schema: Django's own permissions are not used",
}
EXEMPT_PREFIXES: Final = {
    "audit_": "the trail itself: ledger, log, checkpoints, and transcripts on their way to the store",
    "sqlite_": "the database's own",
}
# Statements on tables that are state otherwise; each begins so.
EXEMPT_STATEMENTS: Final = {
    'UPDATE "orchestrator_site_alert" SET "heard_at"': "an alert that is told of again: its start and end are events",
    'DELETE FROM "orchestrator_site_alert"': "an alert that ended 30 days ago",
    'UPDATE "orchestrator_site_apitoken" SET "last_used_at"': "when a token was used last, to the minute",
    'UPDATE "mfa_authenticator" SET "last_used_at"': "when a factor was used last; user.logged-in tells more",
    'UPDATE "socialaccount_socialaccount"': "what a provider said at a login; that login is the event",
    'UPDATE "auth_user" SET "last_login"': "Django's own; user.logged-in tells more",
    'INSERT INTO "auth_group"': "a role that nobody has yet: the roles are a table in the code",
    'UPDATE "agents_bulkrun"': "how far a bulk run is: that it starts and ends are events",
    'INSERT INTO "agents_bulkitem"': "a turn of a bulk run: what it changes is the task's own event",
    'UPDATE "agents_bulkitem"': "why a turn changed nothing",
    'UPDATE "toolgate_whatif"': "how far a what-if is, and its report: asking for it is the event",
}

_WRITE: Final = re.compile(r'\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM)\s+"?(\w+)"?', re.IGNORECASE)
_LEDGER: Final = "audit_ledgerevent"


@dataclass(slots=True)
class _Open:
    """What has been seen of one connection's outermost transaction."""

    depth: int = 0
    writes: list[tuple[str, Any]] = field(default_factory=list)  # what was written, with the cursor or None
    events: int = 0
    marks: list[tuple[int, int]] = field(default_factory=list)  # what there was when each inner block began


_open: WeakKeyDictionary[Any, _Open] = WeakKeyDictionary()
_found: list[str] = []


def is_exempt(table: str, sql: str) -> bool:
    """Say whether this statement changes no state that an event has to tell of."""
    if table in EXEMPT_TABLES or table.startswith(tuple(EXEMPT_PREFIXES)):
        return True
    return any(sql.lstrip().startswith(start) for start in EXEMPT_STATEMENTS)


@contextmanager
def watch() -> Iterator[list[str]]:
    """Watch every connection of this process; gives the list of what was changed without an event."""
    for connection in connections.all(initialized_only=True):
        _install(connection=connection)
    connection_created.connect(_install, dispatch_uid="tests.recorded")
    _found.clear()
    try:
        yield _found
    finally:
        connection_created.disconnect(dispatch_uid="tests.recorded")


def _install(*, connection: Any, **_: Any) -> None:
    if not any(isinstance(wrapper, _Watch) for wrapper in connection.execute_wrappers):
        connection.execute_wrappers.append(_Watch())


class _Watch:
    """Sees each statement of one connection."""

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        match = _WRITE.match(sql)
        if match is not None:
            self._see(match[1].lower(), sql, context)
        return result

    def _see(self, table: str, sql: str, context: dict[str, Any]) -> None:
        connection, cursor = context["connection"], context["cursor"]
        state = _open.setdefault(connection, _Open())
        if table == _LEDGER:
            state.events += sql.lstrip()[:6].upper() == "INSERT"
            return
        if is_exempt(table, sql) or not (where := _find_product_line()):
            return
        # On SQLite how many rows there were is then known once they are fetched.
        returns = "RETURNING" in sql and connection.vendor == "sqlite"
        if not returns and cursor.rowcount == 0:
            return
        write = f"{table} by {where}: {' '.join(sql.split())[:100]}"
        state.writes.append((write, cursor if returns else None))
        if not state.depth:
            _judge(state)


def _find_product_line() -> str:
    """Return the line of the product that asked for the statement; empty if it was a test by itself."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PRODUCT):
            return f"{name[len(ROOT) + 1 :]}:{frame.f_lineno}"
        if name.startswith(TESTS):
            return ""
        frame = frame.f_back
    return ""


def _judge(state: _Open) -> None:
    changed = [write for write, cursor in state.writes if cursor is None or cursor.rowcount != 0]
    if changed and not state.events:
        _found.extend(changed)
    state.writes.clear()
    state.marks.clear()
    state.events = 0


# --- where transactions begin and end -------------------------------------------------------------------------
def _is_of_a_test(block: Any) -> bool:
    """Say whether this is the transaction that pytest-django puts around a whole test."""
    return bool(block._from_testcase)


def _follow_transactions() -> None:
    enter, leave = Atomic.__enter__, Atomic.__exit__

    def follow_enter(self: Atomic) -> None:
        enter(self)
        if not _is_of_a_test(self):
            state = _open.setdefault(connections[self.using or "default"], _Open())
            state.marks.append((len(state.writes), state.events))
            state.depth += 1

    def follow_leave(self: Atomic, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if _is_of_a_test(self):
            leave(self, exc_type, exc_value, traceback)
            return
        connection = connections[self.using or "default"]
        state = _open.setdefault(connection, _Open())
        writes, events = state.marks.pop() if state.marks else (0, 0)
        state.depth = max(0, state.depth - 1)
        if exc_type is not None or connection.needs_rollback:
            del state.writes[writes:]
            state.events = events
        leave(self, exc_type, exc_value, traceback)
        if not state.depth:
            _judge(state)

    Atomic.__enter__, Atomic.__exit__ = follow_enter, follow_leave  # type: ignore[method-assign]


_follow_transactions()
