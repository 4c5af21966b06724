"""How the hub of this process stands, for whoever looks after it; read from another thread than the hub's."""

from dataclasses import dataclass

from audit.live.hub import list_hubs


@dataclass(frozen=True, slots=True, kw_only=True)
class HubStanding:
    """A hub: what it has read, who reads from it, and what it left out."""

    head: int
    lag: int  # events that are in the store and not read yet; 0 while nobody reads and the hub sleeps
    readers: int  # pages and event streams that are open here
    skipped: int  # events that were left out of a frame because it was full; its reader was told how many
    passed_over: int  # numbers that were not in the store in time; readers were told of the gap
    store_ok: bool


def list_standings(newest: int) -> list[HubStanding]:
    """Return how each hub of this process stands, beside the newest event; none until the first page is open."""
    return [
        HubStanding(
            head=hub.head,
            lag=max(0, newest - hub.head) if hub.readers else 0,
            readers=hub.readers,
            skipped=hub.skipped,
            passed_over=hub.passed_over,
            store_ok=hub.store_ok,
        )
        for hub in list_hubs()
    ]
