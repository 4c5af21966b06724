"""A store that has been in use for long: as many tasks as asked for, with all that belongs to them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final

from agents.models import AgentVersion, Artifact, DailyCost, Run, Step, Task
from agents.registry import list_agents, list_skills
from audit.ids import new_id
from toolgate.models import Approval, DecisionRecord, Grant, PolicyVersion

BATCH: Final = 2_000
STATES: Final = ("succeeded",) * 14 + ("failed",) * 3 + ("cancelled", "awaiting_approval", "queued")
ERRORS: Final = ("domain_not_allowed", "timeout", "attempts_exhausted", "output_invalid")
DAYS: Final = 30  # over which they are spread
VERSIONS: Final = 60


def fill(count: int, *, now: datetime) -> None:
    """Insert `count` tasks with runs, steps, decisions, approvals, files, grants and costs; and some versions."""
    for numbers in batched(range(count), BATCH, strict=False):
        tasks = [_make_task(number, count, now=now) for number in numbers]
        Task.objects.bulk_create(tasks)
        Run.objects.bulk_create(map(_make_run, tasks))
        Step.objects.bulk_create(map(_make_step, tasks))
        DecisionRecord.objects.bulk_create(map(_make_decision, tasks))
        asked = [task for number, task in enumerate(tasks) if number % 10 == 0 or task.state == "awaiting_approval"]
        Approval.objects.bulk_create([_make_approval(task, now=now) for task in asked])
        Artifact.objects.bulk_create(map(_make_artifact, tasks[::10]))
        Grant.objects.bulk_create([_make_grant(task, now=now) for task in tasks[::50]])
    _fill_costs(now)
    _fill_versions(now)


def make_id(at: datetime) -> str:
    """Return an id as one that was made at a time begins."""
    return f"{int(at.timestamp() * 1000):012x}{new_id()[12:]}"


def _make_task(number: int, count: int, *, now: datetime) -> Task:
    at = now - timedelta(days=DAYS) * (count - number) / count
    agents, skills = list_agents(), list_skills()
    state = STATES[number % len(STATES)]
    code = ERRORS[number // len(STATES) % len(ERRORS)] if state == "failed" else ""
    is_over = state in {"succeeded", "failed", "cancelled"}
    return Task(
        id=make_id(at),
        state=state,
        agent_id=agents[number % len(agents)].id,
        agent_version=1,
        skill_id=skills[number % len(skills)].id,
        input={"url": f"https://example.com/{number}", "note": "n" * 200},
        result={"text": "r" * 400} if state == "succeeded" else None,
        error_code=code,
        error_message="It did not work out this time." if code else "",
        created_at=at,
        started_at=at,
        ended_at=at + timedelta(seconds=2) if is_over else None,
        trace_id=new_id(),
        submitted_by=("olga", "ada", "scheduler")[number % 3],
        attempt=1,
        cost_micro=number % 5_000,
    )


def _make_run(task: Task) -> Run:
    outcome = task.state if task.ended_at else ""
    return Run(task=task, fence=1, worker_id="w", started_at=task.created_at, ended_at=task.ended_at, outcome=outcome)


def _make_step(task: Task) -> Step:
    return Step(
        id=make_id(task.created_at),
        task=task,
        fence=1,
        ordinal=1,
        kind="skill",
        state="failed" if task.state == "failed" else "done",
        skill_id=task.skill_id,
        started_at=task.created_at,
        ended_at=task.ended_at,
    )


def _make_decision(task: Task) -> DecisionRecord:
    is_denied = task.error_code == "domain_not_allowed"
    return DecisionRecord(
        id=make_id(task.created_at),
        at=task.created_at,
        agent_id=task.agent_id,
        agent_version=1,
        skill_id=task.skill_id,
        skill_version="1",
        arguments=task.input,
        arguments_digest="0" * 64,
        resource={"hosts": ["example.com"]},
        counters={},
        effect="deny" if is_denied else "allow",
        reason=task.error_code if is_denied else "allowed",
        deciding_rules=[],
        policy_version=1,
        task_id=task.id,
        trace_id=task.trace_id,
    )


def _make_approval(task: Task, *, now: datetime) -> Approval:
    waits = task.state == "awaiting_approval"
    return Approval(
        id=make_id(task.created_at),
        state="pending" if waits else "used",
        task_id=task.id,
        agent_id=task.agent_id,
        skill_id=task.skill_id,
        arguments=task.input,
        digest=task.id,
        policy_version=1,
        rule_id="a-rule",
        submitted_by=task.submitted_by,
        created_at=task.created_at,
        expires_at=now + timedelta(hours=1) + (task.created_at - now) / 1_000
        if waits
        else task.created_at + timedelta(hours=1),
        decided_by="" if waits else "ana",
        decided_at=None if waits else task.created_at,
    )


def _make_artifact(task: Task) -> Artifact:
    return Artifact(
        task=task,
        name="report.json",
        path=f"artifacts/{task.id}.json",
        size_bytes=1_000,
        sha256="0" * 64,
        content_type="application/json",
        created_at=task.created_at,
    )


def _make_grant(task: Task, *, now: datetime) -> Grant:
    is_live = task.created_at > now - timedelta(hours=1)
    return Grant(
        id=make_id(task.created_at),
        approval_id=task.id,
        agent_id=task.agent_id,
        skill_id=task.skill_id,
        rules={"a-rule": "0" * 64},
        granted_by=["ana"],
        created_at=task.created_at,
        expires_at=now + timedelta(hours=1) if is_live else task.created_at + timedelta(hours=1),
    )


def _fill_costs(now: datetime) -> None:
    if DailyCost.objects.exists():
        return
    days = [(now - timedelta(days=number)).date() for number in range(DAYS)]
    rows = ((day, agent.id, model) for day in days for agent in list_agents() for model in ("openai:a", "anthropic:b"))
    DailyCost.objects.bulk_create(
        DailyCost(day=day, agent_id=agent_id, model=model, calls=3, spent_micro=900) for day, agent_id, model in rows
    )


def _fill_versions(now: datetime) -> None:
    """Add versions of the policy and of each agent that change nothing."""
    newest = PolicyVersion.objects.order_by("-number").first()
    if newest is None or newest.number > 1:
        return
    given: dict[str, Any] = {"digest": newest.digest, "author": "ada", "reason": "for a test", "created_at": now}
    numbers = range(newest.number + 1, newest.number + VERSIONS)
    PolicyVersion.objects.bulk_create(PolicyVersion(number=number, rules=newest.rules, **given) for number in numbers)
    AgentVersion.objects.bulk_create(_copy_versions(now))


def _copy_versions(now: datetime) -> Iterator[AgentVersion]:
    for row in AgentVersion.objects.filter(version=1):
        for version in range(2, VERSIONS):
            yield AgentVersion(
                agent_id=row.agent_id, version=version, config=row.config, author="ada", reason="why", created_at=now
            )
