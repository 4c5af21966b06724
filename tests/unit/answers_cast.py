"""The shared part of the tests of answers: the fleet, and skill calls as a run leaves them behind."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.answers import Answer, Facts, SkillFact, check_answer
from agents.registry import get_skill, read_fleet
from agents.skills.base import SkillContext, dump

ROOT = Path(__file__).resolve().parents[2]
FLEET = {config.id: config for config in read_fleet(ROOT / "agents" / "fleet")}


def done(skill_id: str, arguments: Mapping[str, Any], output: Mapping[str, Any]) -> SkillFact:
    """Return a call that ended well, with an output that fits the skill's own model."""
    model = get_skill(skill_id).output_model.model_validate(output)
    return SkillFact(skill_id=skill_id, arguments=arguments, state="done", output=dump(model))


def failed(skill_id: str, arguments: Mapping[str, Any]) -> SkillFact:
    return SkillFact(skill_id=skill_id, arguments=arguments, state="failed")


def refused(skill_id: str, arguments: Mapping[str, Any]) -> SkillFact:
    return SkillFact(skill_id=skill_id, arguments=arguments, state="refused")


def really(skill_id: str, arguments: Mapping[str, Any], workspace: Path) -> SkillFact:
    """Return a call that the skill itself has just carried out."""
    skill = get_skill(skill_id)
    context = SkillContext(workspace=workspace, task_id="t", timeout_seconds=10, read_scopes=("",), write_scopes=("",))
    model = skill.input_model.model_validate(arguments)
    return SkillFact(skill_id=skill_id, arguments=dump(model), state="done", output=dump(skill.run(model, context)))


def check(
    agent_id: str,
    output: Any,
    *,
    input: Mapping[str, Any],  # noqa: A002
    calls: Sequence[SkillFact] = (),
    workspace: Path = ROOT,
    context: Mapping[str, Any] | None = None,
) -> Answer:
    """Hold an answer of one of the eleven against what happened."""
    text = output if isinstance(output, str) else json.dumps(output)
    facts = Facts(input=input, calls=tuple(calls), workspace=workspace, context=context or {})
    answer = check_answer(FLEET[agent_id], text, facts)
    assert (answer.output is None) == bool(answer.problems)
    assert len(answer.problems) <= 20
    return answer
