"""Edit the policy as a draft. Every change is audited in its own transaction.

 draft      a person's edits of one version, in force for nobody; it is a valid policy at any time
 publish    the draft becomes the next version, whole and for ever; refused if somebody else published first
 rebase     what the draft changed is laid over the version in force; a rule that both changed stays as the draft has it

Whoever edits a draft holds its row, so that two windows of one person come one after the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from audit.context import caused_by
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.editing.diff import WireRule, diff_rules, merge_rules
from toolgate.editing.versions import get_newest, read_rules
from toolgate.exceptions import DraftConflict, DraftMissing, NothingToPublish, RuleMissing
from toolgate.models import PolicyDraft, PolicyVersion
from toolgate.policy import Rule, dump_policy, read_policy
from toolgate.publishing import publish_policy
from toolgate.texts import check_reason


def find_open_draft(author: str) -> PolicyDraft | None:
    """Return the draft that a person has open, or None."""
    return PolicyDraft.objects.filter(author=author, closed_at=None).first()


# --- edits ------------------------------------------------------------------------------------------------------
def put_rule(author: str, rule: Mapping[str, Any], *, replaces: str | None, now: datetime) -> PolicyDraft:
    """Put a rule into the person's draft, in the place of the rule `replaces` if one is named, and return the draft.

    Opens a draft on the version in force if there is none.
    Raises: PolicyInvalid (also for an id that another rule has), RuleMissing, DraftConflict.
    """
    with write_transaction():
        draft = _open_draft(author, now=now)
        rules = list(draft.rules) if replaces is None else _without(draft.rules, replaces)
        return _write_rules(draft, [*rules, rule], now=now)


def remove_rule(author: str, rule_id: str, *, now: datetime) -> PolicyDraft:
    """Take a rule out of the person's draft and return the draft; opens one if there is none.

    Raises: RuleMissing, DraftConflict.
    """
    with write_transaction():
        draft = _open_draft(author, now=now)
        return _write_rules(draft, _without(draft.rules, rule_id), now=now)


def undo_rule(author: str, rule_id: str, *, now: datetime) -> PolicyDraft:
    """Make a rule of the person's draft what it is in the version that the draft was made on.

    Raises: DraftMissing; RuleMissing if neither has it; PolicyInvalid.
    """
    with write_transaction():
        draft = _hold_draft(author)
        before = [rule for rule in read_rules(draft.base_version) if rule["id"] == rule_id]
        others = [rule for rule in draft.rules if rule["id"] != rule_id]
        if not before and len(others) == len(draft.rules):
            raise RuleMissing(rule_id)
        return _write_rules(draft, [*others, *before], now=now)


def replace_rules(
    author: str,
    rules: Iterable[Rule | Mapping[str, Any]],
    *,
    base_version: int,
    now: datetime,
    revision: int | None = None,
) -> PolicyDraft:
    """Make the person's draft say `rules`, whole, as an edit of version `base_version`; opens one if there is none.

    `revision` is the one that was edited, 0 if there was no draft; without it whatever the draft says is replaced.
    Raises: PolicyInvalid, VersionMissing, DraftConflict.
    """
    with write_transaction():
        read_rules(base_version)
        draft = _open_draft(author, now=now)
        if revision not in (None, draft.revision):
            raise DraftConflict
        draft.base_version = base_version
        return _write_rules(draft, rules, now=now)


def rebase_draft(author: str, *, now: datetime) -> PolicyDraft:
    """Lay what the person's draft changes over the version in force; where both changed a rule, the draft's stands.

    Raises: DraftMissing.
    """
    with write_transaction():
        draft = _hold_draft(author)
        newest = get_newest()
        merge = merge_rules(read_rules(draft.base_version), draft.rules, newest.rules)
        draft.base_version = newest.number
        return _write_rules(draft, merge.rules, now=now, clashes=[clash.rule_id for clash in merge.clashes])


def _without(rules: Iterable[WireRule], rule_id: str) -> list[WireRule]:
    rules = list(rules)
    others = [rule for rule in rules if rule["id"] != rule_id]
    if len(others) == len(rules):
        raise RuleMissing(rule_id)
    return others


def _write_rules(
    draft: PolicyDraft, rules: Iterable[Rule | WireRule], *, now: datetime, **more: list[str]
) -> PolicyDraft:
    """Write rules over those of a draft that is held, with its event, and return it as it is then."""
    wire: Any = dump_policy(read_policy(rules))
    draft.rules, draft.updated_at, draft.revision = wire, now, draft.revision + 1
    draft.save(update_fields=["base_version", "rules", "updated_at", "revision"])
    body = {
        "draftId": draft.id,
        "baseVersion": draft.base_version,
        "revision": draft.revision,
        **diff_rules(read_rules(draft.base_version), wire).to_ids(),
        **more,
    }
    event = _event(EventType.POLICY_DRAFTED, draft, now=now, body=body)
    is_first = draft.revision == 1
    record(replace(event, id=draft.id, cause_id="") if is_first else event)
    return draft


# --- ends -------------------------------------------------------------------------------------------------------
def discard_draft(author: str, *, now: datetime) -> None:
    """Throw the person's draft away. Raises: DraftMissing."""
    with write_transaction():
        draft = _hold_draft(author)
        PolicyDraft.objects.filter(id=draft.id).update(closed_at=now)
        diff = diff_rules(read_rules(draft.base_version), draft.rules)
        body = {"draftId": draft.id, "baseVersion": draft.base_version, **diff.to_ids()}
        record(_event(EventType.POLICY_DISCARDED, draft, now=now, body=body))


def publish_draft(author: str, *, reason: str, revision: int, now: datetime) -> PolicyVersion:
    """Make the person's draft the version in force and return it; `revision` is the one that the person looked at.

    Raises: ReasonRequired, TextInvalid, DraftMissing, DraftConflict, NothingToPublish, PolicyInvalid; PolicyConflict
    if another version was published since the draft was begun: rebase it first.
    """
    reason = check_reason(reason)
    with write_transaction():
        draft = _hold_draft(author)
        if draft.revision != revision:
            raise DraftConflict
        if draft.rules == read_rules(draft.base_version):
            raise NothingToPublish(draft.base_version)
        with caused_by(draft.id):
            base = draft.base_version
            version = publish_policy(draft.rules, author=author, reason=reason, base_version=base, now=now)
        PolicyDraft.objects.filter(id=draft.id).update(closed_at=now, published_as=version.number)
        return version


# --- all of them ------------------------------------------------------------------------------------------------
def _open_draft(author: str, *, now: datetime) -> PolicyDraft:
    """Return the person's open draft, held until the end of the transaction; a new one if there is none."""
    try:
        return _hold_draft(author)
    except DraftMissing:
        newest = get_newest()
    draft = PolicyDraft(
        id=new_id(),
        base_version=newest.number,
        rules=newest.rules,
        author=author,
        revision=0,
        created_at=now,
        updated_at=now,
    )
    try:
        with transaction.atomic():
            draft.save(force_insert=True)
    except IntegrityError:  # on PostgreSQL another window may have opened one since
        raise DraftConflict from None
    return draft


def _hold_draft(author: str) -> PolicyDraft:
    draft = PolicyDraft.objects.select_for_update().filter(author=author, closed_at=None).first()
    if draft is None:
        raise DraftMissing
    return draft


def _event(type_: EventType, draft: PolicyDraft, *, now: datetime, body: Mapping[str, Any]) -> Event:
    return Event(type=type_, at=now, actor=f"user:{draft.author}", cause_id=draft.id, body=body)
