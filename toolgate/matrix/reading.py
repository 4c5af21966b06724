"""What the pages of the matrix show: the rules in force or a person's draft of them, one cell, one rule."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from toolgate.editing.diff import RuleChange
from toolgate.editing.drafts import find_open_draft
from toolgate.editing.versions import LastChange, find_last_change, list_editions, read_rules
from toolgate.fleet import AgentFacts, SkillFacts, get_fleet
from toolgate.in_force import policy_in_force
from toolgate.matrix.cells import Cell, Change, RuleIndex, find_change, find_main_rule, summarise_pair
from toolgate.models import DecisionRecord, PolicyDraft
from toolgate.policy import ANY, Rule, read_policy
from toolgate.words.rules import describe_rule

MAX_DECISIONS = 20
SCANNED_VERSIONS = 50
SCANNED_DECISIONS = 400  # newest ones that are looked through for those of one rule


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The rules that are looked at: those in force, or a person's draft beside the version that it was made on."""

    number: int  # the version in force
    rules: tuple[Rule, ...]
    draft: PolicyDraft | None  # the person's, whether it is looked at or not
    is_draft: bool  # it is looked at
    agents: tuple[AgentFacts, ...] = field(default_factory=lambda: get_fleet().list_agents())
    skills: tuple[SkillFacts, ...] = field(default_factory=lambda: get_fleet().list_skills())

    @cached_property
    def base(self) -> tuple[Rule, ...] | None:
        """What the draft was made on; None unless a draft is looked at."""
        if not self.is_draft or self.draft is None:
            return None
        if self.draft.base_version == self.number:
            return tuple(policy_in_force().policy.rules)
        return read_policy(read_rules(self.draft.base_version)).rules

    @cached_property
    def index(self) -> RuleIndex:
        """The rules by pair."""
        return RuleIndex(self.rules)

    @property
    def may_edit(self) -> bool:
        """Say whether an edit made here starts from what is seen: it does unless an open draft is looked away from."""
        return self.is_draft or self.draft is None

    def find_agent(self, agent_id: str) -> AgentFacts | None:
        """Return an agent, or None."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)

    def find_skill(self, skill_id: str) -> SkillFacts | None:
        """Return a skill, or None."""
        return next((skill for skill in self.skills if skill.id == skill_id), None)

    def find_rule(self, rule_id: str) -> Rule | None:
        """Return a rule, or None."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)


def look(author: str, source: str = "") -> Sight:
    """Return the rules to look at: the person's draft if there is one, unless `source` is "force"."""
    policy, draft = policy_in_force(), find_open_draft(author)
    is_draft = draft is not None and source != "force"
    rules = read_policy(draft.rules).rules if draft is not None and is_draft else policy.policy.rules
    return Sight(number=policy.version, rules=tuple(rules), draft=draft, is_draft=is_draft)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """A rule as lists show it."""

    rule: Rule
    sentence: str
    state: str = ""  # "shadow", "expired", "pending", or empty: it decides now
    change: Change = Change.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One cell with the rules behind it."""

    agent: AgentFacts
    skill: SkillFacts
    cell: Cell
    main: Rule | None  # the one rule that makes it up by itself
    own: tuple[Rule, ...]  # of exactly this pair, shadow rules left out
    lines: tuple[RuleLine, ...]  # those of exactly this pair first
    set_by: LastChange | None


def inspect_cell(sight: Sight, agent: AgentFacts, skill: SkillFacts, *, now: datetime) -> Inspection:
    """Return a cell as the inspector shows it."""
    found, own = sight.index.find(agent.id, skill.id), sight.index.find_own(agent.id, skill.id)
    before = None if sight.base is None else RuleIndex(sight.base).find(agent.id, skill.id)
    enforced, main = tuple(rule for rule in own if not rule.shadow), find_main_rule(own)
    gone = [rule for rule in before or () if rule.id not in {one.id for one in found}]
    lines = [*describe_rules(found, now=now, before=before), *(_describe_gone(rule) for rule in gone)]
    return Inspection(
        agent=agent,
        skill=skill,
        cell=summarise_pair(agent.id, skill, found, now=now),
        main=main,
        own=enforced,
        lines=tuple(sorted(lines, key=lambda line: ANY in (line.rule.agent, line.rule.skill))),
        set_by=find_last_change(main.id) if main else None,
    )


def describe_rules(rules: Iterable[Rule], *, now: datetime, before: Iterable[Rule] | None = None) -> list[RuleLine]:
    """Return a line for each rule; beside those of `before`, it says which of them differ."""
    old = None if before is None else {rule.id: rule for rule in before}
    return [
        RuleLine(
            rule=rule,
            sentence=describe_rule(rule),
            state=find_state(rule, now=now),
            change=Change.NONE if old is None else _compare(old.get(rule.id), rule),
        )
        for rule in rules
    ]


def _compare(before: Rule | None, rule: Rule) -> Change:
    return find_change([before] if before else [], [rule])


def _describe_gone(rule: Rule) -> RuleLine:
    return RuleLine(rule=rule, sentence=describe_rule(rule), change=Change.REMOVED)


def find_state(rule: Rule, *, now: datetime) -> str:
    """Return why a rule does not decide now, empty if it does."""
    if rule.shadow:
        return "shadow"
    if rule.valid_until is not None and rule.valid_until <= now:
        return "expired"
    return "pending" if rule.valid_from is not None and rule.valid_from > now else ""


def list_decisions_by(rule: Rule) -> list[DecisionRecord]:
    """Return the newest decisions that a rule made, of the newest few hundred that it could have made."""
    records = DecisionRecord.objects.order_by("-at", "-id")
    if rule.agent != ANY and rule.skill != ANY:
        records = records.filter(agent_id=rule.agent, skill_id=rule.skill)
    else:
        records = records.order_by("-id")  # begins with the time, and is indexed
    made = (record for record in records[:SCANNED_DECISIONS] if rule.id in record.deciding_rules)
    return [record for record, _ in zip(made, range(MAX_DECISIONS), strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEdition:
    """One version in which a rule changed."""

    number: int
    author: str
    at: datetime
    reason: str
    change: RuleChange


def list_changes_of(rule_id: str) -> list[RuleEdition]:
    """Return the versions, of the newest fifty, in which a rule changed; newest first."""
    found = []
    for edition in list_editions(limit=SCANNED_VERSIONS):
        version = edition.version
        found += [
            RuleEdition(
                number=version.number, author=version.author, at=version.created_at, reason=version.reason, change=one
            )
            for one in edition.diff.changes
            if one.rule_id == rule_id
        ]
    return found
