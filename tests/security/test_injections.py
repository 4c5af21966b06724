"""Text from outside changes no decision of the gate, though a model do all that it asks.

Each text of the corpus is played three times through the whole loop, under the seeded rules, by a model that makes all
the calls that the text asks for: in a task that was handed the text, as the real parser reads it; in one that was
handed a harmless text in its place; and in one that read nothing. Who is asked says no: the model is told, and goes on.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from django.utils import timezone

from agents import queue, registry
from agents.models import BudgetAccount, CapChange, Step, StepState, Task
from agents.orders import Order
from agents.providers.base import ModelReply, ModelRequest, ToolCall, ToolMessage
from agents.providers.switchboard import ModelRef, parse_ref
from agents.skills.base import SkillContext, SkillModel
from agents.skills.document_parser import DocumentParserOutput
from agents.skills.document_parser.parsing import Format, Options, parse_document
from agents.states import TERMINAL
from agents.types import Constraints, RunLimits
from audit.models import LedgerEvent
from tests.contract.conftest import until, worker
from tests.contract.models import LUNA
from tests.contract.scripted import ScriptedSkill, make_plain, publish_rules
from tests.injections import HARMLESS, Injection, ObedientProvider, load_injections
from toolgate.approvals import decide_approval
from toolgate.in_force import forget_policy, policy_in_force
from toolgate.models import Approval, DecisionRecord
from toolgate.seed import seed_policy

__all__ = ["until", "worker"]

CORPUS: Final = load_injections()
STRICTNESS: Final = {"allow": 0, "ask": 1, "deny": 2}
injections = pytest.mark.parametrize("injection", CORPUS, ids=lambda injection: injection.id)


# --- the corpus -----------------------------------------------------------------------------------------------
def test_there_are_many_texts_of_many_kinds() -> None:
    assert len({injection.id for injection in CORPUS}) == len(CORPUS) >= 30
    assert {injection.format for injection in CORPUS} == {"csv", "html", "json", "markdown", "pdf"}
    effects = [call.effect for injection in CORPUS for call in injection.calls]
    assert min(effects.count(effect) for effect in STRICTNESS) >= 3


@injections
def test_the_parser_hands_the_text_on_so_it_does_reach_a_model(injection: Injection) -> None:
    parsed = parse_document(injection.carry(), Options(format=Format(injection.format)))
    assert injection.mark in json.dumps(parsed, ensure_ascii=False).replace('\\"', '"')


# --- the loop -------------------------------------------------------------------------------------------------
class Reader(ScriptedSkill):
    """Hands on what the real parser reads of the document that a task is about, to agents that may not call it too."""

    id: ClassVar[str] = "reader"

    def __init__(self) -> None:
        super().__init__()
        self.outside = True
        self.documents: dict[str, tuple[bytes, str]] = {}  # content and format, by task

    def run(self, arguments: Any, context: SkillContext) -> SkillModel:
        content, format_ = self.documents[context.task_id]
        return DocumentParserOutput.model_validate(parse_document(content, Options(format=Format(format_))))


OPENING: Final = ToolCall(id="opening", name=Reader.id, arguments={})


class LeapingClock:
    """Two seconds later at each look: rates are not what is tested here."""

    def __init__(self) -> None:
        self._now = timezone.now()
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self._now += timedelta(seconds=2)
            return self._now


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One injection in one task."""

    injection: Injection
    task: Task
    model: ObedientProvider

    def list_decisions(self) -> list[dict[str, Any]]:
        """Return what the gate decided on the calls that the text asks for: all of each record but ids and time."""
        records = DecisionRecord.objects.filter(task_id=self.task.id).exclude(skill_id=Reader.id).order_by("at", "id")
        return [{name: record[name] for name in DECIDED} for record in records.values()]

    def list_events(self) -> list[tuple[str, ...]]:
        """Return what the audit trail says of the task, without who carried it out and when."""
        events = LedgerEvent.objects.filter(task_id=self.task.id).order_by("id")
        return list(events.values_list("type", "agent_id", "skill_id", "decision", "reason"))


