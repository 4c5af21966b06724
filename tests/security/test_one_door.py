"""One door: nothing runs a skill but `toolgate.enforcement.invoke`, by whatever path a task got there.

First the source is read for any other way; then every path by which a task reaches a skill is walked, with a
policy that allows it and with one that does not.
"""

import ast
import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeGuard

import pytest
from django.db import connections
from django.utils import timezone

from agents import claiming, control, leases, queue, registry, run
from agents.flow import Flow, Opened
from agents.models import Agent, Task
from agents.orders import Order
from agents.providers.switchboard import Switchboard
from audit.transactions import write_transaction
from tests.contract.scripted import ScriptedSkill
from toolgate.approvals import current_version, decide_approval
from toolgate.in_force import forget_policy
from toolgate.models import Approval, DecisionRecord, PolicyVersion
from toolgate.publishing import publish_policy

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("toolgate", "agents", "orchestrator_site")  # audit knows nobody, so no skill can reach it
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

DOOR = "toolgate/enforcement.py"
CORE_FLOW = "agents/run.py"
CALLS = "agents/calls.py"  # asks the gate, for direct tasks and for a model's calls alike
# What else has a `run`: a module of the library, an event loop, a server, a context, a worker, the hold on a
# background run. None is a skill.
NO_SKILLS = {
    "asyncio",
    "copy_context",
    "courier",
    "subprocess",
    "runner",
    "server",
    "self",
    "Worker",
    "hold",
    "worker",
    "_worker",
}
BY_NAME = {"getattr", "attrgetter", "methodcaller"}


# --- the source -----------------------------------------------------------------------------------------------
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def receiver_of(node: ast.Attribute) -> str:
    """Return the name that `.run` is looked up on: `Worker` for `Worker(…).run`, `skill` for `a.skill.run`."""
    value: ast.AST = node.value
    if isinstance(value, ast.Call):
        value = value.func
    return value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else "?"


def is_invoke(node: ast.AST) -> bool:
    return ast.unparse(node) in {"invoke", "enforcement.invoke"}


