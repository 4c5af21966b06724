"""The fleet's health: the orchestrator's counters, untouched; the model's part are the alerts."""

from collections.abc import Iterator

from agents.answers.facts import Facts, Hopeless, Output
from agents.schemas import cut
from agents.types import Constraints


def set_health(output: Output, facts: Facts) -> Output:
    """Put in the counters that were handed in."""
    return {**output, "metrics": {**output["metrics"], "agentHealth": facts.context["agentHealth"]}}


def check(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield alerts about agents that there are not. Raises: Hopeless where such an agent was asked for."""
    known = facts.context["agentHealth"]
    unknown = [agent_id for agent_id in facts.input.get("agents", ()) if agent_id not in known]
    if unknown:
        raise Hopeless(
            f"There is no agent {cut(', '.join(unknown))}, so its health cannot be told. Name agents of the fleet."
        )
    for number, alert in enumerate(output["alerts"]):
        if alert.get("agentId", next(iter(known), None)) not in known:
            yield f"alerts[{number}]: {cut(alert['agentId'])} is none of the agents that were asked for. Leave it out."
