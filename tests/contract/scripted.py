"""A real skill, by the contract of `agents.skills.base`, whose work is what a test tells it to be."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from django.utils import timezone

from agents import registry
from agents.skills.base import Capability, SkillContext, SkillModel
from toolgate.publishing import publish_policy
from toolgate.queries import current_rules
from toolgate.types import Resource


class ScriptedInput(SkillModel):
    name: str = ""


class ScriptedOutput(SkillModel):
    name: str
    call: int


class ScriptedSkill:
    """Remembers its calls in `calls`; `script` maps a name to what happens."""

    id: ClassVar[str] = "scripted"
    version: ClassVar[str] = "1"
    summary: ClassVar[str] = "Does what a test says."
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    input_model: ClassVar[type[SkillModel]] = ScriptedInput
    output_model: ClassVar[type[SkillModel]] = ScriptedOutput
    inline: ClassVar[bool] = False

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.running = 0
        self.most_running = 0
        self.idempotent = True
        self.outside = False
        self.act: Callable[[str], None] = lambda name: None
        self.stopped: list[str] = []
        self._lock = threading.Lock()

    def is_idempotent(self, arguments: Any) -> bool:
        return self.idempotent

    def brings_outside_text(self, arguments: Any) -> bool:
        return self.outside

    def resource(self, arguments: Any, workspace: Path) -> Resource:
        return Resource(arguments={"name": arguments.name})

    def run(self, arguments: Any, context: SkillContext) -> SkillModel:
        with self._lock:
            self.calls.append(arguments.name)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            self.act(arguments.name)
            if context.should_stop():
                self.stopped.append(arguments.name)
            return ScriptedOutput(name=arguments.name, call=len(self.calls))
        finally:
            with self._lock:
                self.running -= 1


def sleep(seconds: float) -> Callable[[str], None]:
    """Return an act that takes a while."""
    return lambda name: time.sleep(seconds)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"done": {"type": "string"}},
    "required": ["done"],
    "additionalProperties": False,
}


def make_plain(agent_id: str, **changes: Any) -> None:
    """Let an agent take any input, and hold its answers to `SCHEMA` alone."""
    plain = {"task_type": "scripted", "input_schema": {"type": "object"}, "output_schema": SCHEMA, "retries": 1}
    agent = registry.get_agent(agent_id)
    registry._configs[agent_id, agent.version] = agent.config.model_copy(update=plain | changes)


def publish_rules(rules: list[dict[str, Any]]) -> None:
    """Add rules to the policy in force."""
    version, current = current_rules()
    publish_policy([*current, *rules], author="test", reason="for a test", base_version=version, now=timezone.now())
