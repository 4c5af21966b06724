"""What a change of the rules can turn: the rules as they stand at one moment, and which of them differ. PURE."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from toolgate.engine import CompiledPolicy, compile_policy
from toolgate.policy import ANY, ApprovalTerms, Policy, Rule

WARM_UP = timedelta(hours=1)  # what is read before the first call that counts, so that counters are not empty there


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sets of rules as if both were in force at one moment, and what differs between them."""

    base: CompiledPolicy
    proposed: CompiledPolicy
    changed: tuple[Rule, ...]  # of either set, when the other has no such rule or has it otherwise
    left_out: tuple[str, ...]  # ids of proposed rules that decide nothing at that moment

    def find_changed(self, agent_id: str, skill_id: str) -> list[Rule]:
        """Return the rules that differ and are about this agent and skill; if there is none, nothing can turn."""
        return [rule for rule in self.changed if rule.names(agent_id) and rule.skill in {skill_id, ANY}]

    @property
    def warm_up(self) -> timedelta:
        """Return how far back counters of the calls to come can reach."""
        periods = [
            period for rule in self._rules() for period in (rule.limits.calls_per_period, rule.limits.bytes_per_period)
        ]
        return max((timedelta(seconds=period.seconds) for period in periods if period), default=WARM_UP)

    @property
    def weighs_arguments(self) -> bool:
        """Say whether some rule depends on how many bytes the arguments are."""
        return any(
            rule.conditions.argument_bytes or rule.limits.bytes_per_task or rule.limits.bytes_per_period
            for rule in self._rules()
        )

    def is_timed(self, agent_id: str, skill_id: str) -> bool:
        """Say whether some rule about this agent and skill holds at certain hours only."""
        return any(
            rule.conditions.time_window and rule.names(agent_id) and rule.skill in {skill_id, ANY}
            for rule in self._rules()
        )

    def _rules(self) -> Iterable[Rule]:
        return (*self.base.policy.rules, *self.proposed.policy.rules)


def compare(base: Policy, proposed: Policy, *, version: int, now: datetime) -> Comparison:
    """Return both sets of rules as they decide at `now`, and what differs; `version` is the number of the base."""
    before, after = as_of(base, now), as_of(proposed, now)
    kept = {rule.id for rule in after.rules}
    return Comparison(
        base=compile_policy(before, version),
        proposed=compile_policy(after, version),
        changed=find_changed(before, after),
        left_out=tuple(sorted(rule.id for rule in proposed.rules if rule.id not in kept)),
    )


def as_of(policy: Policy, now: datetime) -> Policy:
    """Return the rules that decide at `now`, as if they always had: no shadow, no validity, no words."""
    return Policy(rules=tuple(_essence(rule) for rule in policy.rules if rule.is_valid_at(now) and not rule.shadow))


def find_changed(before: Policy, after: Policy) -> tuple[Rule, ...]:
    """Return the rules of either set that the other has not, or has otherwise."""
    old, new = ({rule.id: rule for rule in policy.rules} for policy in (before, after))
    differ = [rule_id for rule_id in sorted(old.keys() | new.keys()) if old.get(rule_id) != new.get(rule_id)]
    return tuple(rules[rule_id] for rule_id in differ for rules in (old, new) if rule_id in rules)


def _essence(rule: Rule) -> Rule:
    # Who answers what a rule asks, and what it says of itself, turn no decision.
    plain = {"description": "", "approval": ApprovalTerms(), "valid_from": None, "valid_until": None}
    return rule.model_copy(update=plain)
