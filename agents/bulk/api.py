"""Bulk runs over HTTP: parse, one call, answer."""

from typing import Final, Self

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import AwareDatetime, Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.bulk import reading
from agents.bulk.actions import Action
from agents.bulk.planning import MAX_NAMED, Plan, Selection, plan_bulk, start_bulk
from agents.bulk.wire import BulkPlanWire, BulkWire
from agents.listing.filters import ID, TaskFilters
from agents.states import TaskState
from audit.exceptions import BadQuery
from toolgate.reading import WireModel, read_body, read_limit, read_query

_ID: Final = f"^{ID.pattern}$"
_MAX_DIGITS: Final = 9


class BulkFilter(WireModel):
    """The tasks that are meant, by what they have in common; at least one member."""

    status: TaskState | None = Field(default=None, strict=False)
    agent_id: str = Field(default="", pattern=_ID)
    skill_id: str = Field(default="", pattern=_ID)
    error_code: str = Field(default="", pattern=_ID)
    submitted_by: str = Field(default="", max_length=200)
    since: AwareDatetime | None = Field(default=None, strict=False)
    until: AwareDatetime | None = Field(default=None, strict=False)

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        if not self.to_filters():
            raise ValueError("an empty filter means every task there is: name at least one member")
        return self

    def to_filters(self) -> TaskFilters:
        """Return the filters as lists take them."""
        return TaskFilters(
            status=self.status or "",
            agent=self.agent_id,
            skill=self.skill_id,
            error=self.error_code,
            by=self.submitted_by,
            since=self.since,
            until=self.until,
        )


class BulkBody(WireModel):
    """What is to be done to which tasks, and why; a dry run needs no reason."""

    action: Action = Field(strict=False)
    filter: BulkFilter | None = None
    ids: list[str] | None = Field(default=None, min_length=1, max_length=MAX_NAMED)
    dry_run: bool = False
    reason: str = ""

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if (self.filter is None) == (self.ids is None):
            raise ValueError("name the tasks by filter or by ids, not by both")
        return self

    def to_selection(self) -> Selection:
        """Return the tasks that are meant."""
        if self.filter is not None:
            return Selection(filters=self.filter.to_filters())
        return Selection(task_ids=tuple(self.ids or ()))


class BulkCollection(APIView):
    """One thing done to many tasks."""

    required_scope = "tasks:write"

    @extend_schema(operation_id="tasks_bulk", request=BulkBody, responses={200: BulkPlanWire, 202: BulkWire})
    def post(self, request: Request) -> Response:
        """Cancel or retry up to 10,000 tasks; with `dryRun`, only say what would become of them."""
        read_query(request.query_params, ())
        body = read_body(request, BulkBody)
        if body.dry_run:
            return Response(plan_to_wire(plan_bulk(body.action, body.to_selection())))
        run = start_bulk(
            body.action,
            body.to_selection(),
            reason=body.reason,
            asked_by=request.user.get_username(),
            snapshot="",
            now=timezone.now(),
        )
        wire = reading.bulk_to_wire(run, reading.list_items(run))
        return Response(wire, status=202, headers={"Location": f"/api/tasks/bulk/{run.id}"})


def plan_to_wire(plan: Plan) -> dict[str, object]:
    """Return what a run would do, as the API shows it."""
    return {
        "action": plan.action.value,
        "total": len(plan.task_ids),
        "changed": plan.changed,
        "unknown": plan.unknown,
        "isCut": plan.is_cut,
        "kinds": [
            {"status": kind.state.value, "count": kind.count, "changed": kind.is_changed, "outcome": kind.outcome}
            for kind in plan.kinds
        ],
        "sample": [task.id for task in plan.list_sample()],
    }


class BulkDetail(APIView):
    """One bulk run."""

    required_scope = "tasks:read"

    @extend_schema(
        operation_id="tasks_bulk_get",
        parameters=[
            OpenApiParameter("cursor", str, description="`next` of the page before"),
            OpenApiParameter("limit", int, description=f"1 to {reading.MAX_PAGE}, {reading.PAGE_SIZE} if not given"),
        ],
        responses=BulkWire,
    )
    def get(self, request: Request, bulk_id: str) -> Response:
        """Return how far a run is, with a page of what became of its tasks, in the order of their turns."""
        given = read_query(request.query_params, ("cursor", "limit"))
        run = reading.get_bulk(bulk_id)
        limit = read_limit(given, default=reading.PAGE_SIZE, maximum=reading.MAX_PAGE)
        page = reading.list_items(run, after=_read_place(given.get("cursor")), limit=limit)
        return Response(reading.bulk_to_wire(run, page))


def _read_place(cursor: str | None) -> int:
    if cursor is None:
        return -1
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise BadQuery("cursor is not the `next` of a page.")
    return int(cursor)
