"""An agent's run as moments of its task page: what the model said and called, what was decided, what came of it.

The transcript tells it. What is not in it yet, or cannot be read now, the steps tell: they hold the same redacted
texts. PURE but for the rows it is handed.
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings

from agents.models import Step, StepState
from agents.money.budget import to_pounds, write_pounds
from agents.transcript.timeline import EFFECTS, Fold, Moment, describe_rule
from audit.wire import format_at
from toolgate.models import DecisionRecord

MAX_MOMENTS: Final = 200  # the newest; the transcript's download has all
PAGE_BYTES: Final = 44_000  # of folded texts on one page, shared among them
_MIN_BYTES, _MAX_BYTES = 120, 4_000  # of one of them
_STATES: Final = {"failed": "failed", "refused": "was refused", "unknown": "may or may not have finished"}

Entry = Mapping[str, Any]  # in wire form: kind, body, at


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run's moments, and the steps and decisions that they tell of."""

    moments: list[Moment]
    step_ids: frozenset[str]
    decision_ids: frozenset[str]
    left_out: int = 0  # moments before these


NOTHING: Final = Told(moments=[], step_ids=frozenset(), decision_ids=frozenset())


def tell_run(
    entries: Sequence[Entry],
    *,
    steps: Sequence[Step],
    decisions: Sequence[DecisionRecord],
    seqs: Mapping[str, int],
) -> Told:
    """Return the moments of a run, oldest first; `seqs` are the numbers of decisions' audit events."""
    settled = [step for step in steps if step.state != StepState.INTENT]
    known_decisions = {decision.id: decision for decision in decisions}
    others = sorted(_of_steps(settled, known_decisions, known=_find_known(entries)), key=_when)
    teller = _Teller(known_decisions, seqs)
    whole = heapq.merge(entries, others, key=_when)  # the transcript keeps its own order, whatever the clocks said
    moments = [moment for entry in whole for moment in teller.tell(entry)]
    moments += teller.tell_waiting()
    shown = moments[-MAX_MOMENTS:]
    return Told(
        moments=_fit(shown),
        step_ids=frozenset(step.id for step in settled),
        decision_ids=frozenset(teller.seen),
        left_out=len(moments) - len(shown),
    )


def _when(entry: Entry) -> str:
    return str(entry["at"])


# --- what the steps tell --------------------------------------------------------------------------------------
def _find_known(entries: Iterable[Entry]) -> set[tuple[str, str]]:
    """Return what the transcript tells already: turns by step, calls by decision, errors by their time."""
    return {(entry["kind"], _name(entry)) for entry in entries}


def _name(entry: Entry) -> str:
    names = {"reply": "stepId", "call": "decisionId", "result": "callId"}
    body = entry["body"]
    return str(body.get(names[entry["kind"]], "")) if entry["kind"] in names else str(entry["at"])


def _of_steps(
    steps: Iterable[Step], decisions: Mapping[str, DecisionRecord], *, known: set[tuple[str, str]]
) -> Iterator[Entry]:
    """Give what settled steps tell that is not `known`, in the transcript's own form."""
    for step in steps:
        told = _of_turn(step) if step.kind == "model" else _of_call(step, decisions.get(step.decision_id))
        yield from (entry for entry in told if (entry["kind"], _name(entry)) not in known)


def _of_turn(step: Step) -> Iterator[Entry]:
    output = step.output or {}
    at = format_at(step.ended_at or step.started_at)
    facts = {"stepId": step.id, "model": step.model, "costMicro": step.cost_micro}
    if step.error_code:
        yield {"kind": "error", "at": at, "body": facts | {"code": step.error_code, "message": step.error_message}}
        return
    took = (step.ended_at - step.started_at) / timedelta(milliseconds=1) if step.ended_at else None
    said = {name: output.get(name) for name in ("text", "toolCalls", "stop")}
    yield {"kind": "reply", "at": at, "body": facts | said | {"usage": step.usage, "durationMs": took}}
    if problems := output.get("problems"):
        yield {"kind": "verdict", "at": at, "body": {"problems": problems}}


