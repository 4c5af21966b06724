"""What an examination found, and what it comes to. PURE."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Level(StrEnum):
    """How bad a finding is; the worst one is the exit code."""

    OK = "ok"
    WARNING = "warning"  # it works, but somebody should know
    PROBLEM = "problem"  # something does not work, or is not safe


_CODES: Final = {Level.OK: 0, Level.WARNING: 1, Level.PROBLEM: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `id` is stable, `cure` one line, empty where all is well."""

    id: str
    level: Level
    what: str
    cure: str = ""

    def to_wire(self) -> dict[str, str | None]:
        """Return the finding as JSON shows it."""
        return {"id": self.id, "level": self.level.value, "what": self.what, "cure": self.cure or None}


def _make(id_: str, level: Level, what: str, cure: str = "") -> Finding:
    sentence = f"{what[:1].upper()}{what[1:].removesuffix('.')}."
    return Finding(id=id_, level=level, what=sentence, cure=cure)


def fine(id_: str, what: str) -> Finding:
    """Return that all is well."""
    return _make(id_, Level.OK, what)


def warn(id_: str, what: str, cure: str) -> Finding:
    """Return what somebody should know."""
    return _make(id_, Level.WARNING, what, cure)


def problem(id_: str, what: str, cure: str) -> Finding:
    """Return what does not work, or is not safe."""
    return _make(id_, Level.PROBLEM, what, cure)


def judge(id_: str, fault: str, *, well: str, cure: str) -> Finding:
    """Return a problem if there is a `fault`, else that it is `well`."""
    return problem(id_, fault, cure) if fault else fine(id_, well)


def worst_of(findings: Iterable[Finding]) -> Level:
    """Return the worst level."""
    return max((finding.level for finding in findings), key=_CODES.__getitem__, default=Level.OK)


def exit_code(level: Level) -> int:
    """Return 0, 1 or 2."""
    return _CODES[level]


def findings_to_wire(findings: list[Finding]) -> dict[str, Any]:
    """Return all findings as JSON shows them."""
    return {"status": worst_of(findings).value, "findings": [finding.to_wire() for finding in findings]}
