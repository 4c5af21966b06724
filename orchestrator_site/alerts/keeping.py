"""What a notice of Alertmanager changes. What it tells again changes nothing: the last word holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Case, IntegerField, Value, When

from agents import registry
from agents.border import find_redactor
from audit import bodies
from audit.context import SYSTEM
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from audit.wire import format_at
from orchestrator_site.alerts.models import Alert, AlertState
from orchestrator_site.alerts.wire import AlertBody
from orchestrator_site.exceptions import TooManyAlerts

SEVERITIES: Final = ("critical", "warning", "info")
MAX_FIRING: Final = 1_000
MAX_LISTED: Final = 200
KEPT: Final = timedelta(days=30)  # after its end
UNHEARD: Final = timedelta(hours=49)  # over twice the longest repeat_interval of alertmanager.yml
_SWEPT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """How many alerts began to fire, and how many ended."""

    fired: int
    resolved: int


def keep(alerts: Iterable[AlertBody], *, actor: str, now: datetime) -> Changed:
    """Keep what Alertmanager tells of these alerts, with an event for each that begins or ends.

    Raises: TooManyAlerts; nothing was kept then.
    """
    with write_transaction():
        fired = resolved = 0
        for alert in alerts:
            if alert.status == "firing":
                fired += _fire(alert, actor=actor, now=now)
            else:
                resolved += _resolve(alert, actor=actor, now=now)
        _end_unheard(now=now)
        if fired and count_firing(limit=MAX_FIRING + 1) > MAX_FIRING:
            raise TooManyAlerts(MAX_FIRING)
        _forget(now=now)
    return Changed(fired=fired, resolved=resolved)


def _fire(alert: AlertBody, *, actor: str, now: datetime) -> bool:
    told = {"heard_at": now, **_describe(alert)}
    fresh = {**told, "state": AlertState.FIRING, "started_at": alert.starts_at, "ended_at": None}
    row, is_new = Alert.objects.get_or_create(fingerprint=alert.fingerprint, defaults=fresh)
    known = Alert.objects.filter(fingerprint=alert.fingerprint)
    if not is_new and not known.filter(state=AlertState.RESOLVED).update(**fresh):
        known.update(**told)
        return False
    _record(EventType.ALERT_FIRED, row if is_new else known.get(), alert.starts_at, actor=actor, now=now)
    return True


def _resolve(alert: AlertBody, *, actor: str, now: datetime) -> bool:
    ended_at = alert.ends_at if alert.ends_at >= alert.starts_at else now  # it may be the time of nothing
    firing = Alert.objects.filter(fingerprint=alert.fingerprint, state=AlertState.FIRING)
    if not firing.update(state=AlertState.RESOLVED, ended_at=ended_at, heard_at=now):
        return False
    row = Alert.objects.get(fingerprint=alert.fingerprint)
    _record(EventType.ALERT_RESOLVED, row, ended_at, actor=actor, now=now)
    return True


def _end_unheard(*, now: datetime) -> None:
    """End what is not told of any more: of what was silenced or inhibited as it ended, the end is never told."""
    unheard = Alert.objects.filter(state=AlertState.FIRING, heard_at__lt=now - UNHEARD).order_by("heard_at")
    for row in unheard[:_SWEPT]:
        Alert.objects.filter(fingerprint=row.fingerprint).update(state=AlertState.RESOLVED, ended_at=now)
        _record(EventType.ALERT_RESOLVED, row, now, actor=SYSTEM, now=now)


def _describe(alert: AlertBody) -> dict[str, Any]:
    """Return what the rule says of itself, redacted and cut."""
    text, agent = find_redactor().text, alert.labels.get("agent", "")
    severity = alert.labels.get("severity", "")
    link = alert.annotations.get("runbook_url", "")
    return {
        "name": text(alert.labels.get("alertname", ""))[:128],
        "severity": severity if severity in SEVERITIES else "",
        "agent_id": agent if registry.find_agent(agent) else "",
        "labels": _redact(alert.labels),
        "summary": text(alert.annotations.get("summary", ""))[:300],
        "description": text(alert.annotations.get("description", ""))[:2_000],
        "runbook_url": link if link.startswith(("https://", "http://")) and len(link) <= 500 else "",
    }


def _redact(labels: Mapping[str, str]) -> dict[str, str]:
    text = find_redactor().text
    return {name: text(value) for name, value in labels.items()}


def _record(type_: EventType, row: Alert, at: datetime, *, actor: str, now: datetime) -> None:
    body = bodies.AlertMoved(
        fingerprint=row.fingerprint, name=row.name, severity=row.severity, summary=row.summary, at=format_at(at)
    )
    record(Event(type=type_, at=now, actor=actor, agent_id=row.agent_id, body=body))


def _forget(*, now: datetime) -> None:
    """Forget alerts that ended more than 30 days ago: that they fired and ended is in the trail."""
    old = Alert.objects.filter(state=AlertState.RESOLVED, ended_at__lt=now - KEPT).order_by("ended_at")
    if ids := list(old.values_list("fingerprint", flat=True)[:_SWEPT]):
        Alert.objects.filter(fingerprint__in=ids).delete()


def count_firing(limit: int = MAX_FIRING) -> int:
    """Return how many alerts fire, counted up to `limit`. Raises: DatabaseError."""
    return Alert.objects.filter(state=AlertState.FIRING)[:limit].count()


def list_firing(limit: int = MAX_LISTED) -> list[Alert]:
    """Return the alerts that fire, the most severe and then the newest first. Raises: DatabaseError."""
    ranks = [When(severity=severity, then=Value(rank)) for rank, severity in enumerate(SEVERITIES)]
    rank = Case(*ranks, default=Value(len(SEVERITIES)), output_field=IntegerField())
    firing = Alert.objects.filter(state=AlertState.FIRING)
    return list(firing.order_by(rank, "-started_at", "fingerprint")[:limit])


def list_alerts() -> list[Alert]:
    """Return those that fire, then those that ended, newest first; at most 200."""
    firing = list_firing()
    ended = Alert.objects.filter(state=AlertState.RESOLVED).order_by("-started_at", "fingerprint")
    return firing + list(ended[: MAX_LISTED - len(firing)])
