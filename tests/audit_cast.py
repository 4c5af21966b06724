"""What audit tests share: events to record, and waiting with an end."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore

from audit.events import Event, EventType, strict_bodies
from audit.ledger import record
from audit.transactions import write_transaction

_one_at_a_time = threading.Lock()  # what is strict is so in all threads
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def make_event(number: int = 0, **changes: Any) -> Event:
    """Return a decision about a normalizer call of task `t-<number>`."""
    values: dict[str, Any] = {
        "type": EventType.DECISION_MADE,
        "at": NOW,
        "actor": "agent:normalization-agent",
        "task_id": f"t-{number}",
        "agent_id": "normalization-agent",
        "skill_id": "normalizer",
        "decision": "allow",
        "reason": "allowed",
        "body": {"number": number},
    }
    with _one_at_a_time, strict_bodies(False):  # what it holds is the test's affair
        return Event(**values | changes)


def record_events(count: int, *, start: int = 0, **changes: Any) -> None:
    """Record `count` events, each in a transaction of its own."""
    for number in range(start, start + count):
        with write_transaction():
            record(make_event(number, **changes))


def open_session(name: str) -> str:
    """Return the key of a session of the user `name`, made without a login, which would be audited."""
    user, _ = get_user_model().objects.get_or_create(username=name)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def wait_until(reached: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait for a state.

    Raises: AssertionError if it is not reached in time.
    """
    give_up_at = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        time.sleep(0.01)
