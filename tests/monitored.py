"""What the code measures, and what the monitoring's files say, for tests that hold the one against the other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.running import ROOT

PROMETHEUS: Final = ROOT / "monitoring" / "prometheus"
ALERTMANAGER: Final = ROOT / "monitoring" / "alertmanager" / "alertmanager.yml"
SOURCES: Final = [
    path for package in ("audit", "toolgate", "agents", "orchestrator_site") for path in (ROOT / package).rglob("*.py")
]
# The names that operators' dashboards and rules rely on.
PROMISED: Final = {
    "agent_tasks_started_total", "agent_tasks_completed_total", "agent_tasks_failed_total",
    "skill_access_allowed_total", "skill_access_denied_total", "permission_escalation_requests_total",
    "audit_violations_logged_total", "task_approval_requests_total", "approval_auto_escalated_total",
    "agent_active_tasks", "active_permissions_granted", "pending_approvals_count", "agent_cost_per_day_usd",
    "agent_total_cost_per_day_usd", "budget_spent_gbp", "budget_reserved_gbp", "budget_cap_gbp",
    "agent_task_duration_seconds", "approval_response_time_seconds", "task_queue_waiting",
    "task_queue_oldest_seconds", "workers_alive", "worker_slots", "worker_slots_busy", "sequencer_leads",
    "dependency_up", "dependency_latency_seconds",
}  # fmt: skip
_MADE: Final = re.compile(r'^(\w+) = (?:Counter|Gauge|Histogram|_gauge)\(\s*"([a-z_]+)"', re.MULTILINE)


def list_made() -> list[tuple[str, str]]:
    """Return each metric that the code makes, as often as it does: the name it has there, and Prometheus's."""
    return [found for path in SOURCES for found in _MADE.findall(path.read_text())]


def list_rules() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each alert with the name of its file."""
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from ((path.stem, rule) for rule in group["rules"])


def names_in(expr: str) -> set[str]:
    """Return the names of metrics in an expression, without what Prometheus adds for a histogram."""
    plain = re.sub(r'"[^"]*"|\{[^}]*\}|\b(?:by|on|ignoring|without) ?\([^)]*\)', "", expr)
    words = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", plain)) - {"histogram_quantile"}
    return {re.sub(r"_(bucket|sum|count)$", "", word) if word.endswith("_bucket") else word for word in words}


def read_text(path: Path) -> Any:
    """Return what a YAML file holds."""
    return yaml.safe_load(path.read_text())
