"""The stop switches over HTTP: parse, one call, answer."""

from typing import Literal, Self

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from pydantic import Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import registry
from agents.fleet_api import agent_to_wire, skill_to_wire
from agents.switches import changes
from agents.switches.reading import read_fleet_state
from agents.types import AgentStatus
from agents.wire import AgentWire, FleetWire, SkillWire
from audit.reach import check_reach
from toolgate.reading import WireModel, read_body, read_query


class AgentStatusBody(WireModel):
    """What is to become of an agent, and why."""

    status: Literal["enabled", "paused", "quarantined", "disabled"]
    reason: str


class SkillStatusBody(WireModel):
    """What is to become of a skill, and why."""

    status: Literal["enabled", "quarantined"]
    reason: str


class FleetBody(WireModel):
    """What is to become of the fleet; `slots` resumes it in a stage, with so many tasks at once."""

    state: Literal["stopped", "running"]
    slots: int | None = Field(default=None, ge=1, le=100_000)
    reason: str = ""

    @model_validator(mode="after")
    def _check_slots(self) -> Self:
        if self.state == "stopped" and self.slots is not None:
            raise ValueError("a fleet that is stopped has no slots")
        return self


class AgentSwitch(APIView):
    """Whether an agent may work."""

    required_scope = "fleet:stop"
    heeds_agents = True

    @extend_schema(operation_id="agents_set_status", request=AgentStatusBody, responses=AgentWire)
    def post(self, request: Request, agent_id: str) -> Response:
        """Pause, quarantine, disable or resume an agent, within a second on every worker. 409 if it is so already."""
        read_query(request.query_params, ())
        body = read_body(request, AgentStatusBody)
        check_reach(request.auth, agent_id)
        changes.set_agent_status(
            agent_id, AgentStatus(body.status), author=_user(request), reason=body.reason, now=timezone.now()
        )
        return Response(agent_to_wire(registry.get_agent(agent_id)))


class SkillSwitch(APIView):
    """Whether a skill may be called."""

    required_scope = "fleet:stop"

    @extend_schema(operation_id="skills_set_status", request=SkillStatusBody, responses=SkillWire)
    def post(self, request: Request, skill_id: str) -> Response:
        """Quarantine a skill or release it, within a second on every worker. 409 if it is so already."""
        read_query(request.query_params, ())
        body = read_body(request, SkillStatusBody)
        turn = changes.quarantine_skill if body.status == "quarantined" else changes.release_skill
        turn(skill_id, author=_user(request), reason=body.reason, now=timezone.now())
        return Response(skill_to_wire(skill_id))


class FleetSwitch(APIView):
    """Whether the fleet may work."""

    required_scope = {"GET": "agents:read", "HEAD": "agents:read", "POST": "fleet:stop"}

    @extend_schema(operation_id="fleet_get", responses=FleetWire)
    def get(self, request: Request) -> Response:
        """Return whether the fleet works, and who changed that last."""
        read_query(request.query_params, ())
        return Response(read_fleet_state().to_wire())

    @extend_schema(operation_id="fleet_set_state", request=FleetBody, responses=FleetWire)
    def post(self, request: Request) -> Response:
        """Stop the fleet, with a reason, or resume it, in stages if `slots` says so. 409 if it is so already."""
        read_query(request.query_params, ())
        body = read_body(request, FleetBody)
        user, now = _user(request), timezone.now()
        if body.state == "stopped":
            changes.stop_fleet(author=user, reason=body.reason, now=now)
        else:
            changes.resume_fleet(slots=body.slots, author=user, reason=body.reason, now=now)
        return Response(read_fleet_state().to_wire())


def _user(request: Request) -> str:
    return str(request.user.get_username())
