"""A worker runs large what-ifs beside its tasks, and stops for neither."""

import time
from typing import Any

import pytest
from django.utils import timezone

from audit.models import RunState
from tests.contract.conftest import AGENT
from toolgate.editing.versions import get_newest
from toolgate.models import WhatIf
from toolgate.replay import runs


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, submit: Any, ended: Any, skill: Any, worker: Any) -> WhatIf:
    """A what-if over three recorded calls that waits for a worker."""
    with worker():
        for number in range(3):
            ended(submit(str(number)))
    monkeypatch.setattr(runs, "AT_ONCE_ROWS", 0)
    monkeypatch.setattr(runs, "CHECK_ROWS", 1)
    deny = {"id": "deny", "agent": AGENT, "skill": "scripted", "effect": "deny"}
    return runs.start_what_if(
        [*get_newest().rules, deny], base_version=None, asked_by="ada", since=None, now=timezone.now()
    )


def state_of(what_if: WhatIf) -> str:
    return str(runs.get_what_if(what_if.id).state)


def test_a_worker_takes_up_what_waits(large: WhatIf, worker: Any, until: Any) -> None:
    with worker():
        until(lambda: state_of(large) == RunState.DONE, "the end of the what-if")
    assert runs.get_what_if(large.id).result["flips"]["allow_deny"] == 3


def test_tasks_run_on_while_a_what_if_is_replayed(
    large: WhatIf, worker: Any, submit: Any, ended: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = runs._replay_agent

    def dawdle(run: Any, *more: Any, **named: Any) -> None:
        while not run._is_stopping():
            time.sleep(0.01)
        replay(run, *more, **named)

    monkeypatch.setattr(runs, "_replay_agent", dawdle)
    with worker():
        until(lambda: state_of(large) == RunState.RUNNING, "the begin of the what-if")
        assert ended(submit("beside")).state == "succeeded"
        began = time.monotonic()
    assert time.monotonic() - began < 5
    until(lambda: state_of(large) == RunState.WAITING, "the what-if to be given back")
