"""A recorded history as a fleet at work would leave it, written straight into the store."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import batched
from typing import Any, NamedTuple

import orjson
from django.db import connection

from audit.transactions import write_transaction
from toolgate.engine import CompiledPolicy, decide
from toolgate.types import Action, Principal, Request, Resource

BATCH = 5_000
HOSTS = ("github.com", "api.github.com", "arxiv.org", "huggingface.co", "openai.com", "example.com", "news.example.org")
FOLDERS = ("research", "uploads", "reports", "artifacts/extracted", "src/app", "src/lib", "tests", "inbox")
COMMANDS = ("unit-tests", "lint", "type-check", "build-verify")
FORMATS = ("pdf", "html", "csv", "json", "markdown")
SKILLS = ("documentParser", "normalizer", "sourceFetch", "testRunner", "workspacePatch")

_DECISION = """
    INSERT INTO toolgate_decisionrecord
        (id, at, agent_id, agent_version, skill_id, skill_version, arguments, arguments_digest, resource, counters,
         effect, reason, detail, deciding_rules, policy_version, task_id, trace_id)
    VALUES (%s, %s, %s, 1, %s, '1', %s, %s, %s, '{}', %s, %s, %s, %s, %s, %s, %s)
"""


class Made(NamedTuple):
    """One call of the history: who made it, in which task, and what it touched."""

    at: datetime
    task_id: str
    agent_id: str
    skill_id: str
    arguments: dict[str, Any]
    resource: Resource
    tainted: bool


def make_calls(
    count: int, *, agents: list[str], end: datetime, days: int = 30, busiest: tuple[str, str] | None = None,
    share: float = 0.4, seed: int = 1,
) -> Iterator[Made]:  # fmt: skip
    """Give `count` calls over `days` before `end`, evenly over agents and skills but for the busiest pair's share.

    A task makes 1 to 20 calls, seconds apart. Most paths and addresses come once or a few times.
    """
    draw = random.Random(seed)
    starts = sorted(draw.uniform(0, days * 86_400) for _ in range(count))
    made = 0
    while made < count:
        agent_id, skill_id = draw.choice(agents), draw.choice(SKILLS)
        if busiest is not None and draw.random() < share:
            agent_id, skill_id = busiest
        at = end - timedelta(days=days) + timedelta(seconds=starts[made])
        task_id = f"{int(at.timestamp() * 1000):012x}{draw.getrandbits(80):020x}"
        for number in range(min(draw.randint(1, 20), count - made)):
            arguments, resource = _draw_call(draw, skill_id)
            moment = at + timedelta(seconds=number * draw.uniform(0.2, 3))
            yield Made(min(moment, end), task_id, agent_id, skill_id, arguments, resource, draw.random() < 0.2)
            made += 1


def _draw_call(draw: random.Random, skill_id: str) -> tuple[dict[str, Any], Resource]:
    folder, number = draw.choice(FOLDERS), int(draw.expovariate(1 / 2_000))
    path = f"{folder}/file-{number}.txt"
    if skill_id == "sourceFetch":
        host = draw.choice(HOSTS)
        arguments: dict[str, Any] = {"url": f"https://{host}/page/{number}", "timeoutMs": 10_000, "stripScripts": True}
        return arguments, Resource(hosts=(host,), arguments=arguments)
    if skill_id == "testRunner":
        arguments = {"target": folder, "command": draw.choice(COMMANDS), "timeoutMs": 60_000}
        return arguments, Resource(read_paths=(folder,), arguments=arguments)
    if skill_id == "workspacePatch":
        scalars: dict[str, Any] = {"filePath": path, "dryRun": draw.random() < 0.8}
        changes = [{"type": "replace", "oldText": "x" * draw.randint(10, 400), "newText": "y" * draw.randint(10, 400)}]
        return scalars | {"changes": changes}, Resource(read_paths=(path,), write_paths=(path,), arguments=scalars)
    if skill_id == "normalizer":
        data = [{"due": "4/1/26", "amount": f"${number}"}] * draw.randint(1, 10)
        return {"data": data, "schema": {}, "strict": False}, Resource(arguments={"strict": False})
    arguments = {"filePath": path, "format": draw.choice(FORMATS), "extractTables": True, "extractEntities": True}
    return arguments, Resource(read_paths=(path,), arguments=arguments)


def write_history(calls: Iterator[Made], policy: CompiledPolicy) -> int:
    """Decide the calls under `policy`, limits apart, and insert them; return how many."""
    count = 0
    for batch in batched(calls, BATCH, strict=False):
        rows = [_row(call, policy, count + number) for number, call in enumerate(batch)]
        with write_transaction(), connection.cursor() as cursor:
            cursor.executemany(_DECISION, rows)
        count += len(batch)
    return count


def _row(call: Made, policy: CompiledPolicy, number: int) -> tuple[Any, ...]:
    request = Request(
        principal=Principal(agent_id=call.agent_id, version=1),
        action=Action(skill_id=call.skill_id, version="1"),
        resource=call.resource,
        tainted=call.tainted,
    )
    decision = decide(policy, request, now=call.at)
    arguments = orjson.dumps(call.arguments, option=orjson.OPT_SORT_KEYS)
    resource = {
        "hosts": call.resource.hosts,
        "readPaths": call.resource.read_paths,
        "writePaths": call.resource.write_paths,
        "arguments": dict(call.resource.arguments),
        "tainted": call.tainted,
    }
    return (
        f"{int(call.at.timestamp() * 1000):012x}{number:020x}", connection.ops.adapt_datetimefield_value(call.at),
        call.agent_id, call.skill_id, arguments.decode(), sha256(arguments).hexdigest(),
        orjson.dumps(resource).decode(), decision.effect.value, decision.reason.value, decision.detail,
        orjson.dumps(decision.deciding_rules).decode(), policy.version, call.task_id, call.task_id,
    )  # fmt: skip


def write_tasks(now: datetime | None = None) -> int:
    """Insert a task, succeeded, for every task id of the history; return how many."""
    from agents.models import Task

    at = now or datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT task_id, MIN(agent_id) FROM toolgate_decisionrecord GROUP BY task_id")
        rows = cursor.fetchall()
    values = {"state": "succeeded", "agent_version": 1, "input": {}, "created_at": at, "run_at": at, "attempt": 1}
    tasks = (
        Task(id=task_id, agent_id=agent_id, cost_micro=1_000, submitted_by="olga", trace_id=task_id, **values)
        for task_id, agent_id in rows
    )
    for batch in batched(tasks, BATCH, strict=False):
        Task.objects.bulk_create(batch)
    return len(rows)
