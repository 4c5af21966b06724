"""What is shown to whom somebody else was faster than: both differences, and the rules that both changed. PURE."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolgate.editing.diff import Clash, RulesDiff, WireRule, diff_rules, merge_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two edits of version `base_version`: mine, and what is in force by now."""

    base_version: int
    current_version: int
    mine: RulesDiff
    theirs: RulesDiff
    clashes: tuple[Clash, ...]  # a rebase keeps these as mine has them

    def to_wire(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        return {
            "baseVersion": self.base_version,
            "currentVersion": self.current_version,
            "mine": self.mine.to_wire(),
            "theirs": self.theirs.to_wire(),
            "bothChanged": [clash.rule_id for clash in self.clashes],
        }


def compare_edits(
    base: Sequence[WireRule],
    mine: Sequence[WireRule],
    theirs: Sequence[WireRule],
    *,
    base_version: int,
    current_version: int,
) -> Conflict:
    """Return how two edits of the rules `base` differ from them and from each other."""
    return Conflict(
        base_version=base_version,
        current_version=current_version,
        mine=diff_rules(base, mine),
        theirs=diff_rules(base, theirs),
        clashes=merge_rules(base, mine, theirs).clashes,
    )
