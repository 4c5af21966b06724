"""What rules come to at a glance, before anybody knows a call's arguments. PURE."""

from collections.abc import Iterable

from toolgate.policy import Rule
from toolgate.types import Effect


def find_effect(rules: Iterable[Rule]) -> Effect | None:
    """Return what the enforced rules of a pair that are valid now come to in a clean task, None if none permits.

    Conditions are only what a call brings: a deny rule with conditions may leave room, one without leaves none.
    """
    listed = list(rules)
    if any(rule.effect is Effect.DENY and not _has_conditions(rule) for rule in listed):
        return Effect.DENY
    permitting = {rule.effect for rule in listed if not rule.only_restricts}
    return Effect.ASK if Effect.ASK in permitting else next(iter(permitting), None)


def _has_conditions(rule: Rule) -> bool:
    return any(value is not None for _, value in rule.conditions)
