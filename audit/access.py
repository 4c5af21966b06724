"""Who may read the trail. The audit app knows no tokens or roles: the composition root says; until then nobody."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a stream is refused, for the problem document."""

    status: HTTPStatus
    code: str
    detail: str


def _nobody(user: Any) -> bool:
    return False


async def _no_stream(headers: Mapping[str, str], task_id: str) -> Refusal | None:
    return Refusal(status=HTTPStatus.UNAUTHORIZED, code="unauthenticated", detail="No reader may follow tasks yet.")


# May this user (a Django user, maybe anonymous) follow the live feed? Called in a thread: it may ask the database.
may_read: Callable[[Any], bool] = _nobody

# May this user see what events hold, not only that they were?
may_read_payload: Callable[[Any], bool] = _nobody

# May this user verify and export?
may_export: Callable[[Any], bool] = _nobody

# May the sender of these headers (lower-case names) follow this task? None if so; 401, 403 or 404 otherwise.
check_stream: Callable[[Mapping[str, str], str], Awaitable[Refusal | None]] = _no_stream


def admit(
    *,
    readers: Callable[[Any], bool],
    payloads: Callable[[Any], bool],
    exporters: Callable[[Any], bool],
    streams: Callable[[Mapping[str, str], str], Awaitable[Refusal | None]],
) -> None:
    """Set who may follow the live feed, see payloads, export, and follow a task's events; by the composition root."""
    global may_read, may_read_payload, may_export, check_stream
    may_read, may_read_payload, may_export, check_stream = readers, payloads, exporters, streams
