"""Agent Performance: what agents do, how well and how fast, and the state of what they run on."""

from monitoring.grafana.described.layout import chosen_agent, dashboard
from monitoring.grafana.described.panels import (
    BAD,
    CALM,
    GOOD,
    TO_AGENT,
    WATCH,
    Json,
    at_most,
    bars,
    colour,
    console,
    falling,
    gauge,
    mapped,
    rising,
    row,
    runbook,
    series,
    stat,
)
from monitoring.grafana.described.queries import AGENT, counted, quantile

STARTED, COMPLETED, FAILED = "agent_tasks_started_total", "agent_tasks_completed_total", "agent_tasks_failed_total"
DURATION, TIMEOUT = "agent_task_duration_seconds", "max by (agent) (agent_timeout_seconds)"
HTTP = "orchestrator_django_http_requests_latency_seconds_by_view_method"
UP = mapped(up=(1, "up", GOOD), down=(0, "down", BAD))
CIRCUIT = mapped(closed=(0, "asked", GOOD), half=(1, "one call, to see", WATCH), open=(2, "not asked", BAD))


def _share_completed(by: str = "") -> str:
    completed, failed = counted(COMPLETED, AGENT, by=by), counted(FAILED, AGENT, by=by)
    if by:  # who only ever failed completed nothing, and who never failed has no failures
        completed, failed = f"({completed} or {failed} * 0)", f"({failed} or {completed} * 0)"
    else:
        completed, failed = f"({completed} or vector(0))", f"({failed} or vector(0))"
    return f"{completed} / (({completed} + {failed}) > 0)"


def _share_failed(by: str = "") -> str:
    failed = counted(FAILED, AGENT, by=by, within="5m")
    started = counted(STARTED, AGENT, by=by, within="5m")
    return f"{failed} / (({started} > {failed}) or ({failed} > 0))"  # some that failed were started before


def agent_performance() -> Json:
    """Return the dashboard of what agents do, how well and how fast, and of what they run on."""
    return dashboard(
        "agent-performance",
        "Agent Performance",
        [*_tasks(), *_agents(), *_platform(), *_behind()],
        tell="What agents do, how well and how fast, and the state of what they run on.",
        since="1h",
        refresh="30s",
        variables=[chosen_agent()],
    )


def _tasks() -> list[Json]:
    """Return the fleet's figures."""
    return [
        row("Tasks"),
        stat(
            "Completion rate",
            _share_completed(),
            unit="percentunit",
            steps=falling(0.9, 0.95),
            none="nothing ended",
            tell="Of the tasks that ended, how many succeeded. Red: see below which agent, and why.",
            links=[console("Failed tasks", "/tasks/?status=failed")],
        ),
        stat(
            "Failed of started, 5 min",
            f"({_share_failed()}) or vector(0)",
            unit="percentunit",
            steps=rising(0.02, 0.05),
            tell="What HighErrorRate watches: over 5 % for 2 minutes pages somebody.",
            links=[runbook("HighErrorRate")],
        ),
        stat(
            "Running now",
            f"sum(max by (agent) (agent_active_tasks{{{AGENT}}}))",
            unit="short",
            tell="Tasks that a worker runs at this moment.",
            links=[console("Running tasks", "/tasks/?status=running")],
        ),
        stat(
            "Duration, p95",
            quantile(0.95, DURATION, AGENT, within="$__range"),
            unit="s",
            none="nothing ended",
            tell="19 of 20 tasks ended within this time. Compare with the agents' timeouts: half of one is late.",
            links=[runbook("TaskDurationSpike")],
        ),
        stat(
            "Completed",
            f"{counted(COMPLETED, AGENT)} or vector(0)",
            unit="short",
            decimals=0,
            tell="Tasks that succeeded in the range of this dashboard.",
        ),
        stat(
            "Failed",
            f"{counted(FAILED, AGENT)} or vector(0)",
            unit="short",
            decimals=0,
            steps=((None, GOOD), (1, WATCH)),
            tell="Tasks that failed in the range of this dashboard, for whatever reason.",
            links=[console("Failed tasks", "/tasks/?status=failed")],
        ),
    ]


