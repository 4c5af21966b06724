"""What the API reads and shows of what-ifs and shadow rules."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from audit.wire import format_at
from toolgate.editing.wire import Rules, VersionNumber
from toolgate.models import WhatIf
from toolgate.reading import WireModel
from toolgate.replay.trials import Trial


class WhatIfBody(WireModel):
    """Rules, whole, to hold against the history: beside a version, else the one in force; of some days, else of all."""

    rules: Rules
    base_version: VersionNumber | None = None
    since_days: Annotated[int, Field(ge=1, le=36_500)] | None = None


class WhatIfWire(WireModel):
    """A replay of the history; `result` is there once it is done."""

    what_if_id: str
    state: Literal["waiting", "running", "done", "failed"]
    base_version: int
    digest: str
    since: datetime | None
    asked_by: str
    created_at: datetime
    ended_at: datetime | None
    total: int  # decisions to look at
    done: int
    result: dict[str, Any] | None
    error: str | None


class ShadowWire(WireModel):
    """A rule that runs log-only, with the decisions that it would have turned; counted up to 10,000."""

    rule_id: str
    digest: str
    agent: str
    skill: str
    effect: Literal["allow", "ask", "deny"]
    count: int
    is_capped: bool
    since_version: int | None


class ShadowPage(WireModel):
    """All shadow rules of the version in force."""

    results: list[ShadowWire]


def what_if_to_wire(what_if: WhatIf) -> dict[str, Any]:
    """Return a what-if as the API shows it."""
    return {
        "whatIfId": what_if.id,
        "state": str(what_if.state),
        "baseVersion": what_if.base_version,
        "digest": what_if.digest,
        "since": format_at(what_if.since) if what_if.since else None,
        "askedBy": what_if.asked_by,
        "createdAt": format_at(what_if.created_at),
        "endedAt": format_at(what_if.ended_at) if what_if.ended_at else None,
        "total": what_if.total,
        "done": what_if.done,
        "result": what_if.result,
        "error": what_if.error or None,
    }


def trial_to_wire(trial: Trial) -> dict[str, Any]:
    """Return a shadow rule as the API shows it."""
    return {
        "ruleId": trial.rule.id,
        "digest": trial.digest,
        "agent": trial.rule.agent,
        "skill": trial.rule.skill,
        "effect": trial.rule.effect.value,
        "count": trial.count,
        "isCapped": trial.is_capped,
        "sinceVersion": trial.since.number if trial.since else None,
    }
