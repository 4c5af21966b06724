"""How many tasks wait, and for how long, as a scrape shows it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.leases import register_worker
from agents.models import Task
from audit.ids import new_id
from orchestrator_site.metrics import render_metrics


def make_task(*, minutes_ago: float, **more: Any) -> None:
    Task.objects.create(
        **{"id": new_id(), "agent_id": "content-agent", "state": "queued", "input": {}, "trace_id": "t"}
        | {"submitted_by": "o", "created_at": timezone.now() - timedelta(minutes=minutes_ago)}
        | more
    )


def read_queue() -> list[float]:
    """Return the number of waiting tasks, and for how many minutes the oldest has waited."""
    lines = dict(line.rsplit(" ", 1) for line in render_metrics().decode().splitlines() if line[0] != "#")
    return [float(lines["task_queue_waiting"]), float(lines["task_queue_oldest_seconds"]) / 60]


@pytest.mark.django_db(transaction=True)
def test_nothing_waits() -> None:
    make_task(minutes_ago=9, state="running")
    assert read_queue() == [0, 0]


@pytest.mark.django_db(transaction=True)
def test_one_that_is_not_due_does_not_wait() -> None:
    make_task(minutes_ago=90, run_at=timezone.now() + timedelta(minutes=5))
    assert read_queue() == [0, 0]
    make_task(minutes_ago=2)
    assert read_queue() == [1, pytest.approx(2, abs=0.5)]


@pytest.mark.django_db(transaction=True)
def test_one_with_a_time_waits_since_then() -> None:
    make_task(minutes_ago=90, run_at=timezone.now() - timedelta(minutes=7))
    make_task(minutes_ago=4)
    assert read_queue() == [2, pytest.approx(7, abs=0.5)]


@pytest.mark.django_db(transaction=True)
def test_one_that_was_put_back_waits_but_not_since_its_submission() -> None:
    make_task(minutes_ago=90, queued_by=new_id())
    assert read_queue() == [1, 0]
    make_task(minutes_ago=3)
    assert read_queue() == [2, pytest.approx(3, abs=0.5)]


@pytest.mark.django_db(transaction=True)
def test_workers_have_no_more_slots_than_the_fleet(settings: Any) -> None:
    settings.MAX_AGENTS = 40
    for _ in range(3):
        register_worker(now=timezone.now(), slots=40)
    assert "\nworker_slots 40.0\n" in render_metrics().decode()