def _of_call(step: Step, decision: DecisionRecord | None) -> Iterator[Entry]:
    facts = {"callId": step.call_id, "skillId": step.skill_id}
    output = step.output or {}
    if decision is not None:
        body = {
            "arguments": output.get("arguments", decision.arguments),
            "effect": decision.effect,
            "reason": decision.reason,
            "decisionId": decision.id,
            "detail": decision.detail,
        }
        yield {"kind": "call", "at": format_at(step.started_at), "body": facts | body}
    content = output.get("error") or output.get("output") or step.error_message
    ended = format_at(step.ended_at or step.started_at)
    yield {"kind": "result", "at": ended, "body": facts | {"state": step.state, "content": content}}


# --- moments --------------------------------------------------------------------------------------------------
class _Teller:
    """Turns entries, in order, into moments: a call waits for its result and is told with it."""

    def __init__(self, decisions: Mapping[str, DecisionRecord], seqs: Mapping[str, int]) -> None:
        self._decisions = decisions
        self._seqs = seqs
        self._turn = 0
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._calls: dict[str, Moment] = {}  # those without a result yet, by the model's name for them
        self.seen: set[str] = set()

    def tell(self, entry: Entry) -> Iterator[Moment]:
        """Give the moments of one entry."""
        at, body = datetime.fromisoformat(entry["at"]), entry["body"]
        match entry["kind"]:
            case "prompt":
                yield _tell_prompt(body, at=at)
            case "reply":
                self._turn += 1
                yield _tell_reply(body, at=at, earliest=self._latest, number=self._turn)
            case "call":
                yield from self.tell_waiting(body.get("callId"))
                self._calls[body.get("callId", "")] = self._tell_call(body, at=at)
            case "result":
                yield self._tell_result(body, at=at)
            case "verdict":
                yield _tell_verdict(body, at=at)
            case "error":
                yield _tell_error(body, at=at)
        self._latest = max(self._latest, at)

    def tell_waiting(self, call_id: str | None = None) -> list[Moment]:
        """Return the calls without a result, all or those of one name, and wait for them no longer."""
        ids = list(self._calls) if call_id is None else [call_id]
        return [self._calls.pop(name) for name in ids if name in self._calls]

    def _tell_call(self, body: Mapping[str, Any], *, at: datetime) -> Moment:
        decision_id = str(body.get("decisionId") or "")
        decision = self._decisions.get(decision_id)
        self.seen.add(decision_id)
        title, glyph, tint = EFFECTS.get(str(body.get("effect")), ("Called", "info", "quiet"))
        reason = f"{body.get('reason', '')} · policy version {body.get('policyVersion', '')}"
        return Moment(
            title=f"{title} {body.get('skillId', '')}",
            glyph=glyph,
            tint=tint,
            at=at,
            note=str(body.get("detail") or ""),
            rule=describe_rule(decision) if decision else reason,
            seq=self._seqs.get(decision_id),
            decision_id=decision_id if decision and decision.effect != "allow" else "",
            folds=_fold("Arguments", body.get("arguments")),
        )

    def _tell_result(self, body: Mapping[str, Any], *, at: datetime) -> Moment:
        skill_id = str(body.get("skillId", ""))
        call = self._calls.pop(str(body.get("callId", "")), None)
        call = call or Moment(title=f"Called {skill_id}", glyph="tick", tint="quiet", at=at)
        folds = [*call.folds, *_fold("Result", body.get("content"))]
        ended_at = at if call.at and at > call.at else None
        words = _STATES.get(str(body.get("state")))
        if words is None:
            return replace(call, folds=folds, ended_at=ended_at)
        if call.tint != "deny":  # the gate let it through
            call = replace(call, title=f"{skill_id} {words}", glyph="failed", tint="deny")
        return replace(call, folds=folds, ended_at=ended_at)


