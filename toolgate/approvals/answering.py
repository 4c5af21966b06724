"""Answer: a person's vote, and what all the votes come to. One refusal refuses; a quorum of each rule approves."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.events import EventType
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.approvals.asking import read_terms
from toolgate.approvals.changing import change_arguments
from toolgate.approvals.grants import give_grant
from toolgate.approvals.states import CALL, approval_event, close, current_version
from toolgate.approvals.terms import MAX_MINUTES, MINUTES, ONCE, SCOPES, is_same_person, list_met, list_open, narrow
from toolgate.approvals.votes import list_votes
from toolgate.exceptions import (
    AlreadyVoted,
    AnswerInvalid,
    ApprovalChanged,
    ApprovalDecided,
    ApprovalError,
    ApprovalLate,
    ApprovalNotFound,
    ApprovalSuperseded,
    NotApprover,
    OwnRequest,
)
from toolgate.models import Approval, ApprovalState, ApprovalVote
from toolgate.texts import check_text

MAX_NOTE_LENGTH = 2000
MAX_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ballot:
    """What one person says."""

    approve: bool
    user: str
    groups: Collection[str]
    note: str
    digest: str
    arguments: Mapping[str, Any] | None
    scope: str
    minutes: int | None
    now: datetime


def decide_approval(
    approval_id: str,
    *,
    approve: bool,
    user: str,
    groups: Collection[str] = frozenset(),
    note: str = "",
    digest: str = "",
    arguments: Mapping[str, Any] | None = None,
    scope: str = ONCE,
    minutes: int | None = None,
    now: datetime,
) -> Approval:
    """Give a person's answer and return the approval: pending still, if it takes more persons.

    `groups` are the names of the groups that `user` is in. `digest` is of what they looked at; if it is another by
    now, nothing is decided; without one only what nobody has changed is approved. `arguments` are what they want to run
    instead: earlier votes are void, theirs counts.
    `scope` is what they agree to beyond this call: "once" nothing, "task" this task's further calls that the same
    rules ask about, "minutes" those of any task of the agent for so many `minutes`, 1 to 1440.
    The parked task moves in the same transaction, by the signal `approval_decided`.

    Raises: ApprovalNotFound; ApprovalDecided (it has its answer); AlreadyVoted; OwnRequest (four eyes); NotApprover;
    ApprovalChanged; AnswerInvalid (an answer that cannot be, or arguments that cannot run); TextInvalid (the note);
    ApprovalLate, ApprovalSuperseded: not kept as an answer, but the approval is closed and the task told.
    """
    ballot = _Ballot(
        approve=approve,
        user=user.removeprefix("user:"),
        groups=groups,
        note=check_text(note, name="note", limit=MAX_NOTE_LENGTH),
        digest=digest,
        arguments=arguments,
        scope=scope,
        minutes=minutes,
        now=now,
    )
    _check_sense(ballot)
    with write_transaction():
        outcome = _answer(approval_id, ballot)
    if isinstance(outcome, ApprovalError):  # raised out here, so that what was closed stays closed
        raise outcome
    return outcome


def list_equal(approval: Approval, *, limit: int = MAX_AT_ONCE) -> list[Approval]:
    """Return the other tasks' questions that wait about the very same call, asked by the same rules, oldest first."""
    same = Approval.objects.filter(kind=CALL, state=ApprovalState.PENDING, digest=approval.digest)
    others = same.exclude(id=approval.id).exclude(task_id=approval.task_id).order_by("created_at", "id")
    rules = _list_rules(approval)
    return [one for one in others[: min(limit, MAX_AT_ONCE)] if _list_rules(one) == rules]


def decide_equal(
    ids: Iterable[str],
    *,
    approve: bool,
    user: str,
    groups: Collection[str] = frozenset(),
    note: str = "",
    digest: str,
    scope: str = ONCE,
    minutes: int | None = None,
    now: datetime,
) -> list[tuple[str, Approval | ApprovalError]]:
    """Answer up to 100 equal questions, each by itself, and return what came of each; one's refusal stops no other.

    `digest` is of the call that the person looked at: what is not that call is not decided.
    Raises: TextInvalid (the note), before any is decided.
    """

    def decide(approval_id: str) -> Approval | ApprovalError:
        try:
            return decide_approval(
                approval_id,
                approve=approve,
                user=user,
                groups=groups,
                note=note,
                digest=digest,
                scope=scope,
                minutes=minutes,
                now=now,
            )
        except ApprovalError as error:
            return error

    return [(approval_id, decide(approval_id)) for approval_id in list(dict.fromkeys(ids))[:MAX_AT_ONCE]]


def find_objection(approval: Approval, *, user: str, groups: Collection[str], now: datetime) -> ApprovalError | None:
    """Return why `user` cannot approve this now, or None; for a page, that changes nothing."""
    if approval.state != ApprovalState.PENDING:
        return _refuse_second(approval)
    if approval.expires_at <= now:
        return ApprovalLate()
    return _find_bar(approval, user, groups) or _find_needless(approval, user, groups)


def _list_rules(approval: Approval) -> set[str]:
    return {one.rule_id for one in read_terms(approval)}


# --- one answer -----------------------------------------------------------------------------------------------
def _check_sense(ballot: _Ballot) -> None:
    if ballot.scope not in SCOPES:
        raise AnswerInvalid(f"An approval is for {', '.join(SCOPES)}. Nothing was decided.")
    timed = ballot.minutes is not None and 1 <= ballot.minutes <= MAX_MINUTES
    if timed is not (ballot.scope == MINUTES) or (ballot.minutes is not None and not timed):
        raise AnswerInvalid(f"“minutes” goes with a number of them, 1 to {MAX_MINUTES}. Nothing was decided.")
    if not ballot.approve and (ballot.scope != ONCE or ballot.arguments is not None):
        raise AnswerInvalid("A refusal has neither a scope nor other arguments. Nothing was decided.")


