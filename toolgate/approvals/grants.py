"""Grants: leave for further calls that some rules would ask about, within one task or for some minutes.

A grant names the rules that asked, each by its digest as it was: a rule that is changed, or another that asks too,
asks again. Deny rules, limits and stops hold as ever.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F

from audit.context import SYSTEM, current_cause
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.approvals.terms import TASK, Extent, describe_voters, is_same_person
from toolgate.exceptions import GrantNotFound, GrantOver
from toolgate.in_force import policy_in_force
from toolgate.models import Approval, Grant, PolicyVersion
from toolgate.policy import read_policy, rule_digest
from toolgate.types import Call, Decision


def give_grant(
    approval: Approval, extent: Extent, *, rule_ids: Iterable[str], users: list[str], now: datetime
) -> Grant:
    """Give leave for further calls that `rule_ids` ask about; inside the transaction that approves the first."""
    seconds = settings.APPROVAL_EXPIRY_SECONDS if extent.minutes is None else 60 * extent.minutes
    grant = Grant.objects.create(
        id=new_id(),
        approval_id=approval.id,
        agent_id=approval.agent_id,
        skill_id=approval.skill_id,
        rules=_digest_rules(approval.policy_version, set(rule_ids)),
        task_id=approval.task_id if extent.scope == TASK else "",
        granted_by=users,
        created_at=now,
        expires_at=now + timedelta(seconds=seconds),
    )
    event = _event(EventType.GRANT_GIVEN, grant, at=now, actor=f"user:{users[-1]}")
    record(replace(event, id=grant.id, trace_id=approval.trace_id, cause_id=approval.id))
    return grant


def find_leave(call: Call, decision: Decision) -> Grant | None:
    """Return a live grant that answers every rule that asks about `call`, or None.

    With four eyes it serves no task of a person who gave it.
    """
    live = Grant.objects.filter(
        agent_id=call.request.principal.agent_id,
        skill_id=call.request.action.skill_id,
        task_id__in=("", call.task_id),
        revoked_at=None,
        expires_at__gt=call.now,
    )
    grants = [grant for grant in live.order_by("-expires_at") if _may_serve(grant, call, decision)]
    if not grants:
        return None
    policy = policy_in_force()
    if policy.version != decision.policy_version:  # published in this moment: ask rather than mix two versions
        return None
    asking = {one.rule_id for one in decision.terms}
    digests = {rule.id: rule_digest(rule) for rule in policy.policy.rules if rule.id in asking}
    return next((grant for grant in grants if _is_unchanged(grant, digests, asking)), None)


def use_leave(grant: Grant, *, now: datetime) -> bool:
    """Count one call on a grant; False if it ended meanwhile."""
    live = Grant.objects.filter(id=grant.id, revoked_at=None, expires_at__gt=now)
    return bool(live.update(uses=F("uses") + 1))


def describe_leave(grant: Grant) -> str:
    """Return who gave a grant, and until when it holds."""
    return f"granted by {describe_voters(grant.granted_by)} until {grant.expires_at:%Y-%m-%d %H:%M} UTC"


# --- for people -----------------------------------------------------------------------------------------------
def list_grants(now: datetime, *, agents: Collection[str] | None = None, limit: int = 200) -> list[Grant]:
    """Return the grants that are live, of these agents or of every one, the first to end first."""
    live = Grant.objects.filter(revoked_at=None, expires_at__gt=now)
    rows = live if agents is None else live.filter(agent_id__in=agents)
    return list(rows.order_by("expires_at", "id")[:limit])


def get_grant(grant_id: str) -> Grant:
    """Return one grant.

    Raises: GrantNotFound.
    """
    grant = Grant.objects.filter(id=grant_id).first()
    if grant is None:
        raise GrantNotFound(grant_id)
    return grant


def find_grant_of(approval_id: str) -> Grant | None:
    """Return the grant that an approval gave, or None."""
    return Grant.objects.filter(approval_id=approval_id).first()


def revoke_grant(grant_id: str, *, user: str, now: datetime) -> Grant:
    """End a grant at once; calls that it let through before are not undone.

    Raises: GrantNotFound; GrantOver if it has ended.
    """
    with write_transaction():
        grant = Grant.objects.select_for_update().filter(id=grant_id).first()
        if grant is None:
            raise GrantNotFound(grant_id)
        if grant.revoked_at is not None or grant.expires_at <= now:
            raise GrantOver(revoked_by=grant.revoked_by)
        _revoke(grant, by=user.removeprefix("user:"), actor=f"user:{user.removeprefix('user:')}", now=now)
    return grant


def revoke_grants_of(task_id: str, *, now: datetime) -> None:
    """End what was granted for one task that is over; inside the caller's transaction."""
    for grant in Grant.objects.select_for_update().filter(task_id=task_id, revoked_at=None, expires_at__gt=now):
        _revoke(grant, by=SYSTEM, actor=SYSTEM, now=now)


def _revoke(grant: Grant, *, by: str, actor: str, now: datetime) -> None:
    grant.revoked_at, grant.revoked_by = now, by
    grant.save(update_fields=["revoked_at", "revoked_by"])
    record(_event(EventType.GRANT_REVOKED, grant, at=now, actor=actor))


def _may_serve(grant: Grant, call: Call, decision: Decision) -> bool:
    if any(one.rule_id not in grant.rules for one in decision.terms):
        return False
    four_eyes = any(one.four_eyes for one in decision.terms)
    return not (four_eyes and any(is_same_person(user, call.submitted_by) for user in grant.granted_by))


def _is_unchanged(grant: Grant, digests: dict[str, str], asking: set[str]) -> bool:
    return all(rule_id in digests and grant.rules[rule_id] == digests[rule_id] for rule_id in asking)


def _digest_rules(version: int, rule_ids: set[str]) -> dict[str, str]:
    rules = PolicyVersion.objects.get(number=version).rules
    asking = read_policy(rule for rule in rules if rule["id"] in rule_ids)
    return {rule.id: rule_digest(rule) for rule in asking.rules}


def _event(type_: EventType, grant: Grant, *, at: datetime, actor: str) -> Event:
    body = {
        "grantId": grant.id,
        "approvalId": grant.approval_id,
        "rules": sorted(grant.rules),
        "grantedBy": list(grant.granted_by),
        "expiresAt": grant.expires_at.isoformat(),
        "uses": grant.uses,
    }
    return Event(
        type=type_,
        at=at,
        actor=actor,
        task_id=grant.task_id,
        agent_id=grant.agent_id,
        skill_id=grant.skill_id,
        cause_id=current_cause() or grant.id,
        body=body,
    )