def _agents() -> list[Json]:
    """Return the same by agent, and what fails."""
    return [
        bars(
            "Completion rate by agent",
            f"sort({_share_completed('agent')})",
            "{{agent}}",
            unit="percentunit",
            steps=falling(0.9, 0.95),
            max=1,
            none="nothing ended",
            tell="The worst is on top. Open the agent in the console and look at its last failed tasks.",
            data_links=[TO_AGENT],
        ),
        series(
            "Failed of started by agent, 5 min",
            {"{{agent}}": _share_failed("agent")},
            unit="percentunit",
            steps=at_most(0.05),
            tell="Over the line for 2 minutes, HighErrorRate fires. One agent: its configuration or its skill. "
            "All agents of one tier: the provider.",
            links=[runbook("HighErrorRate")],
            data_links=[TO_AGENT],
        ),
        series(
            "Running tasks by agent",
            {"{{agent}}": f"max by (agent) (agent_active_tasks{{{AGENT}}})"},
            unit="short",
            stacked=True,
            tell="One agent over 20 for 5 minutes is AgentHighActiveTaskCount: raise its limit, or find what hangs.",
            links=[runbook("AgentHighActiveTaskCount")],
            data_links=[TO_AGENT],
        ),
        series(
            "Duration by agent, p95",
            {"{{agent}}": quantile(0.95, DURATION, AGENT, within="5m", by="agent")},
            unit="s",
            tell="A rise of one agent: its input or its model. Of all: a slow provider, or workers short of CPU.",
            data_links=[TO_AGENT],
        ),
        series(
            "Duration of the timeout, p95",
            {"{{agent}}": f"{quantile(0.95, DURATION, AGENT, within='5m', by='agent')} / on (agent) {TIMEOUT}"},
            unit="percentunit",
            steps=at_most(0.5),
            size=(8, 8),
            tell="Over the line, half of the agent's timeout, for 3 minutes TaskDurationSpike fires: "
            "tasks will soon run out of time.",
            links=[runbook("TaskDurationSpike")],
            data_links=[TO_AGENT],
        ),
        bars(
            "Five busiest agents",
            f"topk(5, {counted(STARTED, AGENT, by='agent')})",
            "{{agent}}",
            unit="short",
            decimals=0,
            none="nothing started",
            size=(8, 8),
            tell="Runs started in the range. If one agent takes all slots, lower its limit of concurrent runs.",
            data_links=[TO_AGENT],
        ),
        bars(
            "Five commonest failures",
            f"topk(5, {counted(FAILED, AGENT, by='agent, error_type')} > 0)",
            "{{agent}}: {{error_type}}",
            unit="short",
            decimals=0,
            steps=((None, WATCH),),
            none="none failed",
            size=(8, 8),
            tell="Codes of the gate (skill_not_allowed, domain_not_allowed, …) are answered on the permissions page, "
            "budget_exhausted on the cost page, provider_… by the vendor's status page.",
            links=[console("Permissions", "/permissions/"), console("System", "/system/")],
        ),
    ]


def _platform() -> list[Json]:
    """Return the figures of what agents run on."""
    return [
        row("Platform"),
        stat(
            "Waiting tasks",
            "max(task_queue_waiting)",
            unit="short",
            steps=rising(20, 100),
            tell="Tasks that no worker has taken yet. It grows: add workers, or see if one is stuck.",
            links=[runbook("QueueBacklog")],
        ),
        stat(
            "Oldest waits since",
            "max(task_queue_oldest_seconds)",
            unit="s",
            steps=rising(60, 300),
            tell="How long the task has waited that waits longest. High with few waiting: its agent is at its limit.",
            links=[runbook("QueueBacklog")],
        ),
        stat(
            "Workers",
            "max(workers_alive)",
            unit="short",
            steps=((None, BAD), (1, GOOD)),
            tell="Workers whose heartbeat is fresh. None: nothing runs.",
            links=[runbook("WorkerDown")],
        ),
        gauge(
            "Slots in use",
            "max(worker_slots_busy) / (max(worker_slots) > 0)",
            unit="percentunit",
            steps=rising(0.8, 0.95),
            none="no slots",
            tell="Share of the workers' slots that run something. Near 1 with tasks waiting: add workers.",
        ),
        stat(
            "Audit lag",
            "max(audit_ledger_lag_events)",
            unit="short",
            steps=rising(100, 1000),
            tell="Events that the audit store has not yet. At its limit no new task is accepted.",
            links=[runbook("AuditLag")],
        ),
        stat(
            "HTTP, p95",
            quantile(0.95, HTTP, "", within="5m") + " >= 0",
            unit="s",
            steps=rising(0.25, 1),
            none="no requests",
            tell="19 of 20 requests of the last 5 minutes were answered within this time.",
        ),
    ]


def _behind() -> list[Json]:
    """Return its course, and what it stands on."""
    return [
        series(
            "Waiting tasks and slots",
            {
                "waiting": "max(task_queue_waiting)",
                "slots": "max(worker_slots)",
                "slots in use": "max(worker_slots_busy)",
            },
            unit="short",
            tell="Waiting above zero with slots in use at the number of slots: more workers help. "
            "Waiting with slots free: an agent's own limit, or a stopped fleet.",
            links=[console("Fleet", "/fleet/")],
            overrides=[colour("waiting", WATCH), colour("slots", CALM), colour("slots in use", GOOD)],
        ),
        stat(
            "Dependencies",
            "min by (dependency) (dependency_up)",
            unit="none",
            mappings=UP,
            steps=((None, BAD), (1, GOOD)),
            size=(6, 8),
            tell="Down as soon as one process cannot reach it. Tasks wait and nothing is lost while one is away.",
            links=[runbook("DependencyDown"), console("System", "/system/")],
        ),
        stat(
            "Providers",
            "max by (provider) (provider_circuit_state)",
            unit="none",
            mappings=CIRCUIT,
            steps=((None, GOOD), (1, WATCH), (2, BAD)),
            size=(6, 8),
            none="no key is set",
            tell="Whether a vendor of models is asked. While not, its tier's fallback is.",
            links=[console("System", "/system/")],
        ),
    ]
