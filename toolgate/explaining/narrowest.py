"""The narrowest change of the rules by which one call would pass, or what stands in its way. PURE.

a deny rule, a person's no, a state of the agent …   ─▶ an obstacle: no rule that is added would help
a ceiling, a rate                                    ─▶ the same rule, its limit raised by the least that helps
an allow rule of the pair misses by one list         ─▶ that rule, with the missing hosts or paths and nothing else
else                                                 ─▶ a new rule for this call alone
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from toolgate.engine import compile_policy, decide
from toolgate.entries import compile_rule
from toolgate.exceptions import PolicyInvalid
from toolgate.explaining.conditions import FILES
from toolgate.fleet import SkillFacts
from toolgate.patterns import is_glob
from toolgate.policy import ANY, Policy, Rule, dump_rule, read_policy
from toolgate.types import Decision, Effect, Reason, Request, Resource
from toolgate.words.rules import describe_rule, list_names

MAX_ID = 100
LISTS: Final = {"domains": "hosts", "readPaths": "read_paths", "writePaths": "write_paths"}  # condition: of the call
_SUBJECTS: Final = {
    Reason.AGENT_UNKNOWN: "There is no such agent: no rule can let it do anything.",
    Reason.AGENT_DISABLED: "The agent is disabled: no rule is asked until it is enabled again.",
    Reason.AGENT_QUARANTINED: "The agent is quarantined: no rule is asked until that is taken back.",
    Reason.SKILL_UNKNOWN: "There is no such skill: no rule can make one.",
    Reason.SKILL_QUARANTINED: "The skill is quarantined: no rule is asked until that is taken back.",
    Reason.INPUT_INVALID: "The input is not as the skill wants it: no rule is asked about it. Send it right.",
    Reason.ADDRESS_NOT_ALLOWED: "The address it really led to is not allowed, and no rule can allow that.",
    Reason.APPROVAL_REJECTED: "A person refused this call: ask again, or talk to them.",
    Reason.APPROVAL_EXPIRED: "Nobody answered in time: retry the task, and it asks again.",
    Reason.APPROVAL_MISMATCH: "What was approved is not what was to run: retry the task, and it asks again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A rule in wire form that would let the call pass, in the place of the rule `replaces`; or an obstacle."""

    sentence: str = ""
    rule: Mapping[str, Any] | None = None
    replaces: str | None = None
    obstacle: str = ""  # what stands in the way, and what to do about it


def suggest(
    policy: Policy, request: Request, decision: Decision, *, now: datetime, skill: SkillFacts | None = None
) -> Suggestion | None:
    """Return the narrowest change that lets the call of `request` pass, None if it passes.

    `decision` is what `policy` made of it at `now`. Without `skill` it is taken for one that can do everything.
    """
    if decision.effect is Effect.ALLOW:
        return None
    mine = _rules_of(policy, request)
    obstacle = _find_obstacle(mine, request, decision)
    if obstacle:
        return Suggestion(obstacle=obstacle)
    wider = _widen_nearest(mine, request, now=now)
    if wider is not None:
        return wider
    return _write_rule(policy, mine, request, now=now, skill=skill)


def _rules_of(policy: Policy, request: Request) -> list[Rule]:
    agent_id, skills = request.principal.agent_id, {request.action.skill_id, ANY}
    return sorted((one for one in policy.rules if one.skill in skills and one.names(agent_id)), key=lambda one: one.id)


# --- what stands in the way -----------------------------------------------------------------------------------
def _find_obstacle(mine: list[Rule], request: Request, decision: Decision) -> str:
    rules = list_names(list(decision.deciding_rules))
    if decision.effect is Effect.ASK:
        return f"A person's approval is the way, by {rules}: a rule that allows does not change that."
    if decision.reason in _SUBJECTS and not decision.deciding_rules:
        return _SUBJECTS[decision.reason]
    if decision.deciding_rules:
        deny, are = ("denies", "it") if len(decision.deciding_rules) == 1 else ("deny", "them")
        return f"{rules} {deny} this call, and deny wins: no rule that is added can allow it. Change {are} first."
    withheld = [rule.id for rule in mine if _is_withheld(rule, request)]
    if withheld:
        return (
            f"The task is tainted, and {list_names(withheld)} allows this call to clean tasks only: text from outside "
            "must not give a task rights. Make the call in a task of its own."
        )
    return _find_unwritable(request.resource)


