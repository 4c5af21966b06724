"""Change the policy: every change is a new version, with an author and a reason, and takes effect at its commit."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import orjson
from django.db import IntegrityError, transaction

from audit.events import Event, EventType
from audit.ledger import record
from audit.models import RunState
from audit.transactions import write_transaction
from toolgate.editing.diff import diff_rules
from toolgate.exceptions import (
    HostDenied,
    HostInvalid,
    NoRuleToWiden,
    NothingToPublish,
    PolicyConflict,
    VersionMissing,
)
from toolgate.in_force import forget_policy
from toolgate.models import PolicyVersion, WhatIf
from toolgate.normal import normalise_host
from toolgate.policy import ANY, Policy, Rule, dump_policy, dump_rule, policy_digest, read_policy
from toolgate.texts import check_reason
from toolgate.types import Effect

SYSTEM = "system"
MAX_CHANGES_BYTES: Final = 1_000_000


def publish_policy(
    rules: Iterable[Rule | Mapping[str, Any]], *, author: str, reason: str, base_version: int, now: datetime
) -> PolicyVersion:
    """Publish `rules`, whole, as the next version; `author` is a user name, `base_version` what was edited.

    Raises: PolicyInvalid, ReasonRequired, TextInvalid; PolicyConflict if another version is in force by now.
    """
    policy, reason = read_policy(rules), check_reason(reason)
    with write_transaction():
        return _publish(policy, author=author, reason=reason, base_version=base_version, now=now)


def allow_host(agent_id: str, skill_id: str, host: str, *, author: str, reason: str, now: datetime) -> PolicyVersion:
    """Add `host` to what one agent's allow rule for one skill may reach; its limits stay as they are.

    Returns the version in force, a new one unless the rule names the host already.
    Raises: HostInvalid, NoRuleToWiden, HostDenied, ReasonRequired, TextInvalid, PolicyConflict.
    """
    host, reason = _check_host(host), check_reason(reason)
    with write_transaction():
        newest = PolicyVersion.objects.order_by("-number").first()
        policy = read_policy(newest.rules if newest else ())
        deciding = [rule for rule in policy.rules if not rule.shadow and rule.is_valid_at(now)]
        rule = _find_rule_to_widen(deciding, agent_id, skill_id)
        _refuse_denied(deciding, agent_id, skill_id, host)
        domains = rule.conditions.domains or ()
        if newest is not None and host in domains:
            return newest
        wider = dump_rule(rule)
        wider["conditions"]["domains"] = [*domains, host]
        rules = read_policy(wider if other.id == rule.id else other for other in policy.rules)
        base = newest.number if newest else 0
        return _publish(rules, author=author, reason=reason, base_version=base, now=now)


def restore_version(number: int, *, author: str, reason: str, base_version: int, now: datetime) -> PolicyVersion:
    """Publish the rules of an earlier version as the next one; `base_version` is what was in force to the person.

    Raises: VersionMissing, ReasonRequired, TextInvalid, NothingToPublish, PolicyInvalid; PolicyConflict if another
    version is in force by now.
    """
    reason = check_reason(reason)
    with write_transaction():
        old = PolicyVersion.objects.filter(number=number).first()
        if old is None:
            raise VersionMissing(number)
        policy = read_policy(old.rules)
        newest = PolicyVersion.objects.order_by("-number").values_list("number", "digest").first()
        if newest == (base_version, old.digest):
            raise NothingToPublish(base_version)
        return _publish(policy, author=author, reason=reason, base_version=base_version, restored_from=number, now=now)


def record_export(number: int, *, author: str, now: datetime) -> None:
    """Write down that a person took a version's rules out."""
    with write_transaction():
        record(Event(type=EventType.POLICY_EXPORTED, at=now, actor=f"user:{author}", body={"number": number}))


def publish_seed(policy: Policy, *, now: datetime) -> PolicyVersion:
    """Publish the rules that come with the product as version 1. Raises: PolicyConflict if there is a version."""
    with write_transaction():
        return _publish(policy, author=SYSTEM, reason="The rules that a new installation starts with", now=now)


def _publish(
    policy: Policy,
    *,
    author: str,
    reason: str,
    now: datetime,
    base_version: int = 0,
    restored_from: int | None = None,
) -> PolicyVersion:
    newest = PolicyVersion.objects.order_by("-number").first()
    current = newest.number if newest else 0
    if current != base_version:
        raise PolicyConflict(base_version=base_version, current_version=current)
    rules: Any = dump_policy(policy)
    digest = policy_digest(policy)
    version = PolicyVersion(
        number=current + 1,
        rules=rules,
        digest=digest,
        author=author.removeprefix("user:"),
        reason=reason,
        created_at=now,
        restored_from=restored_from,
        what_if_id=_find_what_if(digest),
    )
    try:
        with transaction.atomic():
            version.save(force_insert=True)
    except IntegrityError:  # on PostgreSQL two may have read the same newest version
        raise PolicyConflict(base_version=base_version, current_version=current + 1) from None
    record(_event(version, before=newest.rules if newest else [], now=now))
    transaction.on_commit(forget_policy)
    return version


def _find_what_if(digest: str) -> str:
    """Return the newest replay of just these rules that is done, empty if there is none."""
    done = WhatIf.objects.filter(digest=digest, state=RunState.DONE).order_by("-created_at")
    return done.values_list("id", flat=True).first() or ""


def _event(version: PolicyVersion, *, before: list[dict[str, Any]], now: datetime) -> Event:
    diff = diff_rules(before, version.rules)
    body = {
        "number": version.number,
        "digest": version.digest,
        "reason": version.reason,
        **diff.to_ids(),
        **_fit(diff.to_wire()),
    }
    if version.restored_from is not None:
        body["restoredFrom"] = version.restored_from
    if version.what_if_id:
        body["whatIfId"] = version.what_if_id
    actor = SYSTEM if version.author == SYSTEM and not before else f"user:{version.author}"
    return Event(type=EventType.POLICY_PUBLISHED, at=now, actor=actor, body=body)


def _fit(changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return as many changes as an event may hold, and how many more there were: the version itself has them all."""
    sizes = accumulate(len(orjson.dumps(change)) for change in changes)
    kept = sum(size <= MAX_CHANGES_BYTES for size in sizes)
    return {"changes": changes[:kept], "changesLeftOut": len(changes) - kept}


def _check_host(host: str) -> str:
    try:
        return normalise_host(host)
    except ValueError:
        raise HostInvalid(host) from None


def _find_rule_to_widen(rules: Iterable[Rule], agent_id: str, skill_id: str) -> Rule:
    """Return the rule of exactly this pair: a wildcard rule would open the host to others too."""
    mine = [
        rule
        for rule in rules
        if (rule.agent, rule.skill, rule.effect) == (agent_id, skill_id, Effect.ALLOW)
        and rule.conditions.domains is not None
    ]
    if not mine:
        raise NoRuleToWiden(agent_id=agent_id, skill_id=skill_id)
    return min(mine, key=lambda rule: rule.id)


def _refuse_denied(rules: Iterable[Rule], agent_id: str, skill_id: str, host: str) -> None:
    for rule in rules:
        is_mine = rule.names(agent_id) and rule.skill in {skill_id, ANY}
        if rule.effect is Effect.DENY and is_mine and _names(rule.conditions.domains, host):
            raise HostDenied(host=host, rule_id=rule.id)


def _names(domains: tuple[str, ...] | None, host: str) -> bool:
    return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in domains or ())
