"""What the bodies of events about the monitoring's alerts hold. PURE."""

from typing import TypedDict


class AlertMoved(TypedDict):
    fingerprint: str
    name: str
    severity: str  # critical, warning, info, or empty
    summary: str
    at: str  # when it began or ended, as Prometheus saw it
