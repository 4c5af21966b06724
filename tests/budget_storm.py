"""A storm over one store: processes that reserve, dispatch, settle, die and change caps, all at once.

    python -m tests.budget_storm --processes 16 --operations 650

A program of its own, since it forks: each worker is a process with its own connection. What must never be is
watched by the store itself, with a trigger on the accounts' table that sees every single change, so nothing can
slip between two looks. It prints one JSON object: what happened, and all that is wrong.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from ctypes import Array, c_longlong
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.sharedctypes import RawArray
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.orders import Lease
    from agents.providers.base import Usage

START = datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC)
SPAN = timedelta(seconds=20)  # from the first operation to the last: the month ends half-way
AGENTS = ("normalization-agent", "content-agent", "summarization-agent")
MODELS = ("openai:gpt-6-luna", "anthropic:claude-sonnet-5-5")
CRASH = 9  # exit code of a worker that died on purpose
LEASES = 3  # tasks of one worker at once

WATCH_POSTGRES = """
CREATE TABLE violation (key text, spent bigint, held bigint, cap bigint);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.held_micro < 0 OR NEW.spent_micro < 0 OR (NEW.spent_micro + NEW.held_micro > NEW.cap_micro AND
       NEW.spent_micro + NEW.held_micro > (CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.spent_micro + OLD.held_micro END))
    THEN INSERT INTO violation VALUES (NEW.key, NEW.spent_micro, NEW.held_micro, NEW.cap_micro); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER watch BEFORE INSERT OR UPDATE ON agents_budgetaccount FOR EACH ROW EXECUTE FUNCTION watch();
"""
WATCH_SQLITE = """
CREATE TABLE violation (key text, spent bigint, held bigint, cap bigint);
CREATE TRIGGER watch AFTER UPDATE ON agents_budgetaccount WHEN NEW.held_micro < 0 OR NEW.spent_micro < 0 OR (
    NEW.spent_micro + NEW.held_micro > NEW.cap_micro AND
    NEW.spent_micro + NEW.held_micro > OLD.spent_micro + OLD.held_micro)
BEGIN INSERT INTO violation VALUES (NEW.key, NEW.spent_micro, NEW.held_micro, NEW.cap_micro); END;
"""
UNCONDITIONAL = "UPDATE agents_budgetaccount SET held_micro = held_micro + %s WHERE key = %s AND %s >= 0"


@dataclass(slots=True)
class Storm:
    """What all processes share."""

    processes: int
    operations: int  # of one process
    seed: int
    crash: float  # the chance of dying at each place where one may
    done: Array[c_longlong]  # operations, by process
    faults: Array[c_longlong]  # transactions that the store refused, by process

    def clock(self) -> datetime:
        """Return the storm's own time: it goes with the operations, so that each sees both months."""
        share = sum(self.done) / (self.processes * self.operations)
        return START + min(share, 1.0) * SPAN


# --- a worker -------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Call:
    """One reservation as its worker knows it."""

    id: str
    usage: "Usage"
    worst: int
    dispatched: bool = False


@dataclass(slots=True)
class Holding:
    """One task that a worker runs, with its open calls and the last closed one."""

    lease: "Lease"
    calls: list[Call] = field(default_factory=list)
    closed: tuple[str, int] | None = None
    is_over: bool = False


