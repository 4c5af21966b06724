"""Decide: one pure function over the compiled rules. PURE.

policy ──compile_policy──▶ CompiledPolicy ──find_pair──▶ Pair ──▶ Cell of the moment ──decide──▶ Decision
"""

from dataclasses import replace
from datetime import datetime

from toolgate.entries import Entry, Reach
from toolgate.index import Cell, CompiledPolicy, Pair, Shelf, compile_policy, first_miss
from toolgate.types import Action, Decision, Effect, Flip, Limit, Principal, Reason, Request, Resource

__all__ = ["CompiledPolicy", "compile_policy", "decide", "deny"]

WORKING = frozenset({"enabled", "paused"})  # a paused agent is given no task; what it has begun goes on


def decide(policy: CompiledPolicy, request: Request, *, now: datetime) -> Decision:
    """Return what the rules come to for `request`, with the evidence. Whatever fails in here denies.

    `request.resource` is in normal form (`toolgate.normal`). By `now` a rule holds or does not; one that does not is as
    if it were not there.
    """
    try:
        return _decide(policy, request, now)
    except Exception as error:  # the edge of the gate: a defect in here must never open it
        return _deny_defect(policy.version, error)


def deny(version: int, reason: Reason, detail: str, rules: tuple[str, ...] = ()) -> Decision:
    """Return a refusal under policy `version`; without `rules` it is the default deny."""
    return Decision(effect=Effect.DENY, reason=reason, deciding_rules=rules, policy_version=version, detail=detail)


def _decide(policy: CompiledPolicy, request: Request, now: datetime) -> Decision:
    principal, action = request.principal, request.action
    if principal.status not in WORKING or not action.known or action.quarantined:
        return _deny_subject(policy.version, principal, action)
    pair = policy.find_pair(principal.agent_id, action.skill_id, tainted=request.tainted)
    if pair is None:
        return _deny_unnamed(policy.version, request)
    cell = pair.find_cell(now) if pair.timed else pair.cell
    decision = _judge(policy.version, request, cell)
    if pair.timed and decision.effect is Effect.DENY and not decision.deciding_rules:
        decision = _blame_time(decision, pair, request.resource, now)
    if not pair.shadows:
        return decision
    return replace(decision, flips=_find_flips(decision, cell, pair.shadows, request.resource, now))


def _judge(version: int, request: Request, cell: Cell) -> Decision:
    resource = request.resource
    denies = cell.denies.find_touching(resource) if cell.denies else None
    if denies:
        return _deny_by_rules(version, denies)
    permits = cell.permits.find_covering(resource)
    if not permits:
        return _deny_by_default(version, request, cell)
    asks = _find_asking(cell.asks, permits, resource) if cell.asks else []
    return _permit(version, asks, permits, resource)


def _find_asking(shelf: Shelf, permits: list[Entry], resource: Resource) -> list[Entry]:
    """Return the ask rules that touch a call, and if none of them permits it nor an allow rule does, those that do."""
    asks = shelf.find_touching(resource)
    if any(entry.rule.effect is Effect.ALLOW or entry in asks for entry in permits):
        return asks
    return sorted([*asks, *permits], key=lambda entry: entry.rule.id)


def _find_flips(
    decision: Decision, cell: Cell, shadows: list[Entry], resource: Resource, now: datetime
) -> tuple[Flip, ...]:
    """Return what each shadow rule would have made of it, were that one enforced beside the others."""
    flips = []
    for shadow in shadows:
        try:
            if shadow.find_stopped_clock(now):
                continue
            effect, reason = _judge_beside(decision, cell, shadow, resource)
        except Exception:  # a rule that decides nothing must not do so by failing
            effect, reason = Effect.DENY, Reason.SKILL_NOT_ALLOWED
        if effect is not decision.effect:
            flips.append(Flip(rule_id=shadow.rule.id, effect=effect, reason=reason))
    return tuple(flips)


def _judge_beside(decision: Decision, cell: Cell, shadow: Entry, resource: Resource) -> tuple[Effect, Reason]:
    """Return what `decision` would be with one rule more in its cell; the others need not be asked all over again."""
    same, rule = (decision.effect, decision.reason), shadow.rule
    is_denied = decision.effect is Effect.DENY
    if is_denied and decision.deciding_rules:
        return same
    if rule.effect is Effect.DENY:
        return (Effect.DENY, _reason_of(shadow)) if shadow.touches(resource) else same
    permits = not rule.only_restricts and shadow.covers(resource)
    if rule.effect is Effect.ALLOW and permits:
        asks = cell.asks.find_touching(resource) if cell.asks else []
        return (Effect.ASK, Reason.APPROVAL_REQUIRED) if asks else (Effect.ALLOW, Reason.ALLOWED)
    if rule.effect is Effect.ASK and (permits if is_denied else shadow.touches(resource)):
        return Effect.ASK, Reason.APPROVAL_REQUIRED
    return same


