"""Decide: one pure function over the compiled rules. PURE.

policy ──compile_policy──▶ CompiledPolicy ──find_cell──▶ Cell ──decide──▶ Decision
"""

from datetime import datetime

from toolgate.entries import Entry, Reach
from toolgate.index import Cell, CompiledPolicy, compile_policy, first_miss
from toolgate.types import Action, Decision, Effect, Limit, Principal, Reason, Request, Resource

__all__ = ["CompiledPolicy", "compile_policy", "decide", "deny"]

WORKING = frozenset({"enabled", "paused"})  # a paused agent is given no task; what it has begun goes on


def decide(policy: CompiledPolicy, request: Request, *, now: datetime) -> Decision:
    """Return what the rules come to for `request`, with the evidence. Whatever fails in here denies.

    `request.resource` is in normal form (`toolgate.normal`). `now` is for rules that hold for a time only.
    """
    try:
        return _decide(policy, request)
    except Exception as error:  # the edge of the gate: a defect in here must never open it
        detail = f"the rules could not be evaluated ({type(error).__name__})"
        return deny(policy.version, Reason.SKILL_NOT_ALLOWED, detail)


def deny(version: int, reason: Reason, detail: str, rules: tuple[str, ...] = ()) -> Decision:
    """Return a refusal under policy `version`; without `rules` it is the default deny."""
    return Decision(effect=Effect.DENY, reason=reason, deciding_rules=rules, policy_version=version, detail=detail)


def _decide(policy: CompiledPolicy, request: Request) -> Decision:
    principal, action, resource = request.principal, request.action, request.resource
    if principal.status not in WORKING or not action.known or action.quarantined:
        return _deny_subject(policy.version, principal, action)
    cell = policy.find_cell(principal.agent_id, action.skill_id, tainted=request.tainted)
    if cell is None:
        return _deny_unnamed(policy.version, request)
    denies = cell.denies.find_touching(resource) if cell.denies else None
    if denies:
        return _deny_by_rules(policy.version, denies)
    permits = cell.permits.find_covering(resource)
    if not permits:
        return _deny_by_default(policy.version, request, cell)
    asks = cell.asks.find_touching(resource) if cell.asks else []
    return _permit(policy.version, asks, permits, resource)


def _permit(version: int, asks: list[Entry], permits: list[Entry], resource: Resource) -> Decision:
    matching = [*permits, *[entry for entry in asks if entry not in permits]] if asks else permits
    ask_rule = asks[0].rule.id if asks else ""
    return Decision(
        effect=Effect.ASK if asks else Effect.ALLOW,
        reason=Reason.APPROVAL_REQUIRED if asks else Reason.ALLOWED,
        deciding_rules=tuple([entry.rule.id for entry in asks or permits]),
        policy_version=version,
        limits=_limits_of(matching),
        detail=f"the rule {ask_rule} asks a person before this call" if asks else "",
        domains=_join_reach([entry.hosts for entry in permits], resource.hosts),
        read_scopes=_join_reach([entry.reads for entry in permits], resource.read_paths),
        write_scopes=_join_reach([entry.writes for entry in permits], resource.write_paths),
        approval_rule=ask_rule,
        four_eyes=not asks or any(entry.rule.approval.four_eyes for entry in asks),
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
    if principal.status == "quarantined":
        return deny(version, Reason.AGENT_QUARANTINED, f"{principal.agent_id} is quarantined")
    if principal.status not in WORKING:
        return deny(version, Reason.AGENT_DISABLED, f"{principal.agent_id} is {principal.status}")
    if not action.known:
        return deny(version, Reason.SKILL_UNKNOWN, "there is no such skill")
    return deny(version, Reason.SKILL_QUARANTINED, f"{action.skill_id} is quarantined")


def _deny_by_rules(version: int, entries: list[Entry]) -> Decision:
    rules = tuple(entry.rule.id for entry in entries)
    matchers = entries[0].matchers
    reason = matchers[0].reason if matchers else Reason.SKILL_NOT_ALLOWED
    return deny(version, reason, f"the rule {rules[0]} denies this call", rules)


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