class StormWorker:
    """Works on a few tasks at once, several operations a transaction, as a worker's group commit does."""

    def __init__(self, storm: Storm, slot: int, generation: int) -> None:
        self.storm, self.slot = storm, slot
        self.random = random.Random(f"{storm.seed}:{slot}:{generation}")  # an heir does not die as its parent did
        self.holdings: list[Holding] = []
        self.worker_id = ""

    def run(self) -> None:
        """Work until this slot has done its operations."""
        from agents import leases
        from audit.transactions import write_transaction

        self.worker_id = leases.register_worker(now=self.storm.clock())
        beaten = time.monotonic()
        while self.storm.done[self.slot] < self.storm.operations:
            if time.monotonic() - beaten > 2:
                self.beat()
                beaten = time.monotonic()
            moves = self.choose()
            with write_transaction():
                for move in moves:
                    move(self.storm.clock())
                self.may_die()  # nothing of this is committed
            self.storm.done[self.slot] += len(moves)
            self.holdings = [holding for holding in self.holdings if not holding.is_over]
            self.may_die()

    def beat(self) -> None:
        """Keep the lease, or begin anew where the machine was so slow that it was taken away."""
        from agents import leases

        try:
            leases.beat(self.worker_id, now=self.storm.clock())
        except leases.WorkerGone:
            self.worker_id, self.holdings = leases.register_worker(now=self.storm.clock()), []

    def choose(self) -> list[Callable[[datetime], None]]:
        """Return what to do in one transaction: a cap, a claim, or a few steps of the tasks at hand."""
        if self.random.random() < 0.03:
            return [self.set_cap]
        if len(self.holdings) < LEASES and (not self.holdings or self.random.random() < 0.3):
            return [self.claim]
        return [self.go_on] * self.random.randint(1, 4)

    def may_die(self) -> None:
        """Die at once, now and then, as a power cut would have it."""
        if self.random.random() < self.storm.crash:
            os._exit(CRASH)

    def set_cap(self, now: datetime) -> None:
        """Raise or lower a cap, often below what is spent and held."""
        from django.conf import settings

        from agents.money.caps import set_cap

        scope = self.random.choice(["fleet", *(f"agent:{agent}" for agent in AGENTS)])
        pounds = (settings.COST_BUDGET_CAP * self.random.randint(0, 100) / 100).quantize(Decimal("0.01"))
        set_cap(scope, pounds, author="ada", reason="storm", now=now)

    def claim(self, now: datetime) -> None:
        """Take a task that somebody left, or make one."""
        from agents.claiming import claim_next
        from agents.models import Task
        from audit.ids import new_id

        lease = claim_next(self.worker_id, now=now)
        if lease is None:
            Task.objects.create(
                id=new_id(), state="queued", agent_id=self.random.choice(AGENTS), input={}, created_at=now,
                trace_id=new_id(), submitted_by="olga",
            )  # fmt: skip
            lease = claim_next(self.worker_id, now=now)
        if lease is not None:
            self.holdings.append(Holding(lease))

    def go_on(self, now: datetime) -> None:
        """Take one step with one of the tasks."""
        from agents.steps import find_held

        holding = self.random.choice(self.holdings)
        if holding.is_over:  # by an earlier step of this transaction
            return
        if not find_held(holding.lease):
            holding.is_over = True
            return
        moves: list[Callable[[Holding, datetime], None]] = [self.reserve, self.reserve, self.finish]
        if holding.calls:
            moves += [self.forward] * 6
        if holding.closed:
            moves.append(self.settle_again)
        self.random.choice(moves)(holding, now)

    def reserve(self, holding: Holding, now: datetime) -> None:
        """Hold the worst case of a call whose true usage is chosen here, below it."""
        from agents.money.pricing import price_bound
        from agents.money.spending import reserve
        from agents.providers.base import Usage
        from audit.ids import new_id

        model, roll = self.random.choice(MODELS), self.random
        tokens, most = roll.randint(0, 60_000), roll.randint(1, 8_000)
        worst = price_bound(model, input_tokens=tokens, max_output_tokens=most, at=now)
        read = roll.randint(0, tokens)
        usage = Usage(
            input_tokens=tokens, output_tokens=roll.randint(0, most), cache_read_tokens=read,
            cache_write_tokens=roll.randint(0, tokens - read),
        )  # fmt: skip
        came = reserve(holding.lease, step_id=new_id(), model=model, worst_micro=worst, now=now)
        if isinstance(came, str):
            holding.calls.append(Call(came, usage, worst))

    def forward(self, holding: Holding, now: datetime) -> None:
        """Carry a call on: dispatch it, or close it."""
        from agents.money.spending import mark_dispatched, release, settle

        call = self.random.choice(holding.calls)
        if not call.dispatched and self.random.random() < 0.85:
            mark_dispatched(call.id, now=now)
            call.dispatched = True
            return
        holding.calls.remove(call)
        charged = 0
        if self.random.random() < 0.2:
            release(call.id, now=now)
        else:
            usage = call.usage if self.random.random() < 0.8 else None
            charged = settle(call.id, usage=usage, now=now)
            assert 0 <= charged <= call.worst
            assert usage is not None or charged == call.worst
        holding.closed = call.id, charged

    def settle_again(self, holding: Holding, now: datetime) -> None:
        """Close a call once more, which changes nothing."""
        from agents.money.spending import release, settle

        assert holding.closed is not None
        reservation_id, charged = holding.closed
        release(reservation_id, now=now)
        assert settle(reservation_id, usage=None, now=now) == charged

    def finish(self, holding: Holding, now: datetime) -> None:
        """End the run in one way or another, with whatever calls are open."""
        from agents.endings import finish
        from agents.orders import Cancelled, Failed, Released, Retried, Succeeded, TaskError

        error = TaskError(code="timeout", message="storm")
        endings = [
            Succeeded(result={}), Failed(error=error), Retried(error=error, run_at=now), Cancelled(), Released(),
        ]  # fmt: skip
        assert finish(holding.lease, self.random.choice(endings), now=now)
        holding.is_over = True


