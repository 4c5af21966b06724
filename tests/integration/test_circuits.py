"""What is kept of the vendors' circuits, and told of them."""

from typing import Any

import pytest
from django.utils import timezone

from agents import circuits
from agents.breaker import CircuitState
from agents.providers.switchboard import CircuitChange
from audit.models import LedgerEvent

pytestmark = pytest.mark.django_db(transaction=True)


def keep(state: CircuitState, why: str = "", *, worker: str = "w1") -> None:
    change = CircuitChange(provider="openai", state=state, why=why)
    circuits.keep_change(change, worker_id=worker, now=timezone.now())


def told() -> list[tuple[str, str]]:
    return list(LedgerEvent.objects.order_by("id").values_list("type", "actor"))


def test_every_change_leaves_an_event() -> None:
    for state in (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.OPEN):
        keep(state, "provider_timeout")
    keep(CircuitState.CLOSED, worker="w2")
    tried = [("provider.tripped", "worker:w1"), ("provider.probed", "worker:w1"), ("provider.tripped", "worker:w1")]
    assert told() == [*tried, ("provider.recovered", "worker:w2")]
    for event in LedgerEvent.objects.filter(type="provider.tripped"):
        body: Any = event.body
        assert body["why"] == "provider_timeout"
    (row,) = circuits.list_circuits()
    assert (row.provider, row.state, row.why) == ("openai", "closed", "")


def test_what_is_known_already_changes_nothing() -> None:
    keep(CircuitState.OPEN, "provider_timeout")
    since = circuits.list_circuits()[0].since
    keep(CircuitState.OPEN, "provider_overloaded", worker="w2")
    (row,) = circuits.list_circuits()
    assert (row.since, row.why) == (since, "provider_timeout")
    assert len(told()) == 1


def test_a_vendor_that_always_answered_has_no_row() -> None:
    keep(CircuitState.CLOSED)
    assert circuits.list_circuits() == []
    assert told() == []
