"""Why, and what is odd, over HTTP: nothing is decided, spent or recorded."""

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.exceptions import BadQuery
from toolgate.editing.findings import lint_rules
from toolgate.exceptions import DecisionMissing
from toolgate.explaining.answers import Question, answer_call, answer_decision
from toolgate.explaining.wire import (
    AnswerWire,
    ExplainBody,
    FindingList,
    LintBody,
    ReplayWire,
    answer_to_wire,
    finding_to_wire,
    replay_to_wire,
)
from toolgate.queries import current_rules, find_decision
from toolgate.reading import read_body, read_query


class PolicyExplain(APIView):
    """May it, and why?"""

    required_scope = "policy:read"

    @extend_schema(
        operation_id="policy_explain_decision",
        parameters=[OpenApiParameter("decisionId", str, required=True, description="of a decision on record")],
        responses=ReplayWire,
    )
    def get(self, request: Request) -> Response:
        """Explain a decision on record by the rules of its own version, and the same call by the rules in force."""
        given = read_query(request.query_params, ("decisionId",))
        if "decisionId" not in given:
            raise BadQuery("decisionId is missing.")
        record = find_decision(given["decisionId"])
        if record is None:
            raise DecisionMissing(given["decisionId"])
        return Response(replay_to_wire(answer_decision(record, now=timezone.now())))

    @extend_schema(operation_id="policy_explain_call", request=ExplainBody, responses=AnswerWire)
    def post(self, request: Request) -> Response:
        """Explain what would come of a call, now: the rules looked at, their limits, the narrowest rule to allow it."""
        read_query(request.query_params, ())
        body = read_body(request, ExplainBody)
        question = Question(
            agent_id=body.agent_id,
            skill_id=body.skill_id,
            arguments=body.input,
            tainted=body.tainted,
            task_id=body.task_id,
        )
        return Response(answer_to_wire(answer_call(question, now=timezone.now())))


class PolicyLint(APIView):
    """What is odd about rules?"""

    required_scope = "policy:read"

    @extend_schema(operation_id="policy_lint", request=LintBody, responses=FindingList)
    def post(self, request: Request) -> Response:
        """Look rules over: those that are sent, else those in force. 422 for rules that do not fit the schema."""
        read_query(request.query_params, ())
        body = read_body(request, LintBody, optional=True)
        rules = current_rules()[1] if body.rules is None else body.rules
        found = lint_rules(rules, now=timezone.now())
        return Response({"findings": [finding_to_wire(finding) for finding in found]})
