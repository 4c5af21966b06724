"""Gauges that are read from the stores, once a scrape and within two seconds, whichever store is away.

They are the same in every process, so whoever sums over processes takes the highest. Those of a store that is away
keep their last value, and `dependency_up` says so.
"""

import logging
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone
from prometheus_client import Gauge

from agents import circuits, metrics, registry
from agents.leases import lease_clock
from agents.models import Task, Worker
from agents.money.costs import refresh_cost_gauges
from agents.providers.vendors import list_configured
from agents.states import TaskState
from audit.status import get_checkpoint_status, get_ledger_status
from orchestrator_site.exceptions import FigureUnread
from orchestrator_site.health import Probe, redis_probe, state_probe, store_probe
from orchestrator_site.system.figures import LOOK_SECONDS, Figure, look
from orchestrator_site.system.work import count_running
from orchestrator_site.webhooks import metrics as webhook_metrics
from orchestrator_site.webhooks.delivering import count_pending
from toolgate.queries import refresh_gauges

log = logging.getLogger(__name__)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, multiprocess_mode="mostrecent")


ACTIVE_TASKS = _gauge("agent_active_tasks", "Tasks that a worker is running now", "agent")
WAITING = _gauge("task_queue_waiting", "Tasks that are due and not begun")
OLDEST = _gauge("task_queue_oldest_seconds", "For how long the oldest of them has been due, 0 if none waits")
WORKERS = _gauge("workers_alive", "Workers whose lease is in time")
SLOTS = _gauge("worker_slots", "Tasks that these workers may run at once, no more than MAX_AGENTS")
BUSY = _gauge("worker_slots_busy", "Tasks that they run now")
LEADS = _gauge("sequencer_leads", "1 if a sequencer holds the lease, 0 if none does: events get no numbers")
UP = _gauge("dependency_up", "1 if this store answers, 0 if it does not within two seconds", "dependency")
LATENCY = _gauge("dependency_latency_seconds", "How long its last answer took", "dependency")


def refresh() -> None:
    """Bring all gauges up to date with the stores, as far as they answer in time."""
    wanted = {name: figure for name, figure in _FIGURES.items() if name != "redis" or settings.REDIS_URL}
    for name, seen in look(wanted).items():
        UP.labels(dependency=name).set(0 if seen.fault else 1)
        LATENCY.labels(dependency=name).set(LOOK_SECONDS if seen.fault else seen.value or 0.0)


def _time(probe: Probe) -> float:
    """Return how many seconds the answer took. Raises: FigureUnread."""
    reading = probe.read()
    if reading.fault:
        raise FigureUnread(reading.fault)
    return reading.latency_seconds


def _read_state() -> float:
    """Set what is a number of rows. Raises: FigureUnread, DatabaseError."""
    try:
        seconds = _time(state_probe)
        _set_all()
    finally:
        connection.close()  # the thread that reads ends with the scrape
    return seconds


def _set_all() -> None:
    for read in (_set_work, _set_money_and_permissions, _set_trail):
        try:
            read()
        except DatabaseError:
            raise
        except Exception:  # a defect in one gauge must not say that the store is away
            log.exception("gauges were not read", extra={"action": "metrics.unread"})


def _set_work() -> None:
    running = count_running()
    for agent in registry.list_agents():
        ACTIVE_TASKS.labels(agent=agent.id).set(running[agent.id])
        metrics.TIMEOUT.labels(agent=agent.id).set(agent.config.timeout_seconds)
        metrics.declare_agent(agent.id, agent.config.tier)
    BUSY.set(sum(running.values()))
    living = Worker.objects.filter(lease_expires_at__gt=lease_clock(timezone.now()))
    WORKERS.set(living.count())
    SLOTS.set(min(living.aggregate(slots=Sum("slots"))["slots"] or 0, settings.MAX_AGENTS))
    _set_queue()


def _set_queue() -> None:
    """Set how many wait and how long; one that was put back waits since a time that its row does not tell."""
    now, queued = timezone.now(), Task.objects.filter(state=TaskState.QUEUED)
    dated = queued.filter(run_at__isnull=False).aggregate(
        later=Count("id", filter=Q(run_at__gt=now)), due_since=Min("run_at", filter=Q(run_at__lte=now))
    )
    WAITING.set(max(0, queued.count() - dated["later"]))
    submitted = queued.filter(run_at=None, queued_by="").order_by("created_at").values_list("created_at", flat=True)
    since = min(filter(None, (submitted.first(), dated["due_since"])), default=None)
    OLDEST.set(max(0.0, (now - since).total_seconds()) if since else 0.0)


def _set_money_and_permissions() -> None:
    agent_ids = [agent.id for agent in registry.list_agents()]
    refresh_gauges(agent_ids)
    circuits.refresh_gauges(list_configured())
    refresh_cost_gauges(agent_ids, now=timezone.now())
    webhook_metrics.pending.set(count_pending())


def _set_trail() -> None:
    LEADS.set(get_ledger_status().led)  # sets the lag too
    get_checkpoint_status()  # sets up to where the log is signed and filed


_FIGURES: Final[dict[str, Figure[Any]]] = {
    "state_store": Figure(_read_state, apart=True),
    "audit_store": Figure(lambda: _time(store_probe), apart=True),
    "redis": Figure(lambda: _time(redis_probe), apart=True),
}
