"""What is known, over all workers, of the vendors' circuits: one row each, and an event when one changes.

Each worker has breakers of its own (`agents.providers.switchboard`); the row holds what the last of them told.
"""

from datetime import datetime
from typing import Final

from agents import metrics
from agents.breaker import CircuitState
from agents.models import ProviderCircuit
from agents.providers.switchboard import CircuitChange
from audit import bodies
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction

_EVENTS: Final = {
    CircuitState.CLOSED: EventType.PROVIDER_RECOVERED,
    CircuitState.HALF_OPEN: EventType.PROVIDER_PROBED,
    CircuitState.OPEN: EventType.PROVIDER_TRIPPED,
}
_NUMBERS: Final = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


def keep_change(change: CircuitChange, *, worker_id: str, now: datetime) -> None:
    """Write the change down; what the row says already is left as it is, so it may be told twice."""
    with write_transaction():
        row = ProviderCircuit.objects.select_for_update().filter(provider=change.provider).first()
        before = CircuitState(row.state) if row else CircuitState.CLOSED
        if before is change.state:
            return
        columns = {"state": str(change.state), "since": now, "why": change.why}
        ProviderCircuit.objects.update_or_create(provider=change.provider, defaults=columns)
        body = bodies.ProviderMoved(provider=change.provider, why=change.why)
        record(Event(type=_EVENTS[change.state], at=now, actor=f"worker:{worker_id}", body=body))


def list_circuits() -> list[ProviderCircuit]:
    """Return what is known of each vendor that ever changed, by name."""
    return list(ProviderCircuit.objects.order_by("provider"))


def refresh_gauges(providers: list[str]) -> None:
    """Set the circuit's gauge of each configured vendor from the store."""
    known = {row.provider: CircuitState(row.state) for row in list_circuits()}
    for provider in providers:
        metrics.CIRCUIT.labels(provider=provider).set(_NUMBERS[known.get(provider, CircuitState.CLOSED)])
