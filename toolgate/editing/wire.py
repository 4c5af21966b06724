"""What the API reads and shows of the policy, its versions and drafts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from audit.wire import format_at
from toolgate.editing.diff import RulesDiff, WireRule
from toolgate.editing.versions import Edition
from toolgate.models import PolicyDraft, PolicyVersion
from toolgate.policy import Rule
from toolgate.reading import WireModel


class _AsRules:
    """Described as rules, but judged as a policy when it is read, so that every problem is told at once."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(list[Rule]).core_schema)


Rules = Annotated[list[dict[str, Any]], _AsRules()]
VersionNumber = Annotated[int, Field(ge=0, le=1_000_000_000)]


class PolicyWire(WireModel):
    """The policy in force: number 0 and no rules before any was published."""

    number: int
    digest: str
    rules: Rules


class FieldChangeWire(WireModel):
    """One field that differs, in words; empty is not set."""

    field: str
    old: str
    new: str


class RuleChangeWire(WireModel):
    """One rule that differs."""

    rule_id: str
    change: str  # "added", "removed" or "changed"
    fields: list[FieldChangeWire]


class ConflictWire(WireModel):
    """Two edits of one version: the caller's, and what is in force by now; `bothChanged` are ids of rules."""

    base_version: int
    current_version: int
    mine: list[RuleChangeWire]
    theirs: list[RuleChangeWire]
    both_changed: list[str]


class VersionSummaryWire(WireModel):
    """One version without its rules; `added`, `removed` and `changed` are ids of rules."""

    number: int
    digest: str
    author: str
    reason: str
    created_at: datetime
    restored_from: int | None
    what_if_id: str | None
    added: list[str]
    removed: list[str]
    changed: list[str]


class VersionWire(VersionSummaryWire):
    """One version with its rules and what it changed of the one before."""

    rules: Rules
    changes: list[RuleChangeWire]


class VersionPage(WireModel):
    """Versions, newest first; `next` is the cursor of the older ones."""

    results: list[VersionSummaryWire]
    next: str | None


class DraftWire(WireModel):
    """A person's own draft; it is `stale` once another version than its base is in force: rebase it in the console."""

    draft_id: str
    base_version: int
    revision: int
    stale: bool
    created_at: datetime
    updated_at: datetime
    rules: Rules
    changes: list[RuleChangeWire]


class PublishBody(WireModel):
    """Rules, whole, that are to come into force; `baseVersion` is the version that was edited."""

    rules: Rules
    reason: str
    base_version: VersionNumber


class RestoreBody(WireModel):
    """`baseVersion` is the version that is in force as far as the caller knows."""

    reason: str
    base_version: VersionNumber


class DraftBody(WireModel):
    """Rules, whole, of a draft; `revision` is the one that was edited, and need not be given."""

    rules: Rules
    base_version: VersionNumber
    revision: VersionNumber | None = None


class DraftPublishBody(WireModel):
    """`revision` is the one that was looked at."""

    reason: str
    revision: VersionNumber


def policy_to_wire(version: PolicyVersion) -> dict[str, Any]:
    """Return the policy in force as the API shows it."""
    return {"number": version.number, "digest": version.digest, "rules": version.rules}


def summary_to_wire(edition: Edition) -> dict[str, Any]:
    """Return one version without its rules."""
    version = edition.version
    return {
        "number": version.number,
        "digest": version.digest,
        "author": version.author,
        "reason": version.reason,
        "createdAt": format_at(version.created_at),
        "restoredFrom": version.restored_from,
        "whatIfId": version.what_if_id or None,
        **edition.diff.to_ids(),
    }


def version_to_wire(edition: Edition) -> dict[str, Any]:
    """Return one version whole."""
    return {**summary_to_wire(edition), "rules": edition.version.rules, "changes": edition.diff.to_wire()}


def draft_to_wire(draft: PolicyDraft, diff: RulesDiff, *, current_version: int) -> dict[str, Any]:
    """Return a draft with what it changes of its base."""
    rules: Sequence[WireRule] = draft.rules
    return {
        "draftId": draft.id,
        "baseVersion": draft.base_version,
        "revision": draft.revision,
        "stale": draft.base_version != current_version,
        "createdAt": format_at(draft.created_at),
        "updatedAt": format_at(draft.updated_at),
        "rules": rules,
        "changes": diff.to_wire(),
    }
