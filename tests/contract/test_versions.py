"""A task keeps the version that it started with; a status takes effect on a run under way."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents import registry
from agents.editing import drafts as editing
from agents.models import AgentDraft, Task
from agents.skills.base import SkillError, dump
from agents.types import AgentStatus
from tests.contract.conftest import AGENT
from tests.contract.scripted import ScriptedSkill
from toolgate.models import DecisionRecord


def draft(**changes: Any) -> AgentDraft:
    config = dump(registry.get_agent(AGENT).config) | changes
    return editing.save_draft(AGENT, config, author="ada", now=timezone.now())


def publish(**changes: Any) -> int:
    return editing.publish_draft(draft(**changes).id, author="ada", reason="for a test", now=timezone.now())


class Gate:
    """An act that says when it has begun, waits to be let go on, and fails as often as it is told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._failures = failures

    def __call__(self, name: str) -> None:
        self.begun.set()
        assert self.go_on.wait(20)
        if self._failures:
            self._failures -= 1
            raise SkillError("flaky", "it failed this once", retryable=True)


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.retry.BASE_SECONDS", 0.01)


def test_a_task_ends_with_the_version_that_it_started_with(
    submit: Callable[..., Task], worker: Any, skill: ScriptedSkill, ended: Callable[[Task], Task]
) -> None:
    skill.act = gate = Gate(failures=1)
    with worker():
        task = submit()
        assert gate.begun.wait(10)
        publish(retries=0)
        gate.go_on.set()
        assert ended(task).state == "succeeded"  # by its second attempt: version 1 has one retry
        assert (task.agent_version, task.attempt) == (1, 2)
        skill.act = late = Gate(failures=1)
        late.go_on.set()
        other = ended(submit())
    assert (other.state, other.agent_version, other.attempt) == ("failed", 2, 1)
    decided = DecisionRecord.objects.filter(task_id=task.id).values_list("agent_version", flat=True)
    assert list(decided) == [1, 1]


def test_a_try_out_runs_with_its_draft_and_others_do_not(
    submit: Callable[..., Task], worker: Any, skill: ScriptedSkill, ended: Callable[[Task], Task]
) -> None:
    skill.act = gate = Gate(failures=2)
    gate.go_on.set()
    made = draft(retries=0)
    with worker():
        tried = ended(submit(draft_id=made.id))
        normal = ended(submit())
    assert (tried.state, tried.attempt) == ("failed", 1)
    assert (normal.state, normal.attempt) == ("succeeded", 2)


@pytest.mark.parametrize(
    ("status", "code"),
    [(AgentStatus.QUARANTINED, "agent_quarantined"), (AgentStatus.DISABLED, "agent_disabled")],
)
def test_a_stop_refuses_the_next_call_of_a_run_under_way_and_what_waits(
    submit: Callable[..., Task],
    worker: Any,
    skill: ScriptedSkill,
    ended: Callable[[Task], Task],
    status: AgentStatus,
    code: str,
) -> None:
    skill.act = gate = Gate(failures=1)
    with worker():
        task, waiting = submit(), submit(run_at=timezone.now() + timedelta(seconds=0.5))
        assert gate.begun.wait(10)
        editing.set_status(AGENT, status, author="ada", reason="for a test", now=timezone.now())
        gate.go_on.set()
        assert [ended(task).error_code, ended(waiting).error_code] == [code, code]
    assert len(skill.calls) == 1


def test_a_pause_lets_a_run_go_on_and_what_waits_wait(
    submit: Callable[..., Task], worker: Any, skill: ScriptedSkill, ended: Callable[[Task], Task]
) -> None:
    skill.act = gate = Gate()
    with worker():
        task = submit()
        assert gate.begun.wait(10)
        editing.set_status(AGENT, AgentStatus.PAUSED, author="ada", reason="for a test", now=timezone.now())
        waiting = submit()
        gate.go_on.set()
        assert ended(task).state == "succeeded"
        time.sleep(1.5)  # longer than the sweep takes to tell of it again
        waiting.refresh_from_db()
        assert (waiting.state, waiting.attempt) == ("queued", 0)
        editing.set_status(AGENT, AgentStatus.ENABLED, author="ada", reason="it is over", now=timezone.now())
        assert ended(waiting).state == "succeeded"
