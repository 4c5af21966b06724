"""What a model and the orchestrator have said to each other, rebuilt from the step ledger. PURE.

The ledger is the only memory: a run that begins, one that comes back from an approval and one that takes over
from a dead worker all read the same steps and stand at the same point, so no recorded step is ever repeated.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from agents.prompts import build_correction, wrap_result
from agents.providers.base import Message, ModelMessage, ModelReply, StopReason, ToolCall, ToolMessage, UserMessage

MODEL, SKILL = "model", "skill"
DONE, FAILED, REFUSED, UNKNOWN = "done", "failed", "refused", "unknown"
MAX_WAIT_SECONDS = 5.0
MAX_RESULT_CHARACTERS = 40_000  # of one skill's result that a model is shown


class Recorded(Protocol):
    """A row of the step ledger."""

    fence: int
    kind: str
    state: str
    skill_id: str
    call_id: str
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one skill call: its `output`, or why there is none."""

    arguments: Mapping[str, Any]
    output: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None  # code, message, and retryAfterSeconds where waiting helps
    outside: bool = False  # the output brings text that nobody here wrote
    changed: bool = False  # a person approved the call with other arguments than the model's: with these

    @property
    def wait_seconds(self) -> float:
        """Return how long to wait before the model may repeat a call that was over its rate."""
        if self.error is None or self.error["code"] != "rate_limited":
            return 0.0
        return min(float(self.error.get("retryAfterSeconds", 0.0)), MAX_WAIT_SECONDS)

    def to_json(self) -> dict[str, Any]:
        """Return it as the step ledger keeps it."""
        told = {
            "arguments": dict(self.arguments),
            "output": self.output,
            "error": self.error,
            "outside": self.outside,
        }
        return told | {"changed": True} if self.changed else told


@dataclass(slots=True, kw_only=True)
class Conversation:
    """The messages so far, and what is owed: results to calls, or a correction to an answer.

    Counts are since a person last retried the task.
    """

    messages: list[Message]
    pending: list[ToolCall] = field(default_factory=list)
    turns: int = 0
    calls: int = 0
    rejections: int = 0
    steps: int = 0  # rows of the ledger, as the number of the last one
    answer: Mapping[str, Any] | None = None  # accepted: the run only has to end
    unknown: set[str] = field(default_factory=set)  # calls whose outcome a dead worker took with it

    def add_reply(self, output: Mapping[str, Any], *, counts: bool = True) -> None:
        """Add what the model said, as the ledger keeps it; a refusal to say anything leaves no message."""
        if output["stop"] == StopReason.REFUSED:
            self.turns += counts
            return
        message = read_reply(output)
        self.messages.append(message)
        self.pending = list(message.tool_calls)
        self.turns += counts
        self.answer = output.get("answer")
        if problems := output.get("problems"):
            self.rejections += counts
            self.messages.append(UserMessage(text=build_correction(problems)))

    def add_result(self, call_id: str, skill_id: str, output: Mapping[str, Any], *, counts: bool = True) -> None:
        """Add what came of a call, as the ledger keeps it."""
        content, is_error = describe_result(skill_id, output)
        self.messages.append(ToolMessage(call_id=call_id, name=skill_id, content=content, is_error=is_error))
        self.pending = [call for call in self.pending if call.id != call_id]
        self.unknown.discard(call_id)
        self.calls += counts


def replay(task_text: str, steps: Iterable[Recorded], *, since_fence: int = 0) -> Conversation:
    """Return the conversation that `steps`, in order, amount to; counts begin after `since_fence`."""
    talk = Conversation(messages=[UserMessage(text=task_text)])
    for step in steps:
        talk.steps += 1
        counts = step.fence > since_fence
        if step.kind == MODEL and step.state == DONE:
            talk.add_reply(step.output, counts=counts)
        elif step.kind == SKILL and step.state in {DONE, FAILED, REFUSED} and step.output is not None:
            talk.add_result(step.call_id, step.skill_id, step.output, counts=counts)
        elif step.kind == SKILL and step.state in {UNKNOWN, FAILED}:
            talk.unknown.add(step.call_id)
    return talk


# --- as the ledger keeps it -----------------------------------------------------------------------------------
def write_reply(
    reply: ModelReply, *, answer: Mapping[str, Any] | None = None, problems: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a reply as the ledger keeps it: with the output that it came to, or what is wrong with it as an answer."""
    message = reply.message
    return {
        "text": message.text,
        "toolCalls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments, "raw": call.raw}
            for call in message.tool_calls
        ],
        "provider": message.provider,
        "opaque": message.opaque,
        "stop": reply.stop.value,
        "responseId": reply.response_id,
        "answer": answer,
        "problems": list(problems),
    }


def read_reply(output: Mapping[str, Any]) -> ModelMessage:
    """Return the message that the ledger keeps."""
    calls = tuple(
        ToolCall(id=call["id"], name=call["name"], arguments=call["arguments"], raw=call.get("raw", ""))
        for call in output["toolCalls"]
    )
    return ModelMessage(text=output["text"], tool_calls=calls, provider=output["provider"], opaque=output["opaque"])


def describe_result(skill_id: str, output: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what the model is told of a call, and whether it is an error."""
    error, changed = output.get("error"), bool(output.get("changed"))
    told = error if error is not None else output["output"]
    content = orjson.dumps({"arguments": output["arguments"], "result": told} if changed else told).decode()
    if len(content) > MAX_RESULT_CHARACTERS:
        left = len(content) - MAX_RESULT_CHARACTERS
        content = f"{content[:MAX_RESULT_CHARACTERS]}\n[{left:,} more characters are not shown: ask for less at once]"
    outside = bool(output.get("outside"))
    return wrap_result(skill_id, content, outside=outside, changed=changed), error is not None


def is_answer(reply: ModelReply) -> bool:
    """Say whether the model means this as its last message."""
    return not reply.message.tool_calls and reply.stop is not StopReason.REFUSED