def handed_to_invoke(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes that are the second argument of invoke(permit, …), called now or through partial()."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words = [node.func, *node.args]
            at = next((place for place, word in enumerate(words[:2]) if is_invoke(word)), None)
            found |= set(words[at + 2 : at + 3]) if at is not None else set()
    return found


def is_by_name(node: ast.AST) -> TypeGuard[ast.Call]:
    """Say whether `run` is looked up by its name as a text."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] not in BY_NAME:
        return False
    return any(isinstance(word, ast.Constant) and word.value == "run" for word in node.args)


def find_side_doors(tree: ast.Module) -> list[str]:
    """Return each mention of a `run` that may be a skill's and is not handed to invoke."""
    handed = handed_to_invoke(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "run" and node not in handed:
            if receiver_of(node) not in NO_SKILLS:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif is_by_name(node):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_source_runs_a_skill_past_the_door(path: Path) -> None:
    assert find_side_doors(parse(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "skill.run(arguments, context)",
        "get_skill(name).run(arguments, context)",
        "work = partial(skill.run, arguments)",
        "invoke(skill.run, permit, arguments, factory)",
        "invoke(permit, work, skill.run, factory)",
        "threads.submit(registry.SKILLS[name].run, arguments)",
        "getattr(skill, 'run')(arguments)",
        "operator.methodcaller('run', arguments)(skill)",
    ],
)
def test_the_reader_finds_a_side_door(source: str) -> None:
    assert find_side_doors(ast.parse(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "invoke(permit, skill.run, arguments, factory)",
        "enforcement.invoke(permit, skill.run, arguments, factory)",
        "partial(enforcement.invoke, permit, skill.run, arguments, factory)",
        "asyncio.run(main())",
    ],
)
def test_the_reader_lets_the_door_pass(source: str) -> None:
    assert find_side_doors(ast.parse(source)) == []


def files_that_name(*names: str) -> set[str]:
    """Return the files that use or import one of `names`."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(parse(path)):
            words = [getattr(node, "attr", None), getattr(node, "id", None)]
            if isinstance(node, ast.ImportFrom):
                words += [alias.name for alias in node.names]
            if set(words) & set(names):
                found.add(name_of(path))
    return found


def test_one_place_goes_through_the_door_and_one_makes_permits() -> None:
    assert files_that_name("invoke") == {CORE_FLOW}
    assert files_that_name("authorise") == {CALLS}
    assert files_that_name("_SEAL", "_redeem", "_unspent", "_armed") == {DOOR}


def test_only_the_worker_starts_the_core_flow() -> None:
    imports = [
        (name_of(path), alias.name)
        for path in SOURCES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.module in {"agents", "agents.run"}
        for alias in node.names
        if node.module == "agents.run" or alias.name == "run"
    ]
    assert {file for file, _ in imports} == {"agents/worker.py"}


# --- the paths ------------------------------------------------------------------------------------------------
AGENT = "normalization-agent"


class WatchedSkill(ScriptedSkill):
    """A skill that looks, at the moment it runs, whether its decision is in the store."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: list[int] = []

    def run(self, arguments: Any, context: Any) -> Any:
        self.decided.append(DecisionRecord.objects.filter(task_id=context.task_id, effect="allow").count())
        return super().run(arguments, context)


@pytest.fixture
def skill(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedSkill]:
    forget_policy()
    registry.forget_fleet()
    registry.seed_agents(now=timezone.now())
    watched = WatchedSkill()
    monkeypatch.setitem(registry.SKILLS, watched.id, watched)
    yield watched
    forget_policy()
    registry.forget_fleet()


def publish(effect: str | None) -> None:
    rules = [{"id": "r", "agent": AGENT, "skill": "scripted", "effect": effect}] if effect else []
    publish_policy(rules, author="olga", reason="for a test", base_version=current_version(), now=timezone.now())


def submit() -> Task:
    order = Order(agent_id=AGENT, skill_id="scripted", input={"name": "x"}, submitted_by="olga")
    return queue.submit_task(order, now=timezone.now()).task


def work() -> None:
    """Claim and run what is due, as a worker does, until nothing is."""

    def in_transaction(function: Callable[[], Any]) -> Any:
        try:
            with write_transaction():
                return function()
        finally:
            connections.close_all()

    async def work_through() -> None:
        with ThreadPoolExecutor(1) as threads:
            flow = Flow(
                worker_id="worker-1",
                write=lambda function: asyncio.to_thread(in_transaction, function),
                clock=timezone.now,
                threads=threads,
                draw=lambda: 0.0,
                models=Switchboard({}, {}),
            )
            while lease := await run.claim(flow):
                await run.run_task(lease, flow, Opened())
            threads.submit(connections.close_all).result()

    asyncio.run(work_through())


def go_directly() -> None:
    submit()


def go_by_retry() -> None:
    """Fail once for want of a skill's rule, then be retried by a person."""
    rules_then = current_version()
    publish(None)
    task = submit()
    work()
    restore(rules_then)
    control.retry_task(task.id, actor="user:olga", now=timezone.now())


def go_by_approval() -> None:
    """Be asked about, approved by another person, and resumed."""
    rules_then = current_version()
    publish("ask")
    submit()
    work()
    approval = Approval.objects.get(state="pending")
    decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
    if not rules_of(rules_then):
        restore(rules_then)


def go_by_reaping() -> None:
    """Be claimed by a worker that dies, and given to another."""
    submit()
    with write_transaction():
        assert claiming.claim_next("dead", now=timezone.now()) is not None
    leases.reap(own="", now=timezone.now())


def rules_of(number: int) -> list[dict[str, Any]]:
    return list(PolicyVersion.objects.get(number=number).rules)


def restore(number: int) -> None:
    publish_policy(rules_of(number), author="olga", reason="back", base_version=current_version(), now=timezone.now())


# Every way by which a task comes to be run. All end in `run.run_task`, which the tests above hold to the door.
PATHS = {
    "submitted, by the API, the console or the command line": go_directly,
    "retried by a person": go_by_retry,
    "resumed after an approval": go_by_approval,
    "taken over from a dead worker": go_by_reaping,
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_runs_its_skill_once_and_only_on_a_recorded_decision(skill: WatchedSkill, path: str) -> None:
    publish("allow")
    PATHS[path]()
    work()
    assert skill.calls == ["x"]
    assert skill.decided == [1]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_runs_a_skill_that_the_policy_does_not_allow(skill: WatchedSkill, path: str) -> None:
    publish(None)
    PATHS[path]()
    work()
    assert skill.calls == []
    task = Task.objects.get()
    assert (task.state, task.error_code) == ("failed", "skill_not_allowed")
    assert DecisionRecord.objects.filter(task_id=task.id, effect="deny").exists()


@pytest.mark.parametrize("status", ["quarantined", "disabled"])
def test_an_agent_that_was_stopped_runs_nothing(skill: WatchedSkill, status: str) -> None:
    publish("allow")
    submit()
    Agent.objects.filter(id=AGENT).update(status=status)
    registry.forget_fleet()
    work()
    assert skill.calls == []
    assert Task.objects.get().error_code == f"agent_{status}"
