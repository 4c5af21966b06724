"""What holds for all five skills, and for the files that describe the fleet."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from agents.registry import get_skill, list_skills, read_fleet
from agents.skills.base import Capability, Skill, SkillContext, SkillRefused, dump
from agents.types import AgentConfig

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FLEET = {config.id: config for config in read_fleet(ROOT / "agents" / "fleet")}

INPUTS: dict[str, dict[str, Any]] = {
    "sourceFetch": {"url": "https://Docs.Example.org/a?b=1"},
    "documentParser": {"filePath": "stock.json", "format": "json"},
    "normalizer": {"data": {"x": 1.5}, "schema": {"x": {"type": "number", "min": 0.5}}},
    "workspacePatch": {"filePath": "stock.json", "changes": [{"type": "append", "newText": "x"}]},
    "testRunner": {"target": "project", "command": "unit-tests"},
}
skills = pytest.mark.parametrize("skill", list_skills(), ids=lambda skill: skill.id)


@skills
class TestEverySkill:
    def arguments(self, skill: Skill, **changes: Any) -> Any:
        return skill.input_model.model_validate(INPUTS[skill.id] | changes)

    def test_its_arguments_survive_being_stored(self, skill: Skill) -> None:
        arguments = self.arguments(skill)
        stored = json.loads(json.dumps(dump(arguments)))
        assert skill.input_model.model_validate(stored) == arguments
        assert set(INPUTS[skill.id]) <= set(stored)

    def test_it_tells_the_gate_scalars_only(self, skill: Skill) -> None:
        resource = skill.resource(self.arguments(skill), EXAMPLES)
        assert all(type(value) in (str, int, bool) for value in resource.arguments.values())
        assert bool(resource.hosts) == (Capability.NETWORK in skill.capabilities)
        assert bool(resource.read_paths) == bool(
            skill.capabilities & {Capability.READ_WORKSPACE, Capability.RUN_COMMAND}
        )

    @pytest.mark.parametrize("field", ["force", "escalate", "actAsAgent", "dry_runn", "__class__"])
    def test_it_refuses_fields_that_it_does_not_know(self, skill: Skill, field: str) -> None:
        with pytest.raises(ValidationError):
            self.arguments(skill, **{field: True})

    def test_it_describes_itself(self, skill: Skill) -> None:
        for model in (skill.input_model, skill.output_model):
            Draft202012Validator.check_schema(model.model_json_schema(by_alias=True))
        assert skill.summary.endswith(".")
        assert inspect.getdoc(type(skill))

    def test_it_may_be_repeated_after_a_crash(self, skill: Skill) -> None:
        assert skill.is_idempotent(self.arguments(skill))

    def test_it_reaches_nothing_unless_allowed(self, skill: Skill) -> None:
        if not skill.capabilities:
            return
        context = SkillContext(workspace=EXAMPLES, task_id="t", timeout_seconds=5)
        with pytest.raises(SkillRefused) as refused:
            skill.run(self.arguments(skill), context)
        assert refused.value.code == ("domain_not_allowed" if skill.id == "sourceFetch" else "read_path")


def test_only_the_normalizer_brings_no_text_from_outside() -> None:
    kept = [s.id for s in list_skills() if not s.brings_outside_text(s.input_model.model_validate(INPUTS[s.id]))]
    assert kept == ["normalizer"]


def test_there_are_five_skills() -> None:
    assert {skill.id for skill in list_skills()} == set(INPUTS)


def test_only_the_normalizer_may_run_on_the_event_loop() -> None:
    assert [skill.id for skill in list_skills() if skill.inline] == ["normalizer"]


def test_the_parsers_and_the_http_client_load_on_first_use() -> None:
    """The server has to be ready in time; these cost tenths of a second."""
    code = (
        "import sys, agents.skills.source_fetch, agents.skills.document_parser, agents.skills.normalizer,"
        "agents.skills.workspace_patch, agents.skills.test_runner;"
        "print({'requests', 'AntiSSRF', 'lxml', 'pdfplumber', 'pdfminer', 'markdown_it', 'django'} & set(sys.modules))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert outcome.stdout == "set()\n"


def test_a_normal_fetch_policy_has_no_way_inside() -> None:
    """What tests change in a policy, nothing else sets: not the environment and not the settings."""
    policy = get_skill("sourceFetch")._policy  # type: ignore[attr-defined]
    assert (policy.port, policy.certificates, policy.extra_networks) == (443, None, ())


# id: (task type, tier, timeout, retries, concurrent)
TABLE = {
    "market-research-agent": ("market-research", "cheap", 120, 3, 5),
    "data-extraction-agent": ("data-extraction", "cheap", 90, 2, 5),
    "qa-verification-agent": ("qa-verification", "balanced", 300, 3, 2),
    "summarization-agent": ("summarize-content", "cheap", 60, 2, 10),
    "build-refactor-agent": ("build-refactor", "balanced", 300, 1, 3),
    "security-agent": ("security-audit", "balanced", 600, 0, 2),
    "normalization-agent": ("normalize-data", "cheap", 120, 1, 20),
    "content-agent": ("content-generate", "cheap", 180, 1, 15),
    "integration-agent": ("integration-workflow", "balanced", 600, 2, 5),
    "skill-audit-agent": ("skill-audit", "balanced", 300, 1, 4),
    "system-monitor-agent": ("system-monitor", "cheap", 30, 0, 1),
}

GOOD_INPUTS: dict[str, list[Any]] = {
    "market-research-agent": [{"urls": ["https://arxiv.org/a"]}, {"query": "q"}, {"query": "q", "scope": "s"}],
    "data-extraction-agent": [
        {"files": [{"path": "a.csv", "format": "csv"}]},
        {"source": {"format": "csv", "content": "a"}, "schema": {"a": {"type": "date"}}},
    ],
    "qa-verification-agent": [{"target": "p", "suite": "unit-tests"}],
    "summarization-agent": [{"source": {"type": "text", "content": "x"}, "format": "swot"}],
    "build-refactor-agent": [{"type": "refactor", "scope": "p"}],
    "security-agent": [{"type": "secrets", "scope": "p"}],
    "normalization-agent": [{"input": [{}], "schema": {"a": "date"}}],
    "content-agent": [{"type": "readme", "source": "p"}],
    "integration-agent": [{"steps": [{"name": "a", "agentId": "content-agent", "input": {}, "dependsOn": []}]}],
    "skill-audit-agent": [{"skillIds": ["normalizer"]}],
    "system-monitor-agent": [{"type": "health"}, {"type": "health", "agents": ["content-agent"]}],
}


class TestFleet:
    def test_it_is_the_eleven(self) -> None:
        found = {
            config.id: (config.task_type, config.tier.value, config.timeout_seconds, config.retries, config.concurrent)
            for config in FLEET.values()
        }
        assert found == TABLE
        assert len({config.display_name for config in FLEET.values()}) == 11

    @pytest.mark.parametrize("config", FLEET.values(), ids=FLEET)
    def test_each_has_schemas_that_mean_something(self, config: AgentConfig) -> None:
        for schema in (config.input_schema, config.output_schema):
            Draft202012Validator.check_schema(schema)
            assert not Draft202012Validator(schema).is_valid({})
            assert not Draft202012Validator(schema).is_valid({"unknown": 1})
        for good in GOOD_INPUTS[config.id]:
            Draft202012Validator(config.input_schema).validate(good)

    def test_each_has_a_prompt_of_its_own(self) -> None:
        prompts = [config.prompt for config in FLEET.values()]
        assert len(set(prompts)) == 11
        assert all(len(prompt) > 300 for prompt in prompts)

    def test_the_bounds_on_runs_are_there(self) -> None:
        assert FLEET["build-refactor-agent"].constraints.max_patch_characters == 10_000
        assert FLEET["build-refactor-agent"].constraints.max_files_per_task == 20
        assert FLEET["summarization-agent"].constraints.max_summary_words == 2_000
        assert FLEET["security-agent"].constraints.review_required
        assert sum(config.constraints.review_required for config in FLEET.values()) == 1
