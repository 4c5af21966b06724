"""Questions about a real skill, so that their arguments can be changed: the cast of the tests of whole approvals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from agents import registry
from tests.integration.gate_cast import ask, make_call, publish
from toolgate.approvals import decide_approval
from toolgate.fleet import get_fleet
from toolgate.in_force import forget_policy
from toolgate.models import Approval
from toolgate.types import Call, Resource

AGENT, SKILL = "normalization-agent", "normalizer"


@pytest.fixture
def fleet(transactional_db: None) -> Iterator[None]:
    """Give the fleet, and no rules yet."""
    registry.seed_agents(now=timezone.now())
    registry.forget_fleet()
    forget_policy()
    yield
    forget_policy()


def rule(id_: str, effect: str = "ask", *, conditions: dict[str, Any] | None = None, **approval: Any) -> dict[str, Any]:
    """Return a rule about the cast's agent and skill; `approval` are the terms of an ask rule."""
    more = {"approval": approval} if approval else {}
    return {"id": id_, "agent": AGENT, "skill": SKILL, "effect": effect, "conditions": conditions or {}, **more}


def when_strict(strict: bool = True) -> dict[str, Any]:
    return {"arguments": {"strict": {"equals": strict}}}


def arguments(word: str = "x", *, strict: bool = False) -> dict[str, Any]:
    """Return arguments as the skill reads them: what a task brings to the gate."""
    given = {"data": {"a": word}, "schema": {"a": {"type": "string"}}, "strict": strict}
    return dict(get_fleet().describe_call(AGENT, SKILL, given, tainted=False).arguments)


def call_of(word: str = "x", *, strict: bool = False, task_id: str = "", **more: Any) -> Call:
    return _make(arguments(word, strict=strict), task_id=task_id, **more)


def again(call: Call, **changes: Any) -> Call:
    """The same call, later: what a resumed task brings to the gate."""
    return _make(**({"task_id": call.task_id, "brought": call.arguments, "now": timezone.now()} | changes))


def _make(brought: Any, **more: Any) -> Call:
    call = make_call(arguments=brought, agent=AGENT, skill=SKILL, **more)
    resource = Resource(arguments={"strict": brought["strict"]})
    return replace(call, request=replace(call.request, resource=resource))


def asked(*rules: dict[str, Any], call: Call | None = None, **options: Any) -> tuple[Call, Approval]:
    """Publish rules, if any, and ask about a call."""
    if rules:
        publish(rule("may", "allow"), *rules)
    call = call or call_of()
    return call, ask(call, **options)


def answer(approval: Approval, user: str = "ana", *, approve: bool = True, **more: Any) -> Approval:
    """Answer, as the console and the API do."""
    return decide_approval(approval.id, approve=approve, user=user, **({"now": timezone.now()} | more))
