"""What a process says of itself: whether it is alive, and whether it is ready for work.

Alive is about this process alone: a store that is away must not have it started again. Ready may depend on stores.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from agents.leases import LEASE_SECONDS
from agents.worker import Worker
from audit.sequencer import Sequencer
from orchestrator_site.health import find_readiness, state_probe, store_probe
from orchestrator_site.parts import find_silence, find_stuck


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The two questions. `find_faults` touches nothing but memory; `find_lack` says in a sentence what is missing."""

    find_faults: Callable[[], list[str]]
    find_lack: Callable[[], str]


def find_lack_of_web() -> str:
    """Say why orders cannot be taken, empty if they can."""
    return find_readiness().lack


def standing_of_worker(worker: Worker) -> Standing:
    """Return what a worker answers: ready is registered, with a lease in time."""

    def find_lack() -> str:
        beat_at = worker.beat_at
        if beat_at is None:
            return "The worker is not registered yet."
        silent = time.monotonic() - beat_at
        if silent > LEASE_SECONDS:
            return f"The worker's lease was last renewed {silent:.0f} s ago."
        return state_probe.read().fault

    return Standing(find_faults=lambda: find_silence("the worker's loop", worker.turned_at), find_lack=find_lack)


def standing_of_sequencer(sequencer: Sequencer) -> Standing:
    """Return what a sequencer answers: ready is leading or standing by, with both stores in reach."""

    def find_lack() -> str:
        silence = "".join(find_silence("the sequencer", sequencer.stepped_at))
        return silence or sequencer.step_fault or state_probe.read().fault or store_probe.read().fault

    return Standing(find_faults=lambda: find_stuck(sequencer), find_lack=find_lack)
