"""The queue: what waits, equal requests together, and what was decided, a page at a time."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from toolgate.inbox.standing import Person, read_standing
from toolgate.models import Approval, ApprovalState, Grant

MAX_LOOKED_AT = 1000  # of those that wait, the first to expire first
PAGE_SIZE = 50
PAST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What of the queue somebody wants to see; an empty part lets all through."""

    agent: str = ""
    skill: str = ""
    rule: str = ""
    mine: bool = False  # of those that wait: what this person may answer, and has not

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Equal requests: the same call of several tasks, under the same policy."""

    first: Approval  # to expire
    count: int
    is_escalated: bool  # one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Decided approvals, the newest question first; `next` is where the older ones begin, empty if there are none."""

    results: list[Approval]
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits, as far as it was looked at."""

    groups: list[Group] = field(default_factory=list)
    left_out: int = 0  # groups that a page does not hold


# --- what waits -------------------------------------------------------------------------------------------------
def read_queue(filters: Filters, person: Person, *, now: datetime, limit: int = PAGE_SIZE) -> Queue:
    """Return what waits, the first to expire first; the arguments are read for what is shown, and for nothing else."""
    rows = _narrow(Approval.objects.filter(state=ApprovalState.PENDING), filters)
    light = rows.defer("arguments", "asked_arguments").prefetch_related("votes").order_by("expires_at", "id")
    wanted = [row for row in light[:MAX_LOOKED_AT] if not filters.mine or _is_for(row, person, now=now)]
    groups = _group(wanted)
    heads = Approval.objects.prefetch_related("votes").in_bulk([group[0].id for group in groups[:limit]])
    shown = [_describe(heads[group[0].id], group) for group in groups[:limit] if group[0].id in heads]
    return Queue(groups=shown, left_out=max(0, len(groups) - limit))


def _is_for(approval: Approval, person: Person, *, now: datetime) -> bool:
    return read_standing(approval, person, now=now).can_approve


def _group(approvals: Iterable[Approval]) -> list[list[Approval]]:
    groups: dict[tuple[str, str], list[Approval]] = {}
    for approval in approvals:
        groups.setdefault((approval.kind, approval.digest), []).append(approval)
    return list(groups.values())


def _describe(head: Approval, group: list[Approval]) -> Group:
    return Group(first=head, count=len(group), is_escalated=any(one.escalated_at is not None for one in group))


# --- what was decided -------------------------------------------------------------------------------------------
def list_decided(filters: Filters, *, before: str = "", limit: int = PAGE_SIZE) -> Page:
    """Return a page of what does not wait any more; `before` is `next` of the page before it."""
    rows = _narrow(Approval.objects.exclude(state=ApprovalState.PENDING), filters)
    if before:
        rows = rows.filter(id__lt=before)
    found = list(rows.prefetch_related("votes").order_by("-id")[: limit + 1])
    return Page(results=found[:limit], next=found[limit - 1].id if len(found) > limit else "")


def list_past(approval: Approval, *, limit: int = PAST) -> list[Approval]:
    """Return what people last said to the same agent about the same skill, newest first."""
    same = Approval.objects.filter(agent_id=approval.agent_id, skill_id=approval.skill_id, kind=approval.kind)
    answered = same.exclude(decided_by="").exclude(id=approval.id)
    return list(answered.defer("arguments", "asked_arguments").order_by("-id")[:limit])


def _narrow(rows: QuerySet[Approval], filters: Filters) -> QuerySet[Approval]:
    wanted: dict[str, Any] = {"agent_id": filters.agent, "skill_id": filters.skill, "rule_id": filters.rule}
    return rows.filter(**{name: value for name, value in wanted.items() if value})


# --- grants -----------------------------------------------------------------------------------------------------
def list_ended_grants(*, now: datetime, limit: int = PAGE_SIZE) -> list[Grant]:
    """Return the grants that were revoked or have run out, newest first."""
    return list(Grant.objects.filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=now)).order_by("-id")[:limit])
