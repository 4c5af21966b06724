"""Tasks and files over HTTP: parse, one call, answer. Scopes are words of the permission table."""

from dataclasses import replace
from typing import Any, Final, cast

from django.conf import settings
from django.http import FileResponse, HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import control, queries, queue
from agents.exceptions import ArtifactNotFound, FileTooLarge
from agents.files import open_artifact, store_upload
from agents.listing.filters import TaskFilters
from agents.models import Task
from agents.ordering.admission import OrderBody, WorkflowBody, admit_order, is_id, read_key
from agents.ordering.reach import list_agents_of
from agents.states import TaskState
from agents.wire import FileWire, TaskPage, TaskWire
from audit.exceptions import BadQuery
from audit.reach import Reach, check_reach, find_beyond, reach_of
from toolgate.reading import BodyInvalid, BodyMalformed, FieldProblem, WireModel, read_body, read_limit, read_query

DEFAULT_LIMIT: Final = 50
TASK_FILTERS: Final = ("status", "agentId", "skillId", "errorCode", "parentTaskId", "cursor", "limit")
FILE_FIELD: Final = "file"
MAX_FRAME_BYTES: Final = 64_000  # of a multipart body around its file
IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="1 to 255 visible ASCII characters; the same key and body answer with the same task",
)
CURSOR: Final = OpenApiParameter("cursor", str, description="`next` of the page before")


def actor_of(request: Request) -> str:
    """Return who acts, as the audit trail names them."""
    return f"user:{request.user.get_username()}"


class NoFields(WireModel):
    """A body that says nothing: `{}`, or none at all."""


# --- tasks ----------------------------------------------------------------------------------------------------
class TaskCollection(APIView):
    """All tasks."""

    required_scope = {"GET": "tasks:read", "HEAD": "tasks:read", "POST": "tasks:write"}
    heeds_agents = True

    @extend_schema(
        operation_id="tasks_list",
        parameters=[
            OpenApiParameter("status", str, enum=[state.value for state in TaskState]),
            OpenApiParameter("agentId", str),
            OpenApiParameter("skillId", str),
            OpenApiParameter("errorCode", str, description="such as attempts_exhausted, the dead letters"),
            OpenApiParameter("parentTaskId", str, description="the tasks that are steps of this workflow"),
            CURSOR,
            OpenApiParameter("limit", int, description=f"1 to {queries.MAX_PAGE}, {DEFAULT_LIMIT} if not given"),
        ],
        responses=TaskPage,
    )
    def get(self, request: Request) -> Response:
        """List tasks, newest first. A page of large tasks may be short and still have a `next`."""
        given = read_query(request.query_params, TASK_FILTERS)
        check_reach(request.auth, *filter(None, [_read_id(given, "agentId")]))
        page = find_page(given, reach=reach_of(request.auth))
        results = [task for task in page.results if find_beyond(request.auth, list_agents_of(task)) is None]
        return Response(page_to_wire(replace(page, results=results)))

    @extend_schema(
        operation_id="tasks_submit",
        parameters=[IDEMPOTENCY_KEY],
        request=OrderBody,
        responses={202: TaskWire},
    )
    def post(self, request: Request) -> Response:
        """Submit a task. The skill runs later, as the agent, if the gate allows it; without one, the agent itself."""
        read_query(request.query_params, ())
        return _submit(request, key=_read_key(request), body=read_body(request, OrderBody))


class WorkflowCollection(APIView):
    """Tasks that depend on each other."""

    required_scope = "tasks:write"
    heeds_agents = True

    @extend_schema(
        operation_id="workflows_submit", parameters=[IDEMPOTENCY_KEY], request=WorkflowBody, responses={202: TaskWire}
    )
    def post(self, request: Request) -> Response:
        """Submit a workflow: one task, whose steps become tasks of their own, with the same trace, as they are due."""
        read_query(request.query_params, ())
        key = _read_key(request)
        body = read_body(request, WorkflowBody).as_order(cast(dict[str, Any], request.data))
        return _submit(request, key=key, body=body, base="#")


def _read_key(request: Request) -> str | None:
    return read_key(request.META.get("HTTP_IDEMPOTENCY_KEY"))


def _submit(request: Request, *, key: str | None, body: OrderBody, base: str = "#/input") -> Response:
    now, owner, raw = timezone.now(), request.user.get_username(), cast(dict[str, Any], request.data)
    check_reach(request.auth, *sorted(list_agents_of(body)))
    order = admit_order(body, raw=raw, submitted_by=owner, key=key, now=now, base=base)
    return _accepted(queue.submit_task(order, now=now).task)


def get_reached_task(request: Request, task_id: str) -> Task:
    """Return a task that the token may be told of.

    Raises: TaskNotFound, AgentNotGranted.
    """
    task = queries.get_task(task_id)
    check_reach(request.auth, *sorted(list_agents_of(task)))
    return task


def _accepted(task: Task) -> Response:
    return Response(queries.task_to_wire(task), status=202, headers={"Location": f"/api/tasks/{task.id}"})


def find_page(given: dict[str, str], *, reach: Reach = None) -> queries.Page:
    """Return the tasks that the parameters of a list name, of the agents within `reach`.

    Raises: BadQuery.
    """
    filters = TaskFilters(
        status=_read_status(given),
        agent=_read_id(given, "agentId"),
        reach=reach,
        skill=_read_id(given, "skillId"),
        error=_read_id(given, "errorCode"),
        parent=_read_id(given, "parentTaskId"),
    )
    return queries.list_tasks(
        filters,
        before=_read_cursor(given),
        limit=read_limit(given, default=DEFAULT_LIMIT, maximum=queries.MAX_PAGE),
    )


