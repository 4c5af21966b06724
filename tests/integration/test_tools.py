"""A model is offered what the gate lets its agent use, with the limits it will meet, and nothing else."""

from typing import Any

import pytest
from django.utils import timezone
from jsonschema import Draft202012Validator

from agents.registry import list_agents
from agents.tools import list_tools
from tests.integration.console_cast import world
from toolgate.in_force import forget_policy
from toolgate.publishing import publish_policy
from toolgate.queries import current_rules

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

OFFERED = {
    "market-research-agent": ["sourceFetch"],
    "data-extraction-agent": ["documentParser", "normalizer"],
    "qa-verification-agent": ["testRunner"],
    "summarization-agent": ["documentParser", "normalizer"],
    "build-refactor-agent": ["testRunner", "workspacePatch"],
    "security-agent": ["documentParser", "normalizer"],
    "normalization-agent": ["documentParser", "normalizer"],
    "content-agent": ["documentParser"],
    "integration-agent": ["documentParser", "normalizer"],
    "skill-audit-agent": ["documentParser", "testRunner"],
    "system-monitor-agent": ["documentParser"],
}


def describe(agent_id: str, skill_id: str) -> str:
    return next(tool.description for tool in list_tools(agent_id) if tool.name == skill_id)


def test_each_agent_is_offered_its_skills() -> None:
    assert {agent.id: [tool.name for tool in list_tools(agent.id)] for agent in list_agents()} == OFFERED


def test_an_agent_that_there_is_not_is_offered_nothing() -> None:
    assert list_tools("nobody") == ()


def test_a_tool_takes_what_its_skill_takes() -> None:
    for agent_id in OFFERED:
        for tool in list_tools(agent_id):
            Draft202012Validator.check_schema(tool.input_schema)
            assert tool.input_schema["type"] == "object"
    (fetch,) = list_tools("market-research-agent")
    assert fetch.input_schema["required"] == ["url"]
    assert {"timeoutMs", "stripScripts"} < fetch.input_schema["properties"].keys()
    normalizer = list_tools("normalization-agent")[1]
    assert "schema" in normalizer.input_schema["properties"]


def test_a_description_tells_the_limits() -> None:
    text = describe("market-research-agent", "sourceFetch")
    assert "At most 20 calls a task." in text
    assert "At most 2 a second" in text
    assert "arxiv.org" in text
    assert "Hosts" not in describe("normalization-agent", "normalizer")


def test_a_skill_that_asks_says_so_and_when() -> None:
    text = describe("build-refactor-agent", "workspacePatch")
    assert "wait until a person has approved them" in text
    assert "A patch that is not a dry run is approved by another person first." in text
    assert "approved" not in describe("build-refactor-agent", "testRunner")


def publish(*changes: dict[str, Any]) -> None:
    number, rules = current_rules()
    publish_policy([*rules, *changes], author="ada", reason="test", base_version=number, now=timezone.now())
    forget_policy()


def test_what_a_rule_denies_is_not_offered() -> None:
    publish({"id": "stop", "agent": "*", "skill": "documentParser", "effect": "deny"})
    assert list_tools("content-agent") == ()
    assert [tool.name for tool in list_tools("security-agent")] == ["normalizer"]


def test_a_rule_about_a_skill_that_there_is_not_offers_nothing() -> None:
    publish({"id": "dream", "agent": "content-agent", "skill": "teleport", "effect": "allow"})
    assert [tool.name for tool in list_tools("content-agent")] == ["documentParser"]
