"""What differs between two configurations of an agent, field by field, and how two edits of one come together. PURE."""

import json
from dataclasses import dataclass
from typing import Any, Final

from agents.types import AgentConfig
from toolgate.lines import Line, diff_lines

# Every field of a configuration by its name on the wire, in the order in which people read them: the long ones last.
LABELS: Final = {
    "id": "Id",
    "taskType": "Task type",
    "displayName": "Display name",
    "tier": "Model tier",
    "timeoutSeconds": "Timeout in seconds",
    "retries": "Retries",
    "concurrent": "Runs at once",
    "limits.maxSteps": "Model turns of a task",
    "limits.maxCalls": "Skill calls of a task",
    "limits.maxOutputTokens": "Output tokens of a turn",
    "limits.maxCostGbp": "Cost of a task in GBP",
    "limits.monthlyCapGbp": "Cost of a month in GBP",
    "constraints.reviewRequired": "A person reviews the report",
    "constraints.maxPatchCharacters": "Characters of a patch",
    "constraints.maxFilesPerTask": "Files of a task",
    "constraints.maxSummaryWords": "Words of a summary",
    "prompt": "Prompt",
    "inputSchema": "Input schema",
    "outputSchema": "Output schema",
}
LONG: Final = frozenset({"prompt", "inputSchema", "outputSchema"})  # shown line by line


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that differs. A long text has lines, none if only its line ends differ; a short one has both values."""

    field: str  # its name on the wire: "limits.maxSteps"
    old: str  # empty: not set
    new: str
    lines: tuple[Line, ...] = ()

    @property
    def label(self) -> str:
        """What people call the field."""
        return LABELS[self.field]

    @property
    def is_long(self) -> bool:
        """Whether it is shown line by line."""
        return self.field in LONG

    @property
    def added(self) -> int:
        """How many lines are new."""
        return sum(line.sign == "+" for line in self.lines)

    @property
    def removed(self) -> int:
        """How many lines are gone."""
        return sum(line.sign == "-" for line in self.lines)


def flatten_config(config: AgentConfig) -> dict[str, Any]:
    """Return the value of each field of `LABELS`."""
    return {field: _look_up(config, field) for field in LABELS}


def _look_up(config: AgentConfig, field: str) -> Any:
    value: Any = config
    for name in field.split("."):
        value = next(getattr(value, key) for key, info in type(value).model_fields.items() if info.alias == name)
    return value


def diff_configs(old: AgentConfig, new: AgentConfig) -> list[Change]:
    """Return the fields that differ, in the order of `LABELS`; equal amounts of money are equal however written."""
    before, after = flatten_config(old), flatten_config(new)
    return [_compare(field, before[field], after[field]) for field in LABELS if before[field] != after[field]]


def _compare(field: str, old: Any, new: Any) -> Change:
    if field not in LONG:
        return Change(field=field, old=_show(old), new=_show(new))
    return Change(field=field, old="", new="", lines=diff_lines(_show(old), _show(new)))


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Two edits of one configuration laid together; in `contested` fields both did something else, and mine stands."""

    document: dict[str, Any]  # as on the wire
    contested: tuple[str, ...]


def merge_configs(base: AgentConfig, *, mine: AgentConfig, theirs: AgentConfig) -> Merge:
    """Return theirs with what I changed since `base`."""
    before, own, other = flatten_config(base), flatten_config(mine), flatten_config(theirs)
    kept = {field: (other if own[field] == before[field] else own)[field] for field in LABELS}
    contested = [field for field in LABELS if kept[field] != other[field] and other[field] != before[field]]
    return Merge(document=_unflatten(kept), contested=tuple(contested))


def _unflatten(values: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field, value in values.items():
        *groups, name = field.split(".")
        place = document
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return document