# --- the run of a storm ---------------------------------------------------------------------------------------
def run_storm(storm: Storm, *, unconditional: bool) -> dict[str, Any]:
    """Run it to its end; this process itself never opens a connection, so that its children inherit none."""
    _load()
    _in_child(_prepare)
    started, crashes = time.monotonic(), 0
    slots = {_fork(_work, storm, slot, 0, unconditional): slot for slot in range(storm.processes)}
    while slots:
        pid, status = os.wait()
        slot = slots.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            continue
        crashes += 1
        storm.faults[slot] += code != CRASH
        _in_child(_reap, storm, pid)
        slots[_fork(_work, storm, slot, crashes, unconditional)] = slot
    seconds = time.monotonic() - started
    report = {"seconds": round(seconds, 1), "crashes": crashes, "faults": sum(storm.faults)}
    report |= {"operations": sum(storm.done)}
    print(json.dumps(report), flush=True)
    return report


def _fork(function: Callable[..., None], *arguments: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        function(*arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _in_child(function: Callable[..., None], *arguments: Any) -> None:
    _, status = os.waitpid(_fork(function, *arguments), 0)
    if status:
        sys.exit(f"{function.__name__} failed")


def _work(storm: Storm, slot: int, generation: int, unconditional: bool) -> None:
    from agents.money import spending

    if unconditional:
        spending._HOLD = UNCONDITIONAL
    StormWorker(storm, slot, generation).run()


def _load() -> None:
    """Import what the children need, once; none of it opens a connection."""
    import django.db.backends.postgresql.base  # noqa: F401

    from agents import endings, leases, steps  # noqa: F401
    from agents.money import (
        pricing,
        spending,  # noqa: F401
    )
    from tests import budget_audit  # noqa: F401

    for model in MODELS:
        pricing.price_bound(model, input_tokens=1, max_output_tokens=1, at=START)


def _prepare() -> None:
    from django.core.management import call_command
    from django.db import connection

    from agents.money.caps import follow_caps
    from agents.registry import seed_agents

    for app in ("audit", "agents"):
        call_command("migrate", app, verbosity=0)
    seed_agents(now=START)
    follow_caps(now=START)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(WATCH_POSTGRES)
        else:
            cursor.connection.executescript(WATCH_SQLITE)


def _reap(storm: Storm, pid: int) -> None:
    """Do for a dead worker what the living ones do once its lease has run out.

    One of the living is judged dead with it, as a clock that is set forward does: it is in the midst of its work.
    """
    from agents import leases
    from agents.models import Worker

    living = random.choice([*Worker.objects.exclude(pid=pid).values_list("pid", flat=True), pid])
    Worker.objects.filter(pid__in=[pid, living]).delete()
    leases.reap(own="", now=storm.clock())


def main() -> None:
    """Run the storm that the arguments describe, then look at what it left."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--operations", type=int, default=650, help="of one process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crash", type=float, default=0.004)
    parser.add_argument("--unconditional", action="store_true", help="hold without looking at the cap")
    options = parser.parse_args()
    import django

    django.setup()
    counters = RawArray(c_longlong, options.processes), RawArray(c_longlong, options.processes)
    storm = Storm(options.processes, options.operations, options.seed, options.crash, *counters)
    run_storm(storm, unconditional=options.unconditional)
    from tests.budget_audit import audit_store

    _in_child(audit_store, storm.clock())


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    main()
