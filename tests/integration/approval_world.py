"""A small world of tasks, workers and people around the real gate, moved one step at a time, and what must hold in it.

Every step is what a process would do in one transaction (or, for the skill, outside any), so that a death, another
person or another worker can come between any two.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from agents import claiming, leases, queue, registry
from agents.calls import Passage, Wish, close_call, pass_gate
from agents.control import cancel_task, retry_task
from agents.conversation import Told
from agents.endings import finish
from agents.exceptions import TaskStateConflict
from agents.models import Run, Step, StepState, Task, Worker
from agents.orders import Lease, Order, Succeeded
from agents.skills.base import SkillContext
from agents.states import TERMINAL
from audit.models import LedgerEvent, TranscriptEntry
from audit.transactions import write_transaction
from tests.contract.scripted import ScriptedInput, ScriptedSkill
from toolgate.approvals import (
    current_version,
    decide_approval,
    escalate_due,
    expire_due,
    list_grants,
    read_terms,
    revoke_grant,
    use_approval,
)
from toolgate.approvals.states import close, move
from toolgate.approvals.terms import count_votes
from toolgate.digests import bind_digest, digest_arguments
from toolgate.enforcement import Permit, invoke
from toolgate.exceptions import ApprovalError
from toolgate.in_force import forget_policy
from toolgate.models import (
    Approval,
    ApprovalState,
    ApprovalVote,
    CallCounter,
    DecisionRecord,
    Grant,
    PolicyVersion,
)
from toolgate.publishing import publish_policy

AGENT, SKILL = "normalization-agent", "scripted"
PAIR = {"agent": AGENT, "skill": SKILL}
ALLOW = {"id": "may", **PAIR, "effect": "allow"}
ASK = {"id": "ask", **PAIR, "effect": "ask"}
TWO = {"id": "two", **PAIR, "effect": "ask", "approval": {"quorum": 2, "slaSeconds": 20}}
DENY_Z = {"id": "no-z", **PAIR, "effect": "deny", "conditions": {"arguments": {"name": {"equals": "z"}}}}
POLICIES: dict[str, list[dict[str, Any]]] = {
    "one person": [ALLOW, ASK],
    "two persons": [ALLOW, TWO, DENY_Z],
    "both rules": [ALLOW, ASK, TWO],
    "nobody is asked": [ALLOW],
    "nothing goes": [{"id": "no", **PAIR, "effect": "deny"}],
}
EXPIRY_SECONDS = 60
CLOSED = {"approval.refused", "approval.expired", "approval.superseded", "approval.used"}
EMPTIED = (
    ApprovalVote, Approval, Grant, DecisionRecord, CallCounter, Step, Run, Task, Worker, TranscriptEntry,
    LedgerEvent, PolicyVersion,
)  # fmt: skip


@dataclass(slots=True, kw_only=True, eq=False)
class Hold:
    """What one worker holds in its memory about one task; a dead one's thread may still be at work."""

    lease: Lease
    passage: Passage | None = None
    has_run: bool = False

    @property
    def wish(self) -> Wish:
        if self.lease.skill_id:
            return Wish(skill_id=SKILL, arguments=self.lease.input)
        unknown = Step.objects.filter(task_id=self.lease.task_id, state=StepState.UNKNOWN).exists()
        return Wish(skill_id=SKILL, arguments=self.lease.input, call_id="c1", is_unknown=unknown, ordinal=1)


