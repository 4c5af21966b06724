"""A policy compiled for deciding: its rules by agent and skill, and in a big cell by host and folder. PURE.

CompiledPolicy ──find_pair──▶ Pair ──cell, or find_cell for a moment──▶ Cell ──▶ Shelf of rules of one kind
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from toolgate.entries import Entry, bound_reach, compile_rule
from toolgate.patterns import base_of
from toolgate.policy import ANY, Policy
from toolgate.types import Effect, LimitKind, Reason, Resource

MAX_CACHED_PAIRS = 4096
MAX_CACHED_CELLS = 64  # of one pair: the rules of a moment
SCAN_UP_TO = 12  # entries; below it asking every rule is quicker than looking up who to ask

# A rule whose conditions hold up to a later stage is a nearer miss.
_STAGES = {Reason.DOMAIN_NOT_ALLOWED: 0, Reason.READ_PATH: 1, Reason.WRITE_PATH: 2, Reason.ARGUMENT_NOT_ALLOWED: 3}

Table = dict[str, list[Entry]]


class Shelf:
    """Some rules of one agent and skill, ordered by id; which of them cover or touch a call?

    A big shelf asks only the rules about the call's hosts, or about folders around its paths, and the rest.
    """

    __slots__ = ("_above", "_domains", "_entries", "_firsts", "_folders", "_loose")

    def __init__(self, entries: Iterable[Entry]):
        self._entries = sorted(entries, key=lambda entry: entry.rule.id)
        self._domains: Table = {}
        self._folders: Table = {}
        self._above: Table = {}  # the folders that a named folder lies in
        self._loose: list[Entry] = []
        self._firsts: list[Entry] = []
        if len(self._entries) > SCAN_UP_TO:
            self._sort_in()

    def find_covering(self, resource: Resource) -> list[Entry]:
        """Return the rules that cover `resource`, by id."""
        return [entry for entry in self._near(resource) if entry.covers(resource)]

    def find_touching(self, resource: Resource) -> list[Entry]:
        """Return the rules that touch `resource`, by id."""
        if len(self._entries) <= SCAN_UP_TO:
            return [entry for entry in self._entries if entry.touches(resource)]
        found = [self._loose]
        if self._domains:
            hosts = resource.hosts
            found += [self._domains[key] for host in hosts for key in _domain_keys(host) if key in self._domains]
        if self._folders:
            paths = resource.read_paths
            found += [self._folders[key] for path in paths for key in _folder_keys(path) if key in self._folders]
            found += [self._above[path] for path in paths if path in self._above]
        return [entry for entry in _merge(found) if entry.touches(resource)]

    def find_nearest(self, resource: Resource) -> Entry | None:
        """Return the rule that came nearest to covering `resource`, none of them having done so."""
        candidates = [*self._near(resource), *self._firsts]
        return min(candidates, key=lambda entry: (-_stage(entry, resource), entry.rule.id), default=None)

    def _near(self, resource: Resource) -> list[Entry]:
        """Return the rules that could cover `resource`: those about its first host or path, and the rest."""
        if len(self._entries) <= SCAN_UP_TO:
            return self._entries
        found = [self._loose]
        if self._domains and resource.hosts:
            found += [self._domains[key] for key in _domain_keys(resource.hosts[0]) if key in self._domains]
        if self._folders and resource.read_paths:
            found += [self._folders[key] for key in _folder_keys(resource.read_paths[0]) if key in self._folders]
        elif self._folders:  # a call that reads nothing is inside every folder
            found += self._folders.values()
        return _merge(found)

    def _sort_in(self) -> None:
        for entry in self._entries:
            conditions = entry.rule.conditions
            if conditions.domains:
                _add(self._domains, conditions.domains, entry)
            elif conditions.domains is None and "" not in (folders := _bases_of(conditions.read_paths)):
                _add(self._folders, folders, entry)
                _add(self._above, {key for path in folders for key in _folder_keys(path)[1:]}, entry)
            else:
                self._loose.append(entry)
        # Of rules that are not near, all about hosts (or folders) miss alike: the first stands for them.
        self._firsts = [_merge(list(table.values()))[0] for table in (self._domains, self._folders) if table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The rules of one agent and skill that count together, for tasks that are tainted or for those that are clean."""

    denies: Shelf | None
    asks: Shelf | None
    permits: Shelf  # allow, and ask that is not about taint
    withheld: Shelf | None  # what would permit if the task were clean


class Pair:
    """All rules of one agent and skill, wildcards included, at any time, for tainted tasks or for clean ones."""

    __slots__ = ("_cells", "_enforced", "_timed_permits", "_withheld", "cell", "shadows", "timed")

    def __init__(self, entries: list[Entry], *, tainted: bool):
        entries = sorted(entries, key=lambda entry: entry.rule.id)
        matching = [entry for entry in entries if entry.rule.conditions.tainted in (None, tainted)]
        enforced = [entry for entry in entries if not entry.rule.shadow]
        self._enforced = [entry for entry in matching if not entry.rule.shadow]
        self._withheld = [entry for entry in enforced if tainted and entry.rule.conditions.tainted is False]
        self._cells: dict[tuple[bool, ...], Cell] = {}
        self.timed = [entry for entry in (*self._enforced, *self._withheld) if entry.clocks]
        self._timed_permits = [entry for entry in self._enforced if entry.clocks and not entry.rule.only_restricts]
        self.shadows = [entry for entry in matching if entry.rule.shadow]
        self.cell = _join_entries(self._enforced, self._withheld)  # good at any time if no rule is timed

    def find_cell(self, now: datetime) -> Cell:
        """Return the rules that hold at `now`."""
        holding = tuple([entry.find_stopped_clock(now) is None for entry in self.timed])
        try:
            return self._cells[holding]
        except KeyError:
            if len(self._cells) >= MAX_CACHED_CELLS:
                self._cells.clear()
            stopped = {entry for entry, holds in zip(self.timed, holding, strict=True) if not holds}
            cell = _join_entries(_leave_out(stopped, self._enforced), _leave_out(stopped, self._withheld))
            return self._cells.setdefault(holding, cell)

    def find_stopped_permits(self, now: datetime) -> list[Entry]:
        """Return the rules that would permit something at another time, by id."""
        return [entry for entry in self._timed_permits if entry.find_stopped_clock(now)]


