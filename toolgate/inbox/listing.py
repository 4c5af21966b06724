"""The queue: what waits, equal requests together, and what was decided, a page at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from django.db.models import Count, Q, QuerySet

from toolgate.inbox.standing import Person, read_standing
from toolgate.models import Approval, ApprovalState, Grant

type _Call = tuple[str, str]  # kind and digest: what makes requests equal

MAX_LOOKED_AT = 1000  # of those that wait, the first to expire first
PAGE_SIZE = 50
PAST = 5
CHUNK = 200  # approvals in memory at once, of all that there are


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

    def describe(self) -> dict[str, str]:
        """Return what is set, under the names that addresses use."""
        given = {"agent": self.agent, "skill": self.skill, "rule": self.rule, "mine": "yes" if self.mine else ""}
        return {name: value for name, value in given.items() if value}


def read_inbox_filters(query: Mapping[str, str]) -> Filters:
    """Return the filters of an address."""
    agent, skill, rule = (query.get(name, "") for name in ("agent", "skill", "rule"))
    return Filters(agent=agent, skill=skill, rule=rule, mine=query.get("mine") == "yes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Equal requests: the same call of several tasks, under the same policy."""

    first: Approval  # to expire
    count: int  # of all that wait
    is_escalated: bool  # one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Page[Row]:
    """Some rows, newest first; `next` is where the older ones begin, empty if there are none."""

    results: list[Row]
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits, as far as it is shown."""

    groups: list[Group] = field(default_factory=list)
    has_more: bool = False  # others wait behind them


# --- what waits -------------------------------------------------------------------------------------------------
def read_queue(filters: Filters, person: Person, *, now: datetime, limit: int = PAGE_SIZE) -> Queue:
    """Return what waits, the first to expire first: no more is looked at than it takes to find `limit` calls."""
    ids = list(islice(_find_first_of_each(filters, person, now=now), limit + 1))
    heads = Approval.objects.prefetch_related("votes").in_bulk(ids[:limit])
    shown = [heads[id_] for id_ in ids[:limit] if id_ in heads]
    equal = _count_equal(shown, filters)
    groups = [_describe(head, equal.get(_call_of(head))) for head in shown]
    return Queue(groups=groups, has_more=len(ids) > limit)


def _find_first_of_each(filters: Filters, person: Person, *, now: datetime) -> Iterator[str]:
    """Give the id of the first to expire of each call, of those that the person wants to see."""
    seen: set[_Call] = set()
    for row in _iterate_waiting(filters):
        if _call_of(row) not in seen and not (filters.mine and not _is_for(row, person, now=now)):
            seen.add(_call_of(row))
            yield row.id


def _iterate_waiting(filters: Filters) -> Iterator[Approval]:
    """Give what waits, with votes where they say for whom, in chunks: whoever stops early has read little."""
    waiting = Approval.objects.filter(state=ApprovalState.PENDING).order_by("expires_at", "id")
    if filters.mine:
        light = waiting.defer("arguments", "asked_arguments").prefetch_related("votes")
    else:
        light = waiting.only("id", "kind", "digest")
    yield from _narrow(light, filters)[:MAX_LOOKED_AT].iterator(chunk_size=CHUNK)


def _count_equal(heads: Iterable[Approval], filters: Filters) -> dict[_Call, tuple[int, bool]]:
    """Return for each call how many such requests wait, and whether one of them was escalated."""
    waiting = Approval.objects.filter(state=ApprovalState.PENDING, digest__in={head.digest for head in heads})
    counts = _narrow(waiting, filters).values_list("kind", "digest").annotate(Count("id"), Count("escalated_at"))
    return {(kind, digest): (count, escalated > 0) for kind, digest, count, escalated in counts}


def _call_of(approval: Approval) -> _Call:
    return approval.kind, approval.digest


def _describe(head: Approval, equal: tuple[int, bool] | None) -> Group:
    count, is_escalated = equal or (1, head.escalated_at is not None)  # answered a moment ago
    return Group(first=head, count=count, is_escalated=is_escalated)


def list_answerable(person: Person, *, now: datetime, limit: int = PAGE_SIZE) -> list[Approval]:
    """Return of the first `limit` that wait, by expiry, those that `person` may answer, without their arguments."""
    rows = Approval.objects.filter(state=ApprovalState.PENDING).defer("arguments", "asked_arguments")
    light = rows.prefetch_related("votes").order_by("expires_at", "id")[:limit]
    return [row for row in light if _is_for(row, person, now=now)]


def _is_for(approval: Approval, person: Person, *, now: datetime) -> bool:
    return read_standing(approval, person, now=now).can_approve


# --- what was decided -------------------------------------------------------------------------------------------
def list_decided(filters: Filters, *, before: str = "", limit: int = PAGE_SIZE) -> Page[Approval]:
    """Return a page of what does not wait any more; `before` is `next` of the page before it."""
    rows = _narrow(Approval.objects.exclude(state=ApprovalState.PENDING), filters)
    return _cut_page(rows.prefetch_related("votes"), before=before, limit=limit)


def iterate_approvals(filters: Filters, person: Person, *, is_decided: bool, now: datetime) -> Iterator[Approval]:
    """Give all that was decided, newest first, or all that waits, the first to expire first, without arguments."""
    rows = _narrow(Approval.objects.defer("arguments", "asked_arguments").prefetch_related("votes"), filters)
    if is_decided:
        yield from rows.exclude(state=ApprovalState.PENDING).order_by("-id").iterator(chunk_size=CHUNK)
        return
    for row in rows.filter(state=ApprovalState.PENDING).order_by("expires_at", "id").iterator(chunk_size=CHUNK):
        if not filters.mine or _is_for(row, person, now=now):
            yield row


def list_past(approval: Approval, *, limit: int = PAST) -> list[Approval]:
    """Return what people last said to the same agent about the same skill, newest first."""
    same = Approval.objects.filter(agent_id=approval.agent_id, skill_id=approval.skill_id, kind=approval.kind)
    answered = same.exclude(decided_by="").exclude(id=approval.id)
    return list(answered.defer("arguments", "asked_arguments").order_by("-id")[:limit])


def _narrow(rows: QuerySet[Approval], filters: Filters) -> QuerySet[Approval]:
    wanted: dict[str, Any] = {"agent_id": filters.agent, "skill_id": filters.skill, "rule_id": filters.rule}
    return rows.filter(**{name: value for name, value in wanted.items() if value})


# --- grants -----------------------------------------------------------------------------------------------------
def list_ended_grants(*, now: datetime, before: str = "", limit: int = PAGE_SIZE) -> Page[Grant]:
    """Return a page of the grants that were revoked or have run out, newest first; `before` is `next` of another."""
    rows = Grant.objects.filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=now))
    return _cut_page(rows, before=before, limit=limit)


def _cut_page[Row: (Approval, Grant)](rows: QuerySet[Row], *, before: str, limit: int) -> Page[Row]:
    found = list((rows.filter(id__lt=before) if before else rows).order_by("-id")[: limit + 1])
    return Page(results=found[:limit], next=found[limit - 1].id if len(found) > limit else "")
