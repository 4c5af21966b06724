"""Who may answer a request, who has, and how many answers it still takes: what is shown of it, and never decided by."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from toolgate.approvals import find_objection, list_votes, read_terms
from toolgate.approvals.terms import count_votes
from toolgate.exceptions import AlreadyVoted, ApprovalLate, OwnRequest
from toolgate.in_force import policy_in_force
from toolgate.models import Approval, ApprovalState
from toolgate.words.rules import describe_rule

_BARS = {
    OwnRequest: "You submitted this task, so another person decides. You can cancel the task meanwhile.",
    AlreadyVoted: "You have approved this. It takes somebody else as well; until then you can still refuse.",
    ApprovalLate: "Nobody answered in time. The task is told in a moment; retry it to ask again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is signed in, as the terms of rules know them."""

    name: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One rule that asks, and how far its terms are met."""

    rule_id: str  # empty: no rule asks, but a step of unknown outcome, or a report
    words: str  # what the rule says now; empty if there is no such rule any more
    quorum: int
    have: int
    approvers: tuple[str, ...]  # user names and "group:…"; empty: whoever may decide approvals
    four_eyes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one person said."""

    user: str
    approve: bool
    counts: bool  # False: the arguments were changed afterwards
    note: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one person may say to a request now."""

    can_approve: bool
    can_refuse: bool
    bar: str = ""  # why not, as a sentence


def person_of(user: Any) -> Person:
    """Return who is signed in."""
    return Person(name=user.get_username(), groups=frozenset(user.groups.values_list("name", flat=True)))


def read_standing(approval: Approval, person: Person, *, now: datetime) -> Standing:
    """Return what `person` may say, provided that their role lets them decide approvals at all."""
    if approval.state != ApprovalState.PENDING:
        return Standing(can_approve=False, can_refuse=False)
    objection = find_objection(approval, user=person.name, groups=person.groups, now=now)
    if objection is None:
        return Standing(can_approve=True, can_refuse=True)
    return Standing(
        can_approve=False,
        can_refuse=isinstance(objection, AlreadyVoted),
        bar=_BARS.get(type(objection), str(objection)),
    )


def list_asks(approval: Approval) -> tuple[Ask, ...]:
    """Return each rule that asks, with how many of its answers are there."""
    rules = {rule.id: rule for rule in policy_in_force().policy.rules}
    votes = list_votes(approval)
    return tuple(
        Ask(
            rule_id=terms.rule_id,
            words=describe_rule(rules[terms.rule_id]) if terms.rule_id in rules else "",
            quorum=terms.quorum,
            have=count_votes(terms, votes),
            approvers=terms.approvers or (),
            four_eyes=terms.four_eyes,
        )
        for terms in read_terms(approval)
    )


def tell_votes(approval: Approval) -> tuple[Vote, ...]:
    """Return what people have said so far, in that order."""
    return tuple(
        Vote(user=vote.user, approve=vote.approve, counts=vote.digest == approval.digest, note=vote.note, at=vote.at)
        for vote in sorted(approval.votes.all(), key=lambda vote: (vote.at, vote.pk))
    )
