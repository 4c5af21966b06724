"""Shadow rules on trial: what each would have turned so far, and how its trial ends: promoted or dropped."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from toolgate.editing.versions import LastChange, find_last_change, get_newest
from toolgate.exceptions import RuleMissing
from toolgate.models import PolicyVersion, ShadowFlip
from toolgate.policy import Rule, read_policy, rule_digest
from toolgate.publishing import publish_policy
from toolgate.replay.shadow import COUNTED_UP_TO, flips_of, list_flips


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a shadow rule would have turned of one agent's calls."""

    agent_id: str
    refused: int
    asked: int
    passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One shadow rule of the version in force, with what it would have turned so far."""

    rule: Rule
    digest: str
    version: int
    count: int
    is_capped: bool
    shares: tuple[Share, ...]  # by agent, the most touched first
    flips: tuple[ShadowFlip, ...]  # the newest
    since: LastChange | None  # by which version it came to say what it says


def list_shadow_rules() -> list[Rule]:
    """Return the shadow rules of the version in force, by id."""
    return [rule for rule in read_policy(get_newest().rules).rules if rule.shadow]


def get_trial(rule_id: str) -> Trial:
    """Return what is known of a shadow rule in force. Raises: RuleMissing."""
    newest = get_newest()
    rule = _find_shadow(newest, rule_id)
    digest = rule_digest(rule)
    found = list(flips_of(rule_id, digest).values_list("agent_id", "would")[: COUNTED_UP_TO + 1])
    return Trial(
        rule=rule,
        digest=digest,
        version=newest.number,
        count=min(len(found), COUNTED_UP_TO),
        is_capped=len(found) > COUNTED_UP_TO,
        shares=_share(found[:COUNTED_UP_TO]),
        flips=tuple(list_flips(rule_id, digest)),
        since=find_last_change(rule_id),
    )


def _share(found: Iterable[tuple[str, str]]) -> tuple[Share, ...]:
    counts = Counter(found)
    totals = Counter(agent_id for agent_id, _ in counts.elements())
    return tuple(
        Share(
            agent_id=agent_id,
            refused=counts[agent_id, "deny"],
            asked=counts[agent_id, "ask"],
            passed=counts[agent_id, "allow"],
        )
        for agent_id, _ in totals.most_common()
    )


def _find_shadow(version: PolicyVersion, rule_id: str) -> Rule:
    rules = read_policy(version.rules).rules
    rule = next((rule for rule in rules if rule.id == rule_id and rule.shadow), None)
    if rule is None:
        raise RuleMissing(rule_id)
    return rule


# --- end --------------------------------------------------------------------------------------------------------
def promote_rule(rule_id: str, *, author: str, reason: str, base_version: int, now: datetime) -> PolicyVersion:
    """Publish a version in which a shadow rule is enforced; `base_version` is the one that the person looked at.

    Raises: RuleMissing, ReasonRequired, TextInvalid, PolicyInvalid, PolicyConflict.
    """

    def promote(rules: tuple[Rule, ...]) -> list[Rule]:
        return [rule.model_copy(update={"shadow": False}) if rule.id == rule_id else rule for rule in rules]

    return _end(rule_id, promote, author=author, reason=reason, base_version=base_version, now=now)


def drop_rule(rule_id: str, *, author: str, reason: str, base_version: int, now: datetime) -> PolicyVersion:
    """Publish a version without a shadow rule; `base_version` is the one that the person looked at.

    Raises: RuleMissing, ReasonRequired, TextInvalid, PolicyInvalid, PolicyConflict.
    """

    def drop(rules: tuple[Rule, ...]) -> list[Rule]:
        return [rule for rule in rules if rule.id != rule_id]

    return _end(rule_id, drop, author=author, reason=reason, base_version=base_version, now=now)


def _end(
    rule_id: str, change: Callable[[tuple[Rule, ...]], list[Rule]], *, author: str, reason: str, base_version: int,
    now: datetime,
) -> PolicyVersion:  # fmt: skip
    newest = get_newest()
    _find_shadow(newest, rule_id)
    rules = change(read_policy(newest.rules).rules)
    return publish_policy(rules, author=author, reason=reason, base_version=base_version, now=now)