def page_to_wire(page: queries.Page) -> dict[str, Any]:
    """Return tasks as the list shows them."""
    return {"results": [queries.task_to_wire(task) for task in page.results], "next": page.next}


def _read_status(given: dict[str, str]) -> str:
    status = given.get("status", "")
    if "status" in given and status not in set(TaskState):
        raise BadQuery(f"status is not one of {', '.join(TaskState)}.")
    return status


def _read_id(given: dict[str, str], name: str) -> str:
    text = given.get(name, "")
    if name in given and not is_id(text):
        raise BadQuery(f"{name} is not an id: 1 to 64 letters, digits, dots, dashes or underscores.")
    return text


def _read_cursor(given: dict[str, str]) -> queries.Cursor | None:
    if "cursor" not in given:
        return None
    cursor = queries.read_cursor(given["cursor"])
    if cursor is None:
        raise BadQuery("cursor is not the `next` of a page.")
    return cursor


class TaskDetail(APIView):
    """One task."""

    required_scope = "tasks:read"
    heeds_agents = True

    @extend_schema(operation_id="tasks_get", responses=TaskWire)
    def get(self, request: Request, task_id: str) -> Response:
        """Return the task as it is now."""
        read_query(request.query_params, ())
        return Response(queries.task_to_wire(get_reached_task(request, task_id)))


class TaskCancel(APIView):
    """End a task early."""

    required_scope = "tasks:write"
    heeds_agents = True

    @extend_schema(operation_id="tasks_cancel", request=NoFields, responses={202: TaskWire})
    def post(self, request: Request, task_id: str) -> Response:
        """Cancel a task: at once if it waits, soon if it runs. 409 if it has ended."""
        read_query(request.query_params, ())
        read_body(request, NoFields, optional=True)
        get_reached_task(request, task_id)
        return _accepted(control.cancel_task(task_id, actor=actor_of(request), now=timezone.now()))


class TaskRetry(APIView):
    """Give a task another chance."""

    required_scope = "tasks:write"
    heeds_agents = True

    @extend_schema(operation_id="tasks_retry", request=NoFields, responses={202: TaskWire})
    def post(self, request: Request, task_id: str) -> Response:
        """Queue a failed or cancelled task again, with all its attempts. 409 otherwise."""
        read_query(request.query_params, ())
        read_body(request, NoFields, optional=True)
        get_reached_task(request, task_id)
        return _accepted(control.retry_task(task_id, actor=actor_of(request), now=timezone.now()))


# --- files ----------------------------------------------------------------------------------------------------
class ArtifactDetail(APIView):
    """A file of a task."""

    required_scope = "tasks:read"
    heeds_agents = True

    @extend_schema(operation_id="artifacts_get", responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, task_id: str, name: str) -> HttpResponseBase:
        """Download a result over 1 MB, or a file that a skill wrote, as it was then."""
        read_query(request.query_params, ())
        artifact = queries.find_artifact(task_id, name)
        if artifact is None:
            raise ArtifactNotFound(task_id)
        check_reach(request.auth, *sorted(list_agents_of(artifact.task)))
        file = open_artifact(artifact, actor=actor_of(request), now=timezone.now())
        return FileResponse(
            file,
            as_attachment=True,
            filename=artifact.name,
            content_type=artifact.content_type,
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        )


class FileCollection(APIView):
    """Documents for skills to work on."""

    required_scope = "files:write"
    heeds_agents = True  # the workspace is no agent's
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="files_upload",
        request={
            "multipart/form-data": {
                "type": "object",
                "properties": {FILE_FIELD: {"type": "string", "format": "binary"}},
                "required": [FILE_FIELD],
                "additionalProperties": False,
            }
        },
        responses={201: FileWire},
    )
    def post(self, request: Request) -> Response:
        """Put one document into the workspace's `uploads/`; the answer's `path` names it in a skill's input."""
        read_query(request.query_params, ())
        document = store_upload(_read_file(request), actor=actor_of(request), now=timezone.now())
        wire = {
            "fileId": document.file_id,
            "path": document.path,
            "sizeBytes": document.size_bytes,
            "sha256": document.sha256,
        }
        return Response(wire, status=201)


def _read_file(request: Request) -> Any:
    """Return the one file of a multipart body.

    Raises: FileTooLarge, BodyMalformed, BodyInvalid.
    """
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) == 0:
        raise BodyMalformed(f"The body is empty: send the document as the part {FILE_FIELD!r}. Nothing was kept.")
    if int(length) > settings.MAX_UPLOAD_BYTES + MAX_FRAME_BYTES:
        raise FileTooLarge(settings.MAX_UPLOAD_BYTES)
    form: Any = request.data
    parts = [(name, part) for name, found in form.lists() for part in found]
    files = [part for name, part in parts if name == FILE_FIELD and hasattr(part, "chunks")]
    if len(parts) != 1 or len(files) != 1:
        problem = FieldProblem(pointer=f"#/{FILE_FIELD}", code="one_file", detail="Exactly one file, and nothing else.")
        raise BodyInvalid([problem], f"Send exactly one part, the file {FILE_FIELD!r}. Nothing was kept.")
    return files[0]
