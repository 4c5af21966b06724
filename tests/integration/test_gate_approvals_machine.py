"""An approved call is made once or not at all, whatever comes between: hypothesis looks for a way around."""

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agents import registry
from agents.models import Task
from tests.contract.scripted import ScriptedSkill
from tests.integration.approval_world import EXPIRY_SECONDS, POLICIES, SKILL, World, seed
from toolgate.approvals import expire_due
from toolgate.exceptions import PolicyConflict
from toolgate.models import Approval, ApprovalState, DecisionRecord

pytestmark = pytest.mark.django_db(transaction=True)

MAX_LIVE = 3  # tasks that are not over
PEOPLE = st.sampled_from(["ana", "ben", "cleo", "olga"])
WAYS = st.sampled_from(["approve", "approve", "approve", "edit", "edit", "refuse"])
NAMES = st.sampled_from(["x", "y", "z"])
ASKING = st.sampled_from(["one person", "two persons", "both rules"])
CHANGES = ASKING | st.sampled_from(list(POLICIES))
SCOPES = st.sampled_from([{}, {}, {"scope": "task"}, {"scope": "minutes", "minutes": 1}])


@pytest.fixture(autouse=True)
def scripted(monkeypatch, settings, transactional_db):
    skill = ScriptedSkill()
    skill.idempotent = False
    monkeypatch.setitem(registry.SKILLS, SKILL, skill)
    settings.APPROVAL_EXPIRY_SECONDS = EXPIRY_SECONDS
    seed()
    Machine.skill = skill
    yield skill
    registry.forget_fleet()


class Machine(RuleBasedStateMachine):
    """People, workers, deaths and the clock, in any order. Few rules with many choices each: all stay in play."""

    skill: ScriptedSkill

    def __init__(self) -> None:
        super().__init__()
        self.world = World(skill=self.skill)
        self.tasks: list[str] = []

    @initialize(policy=ASKING, name=NAMES, own=st.booleans())
    def begin(self, policy: str, name: str, own: bool) -> None:
        self.world.begin()
        self.world.publish(policy)
        self.submit(name, own)

    @precondition(lambda self: self.world.count_live() < MAX_LIVE)
    @rule(name=NAMES, own=st.booleans())
    def submit(self, name: str, own: bool) -> None:
        self.tasks.append(self.world.submit(name, own=own).id)

    @precondition(lambda self: self.world.count_due() or self.world.holds)
    @rule(data=st.data(), count=st.integers(1, 4))
    def work(self, data: st.DataObject, count: int) -> None:
        """Let workers make some steps; those of one task can be far apart."""
        for _ in range(count):
            self.world.claim()
            if moves := self.world.list_moves():
                data.draw(st.sampled_from(moves))()
                self.world.check()

    @precondition(lambda self: self.list_waiting())
    @rule(data=st.data(), user=PEOPLE, way=WAYS, name=NAMES, scope=SCOPES)
    def answer(self, data: st.DataObject, user: str, way: str, name: str, scope: dict[str, Any]) -> None:
        self._answer(data.draw(st.sampled_from(self.list_waiting())), user, way, name, scope)

    @precondition(lambda self: Approval.objects.exists())
    @rule(data=st.data(), user=PEOPLE, way=WAYS, name=NAMES)
    def answer_whatever_became_of_it(self, data: st.DataObject, user: str, way: str, name: str) -> None:
        ids = list(Approval.objects.order_by("created_at").values_list("id", flat=True))
        self._answer(data.draw(st.sampled_from(ids)), user, way, name, {})

    def _answer(self, approval_id: str, user: str, way: str, name: str, scope: dict[str, Any]) -> None:
        options: dict[str, Any] = {"approve": True, **scope}
        if way == "edit":
            options["arguments"] = {"name": name}
        if way == "refuse":
            options = {"approve": False, "note": "no"}
        self.world.answer(approval_id, user, **options)

    @precondition(lambda self: self.world.holds)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.world.die(data.draw(st.sampled_from(self.world.holds)))

    @precondition(lambda self: self.world.ghosts)
    @rule(data=st.data())
    def act_as_a_ghost(self, data: st.DataObject) -> None:
        self.world.act_as_a_ghost(data.draw(st.sampled_from(self.world.ghosts)))

    @rule(data=st.data(), policy=CHANGES, seconds=st.sampled_from([1, 1, 1, 25, 61]))
    def disturb(self, data: st.DataObject, policy: str, seconds: int) -> None:
        """Let something else happen in the house."""
        task_id = data.draw(st.sampled_from(self.tasks[-MAX_LIVE:]))
        disturbances: list[Callable[[], Any]] = [
            lambda: self.world.publish(policy),
            lambda: self.world.cancel(task_id),
            lambda: self.world.retry(task_id),
            self.world.revoke,
            lambda: self.world.advance(seconds),
            self.world.sweep,
            self.world.read_row,
        ]
        data.draw(st.sampled_from(disturbances))()

    @precondition(lambda self: self.world.row is not None)
    @rule()
    def act_on_a_row_read_earlier(self) -> None:
        self.world.act_on_the_row()

    # --- what must hold -------------------------------------------------------------------------------------
    @invariant()
    def nothing_is_wrong(self) -> None:
        if self.world.worker:
            self.world.check()

    def teardown(self) -> None:
        if self.world.worker:
            self.world.bring_to_an_end()

    def list_waiting(self) -> list[str]:
        pending = Approval.objects.filter(state=ApprovalState.PENDING)
        return list(pending.order_by("created_at").values_list("id", flat=True))


