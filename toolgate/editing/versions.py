"""What is read of policy versions and of drafts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from toolgate.editing.conflict import Conflict, compare_edits
from toolgate.editing.diff import RulesDiff, WireRule, diff_rules
from toolgate.exceptions import VersionMissing
from toolgate.models import PolicyDraft, PolicyVersion, WhatIf

_PAGE_VERSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One version, with what it changed of the one before."""

    version: PolicyVersion
    diff: RulesDiff


@dataclass(frozen=True, slots=True, kw_only=True)
class LastChange:
    """The version by which a rule came to say what it says, or went."""

    number: int
    author: str
    at: datetime
    reason: str
    kind: str  # "added", "changed" or "removed"


def get_newest() -> PolicyVersion:
    """Return the version in force; before any was published, one of number 0 without rules, which is not stored."""
    newest = PolicyVersion.objects.order_by("-number").first()
    return newest or PolicyVersion(number=0, rules=[], digest="")


def get_version(number: int) -> PolicyVersion:
    """Return one version. Raises: VersionMissing."""
    version = PolicyVersion.objects.filter(number=number).first() if number > 0 else None
    if version is None:
        raise VersionMissing(number)
    return version


def read_rules(number: int) -> list[WireRule]:
    """Return the rules of one version; of number 0, the state before the first, none. Raises: VersionMissing."""
    return list(get_version(number).rules) if number else []


def get_edition(number: int) -> Edition:
    """Return one version with what it changed. Raises: VersionMissing."""
    version = get_version(number)
    return Edition(version=version, diff=diff_rules(read_rules(number - 1), version.rules))


def list_editions(*, before: int | None = None, limit: int) -> list[Edition]:
    """Return the newest versions below number `before`, newest first, each with what it changed."""
    below = {} if before is None else {"number__lt": before}
    rows = list(PolicyVersion.objects.filter(**below).order_by("-number")[: limit + 1])
    older = [row.rules for row in rows[1:]] + [[]]
    pairs = zip(rows[:limit], older, strict=False)
    return [Edition(version=row, diff=diff_rules(rules, row.rules)) for row, rules in pairs]


def list_numbers() -> list[int]:
    """Return the numbers of all versions, newest first."""
    return list(PolicyVersion.objects.order_by("-number").values_list("number", flat=True))


def find_last_change(rule_id: str) -> LastChange | None:
    """Return by which version a rule came to say what it says, None for one that never was."""
    before: int | None = None
    while editions := list_editions(before=before, limit=_PAGE_VERSIONS):
        for edition in editions:
            change = next((one for one in edition.diff.changes if one.rule_id == rule_id), None)
            if change is not None:
                row = edition.version
                return LastChange(
                    number=row.number, author=row.author, at=row.created_at, reason=row.reason, kind=change.kind
                )
        before = editions[-1].version.number
    return None


def find_conflict(rules: Sequence[WireRule], *, base_version: int) -> Conflict | None:
    """Return what another version than `base_version` that is in force means for an edit of it, None if it is not so.

    Raises: VersionMissing.
    """
    newest = get_newest()
    if newest.number == base_version:
        return None
    return compare_edits(
        read_rules(base_version),
        rules,
        newest.rules,
        base_version=base_version,
        current_version=newest.number,
    )


def find_replay(digest: str) -> WhatIf | None:
    """Return the newest replay of just these rules, whatever has become of it, or None."""
    return WhatIf.objects.filter(digest=digest).order_by("-created_at").first()


def find_draft(draft_id: str) -> PolicyDraft | None:
    """Return a draft of anybody, open or closed, or None."""
    return PolicyDraft.objects.filter(id=draft_id).first()


def list_open_drafts() -> list[PolicyDraft]:
    """Return everybody's open drafts, the last edited first."""
    return list(PolicyDraft.objects.filter(closed_at=None).order_by("-updated_at"))
