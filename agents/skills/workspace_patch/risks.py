"""What a reviewer should look at twice. Flags inform; they never decide."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import re2

MANY_LINES = 50


class RiskFlag(StrEnum):
    """The four flags."""

    REMOVING_IMPORTS = "removing-imports"
    EVAL_PATTERN = "eval-pattern"
    REMOVING_ERROR_HANDLING = "removing-error-handling"
    LARGE_DELETION = "large-deletion"


# RE2, because a line of a patched file may be made to be slow to match.
_IMPORT = re2.compile(r"^\s*(?:import\b|from\s+\S+\s+import\b|#include\b|use\s+[\w:]+|using\s+[\w.]+|.*\brequire\s*\()")
_EVAL = re2.compile(
    r"(?:^|[^.\w])(?:eval|exec|execfile|compile|__import__)\s*\(|\bnew\s+Function\s*\(|\bos\.(?:system|popen)\s*\("
    r"|\bshell\s*=\s*True\b|\bpickle\.loads?\s*\("
)
_ERROR_HANDLING = re2.compile(
    r"^[\s}]*(?:try|except|finally|catch|rescue|ensure)\b|\.catch\s*\(|\bif\s+err\s*!=\s*nil\b"
)


def find_risks(*, removed: list[str], added: list[str]) -> list[RiskFlag]:
    """Return the flags that the lines which go and come raise."""
    raised = {
        RiskFlag.REMOVING_IMPORTS: bool(_matching(removed, _IMPORT) - _matching(added, _IMPORT)),
        RiskFlag.EVAL_PATTERN: bool(_matching(added, _EVAL) - _matching(removed, _EVAL)),
        RiskFlag.REMOVING_ERROR_HANDLING: _count(removed, _ERROR_HANDLING) > _count(added, _ERROR_HANDLING),
        RiskFlag.LARGE_DELETION: len(removed) > MANY_LINES,
    }
    return [flag for flag, is_raised in raised.items() if is_raised]


def _matching(lines: Iterable[str], pattern: Any) -> set[str]:
    return {line.strip() for line in lines if pattern.search(line)}


def _count(lines: Iterable[str], pattern: Any) -> int:
    return sum(1 for line in lines if pattern.search(line))