def test_an_approved_call_is_made_once_or_not_at_all():
    lean = settings(
        max_examples=int(os.environ.get("APPROVAL_EXAMPLES", "30")),
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Machine, settings=lean)


@pytest.mark.parametrize("arguments", [None, {"name": "y"}])
def test_where_the_rules_no_longer_ask_an_answer_is_used_up_all_the_same(arguments, scripted):
    world = World(skill=scripted)
    world.begin()
    task = world.submit("x", own=False)
    world.claim()
    world.work()
    approval = Approval.objects.get(task_id=task.id)
    world.answer(approval.id, "ana", approve=True, arguments=arguments)
    world.publish("nobody is asked")
    world.claim()
    world.work()
    approval.refresh_from_db()
    assert (approval.state, DecisionRecord.objects.get(effect="allow").reason) == ("used", "allowed")
    world.bring_to_an_end()
    assert [name for _, name, _ in world.executions] == ["x" if arguments is None else "y"]


# --- all at once ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(12))
def test_of_people_the_clock_and_the_policy_at_once_one_is_first(seed, scripted):
    """What happens on threads no generator could repeat: so these are drawn by hand, each on real connections."""
    draw = random.Random(seed)
    world = World(skill=scripted)
    world.begin()
    task = world.submit("x", own=bool(seed % 2))
    world.claim()
    world.work()
    approval = Approval.objects.get()
    late = world.now + timedelta(seconds=EXPIRY_SECONDS)
    moves: list[Callable[[], Any]] = [
        lambda: world.answer(approval.id, "ana", approve=True),
        lambda: world.answer(approval.id, "ben", approve=True, arguments={"name": "y"}),
        lambda: world.answer(approval.id, "cleo", approve=False),
        lambda: world.answer(approval.id, "cleo", approve=True, now=late),
        lambda: world.answer(approval.id, "ana", approve=True, scope="task"),
        lambda: world.cancel(task.id),
        lambda: world.publish("both rules"),
        lambda: expire_due(late),
    ]
    chosen = draw.sample(moves, 4)
    with ThreadPoolExecutor(len(chosen)) as pool:
        list(pool.map(_apart, chosen))
    world.check()
    world.bring_to_an_end()
    assert len(world.executions) <= 1


def test_of_many_workers_that_carry_out_approved_calls_each_makes_its_own(scripted):
    world = World(skill=scripted)
    world.begin()
    tasks = [world.submit("x", own=False) for _ in range(6)]
    for _ in tasks:
        world.claim()
        world.work()
    for approval in Approval.objects.all():
        world.answer(approval.id, "ana", approve=True, arguments={"name": "y"})
    for _ in tasks:
        world.claim()
    moves = world.list_moves()
    assert len(moves) == len(tasks)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(_apart, moves))
    for _ in range(2):
        world.work()
    world.check()
    assert sorted(name for _, name, _ in world.executions) == ["y"] * len(tasks)
    assert set(Task.objects.values_list("state", flat=True)) == {"succeeded"}


def _apart(move: Callable[[], Any]) -> None:
    """Make a move on a thread with a connection of its own."""
    try:
        with suppress(PolicyConflict):
            move()
    finally:
        connections.close_all()
