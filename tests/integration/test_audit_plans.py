"""How SQLite goes about the outbox's statements; PostgreSQL plans by what a table holds."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.transcripts import count_shipped, read_unshipped

pytestmark = pytest.mark.django_db


def test_looking_for_what_waits_reads_no_bodies() -> None:
    """The rows are large: to count them, and to find those that wait, must be the indexes' work."""
    with CaptureQueriesContext(connection) as asked:
        count_shipped()
        read_unshipped()
    for query in asked.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = [str(row[-1]) for row in cursor.fetchall() if "audit_transcriptentry" in str(row[-1])]
        assert plan
        assert all("INDEX" in step for step in plan), (query["sql"], plan)
