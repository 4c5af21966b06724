"""A worker has the tasks of a bulk run their turns, whatever else it does in the background."""

import time
from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone

from agents.bulk import planning
from agents.bulk.actions import Action
from agents.bulk.planning import Selection, start_bulk
from agents.models import BulkRun
from audit.exploring import verifying
from audit.models import RunState


def test_a_bulk_run_does_not_wait_for_a_long_verification(
    monkeypatch: pytest.MonkeyPatch, submit: Any, worker: Any, until: Any
) -> None:
    monkeypatch.setattr(planning, "AT_ONCE", 0)
    monkeypatch.setattr("agents.bulk.running.may_change", lambda user: True)
    monkeypatch.setattr(verifying, "list_due", lambda now: ["long"])
    stopped: list[datetime] = []

    def dawdle(*, is_stopping: Any, **_: Any) -> None:
        while not is_stopping():
            time.sleep(0.01)
        stopped.append(timezone.now())

    monkeypatch.setattr(verifying, "run_due", dawdle)
    selection = Selection(task_ids=("a" * 32, "b" * 32))
    given: dict[str, Any] = {"reason": "a test", "asked_by": "olga", "snapshot": "", "now": timezone.now()}
    run = start_bulk(Action.CANCEL, selection, **given)
    assert run.state == RunState.WAITING
    with worker():
        until(lambda: BulkRun.objects.get(id=run.id).state == RunState.DONE, "the end of the bulk run")
        assert not stopped
    assert BulkRun.objects.get(id=run.id).result["refused"] == 2
