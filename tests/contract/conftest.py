"""The queue, the worker and the engine: the same suite on SQLite in process, and on PostgreSQL with docket.

`tests/integration/test_other_pair.py` runs this folder once more, with the other pair in its environment.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from agents import queue, registry
from agents.models import Task
from agents.orders import Order
from agents.states import TERMINAL
from agents.worker import Worker
from tests.contract.scripted import ScriptedSkill, make_plain, publish_rules
from toolgate.seed import seed_policy

AGENT = "normalization-agent"


@pytest.fixture(autouse=True)
def fleet(transactional_db: None) -> None:
    """Seed the agents, and a policy that lets one of them use the scripted skill."""
    registry.seed_agents(now=timezone.now())
    seed_policy(now=timezone.now())
    publish_rules([{"id": "scripted", "agent": AGENT, "skill": "scripted", "effect": "allow"}])


@pytest.fixture
def skill(monkeypatch: pytest.MonkeyPatch) -> ScriptedSkill:
    """A skill that does what the test says, and remembers every time it was really run."""
    scripted = ScriptedSkill()
    monkeypatch.setitem(registry.SKILLS, "scripted", scripted)
    return scripted


@pytest.fixture
def submit() -> Callable[..., Task]:
    """Submit a task for the scripted skill."""

    def _submit(name: str = "", **changes: Any) -> Task:
        order = {"agent_id": AGENT, "skill_id": "scripted", "input": {"name": name}, "submitted_by": "olga"}
        return queue.submit_task(Order(**(order | changes)), now=timezone.now()).task

    return _submit


class RunningWorker:
    """A worker on a thread of its own, as in the one-process server."""

    def __init__(self, **options: Any) -> None:
        self.worker = Worker(**options)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self.worker.run(self._stop)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the worker did not stop"


@pytest.fixture
def worker() -> Iterator[Callable[..., Any]]:
    """Run a worker for the length of a `with` block."""

    @contextmanager
    def _worker(**options: Any) -> Iterator[Worker]:
        running = RunningWorker(**({"slots": 8} | options))
        running.start()
        try:
            yield running.worker
        finally:
            running.stop()

    yield _worker
    connections.close_all()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until something is so, or fail saying what was waited for."""

    def _until(condition: Callable[[], Any], what: str, timeout_seconds: float = 20) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_seconds} s for: {what}"
            time.sleep(0.02)

    return _until


@pytest.fixture
def ended(until: Callable[..., None]) -> Callable[..., Task]:
    """Wait for a task's end and return it as it then is."""

    def _ended(task: Task) -> Task:
        def is_over() -> bool:
            task.refresh_from_db()
            return task.state in TERMINAL

        until(is_over, f"the end of task {task.id}")
        return task

    return _ended


@pytest.fixture
def plain_agent(fleet: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the agent's task type be one whose answers are held to their schema alone."""
    make_plain(AGENT)
    monkeypatch.setattr("agents.retry.BASE_SECONDS", 0.05)
    yield
    registry.forget_fleet()


@pytest.fixture
def think(submit: Callable[..., Task]) -> Callable[..., Task]:
    """Submit a task of the agent's own."""
    return lambda **changes: submit(skill_id="", **({"input": {"question": "what?"}} | changes))
