"""What is odd about a set of rules: findings that point at rules. PURE.

A finding is said only when it is certain; `toolgate.explaining.subsets` holds what "certain" means.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from toolgate.explaining.conditions import find_blind_tests, find_impossible
from toolgate.explaining.subsets import (
    is_covered_by,
    is_covered_where_touched,
    is_scope_inside,
    is_valid_throughout,
    touches_only_where,
)
from toolgate.fleet import SkillFacts
from toolgate.policy import ANY, ApprovalTerms, Limits, Policy, Rule
from toolgate.types import Effect

Severity = Literal["error", "warning", "note"]
SEVERITIES: dict[str, Severity] = {
    "unknown_agent": "error",
    "unknown_skill": "error",
    "never_matches": "error",
    "contradictory": "error",
    "ask_nobody": "error",
    "empty_list": "warning",
    "cannot_evaluate": "warning",
    "unreachable": "warning",
    "shadowed": "warning",
    "wildcard_allow": "warning",
    "open_danger": "warning",
    "unlimited_danger": "warning",
    "expired": "warning",
    "adds_only_limits": "note",
    "idle_condition": "note",
    "skill_without_rule": "note",
}
DANGERS = {"network": "reaches the network", "write_workspace": "writes files", "run_command": "runs commands"}
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is odd about the rules that `rule_ids` name; the first is the one to look at."""

    code: str
    severity: Severity
    rule_ids: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What the rules are held against."""

    policy: Policy
    skills: dict[str, SkillFacts]
    agent_ids: frozenset[str]
    now: datetime

    def skills_of(self, rule: Rule) -> list[SkillFacts]:
        return [facts for facts in self.skills.values() if rule.skill in {ANY, facts.id}]


def lint_policy(
    policy: Policy, *, skills: Iterable[SkillFacts], agent_ids: Iterable[str], now: datetime
) -> list[Finding]:
    """Return what is odd about `policy`, errors first, then by rule; an expired rule is told of that alone.

    `skills` and `agent_ids` are all there are.
    """
    ground = _Ground(
        policy=policy, skills={facts.id: facts for facts in skills}, agent_ids=frozenset(agent_ids), now=now
    )
    found = [finding for rule in policy.rules for finding in _lint_rule(rule, ground)]
    live = [rule for rule in policy.rules if not _is_over(rule, now)]
    found += _lint_pairs(live, ground)
    found += _lint_skills(live, ground)
    return sorted(found, key=lambda finding: (_ORDER[finding.severity], finding.rule_ids, finding.code))


def _find(code: str, sentence: str, *rules: Rule) -> Finding:
    return Finding(code=code, severity=SEVERITIES[code], rule_ids=tuple(rule.id for rule in rules), sentence=sentence)


def _is_over(rule: Rule, now: datetime) -> bool:
    return rule.valid_until is not None and rule.valid_until <= now


# --- one rule alone -------------------------------------------------------------------------------------------
def _lint_rule(rule: Rule, ground: _Ground) -> Iterator[Finding]:
    if _is_over(rule, ground.now):
        yield _find("expired", f"It holds no longer: its time was over at {rule.valid_until:%Y-%m-%d %H:%M %Z}.", rule)
        return
    yield from _lint_names(rule, ground)
    yield from _lint_conditions(rule, ground)
    yield from _lint_approvers(rule)
    if rule.effect is Effect.ALLOW:
        yield from _lint_danger(rule, ground)


def _lint_names(rule: Rule, ground: _Ground) -> Iterator[Finding]:
    if rule.agent != ANY and rule.agent not in ground.agent_ids:
        yield _find("unknown_agent", f"There is no agent {rule.agent}: it never matches.", rule)
    for agent_id in sorted(set(rule.except_agents or ()) - ground.agent_ids):
        yield _find("unknown_agent", f"It leaves out {agent_id}, and there is no such agent.", rule)
    if rule.skill != ANY and rule.skill not in ground.skills:
        yield _find("unknown_skill", f"There is no skill {rule.skill}: it never matches.", rule)


def _lint_conditions(rule: Rule, ground: _Ground) -> Iterator[Finding]:
    skills = ground.skills_of(rule)
    for code, sentence in find_impossible(rule, skills):
        yield _find(code, sentence, rule)
    if rule.effect is not Effect.ALLOW:
        for sentence in find_blind_tests(rule, skills):
            yield _find("cannot_evaluate", sentence, rule)


def _lint_approvers(rule: Rule) -> Iterator[Finding]:
    named, quorum = set(rule.approval.approvers or ()), rule.approval.quorum
    if named and not any(name.startswith("group:") for name in named) and quorum > len(named):
        sentence = f"It wants {quorum} people to approve and names {len(named)}: nobody can ever approve what it asks."
        yield _find("ask_nobody", sentence, rule)


def _lint_danger(rule: Rule, ground: _Ground) -> Iterator[Finding]:
    abilities = {ability for facts in ground.skills_of(rule) for ability in facts.capabilities if ability in DANGERS}
    if not abilities:
        return
    skill = "some skill" if rule.skill == ANY else rule.skill
    does = " and ".join(DANGERS[ability] for ability in sorted(abilities))
    if rule.agent == ANY:
        sentence = f"It allows every agent, those to come too, {skill}, which {does}."
        yield _find("wildcard_allow", sentence, rule)
    if rule.limits == Limits():
        yield _find("unlimited_danger", f"It allows {skill}, which {does}, without any limit.", rule)
    if "network" in abilities and rule.conditions.domains is None:
        yield _find("open_danger", f"It allows {skill}, which reaches the network, to go to any host.", rule)
    if "write_workspace" in abilities and rule.conditions.write_paths is None:
        yield _find("open_danger", f"It allows {skill}, which writes files, to write anywhere.", rule)


# --- two rules together ---------------------------------------------------------------------------------------
def _lint_pairs(live: list[Rule], ground: _Ground) -> Iterator[Finding]:
    enforced: dict[tuple[str, str, str], list[Rule]] = {}
    for rule in live:
        if not rule.shadow:
            for name in rule.conditions.domains or ("",):
                enforced.setdefault((rule.agent, rule.skill, name), []).append(rule)
    for rule in live:
        others = {other.id: other for key in _keys_around(rule) for other in enforced.get(key, ())}
        beside = [
            others[rule_id]
            for rule_id in sorted(others.keys() - {rule.id})
            if others[rule_id].effect in {Effect.DENY, rule.effect}
            and is_scope_inside(rule, others[rule_id])
            and is_valid_throughout(rule, others[rule_id], now=ground.now)
        ]
        yield from _lint_beside(rule, beside, ground)


def _keys_around(rule: Rule) -> Iterator[tuple[str, str, str]]:
    """Yield agent, skill and host of each rule that could hold all of `rule`; no host stands for any."""
    first = (rule.conditions.domains or ("",))[0]
    parts = first.removeprefix("*.").split(".")
    hosts = {"", first, *("*." + ".".join(parts[start:]) for start in range(1, len(parts)))}
    for agent, skill in {(agent, skill) for agent in (rule.agent, ANY) for skill in (rule.skill, ANY)}:
        yield from ((agent, skill, host) for host in hosts)


def _lint_beside(rule: Rule, beside: list[Rule], ground: _Ground) -> Iterator[Finding]:
    """Hold a rule against those that hold wherever and whenever it does."""
    if rule.effect is not Effect.DENY:
        deny = next((other for other in beside if other.effect is Effect.DENY and _is_stifled(rule, other)), None)
        if deny is not None:
            yield _tell_denied(rule, deny)
            return
    same = next((other for other in beside if _is_shadowed(rule, other, now=ground.now)), None)
    if same is not None:
        yield _tell_shadowed(rule, same)


def _is_stifled(rule: Rule, deny: Rule) -> bool:
    return _is_same_scope(rule, deny) or _is_unreachable(rule, deny)


def _is_same_scope(rule: Rule, deny: Rule) -> bool:
    is_same = (rule.agent, rule.skill, set(rule.except_agents or ())) == (
        deny.agent, deny.skill, set(deny.except_agents or ())
    )  # fmt: skip
    return is_same and not rule.shadow and touches_only_where(rule, deny) and touches_only_where(deny, rule)


def _is_unreachable(rule: Rule, deny: Rule) -> bool:
    """Say whether `deny` touches whatever `rule` covers and, if it asks, whatever it touches."""
    touched = rule.effect is Effect.ALLOW or touches_only_where(rule, deny)
    return touched and (rule.only_restricts or is_covered_where_touched(rule, deny))


def _is_shadowed(rule: Rule, other: Rule, *, now: datetime) -> bool:
    """Say whether `other` has the effect of `rule` on every call of it; of two that are alike the later id is."""
    if other.effect is not rule.effect or not _is_inside(rule, other):
        return False
    is_mutual = (
        not rule.shadow
        and is_scope_inside(other, rule)
        and is_valid_throughout(other, rule, now=now)
        and _is_inside(other, rule)
    )
    return not is_mutual or other.id < rule.id


def _is_inside(rule: Rule, other: Rule) -> bool:
    if rule.effect is Effect.ALLOW:
        return is_covered_by(rule, other)
    if rule.effect is Effect.DENY or rule.only_restricts:
        return touches_only_where(rule, other)
    return not other.only_restricts and touches_only_where(rule, other) and is_covered_by(rule, other)


def _tell_denied(rule: Rule, deny: Rule) -> Finding:
    if _is_same_scope(rule, deny):
        sentence = f"{deny.id} denies what it is about, under the same conditions: deny wins."
        return _find("contradictory", sentence, rule, deny)
    does = "allows" if rule.effect is Effect.ALLOW else "asks about"
    return _find("unreachable", f"Every call that it {does} is denied by {deny.id}.", rule, deny)


def _tell_shadowed(rule: Rule, other: Rule) -> Finding:
    does = {Effect.ALLOW: "allows", Effect.ASK: "asks about", Effect.DENY: "denies"}[rule.effect]
    extras = ["limits"] if rule.limits not in (Limits(), other.limits) else []
    extras += ["terms of approval"] if rule.approval not in (ApprovalTerms(), other.approval) else []
    if extras:
        sentence = f"It adds nothing but its {' and '.join(extras)}: {other.id} {does} all of its calls already."
        return _find("adds_only_limits", sentence, rule, other)
    return _find("shadowed", f"It adds nothing: {other.id} {does} all of its calls already.", rule, other)


# --- skills ---------------------------------------------------------------------------------------------------
def _lint_skills(live: list[Rule], ground: _Ground) -> Iterator[Finding]:
    permitted = {rule.skill for rule in live if not rule.only_restricts and not rule.shadow}
    for skill_id in sorted(ground.skills):
        if not permitted & {ANY, skill_id}:
            yield _find("skill_without_rule", f"No rule lets any agent use the skill {skill_id}.")
