"""What is odd about a set of rules, held against the fleet as it is."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from toolgate.explaining.lint import Finding, lint_policy
from toolgate.fleet import get_fleet
from toolgate.policy import Rule, read_policy


def lint_rules(rules: Iterable[Rule | Mapping[str, Any]], *, now: datetime) -> list[Finding]:
    """Return what is odd about `rules`, errors first. Raises: PolicyInvalid."""
    fleet = get_fleet()
    agent_ids = [agent.id for agent in fleet.list_agents()]
    return lint_policy(read_policy(rules), skills=fleet.list_skills(), agent_ids=agent_ids, now=now)
