"""The policy in force, compiled once a process and looked after twice a second."""

import logging
from dataclasses import dataclass
from time import monotonic

from toolgate.engine import CompiledPolicy, compile_policy
from toolgate.exceptions import PolicyInvalid
from toolgate.models import PolicyVersion
from toolgate.policy import Policy, policy_digest, read_policy

CHECK_EVERY_SECONDS = 0.5
NO_POLICY = compile_policy(Policy(rules=()), 0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    policy: CompiledPolicy
    stamp: tuple[int, str]  # number and digest: a number alone would not tell a version from one rolled back
    checked_at: float


class PolicyCache:
    """Holds the newest compiled policy of one process; safe to share between threads."""

    def __init__(self) -> None:
        self._held: _Held | None = None
        self._generation = 0

    def get(self) -> CompiledPolicy:
        """Return the newest policy, at most half a second old; before any was published one that denies everything."""
        held = self._held
        if held is None or monotonic() - held.checked_at >= CHECK_EVERY_SECONDS:
            held = self._look_again(held)
        return held.policy

    def forget(self) -> None:
        """Make the next decision look for a newer policy at once."""
        self._generation += 1
        self._held = None

    def _look_again(self, held: _Held | None) -> _Held:
        now, generation = monotonic(), self._generation
        newest = PolicyVersion.objects.order_by("-number").values_list("number", "digest").first() or (0, "")
        policy = held.policy if held is not None and held.stamp == newest else _load(newest[0])
        held = _Held(policy=policy, stamp=newest, checked_at=now)
        if generation == self._generation:  # else a newer one was published while this one was read
            self._held = held
        return held


def _load(number: int) -> CompiledPolicy:
    if number == 0:
        return NO_POLICY
    try:
        version = PolicyVersion.objects.get(number=number)
        policy = read_policy(version.rules)
        if policy_digest(policy) != version.digest:
            raise PolicyInvalid(["the rules are not those that were published"])
    except (PolicyInvalid, TypeError, ValueError) as error:  # no rules, no list, no JSON
        _log.critical("policy unreadable", extra={"action": "policy.unreadable", "number": number, "why": str(error)})
        policy = Policy(rules=())  # nothing is allowed by rules that cannot be trusted
    return compile_policy(policy, number)


_cache = PolicyCache()
policy_in_force = _cache.get
forget_policy = _cache.forget