def _tell_prompt(body: Mapping[str, Any], *, at: datetime) -> Moment:
    tools = ", ".join(str(tool.get("name") if isinstance(tool, Mapping) else tool) for tool in body.get("tools") or [])
    return Moment(
        title=f"Asked {body.get('model', 'a model')}",
        glyph="play",
        tint="run",
        at=at,
        note=f"may call {tools}" if tools else "no skills to call",
        folds=[*_fold("Instructions", body.get("system")), *_fold("Task", body.get("task"))],
    )


def _tell_reply(body: Mapping[str, Any], *, at: datetime, earliest: datetime, number: int) -> Moment:
    calls = Counter(str(call.get("name", "")) for call in body.get("toolCalls") or [])
    wishes = ", ".join(name if count == 1 else f"{name} ({count})" for name, count in calls.items())
    took = timedelta(milliseconds=body.get("durationMs") or 0)
    stop = body.get("stop")
    return Moment(
        title=f"Turn {number} calls {wishes}" if wishes else f"Turn {number} answers",
        glyph="edit",
        tint="run",
        at=min(max(at - took, earliest), at),
        ended_at=at if took else None,
        note="" if stop in {None, "finished", "tool_calls"} else f"stopped: {stop}",
        figures=_write_figures(body),
        folds=_fold("Words", body.get("text")),
    )


def _tell_verdict(body: Mapping[str, Any], *, at: datetime) -> Moment:
    problems = [str(problem) for problem in body.get("problems") or []]
    folds = _fold("Problems", "\n".join(problems))
    return Moment(title="The answer was sent back", glyph="retry", tint="ask", at=at, folds=folds)


def _tell_error(body: Mapping[str, Any], *, at: datetime) -> Moment:
    return Moment(
        title="The model brought no answer",
        glyph="failed",
        tint="deny",
        at=at,
        note=str(body.get("message") or ""),
        rule=str(body.get("code") or ""),
        figures=_write_figures(body),
    )


# --- figures and texts ----------------------------------------------------------------------------------------
def _write_figures(body: Mapping[str, Any]) -> str:
    """Return the model, its tokens and its money in one line."""
    fallback, usage, cost = body.get("fallback"), body.get("usage"), body.get("costMicro")
    parts = [str(body.get("model", ""))]
    if isinstance(fallback, str) and fallback:
        parts.append(f"in the place of {fallback}")
    if isinstance(usage, Mapping):
        parts.append(f"{usage.get('inputTokens', 0):,} tokens in, {usage.get('outputTokens', 0):,} out")
    if isinstance(cost, int):
        parts.append(write_pounds(to_pounds(cost, settings.USD_PER_GBP.usd_per_gbp)))
    return " · ".join(part for part in parts if part)


def _fold(label: str, value: Any) -> list[Fold]:
    """Return a text, or a value as indented JSON, to be opened; nothing for what is empty."""
    if value in (None, "", {}, []):
        return []
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return [Fold(label=label, text=text)]


def _fit(moments: list[Moment]) -> list[Moment]:
    """Cut the folded texts so that together they fit a page: the fewer there are, the more is shown of each."""
    lengths = sorted(len(fold.text.encode()) for moment in moments for fold in moment.folds)
    left, limit = PAGE_BYTES, _MAX_BYTES
    for index, length in enumerate(lengths):
        limit = left // (len(lengths) - index)  # an equal share of what the shorter ones have left
        if length > limit:
            break
        left -= length
    limit = max(_MIN_BYTES, min(limit, _MAX_BYTES))
    return [replace(moment, folds=[_cut(fold, limit=limit) for fold in moment.folds]) for moment in moments]


def _cut(fold: Fold, *, limit: int) -> Fold:
    raw = fold.text.encode()
    if len(raw) <= limit:
        return fold
    return replace(fold, text=raw[:limit].decode(errors="ignore") + "…", is_cut=True)
