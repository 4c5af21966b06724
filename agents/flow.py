"""What a run is handed, and what it knows of the step in flight."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.providers.switchboard import Switchboard
from agents.skills.base import SkillError
from agents.switches.stops import Stop


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
    skill_id: str = ""  # what is running on a thread
    is_over: bool = False  # the run ended without waiting for the skill

    def enter(self, step_id: str, *, idempotent: bool = True) -> None:
        """Note that a step's intent is written."""
        self.step_id, self.idempotent = step_id, idempotent

    def leave(self) -> None:
        """Note that the step is settled."""
        self.step_id, self.idempotent = "", True

    def lose(self) -> None:
        """Note that what the step did is unknown."""
        self.step_id = ""

    def has_left(self, step_id: str) -> bool:
        """Say whether nobody waits any more for what this step brings, so that its skill may stop."""
        return self.is_over or self.step_id != step_id

    @contextmanager
    def calling(self, skill_id: str) -> Iterator[None]:
        """Note what is running; a call that its skill's quarantine cuts off is an error, if nothing hangs on it.

        Raises: SkillError. Where the call may not be repeated the cancellation ends the run: its outcome is unknown.
        """
        self.skill_id = skill_id
        try:
            yield
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is None or not self.idempotent or Stop.SKILL_QUARANTINED not in cancelled.args:
                raise
            task.uncancel()
            message = f"{skill_id} was quarantined while it ran, so the call was cut off. Do without it."
            raise SkillError(Stop.SKILL_QUARANTINED, message) from None
        finally:
            self.skill_id = ""


class LeaseLost(Exception):
    """Another worker has the task; this run changes nothing more."""
