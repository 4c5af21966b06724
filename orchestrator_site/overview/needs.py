"""What needs a person, the most urgent first, and whether all is well, in words."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Min
from django.utils import timezone

from agents import circuits
from agents.breaker import CircuitState
from agents.leases import lease_clock
from agents.models import Worker
from agents.providers.vendors import list_configured
from agents.registry import list_agents
from orchestrator_site.alerts.keeping import count_firing
from orchestrator_site.system.work import judge_worker
from toolgate.inbox.listing import PAGE_SIZE, list_answerable
from toolgate.inbox.standing import Person
from toolgate.models import Approval, ApprovalState

MAX_COUNTED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Approvals nobody has answered, counted up to 1,000."""

    count: int
    escalated: int
    oldest_at: datetime | None
    expires_at: datetime | None
    mine: list[Approval]  # of the first 50 to expire, those that this person may answer
    is_mine_cut: bool = False  # more wait than were looked at for this person


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether the parts that run tasks are well. Workers by how they are; vendors that are left alone."""

    living: int = 0
    dead: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    halted: dict[str, str] = field(default_factory=dict)  # agents that are not enabled, with their status
    left_alone: list[str] = field(default_factory=list)
    has_vendor: bool = False
    alerts: int = 0  # of the monitoring, that fire

    @property
    def is_idle(self) -> bool:
        """Say whether nobody runs tasks."""
        return not self.living and not self.silent


def read_waiting(person: Person | None, now: datetime) -> Waiting:
    """Return how many approvals wait, the oldest question and the soonest expiry, and which `person` may answer."""
    pending = Approval.objects.filter(state=ApprovalState.PENDING).order_by("expires_at").values("id")[:MAX_COUNTED]
    row = Approval.objects.filter(id__in=pending).aggregate(
        count=Count("id"), escalated=Count("escalated_at"), oldest=Min("created_at"), soonest=Min("expires_at")
    )
    return Waiting(
        count=row["count"],
        escalated=row["escalated"],
        oldest_at=row["oldest"],
        expires_at=row["soonest"],
        mine=list_answerable(person, now=now, limit=PAGE_SIZE) if person and row["count"] else [],
        is_mine_cut=person is not None and row["count"] > PAGE_SIZE,
    )


def read_standing() -> Standing:
    """Return whether workers, agents and vendors are well, from the relational store alone."""
    clock = lease_clock(timezone.now())
    workers = [(worker.id, judge_worker(worker, now=clock)) for worker in Worker.objects.order_by("id")[:MAX_COUNTED]]
    return Standing(
        living=sum(state == "living" for _, state in workers),
        dead=[name for name, state in workers if state == "dead"],
        silent=[name for name, state in workers if state == "silent"],
        halted={agent.id: agent.status.value for agent in list_agents() if agent.status != "enabled"},
        left_alone=[row.provider for row in circuits.list_circuits() if row.state == CircuitState.OPEN],
        has_vendor=bool(list_configured()),
        alerts=count_firing(),
    )
