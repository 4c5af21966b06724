"""What the rules that asked want of an answer, and whose votes come to it. PURE.

Each rule that asks brings its terms, and an approval is approved once every one of them has its quorum: so many
distinct persons who meet it, all of the same arguments.
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from toolgate.types import Terms

ONCE, TASK, MINUTES = "once", "task", "minutes"  # the narrowest first
SCOPES = (ONCE, TASK, MINUTES)
MAX_MINUTES = 1440
GROUP = "group:"


class Ballot(Protocol):
    """One person's yes."""

    user: str
    counts_for: Any
    scope: str
    minutes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What an approval is for: this call, its task, or for so many minutes; a task's may be bounded in time too."""

    scope: str
    minutes: int | None = None


# --- on the wire ----------------------------------------------------------------------------------------------
def write_terms(terms: Iterable[Terms]) -> list[dict[str, Any]]:
    """Return terms as an approval keeps them; what is not set is null."""
    return [
        {
            "ruleId": one.rule_id,
            "quorum": one.quorum,
            "approvers": None if one.approvers is None else list(one.approvers),
            "fourEyes": one.four_eyes,
            "expiresSeconds": one.expires_seconds,
            "slaSeconds": one.sla_seconds,
        }
        for one in terms
    ]


def parse_terms(wire: Iterable[Mapping[str, Any]]) -> tuple[Terms, ...]:
    """Return the terms that an approval keeps."""
    return tuple(
        Terms(
            rule_id=one["ruleId"],
            quorum=one["quorum"],
            approvers=None if one["approvers"] is None else tuple(one["approvers"]),
            four_eyes=one["fourEyes"],
            expires_seconds=one["expiresSeconds"],
            sla_seconds=one["slaSeconds"],
        )
        for one in wire
    )


# --- persons --------------------------------------------------------------------------------------------------
def is_same_person(one: str, other: str) -> bool:
    """Say whether a reader would take two user names for the same: they must not pass as two people."""
    return fold_name(one) == fold_name(other)


def fold_name(name: str) -> str:
    """Return a user name as persons are told apart by it; stricter than user names are."""
    return unicodedata.normalize("NFKC", name.removeprefix("user:")).casefold()


def list_met(
    terms: Iterable[Terms], *, user: str, groups: Collection[str], submitted_by: str
) -> tuple[list[str], list[str]]:
    """Return the rules whose terms `user` meets, and those that only four eyes keep from them."""
    named = [one for one in terms if _is_named(one, user, groups)]
    own = is_same_person(user, submitted_by)
    barred = [one.rule_id for one in named if own and one.four_eyes]
    return [one.rule_id for one in named if one.rule_id not in barred], barred


def _is_named(terms: Terms, user: str, groups: Collection[str]) -> bool:
    if terms.approvers is None:
        return True
    return any(
        name.removeprefix(GROUP) in groups if name.startswith(GROUP) else name == user for name in terms.approvers
    )


# --- votes ----------------------------------------------------------------------------------------------------
def list_open(terms: Iterable[Terms], votes: Sequence[Ballot]) -> tuple[Terms, ...]:
    """Return the terms that are still short of their quorum."""
    return tuple(one for one in terms if count_votes(one, votes) < one.quorum)


def count_votes(terms: Terms, votes: Iterable[Ballot]) -> int:
    """Return how many distinct persons have voted for `terms`."""
    return len({fold_name(vote.user) for vote in votes if terms.rule_id in vote.counts_for})


def narrow(votes: Iterable[Ballot]) -> Extent:
    """Return what all the votes agree to: the narrowest scope, and the shortest time that any of them names."""
    votes = list(votes)
    scope = min((vote.scope for vote in votes), key=SCOPES.index, default=ONCE)
    named = [vote.minutes for vote in votes if vote.minutes is not None]
    return Extent(scope=scope, minutes=min(named, default=None) if scope != ONCE else None)


def describe_voters(names: Sequence[str]) -> str:
    """Return names as a sentence has them: "ana, ben and cleo"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
