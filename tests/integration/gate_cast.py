"""Calls, rules and threads for the tests of the gate."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from django.db import connections
from django.utils import timezone

from audit.ids import new_id
from audit.transactions import write_transaction
from toolgate.approvals import current_version, open_approval
from toolgate.enforcement import Verdict, authorise
from toolgate.models import Approval
from toolgate.publishing import publish_policy
from toolgate.types import Action, Call, Principal, Request, Resource

AGENT, SKILL = "build-refactor-agent", "workspacePatch"
ARGUMENTS = {"filePath": "a.py", "dryRun": False}
Rules = Iterable[dict[str, Any]]


class FakeSkill:
    """A skill by its contract: it remembers what it was run with."""

    def __init__(self, id_: str = SKILL) -> None:
        self.id = id_
        self.runs: list[Any] = []

    def run(self, arguments: Any, context: Any) -> str:
        self.runs.append((arguments, context))
        return "done"


def rule(id_: str, effect: str = "allow", **more: Any) -> dict[str, Any]:
    keys = ("domains", "readPaths", "writePaths", "arguments", "argumentBytes", "timeWindow", "tainted")
    conditions = {key: more.pop(key) for key in keys if key in more}
    return {"id": id_, "agent": AGENT, "skill": SKILL, "effect": effect, "conditions": conditions, **more}


def publish(*rules: dict[str, Any]) -> int:
    version = publish_policy(
        rules, author="olga", reason="for a test", base_version=current_version(), now=timezone.now()
    )
    return version.number


def make_call(
    *, task_id: str = "", arguments: Any = None, now: datetime | None = None, agent: str = AGENT, skill: str = SKILL,
    principal: dict[str, Any] | None = None, action: dict[str, Any] | None = None, tainted: bool = False,
    **resource: Any,
) -> Call:  # fmt: skip
    given = ARGUMENTS if arguments is None else arguments
    scalars = given if isinstance(given, dict) else {}
    return Call(
        request=Request(
            principal=Principal(agent_id=agent, version=3, **(principal or {})),
            action=Action(skill_id=skill, version="1.0", **(action or {})),
            resource=Resource(**({"arguments": scalars} | resource)),
            tainted=tainted,
        ),
        arguments=given,
        task_id=task_id or new_id(),
        trace_id="trace-1",
        submitted_by="olga",
        now=now or timezone.now(),
    )


def judge(call: Call) -> Verdict:
    """Authorise in a transaction of its own, as a worker does."""
    with write_transaction():
        return authorise(call)


def ask(call: Call, **options: Any) -> Approval:
    """Park `call`: the gate asks, and the question is opened beside it."""
    with write_transaction():
        verdict = authorise(call)
        assert verdict.approval_needed, verdict
        return open_approval(call, verdict, **options)


def in_threads[T](count: int, work: Callable[[int], T], *, threads: int = 8) -> list[T]:
    """Run `work` `count` times on real threads, each with a connection of its own."""

    def _work(number: int) -> T:
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(_work, range(count)))
