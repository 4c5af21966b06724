"""Agents and skills over HTTP: what there is, and what each may do."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import registry
from agents.registry import RegisteredAgent
from agents.wire import AgentDetailWire, AgentPage, SkillPage
from audit.reach import check_reach, find_beyond
from toolgate.queries import list_permissions
from toolgate.reading import read_query


class AgentCollection(APIView):
    """The fleet."""

    required_scope = "agents:read"
    heeds_agents = True

    @extend_schema(operation_id="agents_list", responses=AgentPage)
    def get(self, request: Request) -> Response:
        """List the agents, by id."""
        read_query(request.query_params, ())
        agents = [agent for agent in registry.list_agents() if find_beyond(request.auth, [agent.id]) is None]
        return Response({"results": [agent_to_wire(agent) for agent in agents], "next": None})


class AgentDetail(APIView):
    """One agent."""

    required_scope = "agents:read"
    heeds_agents = True

    @extend_schema(operation_id="agents_get", responses=AgentDetailWire)
    def get(self, request: Request, agent_id: str) -> Response:
        """Return an agent with its prompt and schemas."""
        read_query(request.query_params, ())
        agent = registry.get_agent(agent_id)
        check_reach(request.auth, agent.id)
        return Response(agent_to_detail(agent))


def agent_to_detail(agent: RegisteredAgent) -> dict[str, Any]:
    """Return an agent with its prompt and schemas."""
    config = agent.config
    return agent_to_wire(agent) | {
        "prompt": config.prompt,
        "constraints": config.constraints.model_dump(mode="json", by_alias=True),
        "inputSchema": config.input_schema,
        "outputSchema": config.output_schema,
    }


def agent_to_wire(agent: RegisteredAgent) -> dict[str, Any]:
    """Return an agent as the lists show it."""
    config = agent.config
    skill_ids = [skill.id for skill in registry.list_skills()]
    return {
        "agentId": agent.id,
        "name": config.display_name,
        "status": agent.status.value,
        "taskType": config.task_type,
        "tier": config.tier.value,
        "model": settings.MODEL_TIERS[config.tier.value],
        "skills": [permission.to_wire() for permission in list_permissions(agent.id, skill_ids)],
        "configVersion": agent.version,
        "timeoutSeconds": config.timeout_seconds,
        "retries": config.retries,
        "concurrent": config.concurrent,
    }


class SkillCollection(APIView):
    """The skills."""

    required_scope = "agents:read"
    heeds_agents = True  # a skill is no agent's

    @extend_schema(operation_id="skills_list", responses=SkillPage)
    def get(self, request: Request) -> Response:
        """List the skills, by id, with the schemas of their input and output."""
        read_query(request.query_params, ())
        return Response({"results": [skill_to_wire(skill.id) for skill in registry.list_skills()], "next": None})


def skill_to_wire(skill_id: str) -> dict[str, Any]:
    """Return a skill as the list shows it."""
    skill = registry.get_skill(skill_id)
    return {
        "skillId": skill.id,
        "version": skill.version,
        "summary": skill.summary,
        "status": "quarantined" if registry.is_quarantined(skill_id) else "enabled",
        "capabilities": sorted(capability.value for capability in skill.capabilities),
        "inputSchema": skill.input_model.model_json_schema(by_alias=True),
        "outputSchema": skill.output_model.model_json_schema(by_alias=True, mode="serialization"),
    }
