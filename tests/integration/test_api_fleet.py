"""The fleet and its skills over HTTP."""

import pytest

from agents.wire import AgentDetailWire, AgentPage, SkillPage
from tests.integration.api_cast import Api, api_of, problem_of, world

__all__ = ["world"]


@pytest.fixture
def vera(world: None) -> Api:
    """The viewer."""
    return api_of("vera")


def test_the_eleven_agents_are_listed_with_what_they_may_use(vera: Api) -> None:
    answer = vera.get("agents")
    page = AgentPage.model_validate_json(answer.content)
    assert len(page.results) == 11
    by_id = {agent.agent_id: agent for agent in page.results}
    fetcher = by_id["market-research-agent"]
    assert (fetcher.tier, fetcher.config_version, fetcher.status) == ("cheap", 1, "enabled")
    assert fetcher.model.startswith("openai:")
    [fetch] = fetcher.skills
    assert (fetch.skill_id, fetch.effect, fetch.calls_per_task, fetch.rate_per_second) == (
        "sourceFetch",
        "allow",
        20,
        2,
    )
    assert "arxiv.org" in fetch.domains
    assert sum(agent.tier == "balanced" for agent in page.results) == 5
    assert {skill.skill_id: skill.effect for skill in by_id["build-refactor-agent"].skills}["workspacePatch"] == "ask"


def test_one_agent_shows_its_prompt_and_schemas(vera: Api) -> None:
    answer = vera.get("agents/security-agent")
    agent = AgentDetailWire.model_validate_json(answer.content)
    assert agent.agent_id == "security-agent"
    assert agent.constraints["reviewRequired"] is True
    assert agent.input_schema["type"] == "object"
    assert len(agent.prompt) > 40


@pytest.mark.parametrize("agent_id", ["nobody", "security-agent ", "SECURITY-AGENT", "security\u2010agent", "x" * 65])
def test_another_id_is_not_found(vera: Api, agent_id: str) -> None:
    problem_of(vera.get(f"agents/{agent_id}"), 404, "not_found")


def test_the_five_skills_are_listed_with_their_schemas(vera: Api) -> None:
    page = SkillPage.model_validate_json(vera.get("skills").content)
    assert [skill.skill_id for skill in page.results] == [
        "documentParser", "normalizer", "sourceFetch", "testRunner", "workspacePatch",
    ]  # fmt: skip
    fetch = page.results[2]
    assert fetch.capabilities == ["network"]
    assert fetch.input_schema["required"] == ["url"]
    assert "sha256" in fetch.output_schema["properties"]
