"""What a person can do about an error: one sentence on what was kept, one on what to do next. PURE."""

from dataclasses import dataclass

KEPT = "The order and every step up to here are kept."
RETRY = "Retry the task; nothing that was done is done twice."


@dataclass(frozen=True, slots=True)
class Advice:
    """The second and third part of an error: the first is its own message."""

    kept: str
    next: str


_NOTHING_RAN = "The gate refused before anything ran, so nothing was read, fetched or changed. The order is kept."
_NOTHING_WAS_RUN = "Nothing was run. The order is kept."
_ASK_FOR_A_RULE = "Choose an agent that may do this, or ask who keeps the rules for one, then retry."

_ADVICE: dict[str, Advice] = {
    "domain_not_allowed": Advice(
        _NOTHING_RAN, "Allow the host for this agent and retry, or order the page from a host that is allowed."
    ),
    "address_not_allowed": Advice(
        "Nothing was fetched. The order is kept.",
        "The name leads to an address that is not on the public internet; no rule can allow that. Use another host.",
    ),
    "skill_not_allowed": Advice(_NOTHING_RAN, _ASK_FOR_A_RULE),
    "argument_not_allowed": Advice(_NOTHING_RAN, "Change the argument that the message names, or the rule; retry."),
    "read_path": Advice(_NOTHING_RAN, "Name a file inside the folders that this agent may read."),
    "write_path": Advice(_NOTHING_RAN, "Name a file inside the folders that this agent may write."),
    "call_ceiling": Advice(_NOTHING_RAN, "The ceiling counts calls of one task: submit a new task for more."),
    "rate_limited": Advice(_NOTHING_RAN, "It waited for its rate until its deadline. Retry when there is less to do."),
    "budget_exhausted": Advice(
        "The call was not sent. The order, the steps before it and what they cost are kept.",
        "The message says which cap stopped it. Once there is room under it, retry the task.",
    ),
    "price_unknown": Advice(
        "The call was not sent and nothing was spent. The order is kept.",
        "Name the model's price in MODEL_PRICES or give the agent's tier another model, then retry.",
    ),
    "approval_rejected": Advice(KEPT, "Change what the note names and submit it again."),
    "approval_expired": Advice(KEPT, "Retry to ask again, and tell an approver."),
    "agent_disabled": Advice(KEPT, "Enable the agent or choose another, then retry."),
    "agent_quarantined": Advice(KEPT, "The agent's page says who may lift the quarantine, and why it is; then retry."),
    "skill_quarantined": Advice(KEPT, "The skill's page says who quarantined it and why. Once released, retry."),
    "input_invalid": Advice(_NOTHING_RAN, "Submit it again with the input mended."),
    "provider_missing": Advice(KEPT, "Set a key or an address for the vendor, start again, then retry."),
    "provider_rejected": Advice(KEPT, "Check the key, the model's name and the vendor's account; then retry."),
    "model_refused": Advice(KEPT, "Say in the input what the task is for, or give it to a person."),
    "output_invalid": Advice(KEPT, "See in the steps what did not hold. Retry, or try the agent with another prompt."),
    "max_steps": Advice(KEPT, "Retry to let it go on, give it less to do, or raise the limit of its agent."),
    "step_failed": Advice(
        "The steps that succeeded are kept with their results.", "Mend the step that failed, then retry the workflow."
    ),
    "attempts_exhausted": Advice(KEPT, "See the cause in the last step. Once it is mended, retry."),
    "worker_lost": Advice(KEPT, "Five workers were lost while they ran it. Look at their logs before you retry."),
    "timeout": Advice(KEPT, "Retry with less work in one task, or have the agent's timeout raised."),
    "limit_exceeded": Advice(KEPT, "Make the input smaller, then submit it again."),
    "sandbox_unavailable": Advice(_NOTHING_WAS_RUN, "Run the worker on a kernel that offers a sandbox, then retry."),
}
_DEFAULT = Advice(KEPT, "Mend the cause that the message names, then retry.")


def find_advice(code: str, reason: str = "") -> Advice:
    """Return the advice for an error's code, or for the cause beneath it."""
    return _ADVICE.get(code) or _ADVICE.get(reason) or _DEFAULT


def list_codes() -> list[str]:
    """Return the codes that there is advice for, which are those that tasks mostly fail with."""
    return sorted(_ADVICE)
