"""What happened in a run, as its answer is held against it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from typing import Any

Output = Mapping[str, Any]

SOURCE_FETCH = "sourceFetch"
DOCUMENT_PARSER = "documentParser"
NORMALIZER = "normalizer"
WORKSPACE_PATCH = "workspacePatch"
TEST_RUNNER = "testRunner"


class Hopeless(Exception):
    """The task cannot succeed, and no better wording of the answer would change that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFact:
    """One skill call of the run, in its settled form."""

    skill_id: str
    arguments: Mapping[str, Any]  # as the skill took them
    state: str  # "done", "failed" or "refused"
    output: Mapping[str, Any] | None = None  # the skill's whole output; None unless done

    @property
    def result(self) -> Mapping[str, Any]:
        """What the skill returned, empty if nothing."""
        return self.output or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything an answer may rest on."""

    input: Mapping[str, Any]
    calls: tuple[SkillFact, ...] = ()  # in their order
    workspace: Path
    context: Mapping[str, Any] = field(default_factory=dict)  # what was handed in beside the input

    def of(self, skill_id: str) -> list[SkillFact]:
        """Return the calls of one skill."""
        return [call for call in self.calls if call.skill_id == skill_id]

    def done(self, skill_id: str) -> list[SkillFact]:
        """Return the calls of one skill that ended well."""
        return [call for call in self.of(skill_id) if call.state == "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of an answer: an output, or the problems that stand against it."""

    output: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()
    is_final: bool = False  # the problems are not the answer's: asking the model again is no use


def tidy(path: Any) -> str:
    """Return a path without detours, for comparing; what is no text is no path."""
    return normpath(path) if isinstance(path, str) and path else ""
