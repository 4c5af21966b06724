"""The queue's promises, each on a real worker, a real store and a real engine."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from agents import claiming, control, engine, leases, registry, steps
from agents.calls import Wish, pass_gate
from agents.endings import finish
from agents.exceptions import IdempotencyConflict, TaskStateConflict
from agents.models import Run, Step, StepState, Task, Worker
from agents.orders import Failed, Released, TaskError
from agents.skills.base import SkillError
from agents.states import TERMINAL, TaskState
from agents.switches.changes import resume_fleet, stop_fleet
from audit.events import TERMINAL_TASK_EVENTS
from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.contract.conftest import AGENT
from tests.contract.scripted import publish_rules, sleep
from toolgate.approvals import decide_approval
from toolgate.models import Approval, DecisionRecord


def events_of(task, *types):
    found = LedgerEvent.objects.filter(task_id=task.id).order_by("id").values_list("type", flat=True)
    return [type_ for type_ in found if not types or type_ in types]


def terminal_events_of(task):
    return [type_ for type_ in events_of(task) if type_ in TERMINAL_TASK_EVENTS]


def claim(worker_id="nobody"):
    with write_transaction():
        return claiming.claim_next(worker_id, now=timezone.now())


def test_it_runs_a_task_and_says_so_once(skill, submit, worker, ended):
    task = submit("one")
    with worker():
        ended(task)
    assert (task.state, task.result, task.attempt) == ("succeeded", {"name": "one", "call": 1}, 1)
    assert events_of(task) == [
        "task.submitted",
        "run.started",
        "decision.made",
        "step.finished",
        "task.succeeded",
    ]


def test_a_worker_that_claims_its_own_task_again_holds_it_by_the_new_lease_alone(skill, submit):
    submit("one")
    first = claim("same")
    with write_transaction():
        assert finish(first, Released(), now=timezone.now())
    second = claim("same")
    with write_transaction():
        assert (steps.find_held(first), finish(first, Released(), now=timezone.now())) == (None, False)
        assert steps.find_held(second)


def test_it_starts_what_is_submitted_while_it_runs(skill, submit, worker, ended):
    with worker():
        assert [ended(submit(str(n))).state for n in range(3)] == ["succeeded"] * 3


def test_priority_is_an_order(skill, submit, worker, ended):
    tasks = [submit(str(priority), priority=priority) for priority in (0, -5, 90, 5)]
    with worker(slots=1):
        [ended(task) for task in tasks]
    assert skill.calls == ["90", "5", "0", "-5"]


def test_an_agents_slots_make_tasks_wait_never_fail(skill, submit, worker, ended, monkeypatch):
    monkeypatch.setattr(registry, "slots_of", lambda agent_id: 2)
    skill.act = sleep(0.05)
    tasks = [submit(str(n)) for n in range(8)]
    with worker():
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert skill.most_running == 2


def test_the_fleet_has_a_bound_too(skill, submit, worker, ended, settings):
    settings.MAX_AGENTS = 3
    settings.RESERVED_SLOTS = 0
    skill.act = sleep(0.05)
    tasks = [submit(str(n)) for n in range(9)]
    with worker():
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert skill.most_running == 3


def test_a_flood_of_low_work_never_takes_the_reserved_slots(skill, submit, worker, ended, until, monkeypatch, settings):
    monkeypatch.setattr(registry, "slots_of", lambda agent_id: 50)
    settings.MAX_AGENTS, settings.RESERVED_SLOTS = 8, 2
    release = threading.Event()
    skill.act = lambda name: release.wait(20) if name != "urgent" else None
    low = [submit(f"low {n}", priority=-1) for n in range(12)]
    with worker(slots=12):
        until(lambda: skill.running == 4, "low work to take what it may")
        normal = [submit(f"normal {n}") for n in range(6)]
        until(lambda: skill.running == 6, "normal work to take what it may")
        assert ended(submit("urgent", priority=1)).state == "succeeded"
        assert skill.running == 6
        release.set()
        assert {ended(task).state for task in [*low, *normal]} == {"succeeded"}


def test_low_work_leaves_a_slot_of_its_agent_free(skill, submit, worker, ended, until, monkeypatch):
    monkeypatch.setattr(registry, "slots_of", lambda agent_id: 3)
    release = threading.Event()
    skill.act = lambda name: release.wait(20) if name.startswith("low") else None
    low = [submit(f"low {n}", priority=-1) for n in range(5)]
    with worker():
        until(lambda: skill.running == 2, "low work to take all but one slot")
        assert ended(submit("normal")).state == "succeeded"
        release.set()
        assert {ended(task).state for task in low} == {"succeeded"}


def test_run_at_is_waited_for(skill, submit, worker, ended, until):
    due = timezone.now() + timedelta(seconds=1.2)
    task = submit("later", run_at=due)
    with worker():
        ended(submit("now"))
        ended(task)
    assert skill.calls == ["now", "later"]
    assert task.started_at >= due


def test_a_retryable_error_is_tried_again_and_then_given_up(skill, submit, worker, ended, monkeypatch):
    monkeypatch.setattr("agents.retry.BASE_SECONDS", 0.05)

    def fail(name):
        raise SkillError("upstream_busy", "The other side is busy.", retryable=True)

    skill.act = fail
    task = submit("again")
    with worker():
        ended(task)
    assert (task.state, task.error_code, task.error_reason, task.attempt) == (
        "failed",
        "attempts_exhausted",
        "upstream_busy",
        2,
    )
    assert len(skill.calls) == 2
    assert terminal_events_of(task) == ["task.failed"]


def test_an_error_that_is_not_retryable_ends_it(skill, submit, worker, ended):
    def fail(name):
        raise SkillError("malformed", "That is no table.")

    skill.act = fail
    with worker():
        task = ended(submit("x"))
    assert (task.error_code, task.error_message, len(skill.calls)) == ("malformed", "That is no table.", 1)


def test_a_crash_of_a_skill_ends_its_task_and_nothing_else(skill, submit, worker, ended):
    def crash(name):
        if name == "bad":
            raise ZeroDivisionError

    skill.act = crash
    with worker():
        bad, good = submit("bad"), submit("good")
        assert (ended(bad).error_code, ended(good).state) == ("internal_error", "succeeded")
    assert "ZeroDivision" not in bad.error_message


def test_a_refusal_is_never_retried(skill, submit, worker, ended):
    with worker():
        task = ended(submit("x", agent_id="summarization-agent"))
    assert (task.state, task.error_code, skill.calls) == ("failed", "skill_not_allowed", [])
    assert DecisionRecord.objects.get(task_id=task.id).effect == "deny"


def test_a_rate_makes_tasks_wait_their_turn_and_uses_no_attempt(skill, submit, worker, ended):
    rule = {"id": "slow", "agent": "content-agent", "skill": "scripted", "effect": "allow"}
    publish_rules([rule | {"limits": {"ratePerSecond": 20, "burst": 1}}])
    tasks = [submit(str(n), agent_id="content-agent") for n in range(30)]
    with worker():
        assert {(ended(task).state, task.attempt) for task in tasks} == {("succeeded", 1)}
    delays = LedgerEvent.objects.filter(type="task.delayed").count()
    assert 0 < delays < 2 * len(tasks), "each waits for its turn, they do not all come back at once"


def test_a_task_over_its_rate_fails_only_at_its_deadline(skill, submit, worker, ended, settings):
    rule = {"id": "slow", "agent": "content-agent", "skill": "scripted", "effect": "allow"}
    publish_rules([rule | {"limits": {"ratePerSecond": 1, "burst": 1}}])
    settings.TASK_DEADLINE_SECONDS = 1.5
    tasks = [submit(str(n), agent_id="content-agent") for n in range(5)]
    with worker():
        codes = Counter(ended(task).error_code for task in tasks)
    assert codes["rate_limited"] == len(tasks) - len(skill.calls)
    late = [task for task in tasks if task.error_code]
    assert late
    assert all(task.ended_at >= task.deadline_at for task in late)


def test_cancelling_a_waiting_task_ends_it_at_once(skill, submit):
    task = submit("x")
    control.cancel_task(task.id, actor="user:olga", now=timezone.now())
    task.refresh_from_db()
    assert (task.state, terminal_events_of(task)) == ("cancelled", ["task.cancelled"])
    assert claim() is None


def test_cancelling_a_running_task_ends_it_within_a_second(skill, submit, worker, ended, until):
    release = threading.Event()
    skill.act = lambda name: release.wait(10)
    with worker():
        task = submit("x")
        until(lambda: skill.calls, "the skill to start")
        asked = timezone.now()
        control.cancel_task(task.id, actor="user:olga", now=asked)
        ended(task)
        release.set()
    assert task.state == "cancelled"
    assert terminal_events_of(task) == ["task.cancelled"]
    assert Step.objects.get(task=task).state == StepState.UNKNOWN


def test_an_ended_task_cannot_be_cancelled_and_a_failed_one_can_be_retried(skill, submit, worker, ended):
    def fail_once(name):
        if len(skill.calls) == 1:
            raise SkillError("malformed", "no")

    skill.act = fail_once
    with worker():
        task = ended(submit("x"))
        with pytest.raises(TaskStateConflict):
            control.cancel_task(task.id, actor="user:olga", now=timezone.now())
        control.retry_task(task.id, actor="user:olga", now=timezone.now())
        ended(task)
    assert (task.state, task.error_code) == ("succeeded", "")
    with pytest.raises(TaskStateConflict):
        control.retry_task(task.id, actor="user:olga", now=timezone.now())


def test_the_same_key_fifty_times_at_once_is_one_task(submit):
    def once(n):
        try:
            return submit("x", idempotency_key="k", body_digest="d").id
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as threads:
        ids = set(threads.map(once, range(50)))
    assert len(ids) == 1
    assert Task.objects.count() == LedgerEvent.objects.filter(type="task.submitted").count() == 1


def test_the_same_key_with_another_body_is_refused(submit):
    submit("x", idempotency_key="k", body_digest="d")
    with pytest.raises(IdempotencyConflict):
        submit("x", idempotency_key="k", body_digest="other")


def test_two_owners_may_use_the_same_key(submit):
    first = submit("x", idempotency_key="k", body_digest="d")
    other = submit("x", idempotency_key="k", body_digest="d", submitted_by="ana")
    assert first.id != other.id


def test_a_task_is_claimed_by_one_of_many(submit):
    for n in range(10):
        submit(str(n))

    def claim_all(n):
        mine = []
        try:
            while lease := claim(f"worker-{n}"):
                mine.append(lease.task_id)
        finally:
            connections.close_all()
        return mine

    with ThreadPoolExecutor(6) as threads:
        claimed = [task_id for mine in threads.map(claim_all, range(6)) for task_id in mine]
    assert len(claimed) == len(set(claimed)) == 10


def test_an_older_holder_changes_nothing(skill, submit, worker, ended):
    task = submit("x")
    stale = claim("dead")
    leases.reap(own="", now=timezone.now())
    with worker():
        ended(task)
    with write_transaction():
        late = finish(stale, Failed(error=TaskError(code="late", message="late")), now=timezone.now())
    task.refresh_from_db()
    assert (late, task.state, task.losses, task.attempt) == (False, "succeeded", 1, 1)
    assert terminal_events_of(task) == ["task.succeeded"]


def test_five_losses_are_enough(submit):
    task = submit("x")
    for _ in range(5):
        assert claim("dead") is not None
        leases.reap(own="", now=timezone.now())
    task.refresh_from_db()
    assert (task.state, task.error_code, task.losses) == ("failed", "worker_lost", 5)
    assert terminal_events_of(task) == ["task.failed"]


def open_step_and_die(skill):
    """Claim the task as a worker that passes the gate, writes its intent and is never heard of again."""
    lease = claim("dead")
    with write_transaction():
        wish = Wish(skill_id=lease.skill_id, arguments=lease.input)
        assert pass_gate(lease, wish, now=timezone.now()).permit is not None
    leases.reap(own="", now=timezone.now())


def test_an_open_step_is_repeated_if_its_skill_may_be(skill, submit, worker, ended):
    task = submit("x")
    open_step_and_die(skill)
    with worker():
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["x"])
    assert list(task.steps.order_by("fence").values_list("state", flat=True)) == ["unknown", "done"]


def test_an_open_step_that_may_not_be_repeated_waits_for_a_person(skill, submit, worker, ended, until):
    skill.idempotent = False
    task = submit("x")
    open_step_and_die(skill)
    with worker():
        until(lambda: Approval.objects.filter(task_id=task.id, state="pending").exists(), "the question")
        approval = Approval.objects.get(task_id=task.id)
        assert (approval.kind, skill.calls) == ("step_unknown", [])
        decide_approval(approval.id, approve=True, user="ana", note="look: it did not happen", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["x"])


@pytest.fixture
def ask_first():
    publish_rules([{"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}])


def test_an_approved_call_runs_exactly_once_also_after_a_restart(ask_first, skill, submit, worker, ended, until):
    task = submit("x")
    with worker():
        until(lambda: Approval.objects.filter(task_id=task.id).exists(), "the question")
        until(lambda: Task.objects.get(id=task.id).state == "awaiting_approval", "the task to park")
    approval = Approval.objects.get(task_id=task.id)
    decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
    with worker():
        ended(task)
    approval.refresh_from_db()
    assert (task.state, task.attempt, skill.calls, approval.state) == ("succeeded", 1, ["x"], "used")


def test_a_refused_call_is_never_run(ask_first, skill, submit, worker, ended, until):
    with worker():
        task = submit("x")
        until(lambda: Task.objects.get(id=task.id).state == "awaiting_approval", "the task to park")
        approval = Approval.objects.get(task_id=task.id)
        decide_approval(approval.id, approve=False, user="ana", note="not today", now=timezone.now())
        ended(task)
    assert (task.state, task.error_code, skill.calls) == ("failed", "approval_rejected", [])
    assert "not today" in task.error_message


def test_an_approval_nobody_answers_expires(ask_first, skill, submit, worker, ended, settings):
    settings.APPROVAL_EXPIRY_SECONDS = 1
    with worker():
        task = ended(submit("x"))
    assert (task.state, task.error_code, skill.calls) == ("failed", "approval_expired", [])


def test_what_runs_when_a_worker_stops_goes_back_to_the_queue(
    skill, submit, worker, ended, until, monkeypatch, settings
):
    settings.WORKER_DRAIN_SECONDS = 0.2
    monkeypatch.setattr(registry, "slots_of", lambda agent_id: 50)
    release = threading.Event()
    skill.act = lambda name: release.wait(20)
    tasks = [submit(str(n)) for n in range(50)]
    with worker(slots=50):
        free = settings.MAX_AGENTS - settings.RESERVED_SLOTS
        until(lambda: len(skill.calls) == free, "the slots of the fleet that are not reserved to fill")
    assert set(Task.objects.values_list("state", flat=True)) == {"queued"}
    release.set()
    with worker(slots=50):
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert {task.attempt for task in tasks} == {1}
    assert all(terminal_events_of(task) == ["task.succeeded"] for task in tasks)


def test_a_clock_set_back_an_hour_holds_nothing_up(skill, submit, worker, ended):
    tasks = [submit(str(n)) for n in range(5)]
    claim("dead-before-the-clock-moved")
    with worker(clock=lambda: timezone.now() - timedelta(hours=1)):
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert Counter(skill.calls) == Counter(str(n) for n in range(5))


def test_a_dead_workers_lease_in_the_future_does_not_hold_its_tasks(submit):
    task = submit("x")
    claim("dead")
    future = timezone.now() + timedelta(hours=1)
    Worker.objects.create(id="dead", host="h", pid=1, started_at=future, beat_at=future, lease_expires_at=future)
    leases.reap(own="", now=timezone.now())
    task.refresh_from_db()
    assert task.state == "queued"


def test_a_living_workers_tasks_are_left_alone(submit):
    task = submit("x")
    worker_id = leases.register_worker(now=timezone.now())
    claim(worker_id)
    leases.reap(own="", now=timezone.now())
    task.refresh_from_db()
    assert task.state == "running"
    assert Run.objects.get(task=task).outcome == ""


def test_every_run_of_a_skill_has_a_recorded_decision(skill, submit, worker, ended):
    tasks = [submit(str(n)) for n in range(20)]
    with worker():
        [ended(task) for task in tasks]
    allowed = DecisionRecord.objects.filter(effect="allow").count()
    assert allowed == len(skill.calls) == 20
    assert all(task.state in TERMINAL and task.state == TaskState.SUCCEEDED for task in tasks)


def test_an_engine_that_forgets_its_messages_loses_nothing(skill, submit, worker, ended, settings):
    tasks = [submit(str(n)) for n in range(20)]
    if settings.REDIS_URL:
        import redis

        redis.Redis.from_url(settings.REDIS_URL).flushall()
    with worker():  # in one process the messages were for nobody: no worker listened
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert Counter(skill.calls) == Counter(str(n) for n in range(20))


def test_a_task_whose_message_set_another_going_starts_beside_it(skill, submit, worker, ended, until, monkeypatch):
    release = threading.Event()
    skill.act = lambda name: release.wait(20) if name == "untold" else None
    stop_fleet(author="ada", reason="an incident", now=timezone.now())
    lost: list[str] = []
    tell = engine.enqueue

    def lose_the_first(task_id, **about):
        lost[:] = lost or [task_id]
        if task_id not in lost:
            tell(task_id, **about)

    monkeypatch.setattr(engine, "enqueue", lose_the_first)
    untold, told = submit("untold", priority=1), submit("told")
    resume_fleet(slots=1, author="ada", now=timezone.now())
    with worker():
        until(lambda: skill.calls == ["untold"], "the better task to take the only slot")
        time.sleep(1.3)  # the other's message is used up; docket holds its key for as long as what it set going runs
        resume_fleet(author="ada", now=timezone.now())
        until(lambda: "told" in skill.calls, "the other to take a free slot", timeout_seconds=4)
        release.set()
        assert {ended(task).state for task in (untold, told)} == {"succeeded"}


def test_an_engine_that_cannot_be_reached_holds_nothing_up(skill, submit, worker, ended, monkeypatch):
    monkeypatch.setattr(engine, "enqueue", lambda *_, **__: None)
    claimed: list[int] = []

    def look(name):
        claimed.append(Task.objects.filter(state="running").count())
        time.sleep(0.3)

    skill.act = look
    tasks = [submit(str(n)) for n in range(20)]
    with worker(slots=5):
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert max(claimed) == 5  # counted by the table: of more than it has threads for, a worker runs but so many


def test_a_worker_that_is_told_to_end_lets_its_runs_finish_and_claims_no_more(
    skill, submit, worker, ended, until, settings
):
    settings.WORKER_DRAIN_SECONDS = 15
    release = threading.Event()
    skill.act = lambda name: release.wait(20)
    first, later = submit("first"), submit("later")
    with worker(slots=1):
        until(lambda: skill.calls == ["first"], "the first to begin")
        threading.Timer(2, release.set).start()
    assert ended(first).state == "succeeded"
    later.refresh_from_db()
    assert (later.state, skill.calls) == ("queued", ["first"])
