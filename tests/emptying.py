"""Empty the test database between tests in a tenth of the time that Django takes, which does it 2,500 times.

Django deletes the content types and permissions too, to make them again each time, and has PostgreSQL truncate sixty
tables, which means new files for each. Here those two tables, which no test changes, are left alone, and rows deleted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from django.core.management.color import no_style
from django.db.backends.base.base import BaseDatabaseWrapper

COMMAND: Final = "django.core.management.commands.flush"
KEPT: Final = frozenset({"django_content_type", "auth_permission"})


@contextmanager
def quickly() -> Iterator[None]:
    """Let `flush`, as transactional tests end with, keep what migrating makes."""
    with mock.patch(f"{COMMAND}.sql_flush", _sql_flush), mock.patch(f"{COMMAND}.emit_post_migrate_signal"):
        yield


def _sql_flush(style: Any, connection: BaseDatabaseWrapper, **options: Any) -> list[str]:
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT
    if connection.vendor != "postgresql":
        return connection.ops.sql_flush(no_style(), sorted(tables), **options)
    deletes = "; ".join(f"DELETE FROM {connection.ops.quote_name(table)}" for table in sorted(tables))
    return [f"SET session_replication_role = replica; {deletes}; SET session_replication_role = DEFAULT"]
