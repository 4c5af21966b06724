"""The fields of a rule and their values, as people read them in a difference. PURE."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from toolgate.words.rules import (
    describe_conditions,
    describe_test,
    show_bytes,
    show_moment,
    show_period,
    show_pounds,
    show_span,
)

# Every field of a rule by its name on the wire; an argument's test stands under the argument's own name.
LABELS: Final = {
    "agent": "Agent",
    "exceptAgents": "Except for",
    "skill": "Skill",
    "effect": "Effect",
    "description": "Description",
    "conditions.domains": "Only to hosts",
    "conditions.readPaths": "Only reading below",
    "conditions.writePaths": "Only writing below",
    "conditions.arguments": "Arguments",
    "conditions.argumentBytes": "Size of the arguments",
    "conditions.timeWindow": "Only at these times",
    "conditions.tainted": "Only for tasks that are",
    "limits.callsPerTask": "Calls a task",
    "limits.ratePerSecond": "Calls a second",
    "limits.burst": "Calls at once",
    "limits.callsPerPeriod": "Calls a period",
    "limits.bytesPerTask": "Arguments a task",
    "limits.bytesPerPeriod": "Arguments a period",
    "limits.spendPerTask": "Spend a task",
    "limits.spendPerDay": "Spend a day",
    "approval.fourEyes": "Approved by another person",
    "approval.quorum": "Approvals that it takes",
    "approval.approvers": "Approved by",
    "approval.expiresSeconds": "Approval expires after",
    "approval.slaSeconds": "To be answered within",
    "validFrom": "Valid from",
    "validUntil": "Valid until",
    "shadow": "Only in shadow",
}
ARGUMENT: Final = "conditions.arguments."

_WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "conditions.argumentBytes": lambda bounds: describe_conditions({"argumentBytes": bounds})[0],
    "conditions.timeWindow": lambda window: describe_conditions({"timeWindow": window})[0],
    "conditions.tainted": lambda tainted: "tainted" if tainted else "clean",
    "limits.callsPerPeriod": lambda period: f"{period['amount']:,} {show_period(period['seconds'])}",
    "limits.bytesPerTask": show_bytes,
    "limits.bytesPerPeriod": lambda period: f"{show_bytes(period['amount'])} {show_period(period['seconds'])}",
    "limits.spendPerTask": show_pounds,
    "limits.spendPerDay": show_pounds,
    "approval.expiresSeconds": show_span,
    "approval.slaSeconds": show_span,
    "validFrom": show_moment,
    "validUntil": show_moment,
}


def name_field(field: str) -> str:
    """Return what people call a field: "Calls a task", "Argument dryRun"."""
    if field.startswith(ARGUMENT):
        return f"Argument {field.removeprefix(ARGUMENT)}"
    return LABELS.get(field, field)


def describe_value(field: str, value: Any) -> str:
    """Return a field's value in words; empty if it is not set."""
    if value is None:
        return ""
    if field in _WORDS:
        return _WORDS[field](value)
    if isinstance(value, list):
        return ", ".join(_name_one(field, one) for one in value) or "none: it matches no call"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and field.startswith(ARGUMENT):
        return describe_test(field.removeprefix(ARGUMENT), value)
    return str(value)


def _name_one(field: str, value: Any) -> str:
    return "the whole workspace" if value == "" and field.endswith("Paths") else str(value)
