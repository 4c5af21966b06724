"""Alerts over HTTP: what Alertmanager sends, and what there is."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api import actor_of
from orchestrator_site.alerts import keeping
from orchestrator_site.alerts.wire import AlertCount, AlertList, NoticeBody, alert_to_wire
from toolgate.reading import read_body, read_query


class AlertCollection(APIView):
    """The alerts of the monitoring."""

    required_scope = {"GET": "system:read", "HEAD": "system:read", "POST": "alerts:write"}

    @extend_schema(operation_id="alerts_list", responses=AlertList)
    def get(self, request: Request) -> Response:
        """List the alerts: those that fire, then those of the last 30 days that ended."""
        read_query(request.query_params, ())
        return Response({"results": [alert_to_wire(row) for row in keeping.list_alerts()]})

    @extend_schema(operation_id="alerts_tell", request=NoticeBody, responses=AlertCount)
    def post(self, request: Request) -> Response:
        """Take a notice of Alertmanager's webhook, version 4. What is known already changes nothing."""
        read_query(request.query_params, ())
        body = read_body(request, NoticeBody)
        changed = keeping.keep(body.alerts, actor=actor_of(request), now=timezone.now())
        return Response({"fired": changed.fired, "resolved": changed.resolved})