@dataclass(slots=True, kw_only=True)
class World:
    """Tasks, workers, people and a clock."""

    skill: ScriptedSkill
    now: datetime = datetime(2026, 11, 2, 9, tzinfo=UTC)
    holds: list[Hold] = field(default_factory=list)
    ghosts: list[Hold] = field(default_factory=list)
    executions: list[tuple[str, str, str]] = field(default_factory=list)  # task, name, decision
    lost_permits: Counter[str] = field(default_factory=Counter)
    worker: str = ""
    row: Approval | None = None  # as a slow process read it

    def begin(self) -> None:
        """Start from nothing but the fleet and the first policy."""
        for model in EMPTIED:
            model.objects.all().delete()
        forget_policy()
        self.worker = leases.register_worker(now=self.now)
        self.publish("one person")

    # --- tasks and workers ----------------------------------------------------------------------------------
    def submit(self, name: str, *, own: bool) -> Task:
        self.advance(0.001)  # what happens one after the other has an order
        order = Order(agent_id=AGENT, skill_id="" if own else SKILL, input={"name": name}, submitted_by="olga")
        return queue.submit_task(order, now=self.now).task

    def count_live(self) -> int:
        return Task.objects.exclude(state__in=TERMINAL).count()

    def count_due(self) -> int:
        return Task.objects.filter(state="queued").count()

    def claim(self) -> None:
        """One delivery: whoever gets it takes the first due task, if there is one."""
        with write_transaction():
            lease = claiming.claim_next(self.worker, now=self.now)
        if lease is not None:
            self.holds.append(Hold(lease=lease))

    def pass_gate(self, hold: Hold) -> None:
        self.advance(0.001)
        with write_transaction():
            hold.passage = pass_gate(hold.lease, hold.wish, now=self.now)
        if hold.passage.permit is None and hold.passage.told is None and hold in self.holds:
            self.holds.remove(hold)  # parked, failed, or the lease was lost

    def run_skill(self, hold: Hold) -> None:
        assert hold.passage is not None
        assert hold.passage.permit is not None
        permit = hold.passage.permit
        invoke(permit, self.skill.run, ScriptedInput(**permit.arguments), partial(_make_context, hold.lease.task_id))
        self.executions.append((hold.lease.task_id, self.skill.calls[-1], permit.decision_id))
        hold.has_run = True

    def settle(self, hold: Hold) -> bool:
        """Write down how it ended; False if the lease was lost."""
        assert hold.passage is not None
        step_id = hold.passage.step_id
        with write_transaction():
            if hold.wish.call_id and hold.has_run:
                told = Told(arguments=hold.passage.permit.arguments, output={}, changed=hold.passage.changed)
                close_call(hold.lease, hold.wish, hold.passage, told, files=(), now=self.now)
                step_id = ""
            done = finish(hold.lease, Succeeded(result={}, step_id=step_id), now=self.now)
        if hold in self.holds:
            self.holds.remove(hold)
        return done

    def die(self, hold: Hold) -> None:
        """The process is gone; its thread may not know."""
        if hold.passage is not None and hold.passage.permit is not None:
            self.lost_permits[hold.lease.task_id] += 1
        Task.objects.filter(id=hold.lease.task_id, fence=hold.lease.fence, state="running").update(worker_id="dead")
        leases.reap(own=self.worker, now=self.now)
        self.holds.remove(hold)
        self.ghosts.append(hold)

    def act_as_a_ghost(self, hold: Hold) -> None:
        """Go on as a worker that was declared dead, while the task has been delivered to another."""
        passage = hold.passage
        if passage is None:
            self.pass_gate(hold)
            assert hold.passage == Passage()
        elif passage.permit is not None and not hold.has_run:
            self.run_skill(hold)
        elif passage.permit is not None:
            assert not self.settle(hold)

    def list_moves(self) -> list[Callable[[], Any]]:
        """Return the next step of each living worker."""
        return [partial(self._step, hold) for hold in self.holds]

    def work(self) -> None:
        """Let each living worker make its next step."""
        for step in self.list_moves():
            step()

    def _step(self, hold: Hold) -> None:
        if hold.passage is None:
            self.pass_gate(hold)
        elif hold.passage.permit is not None and not hold.has_run:
            self.run_skill(hold)
        else:
            self.settle(hold)

    # --- people ---------------------------------------------------------------------------------------------
    def answer(self, approval_id: str, user: str, **options: Any) -> Approval | str:
        try:
            return decide_approval(approval_id, user=user, **({"now": self.now} | options))
        except ApprovalError as error:
            return error.code

    def read_row(self) -> None:
        """Begin, on another process, to close or use the newest question; the rest of it comes later."""
        self.row = Approval.objects.order_by("-created_at").first()

    def act_on_the_row(self) -> None:
        """Go on with what was read, whatever has become of it."""
        row, self.row = self.row, None
        if row is None:
            return
        with write_transaction():
            if row.state == ApprovalState.PENDING:
                close(row, ApprovalState.REFUSED, now=self.now, decided_by="cleo")
            elif row.state == ApprovalState.APPROVED:
                move(row, ApprovalState.SUPERSEDED, now=self.now)
            else:
                assert not use_approval(row, now=self.now)

    def publish(self, name: str) -> None:
        publish_policy(POLICIES[name], author="olga", reason="a test", base_version=current_version(), now=self.now)

    def cancel(self, task_id: str) -> None:
        with suppress(TaskStateConflict):
            cancel_task(task_id, actor="user:olga", now=self.now)

    def retry(self, task_id: str) -> None:
        with suppress(TaskStateConflict):
            retry_task(task_id, actor="user:olga", now=self.now)

    def revoke(self) -> None:
        for grant in list_grants(self.now):
            revoke_grant(grant.id, user="ben", now=self.now)

    def sweep(self) -> None:
        expire_due(self.now)
        escalate_due(self.now)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # --- what must hold -------------------------------------------------------------------------------------
    def check(self) -> None:
        self._check_executions()
        self._check_histories()
        self._check_parked()
        self._check_leftovers()

    def _check_executions(self) -> None:
        """Each run of the skill has a decision of its own; behind that stands what people approved, used up once."""
        decisions = {row.id: row for row in DecisionRecord.objects.filter(effect="allow")}
        used = Counter((one.task_id, one.digest) for one in Approval.objects.filter(state=ApprovalState.USED))
        assert len({decision_id for *_, decision_id in self.executions}) == len(self.executions), "one permit ran twice"
        for task_id, name, decision_id in self.executions:
            decision = decisions[decision_id]
            assert (decision.task_id, decision.arguments) == (task_id, {"name": name}), "other arguments ran"
        for decision in decisions.values():
            if decision.detail.startswith("approved by"):
                digest = digest_arguments(decision.arguments)
                bound = bind_digest(AGENT, SKILL, digest, decision.policy_version)
                assert used[decision.task_id, bound] > 0, f"let through, and no approval was used: {decision.detail}"
                used[decision.task_id, bound] -= 1
        granted = sum(decision.detail.startswith("granted by") for decision in decisions.values())
        assert granted == sum(Grant.objects.values_list("uses", flat=True))
        runs = Counter(task_id for task_id, *_ in self.executions)
        for task_id, count in runs.items():
            assert count <= 1 + self.lost_permits[task_id], "a call was made twice, and no worker had died over it"

    def _check_histories(self) -> None:
        """Nothing happens to a question after its end, and it was approved by those it takes, of what was approved."""
        events: dict[str, list[str]] = {}
        rows = LedgerEvent.objects.filter(type__startswith="approval.").order_by("id").values_list("type", "body")
        for type_, body in rows:
            events.setdefault(body["approvalId"], []).append(type_)
        for approval in Approval.objects.all():
            history = events[approval.id]
            assert history[0] == "approval.asked"
            assert history.count("approval.granted") <= 1
            assert history.count("approval.escalated") <= 1
            assert not CLOSED.intersection(history[:-1]), history
            assert ("approval.granted" in history) == (approval.state in {"approved", "used"}) or CLOSED & {history[-1]}
            if approval.state in {"approved", "used"}:
                self._check_votes(approval)

    def _check_votes(self, approval: Approval) -> None:
        votes = list(approval.votes.filter(approve=True, digest=approval.digest))
        assert "olga" not in {vote.user for vote in votes}, "four eyes"
        for terms in read_terms(approval):
            assert count_votes(terms, votes) >= terms.quorum
        if approval.used_at is not None:
            assert approval.used_at < approval.expires_at

    def _check_parked(self) -> None:
        """A task waits exactly while its question does: nobody is forgotten, and nothing is asked for nobody."""
        parked = Counter(Task.objects.filter(state="awaiting_approval").values_list("id", flat=True))
        pending = Counter(Approval.objects.filter(state=ApprovalState.PENDING).values_list("task_id", flat=True))
        assert parked == pending

    def _check_leftovers(self) -> None:
        """A call that ran because the rules no longer ask has used its answer up all the same."""
        for decision in DecisionRecord.objects.filter(effect="allow", reason="allowed"):
            answered = Approval.objects.filter(task_id=decision.task_id, decided_at__lt=decision.at)
            left = answered.filter(state=ApprovalState.APPROVED, expires_at__gt=decision.at)
            assert decision.arguments not in [one.arguments for one in left], "a second call could run on this"

    # --- to the end -----------------------------------------------------------------------------------------
    def bring_to_an_end(self) -> None:
        """Answer and carry out all that is left, as patient people and workers would."""
        self.publish("one person")
        for _ in range(100):
            if not Task.objects.exclude(state__in=TERMINAL).exists():
                break
            for approval in Approval.objects.filter(state=ApprovalState.PENDING):
                for user in ("ana", "ben"):
                    self.answer(approval.id, user, approve=True, digest=approval.digest)
            self.work()
            self.claim()
        assert not Task.objects.exclude(state__in=TERMINAL).exists(), "a task was stuck"
        self.check()
        for task in Task.objects.filter(state="succeeded", skill_id=SKILL):
            assert any(task_id == task.id for task_id, *_ in self.executions), "it succeeded without its call"


def _make_context(task_id: str, permit: Permit) -> SkillContext:
    return SkillContext(workspace=Path(), task_id=task_id, timeout_seconds=EXPIRY_SECONDS)


def seed() -> None:
    registry.seed_agents(now=datetime(2026, 11, 1, tzinfo=UTC))
    registry.forget_fleet()
