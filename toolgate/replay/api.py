"""What-ifs and shadow rules over HTTP."""

from datetime import timedelta

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.background import OPEN
from toolgate.reading import read_body, read_query
from toolgate.replay import runs, trials
from toolgate.replay.wire import ShadowPage, WhatIfBody, WhatIfWire, trial_to_wire, what_if_to_wire


class WhatIfCollection(APIView):
    """Replays of the history."""

    required_scope = {"POST": "policy:read"}  # it changes nothing, and each person has few at a time

    @extend_schema(operation_id="what_ifs_start", request=WhatIfBody, responses={200: WhatIfWire, 202: WhatIfWire})
    def post(self, request: Request) -> Response:
        """Hold rules against the recorded history. 200 with the report, or 202 if that takes a while: look again."""
        read_query(request.query_params, ())
        body, now = read_body(request, WhatIfBody), timezone.now()
        what_if = runs.start_what_if(
            body.rules,
            base_version=body.base_version,
            asked_by=str(request.user.get_username()),
            since=None if body.since_days is None else now - timedelta(days=body.since_days),
            now=now,
        )
        status = 202 if what_if.state in OPEN else 200
        headers = {"Location": f"/api/policy/what-if/{what_if.id}"}
        return Response(what_if_to_wire(what_if), status=status, headers=headers)


class WhatIfDetail(APIView):
    """One replay."""

    required_scope = "policy:read"

    @extend_schema(operation_id="what_ifs_get", responses=WhatIfWire)
    def get(self, request: Request, what_if_id: str) -> Response:
        """Return how far a replay is, and its report once it is done."""
        read_query(request.query_params, ())
        return Response(what_if_to_wire(runs.get_what_if(what_if_id)))


class ShadowCollection(APIView):
    """The rules that run log-only."""

    required_scope = "policy:read"

    @extend_schema(operation_id="shadow_rules_list", responses=ShadowPage)
    def get(self, request: Request) -> Response:
        """List the shadow rules in force, with how many decisions each would have turned."""
        read_query(request.query_params, ())
        rules = trials.list_shadow_rules()
        return Response({"results": [trial_to_wire(trials.get_trial(rule.id)) for rule in rules]})
