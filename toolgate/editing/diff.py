"""What differs between two sets of rules, field by field, and how two edits of one set come together. PURE.

Rules are in their wire form; a set's order means nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolgate.words.fields import describe_value, name_field
from toolgate.words.rules import describe_rule

WireRule = Mapping[str, Any]
_GROUPS = ("conditions", "limits", "approval")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of a rule that differs, in words; a list also says what was taken out and put in."""

    field: str  # its name on the wire: "conditions.domains", "conditions.arguments.dryRun"
    old: str  # empty: not set
    new: str
    gone: tuple[str, ...] = ()
    come: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What people call the field."""
        return name_field(self.field)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChange:
    """One rule that differs: `before` is None if it was added, `after` if it was removed."""

    rule_id: str
    before: WireRule | None
    after: WireRule | None
    fields: tuple[FieldChange, ...]

    @property
    def kind(self) -> str:
        """What happened to the rule: "added", "removed" or "changed"."""
        if self.before is None:
            return "added"
        return "changed" if self.after is not None else "removed"

    @property
    def sentence(self) -> str:
        """What the rule says after the change, in words; a removed one as it was."""
        return describe_rule(self.after or self.before or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesDiff:
    """What became of a set of rules, ordered by rule id."""

    changes: tuple[RuleChange, ...]

    def __bool__(self) -> bool:
        """Say whether anything differs."""
        return bool(self.changes)

    def _of(self, kind: str) -> tuple[RuleChange, ...]:
        return tuple(change for change in self.changes if change.kind == kind)

    @property
    def added(self) -> tuple[RuleChange, ...]:
        """The rules that are new."""
        return self._of("added")

    @property
    def removed(self) -> tuple[RuleChange, ...]:
        """The rules that are gone."""
        return self._of("removed")

    @property
    def changed(self) -> tuple[RuleChange, ...]:
        """The rules that say something else."""
        return self._of("changed")

    def to_ids(self) -> dict[str, list[str]]:
        """Return the ids of the rules by what became of them."""
        kinds = ("added", "removed", "changed")
        return {kind: [change.rule_id for change in self._of(kind)] for kind in kinds}

    def to_wire(self) -> list[dict[str, Any]]:
        """Return all of it as texts, for the API and the trail."""
        return [
            {
                "ruleId": change.rule_id,
                "change": change.kind,
                "fields": [{"field": one.field, "old": one.old, "new": one.new} for one in change.fields],
            }
            for change in self.changes
        ]


def diff_rules(before: Iterable[WireRule], after: Iterable[WireRule]) -> RulesDiff:
    """Return what differs between two sets of rules in wire form."""
    old, new = _by_id(before), _by_id(after)
    ids = sorted(rule_id for rule_id in old.keys() | new.keys() if old.get(rule_id) != new.get(rule_id))
    return RulesDiff(changes=tuple(_compare(rule_id, old.get(rule_id), new.get(rule_id)) for rule_id in ids))


def _by_id(rules: Iterable[WireRule]) -> dict[str, WireRule]:
    return {rule["id"]: rule for rule in rules}


def _compare(rule_id: str, before: WireRule | None, after: WireRule | None) -> RuleChange:
    old, new = _flatten(before or {}), _flatten(after or {})
    names = [*new, *(name for name in old if name not in new)]
    fields = tuple(
        _compare_field(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    )
    return RuleChange(rule_id=rule_id, before=before, after=after, fields=fields)


def _flatten(rule: WireRule) -> dict[str, Any]:
    """Return the value of each field that is set, under its whole name, in the order of the schema."""
    fields: dict[str, Any] = {}
    for name, value in rule.items():
        if name not in _GROUPS:
            fields[name] = value
            continue
        for part, inner in value.items():
            tests = inner.items() if part == "arguments" else ()
            fields |= {f"{name}.{part}.{argument}": test for argument, test in tests} or {f"{name}.{part}": inner}
    return {name: value for name, value in fields.items() if name != "id" and value != ""}


def _compare_field(name: str, old: Any, new: Any) -> FieldChange:
    gone, come = _compare_lists(old, new) if isinstance(old, list) and isinstance(new, list) else ((), ())
    was, becomes = describe_value(name, old), describe_value(name, new)
    if was == becomes:  # words may round, a difference may not: 09:00:00 and 09:00:30 are both 09:00
        was, becomes = (json.dumps(value, ensure_ascii=False) for value in (old, new))
    return FieldChange(field=name, old=was, new=becomes, gone=gone, come=come)


def _compare_lists(old: list[Any], new: list[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    gone = tuple(str(value) for value in old if value not in new)
    return gone, tuple(str(value) for value in new if value not in old)


# --- merge ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A rule that both changed, each in another way; None stands for "is not there"."""

    rule_id: str
    base: WireRule | None
    mine: WireRule | None
    theirs: WireRule | None

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """The fields in which the three differ: label, and in words as it was, as they have it and as I have it."""
        sides = [_flatten(rule or {}) for rule in (self.base, self.theirs, self.mine)]
        names = dict.fromkeys(name for side in sides for name in side)
        rows = [(name_field(name), *(describe_value(name, side.get(name)) for side in sides)) for name in names]
        return [(label, was, they, i) for label, was, they, i in rows if len({was, they, i}) > 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesMerge:
    """Two edits of one set laid together; where they clash, mine stands and the clash is named."""

    rules: tuple[WireRule, ...]  # ordered by id
    clashes: tuple[Clash, ...]


def merge_rules(base: Iterable[WireRule], mine: Iterable[WireRule], theirs: Iterable[WireRule]) -> RulesMerge:
    """Return theirs with every rule that I changed since `base` as I have it."""
    before, own, other = _by_id(base), _by_id(mine), _by_id(theirs)
    kept: list[WireRule] = []
    clashes: list[Clash] = []
    for rule_id in sorted(before.keys() | own.keys() | other.keys()):
        clash = Clash(rule_id=rule_id, base=before.get(rule_id), mine=own.get(rule_id), theirs=other.get(rule_id))
        stands = clash.theirs if clash.mine == clash.base else clash.mine
        if stands is not None:
            kept.append(stands)
        if stands != clash.theirs and clash.theirs != clash.base:
            clashes.append(clash)
    return RulesMerge(rules=tuple(kept), clashes=tuple(clashes))
