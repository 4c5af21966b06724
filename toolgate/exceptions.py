"""What can go wrong around the gate: each error names its cause, what was kept and what to do. PURE.

GateError
├── PolicyInvalid          the rules do not fit the schema
├── PolicyConflict         somebody else published first
├── DraftConflict          the draft was edited or closed in another window meanwhile
├── DraftMissing           this person has no open draft
├── VersionMissing         no policy version of that number
├── RuleMissing            no rule of that id where one was named
├── NothingToPublish       the rules in force say just this
├── ReasonRequired         a change without a reason
├── TextInvalid            a note or reason that cannot be kept
├── HostInvalid            not a plain DNS name
├── NoRuleToWiden          no allow rule of this agent and skill names domains
├── HostDenied             a deny rule names the host, and deny wins
├── WhatIfNotFound         there is no such replay
├── TooManyWhatIfs         a person's replays are still under way
├── DecisionMissing        no decision of that id is on record
├── NothingToSuggest       no rule that is added would let a call pass
├── PermitViolation        a skill was about to run without the gate's leave: a bug or an attack, never caught
└── ApprovalError
    ├── ApprovalNotFound
    ├── ApprovalDecided    it has an answer already
    ├── ApprovalLate       it expired before anyone answered
    ├── ApprovalSuperseded the policy changed since it was asked
    ├── ApprovalChanged    somebody changed the arguments meanwhile
    ├── AnswerInvalid      an answer that cannot be, or arguments that cannot run
    ├── OwnRequest         who submitted a task may not answer for it
    ├── NotApprover        the rules that ask name other people
    ├── AlreadyVoted       one vote a person
    ├── GrantNotFound
    └── GrantOver          it has ended already
"""

from collections.abc import Iterable
from typing import Self

from toolgate.types import Terms


class GateError(Exception):
    """Base of this app's errors; `code` is for machines, the message for people."""

    code = "gate_error"

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class PolicyInvalid(GateError):
    """The rules do not fit the schema; nothing was changed. `problems` holds one line a finding."""

    code = "policy_invalid"

    def __init__(self, problems: list[str]):
        super().__init__("The rules are not valid, nothing was changed: " + "; ".join(problems[:5]))
        self.problems = problems


class PolicyConflict(GateError):
    """The policy moved on while this change was being made; nothing was changed. Look again, then repeat."""

    code = "policy_conflict"

    def __init__(self, *, base_version: int, current_version: int):
        super().__init__(
            f"The change was made on version {base_version}, but version {current_version} is in force now. "
            "Nothing was changed: look at the new version, then make the change again."
        )
        self.base_version = base_version
        self.current_version = current_version
        self.members: dict[str, object] = {}  # what a client is told beside: both differences


class DraftConflict(GateError):
    """The draft moved on in another window of the same person; nothing was changed. Look again, then repeat."""

    code = "draft_conflict"

    def __init__(self) -> None:
        super().__init__(
            "Your draft was edited, published or thrown away in another window. Nothing was changed: look at it as "
            "it is now, then do this again."
        )


class DraftMissing(GateError):
    """The person has no open draft: nothing was begun, or it was published or thrown away."""

    code = "draft_unknown"

    def __init__(self) -> None:
        super().__init__("You have no open draft of the policy. Nothing was changed: edit a rule, that opens one.")


class VersionMissing(GateError):
    """There is no policy version of this number."""

    code = "version_unknown"

    def __init__(self, number: int):
        super().__init__(f"There is no policy version {number}. Nothing was changed.")


class RuleMissing(GateError):
    """The rule that was named is not among those that were edited."""

    code = "rule_unknown"

    def __init__(self, rule_id: str):
        super().__init__(f"There is no rule {ascii(rule_id)[:120]} to change here. Nothing was changed.")


class NothingToPublish(GateError):
    """The rules are those in force already; a version that changes nothing would only blur the history."""

    code = "nothing_to_change"

    def __init__(self, number: int):
        super().__init__(f"Version {number} says just this already: there is nothing to publish. Nothing was changed.")


class ReasonRequired(GateError):
    """A change of the policy, of an agent or of what it may do needs a reason that others can read later."""

    code = "reason_required"

    def __init__(self) -> None:
        super().__init__("Nothing was changed: give a reason, it is kept with the change.")


class TextInvalid(GateError):
    """A note or a reason is too long or holds control characters."""

    code = "input_invalid"


class HostInvalid(GateError):
    """Only a plain DNS name can be allowed: no address, no single label, no wildcard."""

    code = "input_invalid"

    def __init__(self, host: str):
        super().__init__(
            f"{ascii(host)[:120]} is not a plain host name such as docs.example.org: nothing was changed. "
            "Addresses, single labels and wildcards cannot be allowed this way."
        )


class NoRuleToWiden(GateError):
    """The agent has no allow rule with domains for this skill."""

    code = "skill_not_allowed"

    def __init__(self, *, agent_id: str, skill_id: str):
        super().__init__(
            f"No allow rule lets {agent_id} use {skill_id} on named hosts, so there is none to add a host to. "
            "Nothing was changed: write a rule first."
        )


