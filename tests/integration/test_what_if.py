"""What-ifs over what the gate really recorded: asked for, run, taken over, kept."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Task
from audit import background
from audit.models import LedgerEvent, RunState
from tests.integration.gate_cast import AGENT, SKILL, ask, in_threads, judge, make_call, publish, rule
from toolgate.approvals import decide_approval
from toolgate.exceptions import PolicyInvalid, TooManyWhatIfs, VersionMissing, WhatIfNotFound
from toolgate.in_force import forget_policy
from toolgate.models import DecisionRecord, WhatIf
from toolgate.replay import runs
from toolgate.types import Effect

pytestmark = pytest.mark.django_db(transaction=True)
ALLOW = rule("allow")
DENY = rule("no-tests", "deny", readPaths=["tests"])
# It is about every agent and skill, and touches no call: all of the history is replayed, and nothing may turn.
NOWHERE = rule("nowhere", "deny", domains=["nowhere.example"]) | {"agent": "*", "skill": "*"}


@pytest.fixture(autouse=True)
def clean_policy() -> Iterator[None]:
    forget_policy()
    yield
    forget_policy()


def what_if(*rules: dict[str, Any], since: datetime | None = None, by: str = "ada", base: int | None = None) -> WhatIf:
    # Rows of this very microsecond are not of the past yet.
    now = timezone.now() + timedelta(milliseconds=1)
    return runs.start_what_if(rules, base_version=base, asked_by=by, since=since, now=now)


def make_history(*, tests: int = 2, others: int = 3) -> None:
    publish(ALLOW)
    for number in range(tests + others):
        path = f"tests/{number}.py" if number < tests else f"src/{number}.py"
        assert judge(make_call(task_id=f"task-{number}", read_paths=(path,))).effect is Effect.ALLOW


def flips(done: WhatIf) -> dict[str, int]:
    return {kind: count for kind, count in done.result["flips"].items() if count}


# --- what it tells --------------------------------------------------------------------------------------------------
def test_it_counts_what_a_rule_would_have_turned() -> None:
    make_history()
    done = what_if(ALLOW, DENY)
    assert (done.state, done.total, done.done, flips(done)) == (RunState.DONE, 5, 5, {"allow_deny": 2})
    assert done.result["byAgent"][0]["key"] == AGENT
    assert [row["key"] for row in done.result["byRule"]] == ["no-tests"]
    first = done.result["samples"][0]
    assert DecisionRecord.objects.get(id=first["decisionId"]).task_id == first["taskId"] == "task-0"


def test_every_recorded_decision_is_accounted_for() -> None:
    make_history()
    judge(make_call(principal={"status": "quarantined"}))
    judge(make_call(agent="other-agent"))
    done = what_if(ALLOW, DENY)
    told = done.result["coverage"]
    rest = told["untouched"] + told["beforeRules"] + told["unrecordable"] + told["continued"]
    assert (told["recorded"], told["untouched"], told["beforeRules"]) == (7, 1, 1)
    assert told["recorded"] == done.result["calls"] + rest == DecisionRecord.objects.count()


def test_tasks_that_would_have_broken_and_their_money_are_told() -> None:
    make_history(tests=3)
    for number, state in enumerate(("succeeded", "failed", "succeeded")):
        Task.objects.create(
            id=f"task-{number}", state=state, agent_id=AGENT, input={}, cost_micro=1_000 * (number + 1),
            created_at=timezone.now(), run_at=timezone.now(), trace_id="t", submitted_by="olga",
        )  # fmt: skip
    done = what_if(ALLOW, DENY)
    assert done.result["broken"] == {"count": 2, "tasks": ["task-0", "task-2"]}
    assert done.result["tasks"] == {"count": 3, "costMicro": 6_000, "isCut": False}


def test_what_no_differing_rule_is_about_is_left_out() -> None:
    make_history()
    done = what_if(ALLOW, rule("other", "deny") | {"agent": "other-agent"})
    assert (done.total, done.result["calls"], done.result["coverage"]["untouched"]) == (0, 0, 5)


def test_only_calls_since_a_moment_count_but_earlier_ones_have_spent() -> None:
    publish(ALLOW)
    now = timezone.now()
    for minutes in (20, 15, 10, 5):
        judge(make_call(task_id="one", now=now - timedelta(minutes=minutes)))
    done = what_if(rule("allow", limits={"callsPerTask": 3}), since=now - timedelta(minutes=12))
    assert (done.total, done.done, done.result["calls"], flips(done)) == (2, 2, 2, {"allow_deny": 1})


def test_it_is_held_against_the_version_that_it_names() -> None:
    make_history()
    publish(ALLOW, DENY)
    assert flips(what_if(ALLOW)) == {"deny_allow": 2}
    assert flips(what_if(ALLOW, base=1)) == {}
    assert flips(what_if(ALLOW, base=0)) == {"deny_allow": 5}
    with pytest.raises(VersionMissing):
        what_if(ALLOW, base=9)


# --- it says what the gate said ---------------------------------------------------------------------------------------
MIXED = (
    rule("allow", limits={"callsPerTask": 4, "ratePerSecond": 2, "bytesPerTask": 250}),
    rule("allow-src", readPaths=["src"], limits={"callsPerPeriod": {"amount": 9, "seconds": 20}}),
    rule("ask-write", "ask", arguments={"dryRun": {"equals": False}}),
    rule("no-secrets", "deny", readPaths=["src/secrets"]),
    rule("tainted", "ask", tainted=True),
    rule("fetch", domains=["a.org", "*.b.org"], limits={"ratePerSecond": 1, "burst": 2}) | {"skill": "sourceFetch"},
)


def make_mixed_history(seed: int, count: int = 120) -> None:
    """Have the gate decide made-up calls, with its limits, and people answer what it asks."""
    draw, at = random.Random(seed), timezone.now() - timedelta(hours=2)
    for number in range(count):
        at += timedelta(seconds=draw.choice([0.05, 0.3, 0.7, 2]))
        if draw.random() < 0.3:
            hosts = (draw.choice(["a.org", "x.b.org", "c.org"]),)
            judge(make_call(task_id=f"t{draw.randrange(8)}", now=at, skill="sourceFetch", hosts=hosts))
            continue
        arguments = {"filePath": f"{number}.py", "dryRun": draw.random() < 0.7}
        path = draw.choice(["src/a.py", "src/secrets/key", "docs/x.md"])
        call = make_call(
            task_id=f"t{draw.randrange(8)}", now=at, arguments=arguments, read_paths=(path,),
            tainted=draw.random() < 0.2,
        )  # fmt: skip
        if judge(call).approval_needed and draw.random() < 0.8:
            approval = ask(call)
            approve = draw.random() < 0.7
            decide_approval(approval.id, approve=approve, user="ana", note="", now=at)
            judge(call)


@pytest.mark.parametrize("seed", range(4))
def test_a_policy_replayed_over_its_own_history_turns_nothing_and_agrees(seed: int) -> None:
    publish(*MIXED)
    make_mixed_history(seed)
    reasons = set(DecisionRecord.objects.values_list("reason", flat=True))
    assert {"allowed", "approved", "approval_required", "call_ceiling"} <= reasons
    done = what_if(*MIXED, NOWHERE)
    told = done.result["coverage"]
    assert (flips(done), told["untouched"], told["unrecordable"]) == ({}, 0, 0)
    assert told["agreeing"] == told["comparable"] == done.result["calls"] > 80


def test_a_history_replayed_under_the_policy_that_came_later_says_what_that_one_decides() -> None:
    """The same calls, really decided under one policy and then under another: the replay foretold the second."""
    publish(*MIXED)
    make_mixed_history(7)
    tighter = [rule("allow", limits={"callsPerTask": 2, "ratePerSecond": 1}), *MIXED[1:3], *MIXED[4:]]
    foretold = what_if(*tighter)
    assert foretold.result["coverage"]["agreeing"] == foretold.result["coverage"]["comparable"]
    assert sum(foretold.result["flips"].values()) > 0
    back = what_if(*MIXED)
    assert flips(back) == {}


# --- asking -----------------------------------------------------------------------------------------------------------
def test_it_is_in_the_trail_and_kept() -> None:
    make_history()
    done = what_if(ALLOW, DENY)
    event = LedgerEvent.objects.get(type="policy.replayed")
    assert (event.actor, event.body["whatIfId"], event.body["decisions"]) == ("user:ada", done.id, 5)
    assert runs.find_latest(done.digest).id == runs.get_what_if(done.id).id == done.id
    assert runs.find_latest("0" * 64) is None
    with pytest.raises(WhatIfNotFound):
        runs.get_what_if("nowhere")


def test_rules_that_are_no_policy_start_nothing() -> None:
    with pytest.raises(PolicyInvalid):
        what_if({"id": "broken"})
    assert not WhatIf.objects.exists()


def test_a_person_has_few_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history()
    monkeypatch.setattr(runs, "AT_ONCE_ROWS", 1)
    for _ in range(runs.MAX_OPEN):
        assert what_if(ALLOW, DENY).state == RunState.WAITING
    with pytest.raises(TooManyWhatIfs):
        what_if(ALLOW, DENY)
    assert what_if(ALLOW, DENY, by="bob").state == RunState.WAITING
    while runs.run_due():
        pass
    assert set(WhatIf.objects.values_list("state", flat=True)) == {RunState.DONE}
    assert what_if(ALLOW, DENY).state == RunState.WAITING


# --- runners ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> WhatIf:
    """One that waits for a worker; it beats at every row."""
    make_history()
    monkeypatch.setattr(runs, "AT_ONCE_ROWS", 1)
    monkeypatch.setattr(runs, "CHECK_ROWS", 1)
    monkeypatch.setattr(background, "BEAT_SECONDS", 0.0)
    return what_if(ALLOW, DENY)


def state_of(started: WhatIf) -> str:
    return runs.get_what_if(started.id).state


class Killed(BaseException):
    """Ends a runner as a kill does: nothing is tidied up."""


def die_at(count: int) -> Any:
    left = [count]

    def is_stopping() -> bool:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return False

    return is_stopping


def test_a_killed_runners_work_is_taken_over_once_it_is_stale(large: WhatIf) -> None:
    with pytest.raises(Killed):
        runs.run_due(is_stopping=die_at(3))
    half = runs.get_what_if(large.id)
    assert half.state == RunState.RUNNING
    assert 0 < half.done < half.total
    assert runs.run_due() is None  # it might still be alive
    later = timezone.now() + background.STALE + timedelta(seconds=1)
    assert runs.run_due(clock=lambda: later) == large.id
    done = runs.get_what_if(large.id)
    assert (done.state, flips(done)) == (RunState.DONE, {"allow_deny": 2})


def test_a_runner_that_was_taken_over_keeps_nothing(large: WhatIf) -> None:
    later = timezone.now() + background.STALE + timedelta(seconds=1)

    looked = []

    def be_overtaken() -> bool:
        looked.append(runs.run_due(clock=lambda: later))
        return False

    runs.run_due(is_stopping=be_overtaken)
    assert len(looked) == 1  # it notices at its first beat
    done = runs.get_what_if(large.id)
    assert (done.state, done.ended_at) == (RunState.DONE, later)


def test_a_worker_that_stops_gives_it_back(large: WhatIf) -> None:
    runs.run_due(is_stopping=lambda: True)
    back = runs.get_what_if(large.id)
    assert (back.state, back.done, back.beat_at) == (RunState.WAITING, 0, None)
    assert runs.run_due() == large.id
    assert state_of(large) == RunState.DONE


def test_of_many_runners_one_runs_it(large: WhatIf, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    replay = runs._replay

    def note(run: Any) -> Any:
        ran.append(run)
        return replay(run)

    monkeypatch.setattr(runs, "_replay", note)
    in_threads(8, lambda _: runs.run_what_if(large.id))
    assert (len(ran), state_of(large)) == (1, RunState.DONE)


def test_a_failure_is_kept_and_told(large: WhatIf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("out of luck")

    monkeypatch.setattr(runs, "write_report", fail)
    runs.run_due()
    failed = runs.get_what_if(large.id)
    assert (failed.state, failed.error) == (
        RunState.FAILED,
        "It met an error that nobody foresaw; the log has it under this run's id.",
    )
    assert failed.ended_at is not None
    assert runs.run_due() is None


def test_progress_grows_and_never_passes_the_total(large: WhatIf) -> None:
    seen = []

    def look() -> bool:
        seen.append(runs.get_what_if(large.id).done)
        return False

    runs.run_due(is_stopping=look)
    assert seen == sorted(seen)
    assert max(seen) <= large.total
    assert len(set(seen)) > 2


def test_chunks_leave_nothing_out_and_take_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolgate.replay import scan

    publish(ALLOW)
    at = timezone.now() - timedelta(hours=1)
    for number in range(23):  # many at the same moment
        judge(make_call(task_id=f"t{number}", now=at + timedelta(seconds=number // 6), read_paths=("tests/x",)))
    monkeypatch.setattr(scan, "CHUNK_ROWS", 4)
    done = what_if(ALLOW, DENY)
    assert (done.total, done.result["calls"], flips(done)) == (23, 23, {"allow_deny": 23})


def test_an_agents_skills_are_replayed_in_one_order() -> None:
    publish(ALLOW, ALLOW | {"id": "other", "skill": "sourceFetch"})
    at = timezone.now() - timedelta(hours=1)
    for number, skill in enumerate((SKILL, "sourceFetch", SKILL, "sourceFetch")):
        judge(make_call(task_id="one", now=at + timedelta(seconds=number), skill=skill, read_paths=("tests/x",)))
    done = what_if(ALLOW, ALLOW | {"id": "other", "skill": "sourceFetch"}, DENY | {"skill": "*"})
    assert done.result["coverage"]["following"] == 3
