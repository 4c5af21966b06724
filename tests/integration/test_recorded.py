"""The guard over all tests sees what the product changes without an event, and nothing else."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from agents.models import FleetSwitch
from audit.context import SYSTEM
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from tests import recorded

pytestmark = [pytest.mark.django_db, pytest.mark.unrecorded]  # what is found is this module's to judge


@pytest.fixture
def found() -> Iterator[list[str]]:
    recorded._found.clear()
    yield recorded._found
    recorded._found.clear()


def product(source: str) -> Any:
    """Return `act` of some code as if it were the product's."""
    names: dict[str, Any] = {
        "Event": Event, "EventType": EventType, "FleetSwitch": FleetSwitch, "SYSTEM": SYSTEM, "record": record,
        "timezone": timezone, "write_transaction": write_transaction,
    }  # fmt: skip
    exec(compile(source, f"{recorded.ROOT}/agents/made_up.py", "exec"), names)
    return names["act"]


CHANGE = "FleetSwitch.objects.update_or_create(id=1, defaults={'reason': 'x', 'changed_at': timezone.now()})"
TELL = "record(Event(type=EventType.SEQUENCER_BEAT, at=timezone.now(), actor=SYSTEM))"
SILENT = [
    f"def act():\n {CHANGE}",
    f"def act():\n with write_transaction():\n  {CHANGE}",
    f"def act():\n with write_transaction():\n  {CHANGE}\n with write_transaction():\n  {TELL}",
    # The event is rolled back, the change is not.
    f"def act():\n with write_transaction():\n  {CHANGE}\n  try:\n   with write_transaction():\n    {TELL}"
    "\n    raise KeyError\n  except KeyError:\n   pass",
]
TOLD = [
    f"def act():\n with write_transaction():\n  {CHANGE}\n  {TELL}",
    f"def act():\n with write_transaction():\n  with write_transaction():\n   {CHANGE}\n  {TELL}",
    # Nothing is changed in the end.
    f"def act():\n try:\n  with write_transaction():\n   {CHANGE}\n   raise KeyError\n except KeyError:\n  pass",
    "def act():\n FleetSwitch.objects.filter(id=77).update(stopped=True)",
]


@pytest.mark.parametrize("source", SILENT)
def test_a_change_without_an_event_is_found(found: list[str], source: str) -> None:
    product(source)()
    assert any(line.startswith("agents_fleetswitch by agents/made_up.py:") for line in found)


@pytest.mark.parametrize("source", TOLD)
def test_a_change_with_its_event_is_not(found: list[str], source: str) -> None:
    product(source)()
    assert found == []


def test_what_a_test_writes_by_itself_is_not(found: list[str]) -> None:
    FleetSwitch.objects.create(reason="x", changed_at=timezone.now())
    with write_transaction():
        FleetSwitch.objects.all().delete()
    assert found == []


@pytest.mark.django_db(transaction=True)
def test_it_watches_the_connections_of_other_threads(found: list[str]) -> None:
    """A worker writes on a thread of its own."""

    def change() -> None:
        product(SILENT[1])()
        connections.close_all()

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert len(found) == 1
