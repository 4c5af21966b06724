"""What the API and the console read from the gate."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from audit.ids import span_of
from toolgate import metrics
from toolgate.exceptions import ApprovalNotFound
from toolgate.glance import find_effect
from toolgate.in_force import policy_in_force
from toolgate.models import Approval, ApprovalState, DecisionRecord, PolicyVersion
from toolgate.policy import ANY, Rule
from toolgate.types import Effect

MAX_PAGE = 1001  # a page of a thousand, and one more to see whether there is a next
COUNTED_UP_TO = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What the policy lets an agent do with a skill in a clean task, at a glance; other conditions are in the rules."""

    skill_id: str
    effect: Effect
    calls_per_task: int | None
    rate_per_second: int | None
    domains: tuple[str, ...]
    rule_ids: tuple[str, ...]
    asks: tuple[str, ...] = ()  # what the rules that ask a person say of themselves

    def to_wire(self) -> dict[str, Any]:
        """Return the permission as the API shows it."""
        return {
            "skillId": self.skill_id,
            "effect": self.effect.value,
            "callsPerTask": self.calls_per_task,
            "ratePerSecond": self.rate_per_second,
            "domains": list(self.domains),
        }


# --- approvals ------------------------------------------------------------------------------------------------
def list_approvals(
    state: str | None = None,
    before: str = "",
    *,
    decided: bool | None = None,
    agents: Collection[str] | None = None,
    limit: int = 100,
) -> list[Approval]:
    """Return approvals, newest first; what waits (`decided=False`) the first to expire first.

    `agents` are those whose calls they are about, None for every one.

    `before` is the id of the last approval of the page before; ask for one more than a page to see if there is a next.
    """
    if decided is False:
        return list_waiting_approvals(limit=limit)
    rows = Approval.objects.order_by("-id")
    if decided:
        rows = rows.exclude(state=ApprovalState.PENDING)
    if state:
        rows = rows.filter(state=state)
    if agents is not None:
        rows = rows.filter(agent_id__in=agents)
    if before:
        rows = rows.filter(id__lt=before)
    return list(rows[: _bound(limit)])


def list_waiting_approvals(*, limit: int = 100) -> list[Approval]:
    """Return what waits for a person, the first to expire first."""
    pending = Approval.objects.filter(state=ApprovalState.PENDING)
    return list(pending.order_by("expires_at", "id")[: _bound(limit)])


def find_approval(approval_id: str) -> Approval | None:
    """Return one approval, or None."""
    return Approval.objects.filter(id=approval_id).first()


def get_approval(approval_id: str) -> Approval:
    """Return one approval. Raises: ApprovalNotFound."""
    approval = find_approval(approval_id)
    if approval is None:
        raise ApprovalNotFound(approval_id)
    return approval


def find_approvals_by_id(prefix: str, *, limit: int) -> list[Approval]:
    """Return approvals whose id begins so, newest first; nothing for what no id begins with."""
    try:
        span = span_of(prefix)
    except ValueError:
        return []
    return list(Approval.objects.filter(id__range=span).order_by("-id")[:limit])


def list_approvals_of_task(task_id: str) -> list[Approval]:
    """Return the approvals of one task, in the order they were asked."""
    return list(Approval.objects.filter(task_id=task_id).order_by("created_at", "id"))


def count_pending_approvals() -> int:
    """Return how many approvals wait for a person, counted up to 10,000."""
    return Approval.objects.filter(state=ApprovalState.PENDING)[:COUNTED_UP_TO].count()


# --- decisions ------------------------------------------------------------------------------------------------
def find_decision(decision_id: str) -> DecisionRecord | None:
    """Return one recorded decision, or None."""
    return DecisionRecord.objects.filter(id=decision_id).first()


def get_decision(decision_id: str) -> DecisionRecord:
    """Return one recorded decision. Raises: DecisionRecord.DoesNotExist."""
    return DecisionRecord.objects.get(id=decision_id)


def list_decisions_of_task(task_id: str, *, limit: int = MAX_PAGE) -> list[DecisionRecord]:
    """Return the decisions of one task, in the order they were made."""
    return list(DecisionRecord.objects.filter(task_id=task_id).order_by("at", "id")[:limit])


# --- policy ---------------------------------------------------------------------------------------------------
def list_policy_versions(before: int | None = None, *, limit: int = 100) -> list[PolicyVersion]:
    """Return the policy versions, newest first."""
    versions = PolicyVersion.objects.order_by("-number")
    if before is not None:
        versions = versions.filter(number__lt=before)
    return list(versions[: _bound(limit)])


def current_rules() -> tuple[int, list[dict[str, Any]]]:
    """Return the number of the policy in force and its rules in wire form: what an edit starts from."""
    newest = PolicyVersion.objects.order_by("-number").first()
    return (newest.number, list(newest.rules)) if newest else (0, [])


def list_permissions(agent_id: str, skill_ids: Iterable[str] | None = None) -> list[Permission]:
    """Return what the policy in force lets `agent_id` use now: of `skill_ids`, or of the skills that rules name."""
    now = timezone.now()
    rules = (rule for rule in policy_in_force().policy.rules if not rule.shadow and rule.is_valid_at(now))
    mine = [rule for rule in rules if rule.names(agent_id)]
    named = {rule.skill for rule in mine if rule.skill != ANY} if skill_ids is None else set(skill_ids)
    found = (_summarise(skill_id, [rule for rule in mine if rule.skill in {skill_id, ANY}]) for skill_id in named)
    return sorted((permission for permission in found if permission), key=lambda permission: permission.skill_id)


def count_permissions(agent_ids: Iterable[str]) -> dict[str, int]:
    """Return for each agent how many skills it may use, asking a person included."""
    return {agent_id: len(list_permissions(agent_id)) for agent_id in agent_ids}


def refresh_gauges(agent_ids: Iterable[str]) -> None:
    """Bring the gauges up to date with the store; called every few seconds by whoever keeps house."""
    metrics.set_gauges(pending=count_pending_approvals(), permissions=count_permissions(agent_ids))


def _summarise(skill_id: str, rules: list[Rule]) -> Permission | None:
    effect = find_effect(rules)
    if effect not in {Effect.ALLOW, Effect.ASK}:
        return None
    permitting = [rule for rule in rules if not rule.only_restricts]
    calls = [rule.limits.calls_per_task for rule in permitting if rule.limits.calls_per_task is not None]
    rates = [rule.limits.rate_per_second for rule in permitting if rule.limits.rate_per_second is not None]
    return Permission(
        skill_id=skill_id,
        effect=effect,
        calls_per_task=min(calls, default=None),
        rate_per_second=min(rates, default=None),
        domains=tuple(sorted({name for rule in permitting for name in rule.conditions.domains or ()})),
        rule_ids=tuple(sorted(rule.id for rule in permitting)),
        asks=tuple(rule.description for rule in permitting if rule.effect is Effect.ASK and rule.description),
    )


def _bound(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))
