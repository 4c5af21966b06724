"""Who writes the ledger: each database connection counts its own events, so that one that vanishes leaves a gap.

The count is kept in memory, where nobody who rewrites the ledger can turn it back. It goes on only from what was
committed or still may be: after a rollback, or when that is not known, the connection takes another name and counts
from 1. Numbers that were given away for nothing are thus the last of their name, and leave no gap.
"""

import time
from typing import Any, Final

from django.db import connection, transaction

from audit import bell
from audit.ids import new_id

_RENEW_SECONDS: Final = 6 * 3_600.0  # a writer's rows are then all in the ledger still, whatever is archived


class _Writer:
    """One connection under one name."""

    def __init__(self, raw: Any) -> None:
        self.name = new_id()
        self._raw = raw
        self._renew_at = time.monotonic() + _RENEW_SECONDS
        self._count = 0
        self._newest: _Given | None = None

    def may_go_on(self, raw: Any) -> bool:
        """Tell whether every number that it gave is committed, or will be with the open transaction."""
        is_known = self._newest is None or self._newest.is_committed or self._newest.is_pending()
        return is_known and self._raw is raw and time.monotonic() < self._renew_at

    def give(self, count: int) -> range:
        first, self._count = self._count + 1, self._count + count
        self._newest = _Given()
        transaction.on_commit(self._newest)
        return range(first, self._count + 1)


class _Given:
    """Numbers that the open transaction has taken; called once it is committed."""

    is_committed = False

    def __call__(self) -> None:
        self.is_committed = True
        bell.recorded.ring()

    def is_pending(self) -> bool:
        """Tell whether it will be called: a rollback, also to a savepoint, takes it away."""
        return any(entry[1] is self for entry in reversed(connection.run_on_commit))


def take_numbers(count: int) -> tuple[str, range]:
    """Return the name of this thread's connection as a writer, and its next numbers, for the open transaction.

    When it commits, `bell.recorded` rings.
    """
    writer: _Writer | None = getattr(connection, "_audit_writer", None)
    if writer is None or not writer.may_go_on(connection.connection):
        writer = _Writer(connection.connection)
        connection._audit_writer = writer  # type: ignore[attr-defined]
    return writer.name, writer.give(count)


def forget_writer() -> None:
    """Count under another name from now on: it is not known which of the last numbers were used."""
    connection._audit_writer = None  # type: ignore[attr-defined]
