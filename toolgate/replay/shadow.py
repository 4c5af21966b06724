"""What shadow rules would have turned of the live decisions: written down beside each, and counted.

A rule that is changed counts anew: what is counted is bound to its digest.
"""

from django.db.models import QuerySet

from toolgate.engine import CompiledPolicy
from toolgate.models import ShadowFlip
from toolgate.policy import rule_digest
from toolgate.records import recordable_id
from toolgate.types import Call, Decision

COUNTED_UP_TO = 10_000  # the newest; beyond it a page says "10,000+"
MAX_SHOWN = 20


def record_flips(decision_id: str, call: Call, decision: Decision, policy: CompiledPolicy) -> None:
    """Write down each shadow rule that would have turned `decision`, in the caller's transaction."""
    principal, action = call.request.principal, call.request.action
    flipping = {flip.rule_id for flip in decision.flips}
    entries = policy.entries_of(principal.agent_id, action.skill_id)
    digests = {entry.rule.id: rule_digest(entry.rule) for entry in entries if entry.rule.id in flipping}
    ShadowFlip.objects.bulk_create(
        ShadowFlip(
            rule_id=flip.rule_id,
            rule_digest=digests[flip.rule_id],
            decision_id=decision_id,
            task_id=call.task_id,
            agent_id=recordable_id(principal.agent_id),
            skill_id=recordable_id(action.skill_id),
            at=call.now,
            was=decision.effect.value,
            would=flip.effect.value,
            reason=flip.reason.value,
        )
        for flip in decision.flips
    )


def count_flips(rule_id: str, digest: str) -> int:
    """Return how many decisions a shadow rule would have turned, counted up to 10,001."""
    return len(flips_of(rule_id, digest).values_list("id")[: COUNTED_UP_TO + 1])


def list_flips(rule_id: str, digest: str, *, limit: int = MAX_SHOWN) -> list[ShadowFlip]:
    """Return the newest decisions that a shadow rule would have turned."""
    return list(flips_of(rule_id, digest)[:limit])


def flips_of(rule_id: str, digest: str) -> QuerySet[ShadowFlip]:
    """Return the decisions that a shadow rule would have turned, newest first."""
    return ShadowFlip.objects.filter(rule_id=rule_id, rule_digest=digest).order_by("-id")