class HostDenied(GateError):
    """A deny rule names the host; allowing it elsewhere would change nothing."""

    code = "domain_not_allowed"

    def __init__(self, *, host: str, rule_id: str):
        super().__init__(f"The rule {rule_id} denies {host}, and deny wins. Nothing was changed: change that rule.")
        self.rule_id = rule_id


class WhatIfNotFound(GateError):
    """There is no what-if of this id."""

    code = "what_if_unknown"

    def __init__(self, what_if_id: str):
        super().__init__(f"There is no what-if {ascii(what_if_id)[:80]}.")


class TooManyWhatIfs(GateError):
    """A person's what-ifs are still under way; another can be asked for when one of them is done."""

    code = "too_many_what_ifs"
    retry_after_seconds = 10.0

    def __init__(self, limit: int):
        super().__init__(f"{limit} what-ifs of yours wait or run. Nothing was started: ask again when one is done.")


class DecisionMissing(GateError):
    """There is no decision of this id on record."""

    code = "decision_unknown"

    def __init__(self, decision_id: str):
        super().__init__(f"There is no decision {ascii(decision_id)[:80]} on record.")


class NothingToSuggest(GateError):
    """There is no rule to put into a draft: the call passes already, or something stands in its way."""

    code = "nothing_to_change"

    def __init__(self, obstacle: str):
        super().__init__(f"Nothing was put into your draft. {obstacle or 'Under its rules the call passes already.'}")


class PermitViolation(GateError):
    """A skill was about to run without the gate's leave. Never catch this to go on: the call did not run."""

    code = "permit_violation"


class ApprovalError(GateError):
    """Base of what can be wrong with an answer to an approval."""

    code = "approval_error"


class ApprovalNotFound(ApprovalError):
    """There is no approval of this id."""

    code = "approval_unknown"

    def __init__(self, approval_id: str):
        super().__init__(f"There is no approval {ascii(approval_id)[:80]}.")


class ApprovalDecided(ApprovalError):
    """The approval has its one answer already; this second one was not kept."""

    code = "already_decided"

    def __init__(self, *, state: str, decided_by: str):
        who = f" by {decided_by}" if decided_by else ""
        super().__init__(f"This approval is already {state}{who}. Your answer was not kept.")
        self.state = state


class ApprovalLate(ApprovalError):
    """The approval expired before anyone answered; the task is told so."""

    code = "approval_expired"

    def __init__(self) -> None:
        super().__init__("This approval expired before it was answered. Nothing ran: retry the task to ask again.")


class ApprovalSuperseded(ApprovalError):
    """The policy changed since the question was asked; the task asks the new policy."""

    code = "approval_mismatch"

    def __init__(self, *, asked_version: int, current_version: int):
        super().__init__(
            f"This was asked under policy version {asked_version}, but version {current_version} is in force now. "
            "Nothing ran: the task asks again, under the new policy."
        )


class OwnRequest(ApprovalError):
    """Four eyes: who submitted a task may not answer its approvals."""

    code = "four_eyes"

    def __init__(self) -> None:
        super().__init__(
            "You submitted this task, so another person has to answer. Nothing was changed: "
            "ask an approver, or cancel the task."
        )


class ApprovalChanged(ApprovalError):
    """Somebody changed the arguments since this person looked; nothing was decided."""

    code = "approval_mismatch"

    def __init__(self) -> None:
        super().__init__("Somebody changed the arguments meanwhile. Nothing was decided: look again, then answer.")


class AnswerInvalid(ApprovalError):
    """The answer cannot be given to this question, or the changed arguments cannot run; nothing was decided."""

    code = "input_invalid"

    def __init__(self, message: str, *, code: str = ""):
        super().__init__(message)
        self.code = code or self.code


class NotApprover(ApprovalError):
    """The rules whose quorum is still open name other people."""

    code = "not_approver"

    def __init__(self, *, wanted: list[str]):
        whom = f" It takes {', '.join(wanted)}." if wanted else ""
        super().__init__(f"The rules that ask here do not name you. Nothing was decided.{whom}")

    @classmethod
    def of(cls, terms: Iterable[Terms]) -> Self:
        """Return it with whom the `terms` name."""
        return cls(wanted=sorted({name for one in terms for name in one.approvers or ()}))


class AlreadyVoted(ApprovalError):
    """One vote a person: this one has approved already, and others are waited for."""

    code = "already_voted"

    def __init__(self) -> None:
        super().__init__("You have approved this already. It takes other people too; until then you may still refuse.")


class GrantNotFound(ApprovalError):
    """There is no grant of this id."""

    code = "grant_unknown"

    def __init__(self, grant_id: str):
        super().__init__(f"There is no grant {ascii(grant_id)[:80]}.")


class GrantOver(ApprovalError):
    """The grant has ended already; there is nothing to revoke."""

    code = "grant_over"

    def __init__(self, *, revoked_by: str):
        how = f"was revoked by {revoked_by}" if revoked_by else "has run out"
        super().__init__(f"This grant {how} already: nothing runs on it any more.")
