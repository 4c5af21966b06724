"""What pages and the API read of bulk runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from agents.exceptions import BulkNotFound
from agents.models import BulkItem, BulkRun
from audit.background import OPEN
from audit.wire import format_at

PAGE_SIZE: Final = 100
MAX_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page[Row]:
    """Some rows; `next` is the cursor of those behind them, None at the end."""

    results: list[Row]
    next: int | None


def find_bulk(bulk_id: str) -> BulkRun | None:
    """Return a run without its list of tasks, or None."""
    return BulkRun.objects.defer("task_ids").filter(id=bulk_id).first()


def get_bulk(bulk_id: str) -> BulkRun:
    """Return a run without its list of tasks. Raises: BulkNotFound."""
    run = find_bulk(bulk_id)
    if run is None:
        raise BulkNotFound(bulk_id)
    return run


def list_bulks(*, before: str = "", limit: int = 20) -> list[BulkRun]:
    """Return the newest runs whose id is below `before`, newest first, without their lists of tasks."""
    rows = BulkRun.objects.defer("task_ids").order_by("-id")
    return list((rows.filter(id__lt=before) if before else rows)[:limit])


def list_items(run: BulkRun, *, after: int = -1, refused_only: bool = False, limit: int = PAGE_SIZE) -> Page[BulkItem]:
    """Return what became of the tasks behind place `after`, in the order of their turns."""
    rows = run.items.filter(place__gt=after).order_by("place")
    if refused_only:
        rows = rows.exclude(refusal="")
    found = list(rows[: limit + 1])
    return Page(results=found[:limit], next=found[limit - 1].place if len(found) > limit else None)


def iterate_items(run: BulkRun) -> Iterator[BulkItem]:
    """Give what became of each task, in the order of their turns, a page in memory at a time."""
    after: int | None = -1
    while after is not None:
        page = list_items(run, after=after, limit=MAX_PAGE)
        yield from page.results
        after = page.next


def count_results(run: BulkRun) -> tuple[int, int]:
    """Return how many turns were taken, and how many of them were refused."""
    return run.items.count(), run.items.exclude(refusal="").count()


def is_open(run: BulkRun) -> bool:
    """Tell whether there are turns to come."""
    return run.state in OPEN


def bulk_to_wire(run: BulkRun, page: Page[BulkItem]) -> dict[str, Any]:
    """Return a run as the API shows it, with a page of its results."""
    had, refused = count_results(run)
    return {
        "bulkId": run.id,
        "action": run.action,
        "state": run.state,
        "reason": run.reason,
        "askedBy": run.asked_by,
        "filter": run.filters,
        "total": run.total,
        "done": had - refused,
        "refused": refused,
        "createdAt": format_at(run.created_at),
        "endedAt": format_at(run.ended_at) if run.ended_at else None,
        "error": run.error or (run.result or {}).get("why") or None,
        "results": [item_to_wire(item) for item in page.results],
        "next": None if page.next is None else str(page.next),
    }


def item_to_wire(item: BulkItem) -> dict[str, Any]:
    """Return what became of one task, as the API shows it."""
    outcome = "refused" if item.refusal else "done"
    return {"taskId": item.task_id, "outcome": outcome, "refusal": item.refusal or None, "at": format_at(item.at)}
