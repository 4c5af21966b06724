"""A view that does what any such view must: check a token, read a body, insert two rows in one transaction."""

from typing import Any

from django.urls import include, path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.models import Task
from audit.ids import new_id
from audit.models import LedgerEvent
from audit.transactions import write_transaction


class BareView(APIView):
    """Insert a task that never runs and an event that never counts."""

    required_scope = "tasks:write"

    def post(self, request: Request) -> Response:
        body: Any = request.data
        now = timezone.now()
        with write_transaction():
            task = Task.objects.create(
                id=new_id(),
                state="cancelled",
                agent_id=body["agentId"],
                skill_id=body["skillId"],
                input=body["input"],
                created_at=now,
                trace_id=new_id(),
                submitted_by=request.user.get_username(),
            )
            LedgerEvent.objects.create(
                event_id=new_id(), type="bench.inserted", at=now, actor="bench", task_id=task.id, body={}
            )
        return Response({"taskId": task.id}, status=202)


urlpatterns = [path("bench/bare", BareView.as_view()), path("", include("orchestrator_site.urls"))]
