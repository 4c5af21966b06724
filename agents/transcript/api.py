"""`GET /api/tasks/{taskId}/transcript`: what was said in an agent's run."""

from typing import Final

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api import CURSOR, actor_of, get_reached_task
from agents.transcript.reading import MAX_PAGE, read_page
from agents.wire import TranscriptPage
from audit.exceptions import BadQuery, StoreUnavailable
from toolgate.reading import read_limit, read_query

DEFAULT_LIMIT: Final = 200
_MAX_DIGITS: Final = 15


class TaskTranscript(APIView):
    """The transcript of an agent's own run."""

    required_scope = "tasks:read"
    heeds_agents = True

    @extend_schema(
        operation_id="tasks_transcript",
        parameters=[
            CURSOR,
            OpenApiParameter("limit", int, description=f"1 to {MAX_PAGE}, {DEFAULT_LIMIT} if not given"),
        ],
        responses=TranscriptPage,
    )
    def get(self, request: Request, task_id: str) -> Response:
        """Return a part of the transcript, oldest first; the reading is audited. Fewer entries when they are large."""
        given = read_query(request.query_params, ("cursor", "limit"))
        after, limit = _read_cursor(given), read_limit(given, default=DEFAULT_LIMIT, maximum=MAX_PAGE)
        task = get_reached_task(request, task_id)
        try:
            page = read_page(task, after=after, limit=limit, actor=actor_of(request), now=timezone.now())
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"{error}. Nothing is lost: transcripts wait in the outbox. Ask again soon."
            ) from error
        return Response({"results": page.entries, "next": None if page.next_after is None else str(page.next_after)})


def _read_cursor(given: dict[str, str]) -> int:
    text = given.get("cursor", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise BadQuery("cursor is not the `next` of a page.")
    return int(text)