def _is_withheld(rule: Rule, request: Request) -> bool:
    is_for_clean = rule.effect is Effect.ALLOW and rule.conditions.tainted is False and not rule.shadow
    return request.tainted and is_for_clean and compile_rule(rule).covers(request.resource)


def _find_unwritable(resource: Resource) -> str:
    paths = [path for path in (*resource.read_paths, *resource.write_paths) if is_glob(path)]
    if paths:
        return (
            f"The name of the path {paths[0][:160]} holds a * or a ?, which in a rule would stand for other names too: "
            "rename the file, or write a rule for its folder."
        )
    return ""


# --- an allow rule that nearly covers -------------------------------------------------------------------------
def _widen_nearest(mine: list[Rule], request: Request, *, now: datetime) -> Suggestion | None:
    found = []
    for rule in mine:
        missing = _find_missing(rule, request, now=now)
        if missing is not None and compile_rule(missing.rule).covers(request.resource):
            found.append(missing)
    best = min(found, key=lambda missing: (len(missing.names), missing.rule.id), default=None)
    if best is None:
        return None
    added = list_names([name or "the whole workspace" for name in best.names])
    sentence = f"{best.rule.id}, with {added} added to its {best.label}, and its limits as they are."
    return _make(best.rule, sentence, _judge([*_without(mine, best.rule), best.rule], request, now=now), best.rule.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wider:
    rule: Rule
    names: tuple[str, ...]
    label: str


_LABELS: Final = {"domains": "hosts", "readPaths": "folders to read", "writePaths": "folders to write"}


def _find_missing(rule: Rule, request: Request, *, now: datetime) -> _Wider | None:
    """Return an allow rule of exactly this pair with what it misses, if that is names of one list alone."""
    exact = (rule.agent, rule.skill) == (request.principal.agent_id, request.action.skill_id)
    if not exact or rule.effect is not Effect.ALLOW or rule.shadow or compile_rule(rule).find_stopped_clock(now):
        return None
    if rule.conditions.tainted not in (None, request.tainted):
        return None
    wire, missed = dump_rule(rule), []
    if () in (rule.conditions.domains, rule.conditions.read_paths, rule.conditions.write_paths):
        return None  # a rule with an empty list is shut: opened, it would cover calls that name no path too
    for name, attribute in LISTS.items():
        listed, called = wire["conditions"].get(name), getattr(request.resource, attribute)
        if listed is not None:
            outside = [one for one in dict.fromkeys(called) if not _covers_alone(rule, attribute, one)]
            missed += [(name, outside)] if outside else []
    if len(missed) != 1:
        return None
    [(name, outside)] = missed
    wire["conditions"][name] = [*wire["conditions"][name], *outside]
    [wider] = read_policy([wire]).rules
    return _Wider(rule=wider, names=tuple(outside), label=_LABELS[name])


def _covers_alone(rule: Rule, attribute: str, name: str) -> bool:
    field = "domains" if attribute == "hosts" else attribute
    conditions = type(rule.conditions).model_validate({field: getattr(rule.conditions, field)})
    alone = rule.model_copy(update={"conditions": conditions})
    return compile_rule(alone).covers(replace(Resource(), **{attribute: (name,)}))  # type: ignore[arg-type]


# --- a new rule -----------------------------------------------------------------------------------------------
def _write_rule(
    policy: Policy, mine: list[Rule], request: Request, *, now: datetime, skill: SkillFacts | None
) -> Suggestion:
    resource = request.resource
    abilities = skill.capabilities if skill else frozenset({"network", "read_workspace", "write_workspace"})
    missing = _find_open_end(resource, abilities)
    if missing:
        return Suggestion(
            obstacle=f"This call names no {missing}, and a rule cannot ask for that: one that allows it would allow "
            f"any {missing} too. Write that rule yourself, if you mean it."
        )
    wire = {
        "id": _free_id(policy, request),
        "agent": request.principal.agent_id,
        "skill": request.action.skill_id,
        "effect": "allow",
        "description": "For one call that was refused",
        "conditions": _pin(resource, abilities) | ({} if request.tainted else {"tainted": False}),
        "limits": {"callsPerTask": _find_ceiling(mine, request)},
    }
    try:
        [rule] = read_policy([wire]).rules
    except PolicyInvalid as error:
        return Suggestion(obstacle=f"This call cannot be written down as a rule: {error.problems[0]}")
    decision = _judge([*mine, rule], request, now=now)
    if decision.effect is Effect.DENY:
        return Suggestion(obstacle="No rule that names this call alone would allow it.")
    return _make(rule, f"A new rule: {describe_rule(rule)}", decision)


def _make(rule: Rule, sentence: str, decision: Decision, replaces: str | None = None) -> Suggestion:
    if decision.effect is Effect.ASK:
        sentence += f" A person is still asked, by {list_names(list(decision.deciding_rules))}."
    return Suggestion(rule=dump_rule(rule), replaces=replaces, sentence=sentence)


def _find_open_end(resource: Resource, abilities: frozenset[str]) -> str:
    """Return what the call leaves open, and a rule for it would too: the skill can name it, and the call does not."""
    if "network" in abilities and not resource.hosts:
        return "host"
    has_paths = resource.read_paths or resource.write_paths
    return "" if has_paths or not abilities & (FILES["read"] | FILES["write"]) else "file"


def _pin(resource: Resource, abilities: frozenset[str]) -> dict[str, Any]:
    """Return conditions that this call meets and, as far as rules can tell them apart, no other."""
    both = [*resource.read_paths, *resource.write_paths]
    conditions: dict[str, Any] = {}
    if resource.hosts:
        conditions["domains"] = list(dict.fromkeys(resource.hosts))
    # A call that writes nothing now could be made to write: then only what it reads.
    if both and (resource.read_paths or abilities & FILES["read"]):
        conditions["readPaths"] = list(dict.fromkeys(resource.read_paths or both))
    if both and (resource.write_paths or "write_workspace" in abilities):
        conditions["writePaths"] = list(dict.fromkeys(resource.write_paths or both))
    tests = {name: {"equals": value} for name, value in _list_scalars(resource)}
    return conditions | ({"arguments": tests} if tests else {})


def _list_scalars(resource: Resource) -> Iterable[tuple[str, Any]]:
    for name, value in sorted(resource.arguments.items()):
        if isinstance(value, bool | int | float) or (isinstance(value, str) and not _is_pinned(value, resource)):
            yield name, value


def _is_pinned(text: str, resource: Resource) -> bool:
    """Say whether hosts and paths pin a text already: a URL or a path that names one of them."""
    if text.strip("/").removeprefix("./") in (*resource.read_paths, *resource.write_paths):
        return True
    try:
        return text in resource.hosts or urlsplit(text).hostname in resource.hosts
    except ValueError:
        return False


def _find_ceiling(mine: list[Rule], request: Request) -> int:
    """Return the calls a task of the pair's own allow rule with the lowest ceiling, else 1."""
    agent_id, skill_id = request.principal.agent_id, request.action.skill_id
    own = [rule for rule in mine if (rule.agent, rule.skill, rule.effect) == (agent_id, skill_id, Effect.ALLOW)]
    return min((rule.limits.calls_per_task for rule in own if rule.limits.calls_per_task), default=1)


def _free_id(policy: Policy, request: Request) -> str:
    taken = {rule.id for rule in policy.rules}
    stem = f"allow-{request.principal.agent_id}-{request.action.skill_id}".lower()[: MAX_ID - 6]
    numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (stem, *numbered) if name not in taken)


def _without(mine: list[Rule], rule: Rule) -> list[Rule]:
    return [other for other in mine if other.id != rule.id]


def _judge(rules: list[Rule], request: Request, *, now: datetime) -> Decision:
    return decide(compile_policy(Policy(rules=tuple(rules)), 0), request, now=now)