class CompiledPolicy:
    """One version of the policy, ready to decide. Shared between threads; only its caches change."""

    __slots__ = ("_entries", "_pairs", "_spending", "policy", "version")

    def __init__(self, policy: Policy, version: int):
        self.policy = policy
        self.version = version
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        self._pairs: dict[tuple[str, str, bool], Pair | None] = {}
        for rule in policy.rules:
            self._entries.setdefault((rule.agent, rule.skill), []).append(compile_rule(rule))
        self._spending = {
            key for key, entries in self._entries.items() if any(_limits_spending(entry) for entry in entries)
        }

    def find_pair(self, agent_id: str, skill_id: str, *, tainted: bool) -> Pair | None:
        """Return the rules of this pair, or None if no rule names it."""
        key = (agent_id, skill_id, tainted)
        try:
            return self._pairs[key]
        except KeyError:
            if len(self._pairs) >= MAX_CACHED_PAIRS:
                self._pairs.clear()
            entries = self.entries_of(agent_id, skill_id)
            return self._pairs.setdefault(key, Pair(entries, tainted=tainted) if entries else None)

    def entries_of(self, agent_id: str, skill_id: str) -> list[Entry]:
        """Return every rule that is about this pair, by id: in the shadow, out of its time, for other tasks too."""
        found = [entry for key in _keys_of(agent_id, skill_id) for entry in self._entries.get(key, ())]
        return sorted((entry for entry in found if entry.rule.names(agent_id)), key=lambda entry: entry.rule.id)

    def needs_spending(self, agent_id: str, skill_id: str) -> bool:
        """Say whether a limit of this pair counts money, so that a call has to bring what was spent."""
        return bool(self._spending) and not self._spending.isdisjoint(_keys_of(agent_id, skill_id))


def compile_policy(policy: Policy, version: int) -> CompiledPolicy:
    """Return `policy` ready to decide; `version` is stamped on every decision."""
    return CompiledPolicy(policy, version)


def first_miss(entry: Entry, resource: Resource) -> int:
    """Return the place of the first condition of `entry` that does not cover `resource`."""
    return next(place for place, matcher in enumerate(entry.matchers) if not matcher.covers(resource))


def _join_entries(entries: list[Entry], withheld: list[Entry]) -> Cell:
    denies = [entry for entry in entries if entry.rule.effect is Effect.DENY]
    asks = [bound_reach(entry, denies) for entry in entries if entry.rule.effect is Effect.ASK]
    allows = [bound_reach(entry, [*denies, *asks]) for entry in entries if entry.rule.effect is Effect.ALLOW]
    return Cell(
        denies=Shelf(denies) if denies else None,
        asks=Shelf(asks) if asks else None,
        permits=Shelf([*(entry for entry in asks if not entry.rule.only_restricts), *allows]),
        withheld=Shelf(withheld) if withheld else None,
    )


def _leave_out(stopped: set[Entry], entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry not in stopped]


def _keys_of(agent_id: str, skill_id: str) -> set[tuple[str, str]]:
    return {(agent, skill) for agent in (agent_id, ANY) for skill in (skill_id, ANY)}


def _limits_spending(entry: Entry) -> bool:
    return any(limit.kind in {LimitKind.SPEND_PER_TASK, LimitKind.SPEND_PER_DAY} for limit in entry.limits)


def _stage(entry: Entry, resource: Resource) -> int:
    return _STAGES[entry.matchers[first_miss(entry, resource)].reason]


def _domain_keys(host: str) -> list[str]:
    """Return the patterns that match `host`: itself, and a wildcard for each domain it lies in."""
    keys, domain = [host], host
    while domain := domain.partition(".")[2]:
        keys.append("*." + domain)
    return keys


def _folder_keys(path: str) -> list[str]:
    """Return `path` and every folder it lies in, the workspace ("") last."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _bases_of(places: tuple[str, ...] | None) -> set[str]:
    """Return the folders that all lies in which `places` can name; without any, the whole workspace."""
    return {base_of(place) for place in places} if places else {""}


def _add(table: Table, keys: Iterable[str], entry: Entry) -> None:
    for key in set(keys):
        table.setdefault(key, []).append(entry)


def _merge(lists: list[list[Entry]]) -> list[Entry]:
    """Return the entries of all lists, by id, each once."""
    filled = [entries for entries in lists if entries]
    if len(filled) <= 1:
        return filled[0] if filled else []
    found = {entry.rule.id: entry for entries in filled for entry in entries}
    return [found[rule_id] for rule_id in sorted(found)]