def _answer(approval_id: str, ballot: _Ballot) -> Approval | ApprovalError:
    approval = Approval.objects.select_for_update().filter(id=approval_id).first()
    if approval is None:
        return ApprovalNotFound(approval_id)
    obstacle = _find_obstacle(approval, ballot)
    if obstacle is not None:
        return obstacle
    if not ballot.approve:
        _keep_vote(approval, ballot)
        return _end(approval, ballot, ApprovalState.REFUSED)
    if ballot.arguments is not None:
        change_arguments(approval, ballot.arguments, user=ballot.user, now=ballot.now)
    return _vote(approval, ballot)


def _find_obstacle(approval: Approval, ballot: _Ballot) -> ApprovalError | None:
    """Return why this answer cannot be kept, having closed what is out of time or of an older policy."""
    if approval.state != ApprovalState.PENDING:
        return _refuse_second(approval)
    misfit = _find_bar(approval, ballot.user, ballot.groups) or _find_misfit(approval, ballot)
    if misfit is not None:
        return misfit
    if approval.expires_at <= ballot.now:
        close(approval, ApprovalState.EXPIRED, now=ballot.now)
        return ApprovalLate()
    version = current_version()
    if ballot.approve and approval.kind == CALL and approval.policy_version != version:
        close(approval, ApprovalState.SUPERSEDED, now=ballot.now)
        return ApprovalSuperseded(asked_version=approval.policy_version, current_version=version)
    return None


def _find_misfit(approval: Approval, ballot: _Ballot) -> ApprovalError | None:
    """Return why this is no answer to this question, or None."""
    if ballot.digest != approval.digest and (ballot.digest or _is_unseen(approval, ballot)):
        return ApprovalChanged()
    if approval.kind != CALL and (ballot.scope != ONCE or ballot.arguments is not None):
        return AnswerInvalid("This is about one thing as it is: it is approved once, or refused. Nothing was decided.")
    return None


def _is_unseen(approval: Approval, ballot: _Ballot) -> bool:
    """Say whether somebody has changed the call, so that a plain yes could be meant for another."""
    is_plain = ballot.approve and ballot.arguments is None
    return is_plain and approval.asked_arguments is not None and approval.votes.exists()


def _refuse_second(approval: Approval) -> ApprovalError:
    if approval.state == ApprovalState.EXPIRED:
        return ApprovalLate()
    return ApprovalDecided(state=approval.state, decided_by=approval.decided_by)


def _find_bar(approval: Approval, user: str, groups: Collection[str]) -> ApprovalError | None:
    """Return why this person has no say here, or None."""
    met, barred = _meet(approval, user, groups)
    if met:
        return None
    return OwnRequest() if barred else NotApprover.of(read_terms(approval))


def _find_needless(approval: Approval, user: str, groups: Collection[str]) -> ApprovalError | None:
    """Return why this person's yes would add nothing, or None."""
    votes = list_votes(approval)
    if any(is_same_person(vote.user, user) for vote in votes):
        return AlreadyVoted()
    still_open = list_open(read_terms(approval), votes)
    met, _ = _meet(approval, user, groups)
    return None if any(one.rule_id in met for one in still_open) else NotApprover.of(still_open)


def _meet(approval: Approval, user: str, groups: Collection[str]) -> tuple[list[str], list[str]]:
    return list_met(read_terms(approval), user=user, groups=groups, submitted_by=approval.submitted_by)


# --- votes ----------------------------------------------------------------------------------------------------
def _vote(approval: Approval, ballot: _Ballot) -> Approval | ApprovalError:
    """Keep a yes, and approve once it was the last that was missing."""
    needless = _find_needless(approval, ballot.user, ballot.groups)
    if needless is not None:
        return needless
    vote = _keep_vote(approval, ballot)
    votes = list_votes(approval)
    if list_open(read_terms(approval), votes):
        record(_vote_event(approval, vote))
        return approval
    extent = narrow(votes)
    outcome = _end(approval, ballot, ApprovalState.APPROVED, scope=extent.scope)
    if extent.scope != ONCE:
        rule_ids, users = _list_rules(approval), [vote.user for vote in votes]
        give_grant(approval, extent, rule_ids=rule_ids, users=users, now=ballot.now)
    return outcome


def _keep_vote(approval: Approval, ballot: _Ballot) -> ApprovalVote:
    """Keep one vote a person: one that an edit made void gives way to the new one."""
    met, _ = _meet(approval, ballot.user, ballot.groups)
    columns = {
        "approve": ballot.approve,
        "counts_for": met,
        "scope": ballot.scope,
        "minutes": ballot.minutes,
        "digest": approval.digest,
        "note": ballot.note,
        "at": ballot.now,
    }
    return approval.votes.update_or_create(user=ballot.user, defaults=columns)[0]


def _end(approval: Approval, ballot: _Ballot, state: ApprovalState, **columns: Any) -> Approval:
    if not close(approval, state, now=ballot.now, decided_by=ballot.user, note=ballot.note, **columns):
        approval.refresh_from_db()
        raise _refuse_second(approval)  # another was first, whatever the lock is worth: this vote is not kept
    return approval


def _vote_event(approval: Approval, vote: ApprovalVote) -> Any:
    more = {"countsFor": vote.counts_for, "scope": vote.scope, "minutes": vote.minutes, "note": vote.note}
    return approval_event(EventType.APPROVAL_VOTED, approval, at=vote.at, actor=f"user:{vote.user}", **more)
