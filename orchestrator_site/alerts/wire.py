"""Alertmanager's webhook, version 4, as far as it is used here, and what the API shows of alerts.

Members that are not known are let pass: newer versions of Alertmanager add some. Those that are used are held to
their types and bounds.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from audit.wire import format_at
from orchestrator_site.alerts.models import Alert, AlertState
from toolgate.reading import WireModel

MAX_ALERTS: Final = 500  # in one notice
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def _read_time(value: Any) -> datetime:
    """Return the UTC time that a text names, to the microsecond. Raises: ValueError."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("a time such as 2026-11-23T12:00:00Z is needed, with its offset from UTC")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this is beyond all calendars") from error


Time = Annotated[datetime, BeforeValidator(_read_time)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,127}$")]
Labels = Annotated[dict[LabelName, Annotated[str, Field(max_length=1_000)]], Field(max_length=64)]
Annotations = Annotated[dict[LabelName, Annotated[str, Field(max_length=10_000)]], Field(max_length=64)]


class _Foreign(WireModel):
    """What another program defines: what it adds is none of our business."""

    model_config = ConfigDict(extra="ignore")


class AlertBody(_Foreign):
    """One alert of a notice."""

    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Annotations = {}
    starts_at: Time
    ends_at: Time
    fingerprint: str = Field(pattern=r"^[0-9a-f]{8,64}$")


class NoticeBody(_Foreign):
    """A notice of Alertmanager's webhook, version 4: the alerts of one group."""

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    alerts: list[AlertBody] = Field(max_length=MAX_ALERTS)


class AlertWire(WireModel):
    """One alert. `heardAt` is when Alertmanager last told of it."""

    fingerprint: str
    status: AlertState
    name: str
    severity: str | None
    agent_id: str | None
    labels: dict[str, str]
    summary: str
    description: str
    runbook_url: str | None
    started_at: datetime
    ended_at: datetime | None
    heard_at: datetime


class AlertList(WireModel):
    """Those that fire, the most severe first, then those that ended, newest first; at most 200."""

    results: list[AlertWire]


class AlertCount(WireModel):
    """What a notice changed: alerts that began to fire, and alerts that ended."""

    fired: int
    resolved: int


def alert_to_wire(row: Alert) -> dict[str, Any]:
    """Return an alert as the API shows it."""
    return {
        "fingerprint": row.fingerprint,
        "status": row.state,
        "name": row.name,
        "severity": row.severity or None,
        "agentId": row.agent_id or None,
        "labels": row.labels,
        "summary": row.summary,
        "description": row.description,
        "runbookUrl": row.runbook_url or None,
        "startedAt": format_at(row.started_at),
        "endedAt": format_at(row.ended_at) if row.ended_at else None,
        "heardAt": format_at(row.heard_at),
    }
