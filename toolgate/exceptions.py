"""What can go wrong around the gate: each error names its cause, what was kept and what to do. PURE.

GateError
├── PolicyInvalid          the rules do not fit the schema
├── PolicyConflict         somebody else published first
├── ReasonRequired         a change without a reason
├── TextInvalid            a note or reason that cannot be kept
├── HostInvalid            not a plain DNS name
├── NoRuleToWiden          no allow rule of this agent and skill names domains
├── HostDenied             a deny rule names the host, and deny wins
├── PermitViolation        a skill was about to run without the gate's leave: a bug or an attack, never caught
└── ApprovalError
    ├── ApprovalNotFound
    ├── ApprovalDecided    it has an answer already
    ├── ApprovalLate       it expired before anyone answered
    ├── ApprovalSuperseded the policy changed since it was asked
    └── OwnRequest         who submitted a task may not answer for it
"""


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
