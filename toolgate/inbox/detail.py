"""All that a person should see before they answer one request."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import prefetch_related_objects

from toolgate.approvals import CALL, list_equal
from toolgate.approvals.changing import was_tainted
from toolgate.fleet import get_fleet
from toolgate.in_force import policy_in_force
from toolgate.inbox.forms import AnswerForm
from toolgate.inbox.listing import list_past
from toolgate.inbox.standing import Ask, Person, Standing, Vote, list_asks, read_standing, tell_votes
from toolgate.lines import Line, diff_values
from toolgate.models import Approval, ApprovalState

_RISKS = {  # by capability; what only reads the workspace brings nothing out of it
    "network": "reaches the network",
    "write_workspace": "writes to the workspace",
    "run_command": "runs a command",
}
_TAINTED = "the task has read text from outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One request, what it was made from, and what may be said to it."""

    approval: Approval
    asks: tuple[Ask, ...]
    votes: tuple[Vote, ...]
    standing: Standing
    equal: list[Approval]  # others, that one answer can settle too
    past: list[Approval]
    risks: tuple[str, ...]
    changes: tuple[Line, ...]  # from what was asked to what is to run
    form: AnswerForm
    current_version: int  # of the policy

    @property
    def is_call(self) -> bool:
        """Whether it is about a call that rules ask about: it can be changed, and granted for longer."""
        return self.approval.kind == CALL

    @property
    def is_open(self) -> bool:
        """Whether it waits for an answer."""
        return self.approval.state == ApprovalState.PENDING

    @property
    def is_outdated(self) -> bool:
        """Whether the rules have changed since it was asked: approving it lets the task ask again, and nothing else."""
        return self.is_open and self.is_call and self.approval.policy_version != self.current_version


def read_detail(approval: Approval, person: Person, *, now: datetime, form: AnswerForm | None = None) -> Detail:
    """Return what there is to see; `form` is one that was sent and could not be taken."""
    prefetch_related_objects([approval], "votes")
    is_open = approval.state == ApprovalState.PENDING
    asked = approval.asked_arguments
    return Detail(
        approval=approval,
        asks=list_asks(approval),
        votes=tell_votes(approval),
        standing=read_standing(approval, person, now=now),
        equal=list_equal(approval) if is_open else [],
        past=list_past(approval),
        risks=tuple(_list_risks(approval)),
        changes=diff_values(asked, approval.arguments) if asked is not None else (),
        form=form or AnswerForm(initial={"digest": approval.digest, "scope": "once"}),
        current_version=policy_in_force().version,
    )


def _list_risks(approval: Approval) -> Iterator[str]:
    """Give what is known for a fact and nothing that is guessed: what the skill can do, and what the task has read."""
    skill = next((skill for skill in get_fleet().list_skills() if skill.id == approval.skill_id), None)
    if skill is not None:
        yield from (words for capability, words in _RISKS.items() if capability in skill.capabilities)
    if was_tainted(approval):
        yield _TAINTED