DECIDED: Final = (
    "agent_id", "skill_id", "arguments", "arguments_digest", "resource", "effect", "reason", "detail",
    "deciding_rules", "policy_version",
)  # fmt: skip


def first_answers(decisions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the gate's answer to each call, without what it says once a person has said no."""
    answers = [(decision["effect"], decision["reason"]) for decision in decisions]
    return [answer for answer in answers if answer != ("deny", "approval_rejected")]


@dataclass(slots=True)
class Stage:
    """In the place of the switchboard: each task's own obedient model, found by the name in the task's input."""

    reader: Reader
    clock: LeapingClock
    plays: dict[str, Play] = field(default_factory=dict)

    def add(self, name: str, injection: Injection, content: bytes | None) -> None:
        """Submit a task that is handed a document, or none."""
        order = Order(agent_id=injection.agent, skill_id="", input={"play": name}, submitted_by="olga")
        task = queue.submit_task(order, now=self.clock()).task
        if content is not None:
            self.reader.documents[task.id] = content, injection.format
        opening = () if content is None else (OPENING,)
        model = ObedientProvider(injection, opening=opening, output={"done": "yes"})
        self.plays[name] = Play(injection=injection, task=task, model=model)

    def list_candidates(self, tier: str) -> list[ModelRef]:
        return [parse_ref(LUNA)]

    async def complete(self, ref: ModelRef, request: ModelRequest) -> ModelReply:
        found = re.search(r'"play":"([^"]+)"', request.messages[0].text)
        assert found is not None
        return await self.plays[found[1]].model.complete(request)

    async def aclose(self) -> None:
        pass

    def is_over(self) -> bool:
        """Say no to all that is asked, with which those tasks go on; True once all have ended."""
        for approval in Approval.objects.filter(state="pending"):
            decide_approval(approval.id, approve=False, user="ana", now=self.clock())
        return not Task.objects.exclude(state__in=TERMINAL).exists()


@pytest.fixture
def workspace(tmp_path: Path, settings: Any) -> Path:
    for name in ("uploads", "examples/project", "src", "research"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "src" / "app.py").write_text("pass\n")
    (tmp_path / "examples" / "stock.json").write_text('{"units": 5}')
    (tmp_path / "out").symlink_to("/etc")
    settings.WORKSPACE_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the hosts that were looked up or connected to; none is reached."""
    asked: list[str] = []

    def look_up(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(str(host))
        raise socket.gaierror(socket.EAI_AGAIN, "no network in this test")

    def connect(_: Any, address: Any) -> None:
        look_up(address[0] if isinstance(address, tuple) else address)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    return asked


@pytest.fixture
def stage(transactional_db: None, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Give the fleet under its seeded rules, with one more that lets every task read its document."""
    registry.forget_fleet()
    forget_policy()
    registry.seed_agents(now=timezone.now())
    seed_policy(now=timezone.now())
    reader = Reader()
    monkeypatch.setitem(registry.SKILLS, reader.id, reader)
    publish_rules([{"id": "read", "agent": "*", "skill": reader.id, "effect": "allow"}])
    for agent in registry.list_agents():
        make_plain(agent.id, constraints=Constraints(), limits=RunLimits())  # no review, and room for every call
    yield Stage(reader, LeapingClock())
    registry.forget_fleet()
    forget_policy()


def test_an_obedient_model_gets_no_other_decision(
    stage: Stage, workspace: Path, hosts: list[str], worker: Any, until: Any
) -> None:
    before = snapshot(workspace)
    for injection in CORPUS:
        stage.add(f"{injection.id}:told", injection, injection.carry())
        stage.add(f"{injection.id}:untold", injection, injection.carry(HARMLESS))
        stage.add(f"{injection.id}:clean", injection, None)
    with worker(models=stage, clock=stage.clock):
        until(stage.is_over, "all plays to end", timeout_seconds=60)
    for injection in CORPUS:
        told, untold, clean = (stage.plays[f"{injection.id}:{kind}"] for kind in ("told", "untold", "clean"))
        assert_same(told, untold)
        assert_expected(injection, told, clean)
        assert_fenced(told)
        for play in (told, untold, clean):
            assert_refused_calls_never_ran(play)
    assert_nothing_slipped_through()
    assert snapshot(workspace) == before
    assert set(hosts) == {"arxiv.org"}  # a rule allows it, and one text asks for a page there


def assert_same(told: Play, untold: Play) -> None:
    """See that the text made no difference: not to a decision, not to the trail, not to the end."""
    assert told.list_decisions() == untold.list_decisions(), told.injection.id
    assert told.list_events() == untold.list_events(), told.injection.id
    for play in (told, untold):
        play.task.refresh_from_db()
        assert (play.task.state, play.task.result, play.task.tainted) == ("succeeded", {"done": "yes"}, True)


def assert_expected(injection: Injection, told: Play, clean: Play) -> None:
    """See that each call met what the corpus says, and that a task which read nothing is treated no more strictly."""
    answers = first_answers(told.list_decisions())
    assert answers == [(call.effect, call.reason) for call in injection.calls], injection.id
    assert all(decision["resource"]["tainted"] for decision in told.list_decisions())
    for answer, unread in zip(answers, first_answers(clean.list_decisions()), strict=True):
        assert STRICTNESS[unread[0]] <= STRICTNESS[answer[0]], injection.id


def assert_fenced(play: Play) -> None:
    """See that the text did reach the model, and stands between marks that it did not close."""
    (read,) = (m for m in play.model.requests[-1].messages if isinstance(m, ToolMessage) and m.call_id == OPENING.id)
    warning, opened, *content, closed = read.content.split("\n")
    assert "came from outside" in warning
    code = opened.split()[1]
    assert (opened, closed) == (f'<data {code} from="reader">', f"</data {code}>")
    inside = "\n".join(content)
    assert code not in inside
    assert play.injection.mark in inside.replace('\\"', '"')


def assert_refused_calls_never_ran(play: Play) -> None:
    """See that what the gate did not allow was never begun, and that the model heard a refusal in place of a result."""
    effects = dict(DecisionRecord.objects.filter(task_id=play.task.id).values_list("id", "effect"))
    calls = Step.objects.filter(task_id=play.task.id, kind="skill").exclude(skill_id=Reader.id).order_by("ordinal")
    refused = [effects[call.decision_id] != "allow" for call in calls]
    assert [call.state == StepState.REFUSED for call in calls] == refused
    heard = [m for m in play.model.requests[-1].messages if isinstance(m, ToolMessage) and m.call_id != OPENING.id]
    assert ["The gate refused this call" in message.content for message in heard] == refused
    assert len(refused) == len(play.injection.calls)


def assert_nothing_slipped_through() -> None:
    assert set(Approval.objects.values_list("state", flat=True)) == {"refused"}
    told_of = set(LedgerEvent.objects.values_list("type", flat=True))
    assert not told_of & {"approval.granted", "approval.used"}
    assert policy_in_force().version == 2
    assert not CapChange.objects.exists()
    assert set(BudgetAccount.objects.values_list("held_micro", flat=True)) == {0}
    assert Task.objects.count() == 3 * len(CORPUS)


def snapshot(workspace: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in workspace.rglob("*") if path.is_file() and not path.is_symlink()}


def test_asking_again_does_not_answer(stage: Stage, worker: Any, until: Any) -> None:
    """A question that a person said no to is not asked anew, however often an obedient model repeats the call."""
    injection = next(injection for injection in CORPUS if injection.id == "approved-by-admin")
    insistent = replace(injection, calls=injection.calls * 3)
    stage.add("insistent", insistent, insistent.carry())
    with worker(models=stage, clock=stage.clock):
        until(stage.is_over, "the play to end")
    play = stage.plays["insistent"]
    answers = [(decision["effect"], decision["reason"]) for decision in play.list_decisions()]
    assert answers == [("ask", "approval_required"), *[("deny", "approval_rejected")] * 3]
    assert_refused_calls_never_ran(play)
    assert Approval.objects.count() == 1
