"""A task keeps the version that it started with."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from agents import registry
from agents.editing import drafts as editing
from agents.models import AgentDraft, Task
from agents.skills.base import SkillError, dump
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
