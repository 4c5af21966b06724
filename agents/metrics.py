"""The counters of tasks and runs. Labels come from closed sets: an id that is not of the fleet is "unknown"."""

from datetime import datetime

from prometheus_client import Counter, Histogram

from agents.orders import Ending, Failed, Lease, Succeeded

NO_MODEL = "none"  # a direct skill task calls no model

STARTED = Counter("agent_tasks_started_total", "Runs started", ["agent", "model"])
COMPLETED = Counter("agent_tasks_completed_total", "Tasks that succeeded", ["agent", "model"])
FAILED = Counter("agent_tasks_failed_total", "Tasks that failed", ["agent", "error_type"])
DURATION = Histogram(
    "agent_task_duration_seconds",
    "From the claim to the end of a run that ended its task",
    ["agent", "task_type"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600),
)

# What a skill may report of itself is open; what becomes a label is not.
ERROR_TYPES = frozenset(
    {
        "attempts_exhausted",
        "worker_lost",
        "internal_error",
        "timeout",
        "limit_exceeded",
        "input_invalid",
        "rate_limited",
        "call_ceiling",
        "skill_not_allowed",
        "domain_not_allowed",
        "address_not_allowed",
        "read_path",
        "write_path",
        "argument_not_allowed",
        "approval_rejected",
        "approval_expired",
        "approval_mismatch",
        "budget_exhausted",
        "sandbox_unavailable",
    }
)


UNKNOWN = "unknown"


def _agent_label(lease: Lease) -> str:
    return UNKNOWN if lease.task_type == UNKNOWN else lease.agent_id


def count_start(lease: Lease) -> None:
    """Count a run that a worker has begun."""
    STARTED.labels(agent=_agent_label(lease), model=NO_MODEL).inc()


def count_ending(lease: Lease, ending: Ending, *, now: datetime) -> None:
    """Count how a run ended, once its transaction has committed."""
    agent = _agent_label(lease)
    match ending:
        case Succeeded():
            COMPLETED.labels(agent=agent, model=NO_MODEL).inc()
        case Failed(error=error):
            count_failure(agent, error.code)
        case _:
            return
    seconds = max(0.0, (now - lease.started_at).total_seconds())
    DURATION.labels(agent=agent, task_type=lease.task_type).observe(seconds)


def count_failure(agent: str, code: str) -> None:
    """Count a task that failed, by an agent of the fleet and a code from the closed set, or "other"."""
    FAILED.labels(agent=agent, error_type=code if code in ERROR_TYPES else "other").inc()
