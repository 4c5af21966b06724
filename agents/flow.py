"""What a run is handed, and what it knows of the step in flight."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.providers.switchboard import Switchboard


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What a run works with; a test puts its own in their place."""

    worker_id: str
    write: Callable[[Callable[[], Any]], Awaitable[Any]]  # runs a function in a transaction
    clock: Callable[[], datetime]
    threads: Executor
    draw: Callable[[], float]  # a number in [0, 1), for jitter
    models: Switchboard


@dataclass(slots=True)
class Opened:
    """The step in flight, if there is one."""

    step_id: str = ""
    idempotent: bool = True
    is_over: bool = False  # the run ended without waiting for the skill, which may stop now

    def enter(self, step_id: str, *, idempotent: bool = True) -> None:
        """Note that a step's intent is written."""
        self.step_id, self.idempotent = step_id, idempotent

    def leave(self) -> None:
        """Note that the step is settled."""
        self.step_id, self.idempotent = "", True

    def lose(self) -> None:
        """Note that what the step did is unknown."""
        self.step_id = ""


class LeaseLost(Exception):
    """Another worker has the task; this run changes nothing more."""
