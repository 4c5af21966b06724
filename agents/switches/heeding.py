"""What a run asks between two steps: may its agent take another."""

from agents import registry
from agents.orders import Failed, Lease, Released
from agents.switches.stops import end_stopped, find_stop


def heed_switches(lease: Lease) -> Failed | Released | None:
    """Return how the run ends because its agent may take no further step; None if it may."""
    stop = find_stop(registry.status_of(lease.agent_id))
    if stop is None:
        return None
    ending = end_stopped(stop, lease)
    return ending if isinstance(ending, Failed | Released) else None
