"""What transcript tests share: an agent's run, written down as the loop does it."""

from datetime import datetime, timedelta
from typing import Any

from agents.models import Step, Task
from audit.bodies import DecisionMade
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.sequencer import Sequencer
from audit.transactions import write_transaction
from audit.transcripts import Entry, record_entries
from toolgate.models import DecisionRecord

PAGE = {"url": "https://github.com/pallets"}
MODEL = "openai:gpt-6-luna"
USAGE = {"inputTokens": 1200, "outputTokens": 80, "cacheReadTokens": 0, "cacheWriteTokens": 0, "raw": {}}


def ship() -> None:
    """Move on what waits, with a sequencer of its own."""
    sequencer = Sequencer(new_id(), steal=True)
    while sequencer.step():
        pass


class Run:
    """Writes a run of `task`: its steps, decisions and entries, a second for each step."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.at: datetime = task.created_at
        self._turns = 0

    def prompt(self, **body: Any) -> None:
        """Write what the model was told."""
        whole = {
            "system": "You read pages.",
            "task": "Read two pages.",
            "tools": ["sourceFetch"],
            "model": MODEL,
        } | body
        self._enter("prompt", whole)

    def reply(self, text: str, *calls: tuple[str, dict[str, Any]], problems: tuple[str, ...] = ()) -> str:
        """Write a turn; `calls` are names and arguments. Return the step's id."""
        self._turns += 1
        wishes = [
            {"id": f"c{self._turns}-{number}", "name": name, "arguments": arguments}
            for number, (name, arguments) in enumerate(calls)
        ]
        output = {"text": text, "toolCalls": wishes, "stop": "tool_calls" if calls else "finished"}
        step = self._step(
            kind="model", model=MODEL, usage=USAGE, cost_micro=412, output=output | {"problems": problems}
        )
        facts = {"stepId": step.id, "model": MODEL, "usage": USAGE, "costMicro": 412, "durationMs": 900}
        self._enter("reply", facts | output)
        if problems:
            self._enter("verdict", {"problems": list(problems)})
        return step.id

    def call(
        self, arguments: dict[str, Any], content: Any, *, effect: str = "allow", reason: str = "allowed",
        state: str = "done", number: int = 0,
    ) -> str:  # fmt: skip
        """Write a call of the turn before, with its decision and its result. Return the decision's id."""
        call_id, decision_id = f"c{self._turns}-{number}", new_id()
        self._decide(decision_id, arguments, effect=effect, reason=reason)
        facts = {"callId": call_id, "skillId": "sourceFetch"}
        decided = {"effect": effect, "reason": reason, "detail": "", "decisionId": decision_id, "policyVersion": 1}
        self._enter("call", facts | decided | {"arguments": arguments})
        told = {"arguments": arguments, "output": content, "error": None, "outside": True}
        if state != "done":
            told |= {"output": None, "error": content}
        self._step(
            kind="skill", skill_id="sourceFetch", call_id=call_id, decision_id=decision_id, output=told, state=state
        )
        self._enter("result", facts | {"state": state, "content": content})
        return decision_id

    def _step(self, *, state: str = "done", **columns: Any) -> Step:
        started, self.at = self.at, self.at + timedelta(seconds=1)
        count = Step.objects.filter(task=self.task).count()
        values = {"id": new_id(), "fence": 1, "ordinal": count + 1, "started_at": started, "ended_at": self.at}
        return Step.objects.create(task=self.task, state=state, **values | columns)

    def _decide(self, decision_id: str, arguments: dict[str, Any], *, effect: str, reason: str) -> None:
        DecisionRecord.objects.create(
            id=decision_id, at=self.at, agent_id=self.task.agent_id, agent_version=1, skill_id="sourceFetch",
            skill_version="1", arguments=arguments, arguments_digest="0" * 64, resource={}, counters={}, effect=effect,
            reason=reason, detail="", deciding_rules=["market-research-fetch"], policy_version=1,
            task_id=self.task.id, trace_id=self.task.trace_id,
        )  # fmt: skip
        body = DecisionMade(
            decisionId=decision_id, decidingRules=["market-research-fetch"], policyVersion=1, agentVersion=1,
            skillVersion="1", argumentsDigest="0" * 64, counters={}, detail="",
        )  # fmt: skip
        with write_transaction():
            record(
                Event(
                    type=EventType.DECISION_MADE, at=self.at, actor=f"agent:{self.task.agent_id}",
                    task_id=self.task.id, agent_id=self.task.agent_id, skill_id="sourceFetch", decision=effect,
                    reason=reason, body=body,
                )
            )  # fmt: skip

    def _enter(self, kind: str, body: dict[str, Any]) -> None:
        with write_transaction():
            record_entries(Entry(task_id=self.task.id, kind=kind, body=body, at=self.at))


def write_story(run: Run) -> list[str]:
    """Write a run of two turns and an answer, and return its decisions' ids."""
    run.prompt()
    run.reply("I look at two pages.", ("sourceFetch", PAGE), ("sourceFetch", {"url": "https://example.com/"}))
    allowed = run.call(PAGE, {"content": "A page about tools."})
    refusal = {"code": "domain_not_allowed", "message": "example.com is not allowed"}
    refused = run.call(
        {"url": "https://example.com/"}, refusal, effect="deny", reason="domain_not_allowed", state="refused", number=1
    )
    run.reply("Here it is, without sources.", problems=("synthesis cites nothing that was fetched",))
    run.reply('{"synthesis": "tools"}')
    return [allowed, refused]
