"""Which agents whoever asks may reach: a token can be limited to some of them. PURE.

The apps know no tokens. They hand in what the request was let in by, and read one thing of it: `agents`, the ids that
it is limited to, None for no limit. What has no such word reaches no agent at all.
"""

from collections.abc import Iterable
from typing import Any

from audit.exceptions import AgentNotGranted

Reach = frozenset[str] | None  # the ids of agents, None for every one


def reach_of(grant: Any) -> Reach:
    """Return the agents that `grant` reaches."""
    reach: Reach = getattr(grant, "agents", frozenset())
    return reach


def check_reach(grant: Any, *agent_ids: str) -> None:
    """See that `grant` reaches every one of these agents.

    Raises: AgentNotGranted.
    """
    beyond = find_beyond(grant, agent_ids)
    if beyond is not None:
        raise AgentNotGranted(beyond)


def find_beyond(grant: Any, agent_ids: Iterable[str]) -> str | None:
    """Return the first of these agents that `grant` does not reach, None if it reaches all; "" is the whole fleet."""
    reach = reach_of(grant)
    return None if reach is None else next((agent_id for agent_id in agent_ids if agent_id not in reach), None)