def _permit(version: int, asks: list[Entry], permits: list[Entry], resource: Resource) -> Decision:
    matching = [*permits, *[entry for entry in asks if entry not in permits]] if asks else permits
    ask_rule = asks[0].rule.id if asks else ""
    # What only an ask rule permits is out of reach unless that rule asks.
    giving = [entry for entry in permits if entry.rule.effect is Effect.ALLOW or entry in asks]
    return Decision(
        effect=Effect.ASK if asks else Effect.ALLOW,
        reason=Reason.APPROVAL_REQUIRED if asks else Reason.ALLOWED,
        deciding_rules=tuple([entry.rule.id for entry in asks or giving]),
        policy_version=version,
        limits=_limits_of(matching),
        detail=f"the rule {ask_rule} asks a person before this call" if asks else "",
        domains=_join_reach([entry.hosts for entry in giving], resource.hosts),
        read_scopes=_join_reach([entry.reads for entry in giving], resource.read_paths),
        write_scopes=_join_reach([entry.writes for entry in giving], resource.write_paths),
        terms=tuple([entry.terms for entry in asks]),
    )


def _limits_of(entries: list[Entry]) -> tuple[Limit, ...]:
    """Return every limit: a rule that is added never lifts another's."""
    if len(entries) == 1:
        return entries[0].limits
    return tuple([limit for entry in entries for limit in entry.limits])


def _join_reach(reaches: list[Reach], named: tuple[str, ...]) -> tuple[str, ...]:
    first = reaches[0]
    if len(reaches) == 1 and not (named and first.own):
        return first.listed
    listed = {item for reach in reaches for item in reach.listed}
    return tuple(sorted(listed.union(*(named for reach in reaches if reach.own))))


# --- refusals -------------------------------------------------------------------------------------------------
def _deny_subject(version: int, principal: Principal, action: Action) -> Decision:
    if principal.status == "unknown":
        return deny(version, Reason.AGENT_UNKNOWN, "there is no such agent")
    if principal.status == "stopped":
        return deny(version, Reason.AGENT_DISABLED, "the whole fleet is stopped")
    if principal.status == "quarantined":
        return deny(version, Reason.AGENT_QUARANTINED, f"the agent {principal.agent_id} is quarantined")
    if principal.status not in WORKING:
        return deny(version, Reason.AGENT_DISABLED, f"the agent {principal.agent_id} is {principal.status}")
    if not action.known:
        return deny(version, Reason.SKILL_UNKNOWN, "there is no such skill")
    return deny(version, Reason.SKILL_QUARANTINED, f"the skill {action.skill_id} is quarantined")


def _deny_defect(version: int, error: Exception) -> Decision:
    return deny(version, Reason.SKILL_NOT_ALLOWED, f"the rules could not be evaluated ({type(error).__name__})")


def _deny_by_rules(version: int, entries: list[Entry]) -> Decision:
    rules = tuple(entry.rule.id for entry in entries)
    return deny(version, _reason_of(entries[0]), f"the rule {rules[0]} denies this call", rules)


def _reason_of(entry: Entry) -> Reason:
    """Return the reason of what a deny rule refuses."""
    return entry.matchers[0].reason if entry.matchers else Reason.SKILL_NOT_ALLOWED


def _deny_unnamed(version: int, request: Request) -> Decision:
    detail = f"no rule lets {request.principal.agent_id} use {request.action.skill_id}"
    return deny(version, Reason.SKILL_NOT_ALLOWED, detail)


def _deny_by_default(version: int, request: Request, cell: Cell) -> Decision:
    resource = request.resource
    withheld = cell.withheld.find_covering(resource) if cell.withheld else []
    if withheld:
        rules = ", ".join(entry.rule.id for entry in withheld[:3])
        detail = (
            f"the task is tainted: text from outside came into it, and what allows this ({rules}) is for clean ones"
        )
        return deny(version, Reason.SKILL_NOT_ALLOWED, detail)
    entry = cell.permits.find_nearest(resource)
    if entry is None:
        return _deny_unnamed(version, request)
    matcher = entry.matchers[first_miss(entry, resource)]
    return deny(version, matcher.reason, f"{matcher.describe(resource)} by the rule {entry.rule.id}")


def _blame_time(decision: Decision, pair: Pair, resource: Resource, now: datetime) -> Decision:
    """Return the default deny with a reason of time, if that alone keeps a rule from permitting the call."""
    missed = [
        (entry, entry.find_stopped_clock(now)) for entry in pair.find_stopped_permits(now) if entry.covers(resource)
    ]
    # What will hold again is nearer than what is over for good.
    for reason in (Reason.OUTSIDE_TIME_WINDOW, Reason.GRANT_EXPIRED):
        for entry, clock in missed:
            if clock is not None and clock.reason is reason:
                detail = f"the rule {entry.rule.id} does not hold now: {clock.describe(now)}"
                return deny(decision.policy_version, reason, detail)
    return decision
