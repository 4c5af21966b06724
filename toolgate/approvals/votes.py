"""Votes: each person's yes to one question, counted for the rules whose terms they meet."""

from toolgate.approvals.asking import read_terms
from toolgate.approvals.terms import list_open
from toolgate.models import Approval, ApprovalVote
from toolgate.types import Terms


def list_votes(approval: Approval) -> list[ApprovalVote]:
    """Return the votes that count, oldest first: for exactly the arguments that would run now."""
    counting = [vote for vote in approval.votes.all() if vote.approve and vote.digest == approval.digest]
    return sorted(counting, key=lambda vote: (vote.at, vote.pk))  # here, so that a list reads them all in one query


def list_open_terms(approval: Approval) -> tuple[Terms, ...]:
    """Return what an approval still lacks: the terms that are short of their quorum."""
    return list_open(read_terms(approval), list_votes(approval))
