"""The counters of tasks and runs. Labels come from closed sets: an id that is not of the fleet is "unknown"."""

from datetime import datetime

from django.conf import settings
from prometheus_client import Counter, Gauge, Histogram

from agents.orders import Ending, Failed, Lease, Succeeded

NO_MODEL = "none"  # a direct skill task calls no model

STARTED = Counter("agent_tasks_started_total", "Runs started", ["agent", "model"])
COMPLETED = Counter("agent_tasks_completed_total", "Tasks that succeeded", ["agent", "model"])
FAILED = Counter("agent_tasks_failed_total", "Tasks that failed", ["agent", "error_type"])
DURATION = Histogram(
    "agent_task_duration_seconds",
    "From the claim to the end of a run that ended its task",
    ["agent", "task_type"],
    # Half of each timeout of the fleet is a bound, so that an alert on it compares exactly.
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 30, 45, 60, 90, 120, 150, 300, 600, 1800),
)
TIMEOUT = Gauge("agent_timeout_seconds", "How long a run may take", ["agent"], multiprocess_mode="mostrecent")
COST_PER_DAY = Gauge(
    "agent_cost_per_day_usd", "Cost of model calls today (UTC)", ["agent", "model"], multiprocess_mode="mostrecent"
)
TOTAL_COST_PER_DAY = Gauge(
    "agent_total_cost_per_day_usd", "Cost of all model calls today (UTC)", multiprocess_mode="mostrecent"
)
BUDGET_SPENT = Gauge("budget_spent_gbp", "Spent by the fleet this month", multiprocess_mode="mostrecent")
BUDGET_RESERVED = Gauge("budget_reserved_gbp", "Held by the fleet for open calls", multiprocess_mode="mostrecent")
BUDGET_CAP = Gauge("budget_cap_gbp", "The fleet's cap for this month", multiprocess_mode="mostrecent")
BUDGET_THRESHOLD = Gauge(
    "budget_threshold_percent",
    "The highest of 50, 80 and 100 % of the fleet's cap that this month's spend has crossed, or 0",
    multiprocess_mode="mostrecent",
)
BUDGET_REFUSALS = Counter("budget_refusals_total", "Model calls that did not fit under a cap", ["scope"])
BUDGET_OVERRUNS = Counter("budget_overruns_total", "Model calls that cost more than their worst case")
OTHER_MODEL = "other"  # one that no tier names

CIRCUIT = Gauge(
    "provider_circuit_state",
    "Whether a vendor is asked: 0 closed (yes), 1 half open (one call, to see), 2 open (no)",
    ["provider"],
    multiprocess_mode="mostrecent",
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
        "price_unknown",
        "sandbox_unavailable",
        "agent_unknown",
        "audit_unavailable",
        "concurrency",
        "grant_expired",
        "outside_time_window",
        "skill_quarantined",
        "skill_unknown",
        "task_type_not_assigned",
        "agent_disabled",
        "agent_quarantined",
        "max_steps",
        "model_refused",
        "output_invalid",
        "provider_exhausted",
        "provider_interrupted",
        "provider_misspoke",
        "provider_missing",
        "provider_overloaded",
        "provider_rejected",
        "provider_timeout",
        "provider_unavailable",
        "step_failed",
    }
)


UNKNOWN = "unknown"
OTHER_ERROR = "other"


def declare_agent(agent_id: str, tier: str) -> None:
    """Have an agent's counters there with 0, so that an alert sees their first increase."""
    for model in (NO_MODEL, str(settings.MODEL_TIERS[tier])):
        STARTED.labels(agent=agent_id, model=model)
    for error_type in (*ERROR_TYPES, OTHER_ERROR):
        FAILED.labels(agent=agent_id, error_type=error_type)


def _agent_label(lease: Lease) -> str:
    return UNKNOWN if lease.task_type == UNKNOWN else lease.agent_id


def _model_label(lease: Lease) -> str:
    """Return the model of the agent's tier; one that took over in an outage is in the transcript."""
    if lease.skill_id or lease.config is None:
        return NO_MODEL
    return str(settings.MODEL_TIERS[lease.config.tier])


def count_start(lease: Lease) -> None:
    """Count a run that a worker has begun; not each look of a workflow at its steps."""
    if not (lease.is_workflow and lease.fence > 1):
        STARTED.labels(agent=_agent_label(lease), model=_model_label(lease)).inc()


def count_ending(lease: Lease, ending: Ending, *, now: datetime) -> None:
    """Count how a run ended, once its transaction has committed."""
    agent = _agent_label(lease)
    match ending:
        case Succeeded():
            COMPLETED.labels(agent=agent, model=_model_label(lease)).inc()
        case Failed(error=error):
            count_failure(agent, error.code)
        case _:
            return
    seconds = max(0.0, (now - lease.started_at).total_seconds())
    DURATION.labels(agent=agent, task_type=lease.task_type).observe(seconds)


def count_failure(agent: str, code: str) -> None:
    """Count a task that failed, by an agent of the fleet and a code from the closed set, or "other"."""
    FAILED.labels(agent=agent, error_type=code if code in ERROR_TYPES else OTHER_ERROR).inc()
