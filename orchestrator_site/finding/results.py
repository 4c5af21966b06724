"""What the palette finds: pages, deeds, and things by name or by the beginning of their id; bounded, and only what
the person may open.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from django.contrib.auth.models import User
from django.urls import reverse

from agents import queries as tasks
from agents import registry
from audit.exploring.queries import find_numbered
from audit.lease import get_head
from orchestrator_site.console import NAV
from orchestrator_site.finding.keys import GO
from orchestrator_site.finding.lists import LISTS
from orchestrator_site.finding.saved import address_of, list_views
from orchestrator_site.looks import APPROVAL_LOOKS, TASK_LOOKS
from orchestrator_site.roles import Permission
from toolgate import queries as gate
from toolgate.in_force import policy_in_force

MAX_QUERY: Final = 100
MAX_HITS: Final = 6  # of a group
_PART_OF_ID: Final = re.compile(r"[0-9a-f]{6,32}")
_NUMBER: Final = re.compile(r"#?([0-9]{1,15})")

# Pages that the navigation does not name.
_PAGES: Final = (
    ("Decided approvals", "console:approval_list", "inbox", Permission.APPROVALS_READ, "?show=decided"),
    ("Grants", "console:grants", "key", Permission.APPROVALS_READ, ""),
    ("History of the policy", "console:policy_history", "shield", Permission.POLICY_READ, ""),
    ("Compare versions of the policy", "console:policy_compare", "shield", Permission.POLICY_READ, ""),
    ("My draft of the rules", "console:policy_draft", "edit", Permission.POLICY_READ, ""),
    ("Fleet", "console:fleet", "stopped", Permission.AGENTS_READ, ""),
    ("Profile", "console:profile", "theme", Permission.TASKS_READ, ""),
    ("Security", "console:security", "key", Permission.TASKS_READ, ""),
    ("Sessions", "console:sessions", "key", Permission.TASKS_READ, ""),
    ("API tokens", "console:token_list", "key", Permission.TASKS_READ, ""),
    ("Users", "console:user_list", "key", Permission.USERS_WRITE, ""),
    ("Webhooks", "console:webhook_list", "live", Permission.WEBHOOKS_READ, ""),
    ("Deliveries of webhooks", "console:delivery_list", "live", Permission.WEBHOOKS_READ, ""),
    ("Saved views", "console:views", "search", Permission.TASKS_READ, ""),
    ("Keys and signs", "console:help", "info", Permission.TASKS_READ, ""),
)
_DEEDS: Final = (
    ("New task", "console:task_new", "plus", Permission.TASKS_WRITE, ""),
    ("Try a call against the rules", "console:explain", "play", Permission.POLICY_READ, ""),
    ("New rule", "console:rule_new", "plus", Permission.POLICY_WRITE, ""),
    ("Stop the fleet", "console:fleet", "stopped", Permission.FLEET_STOP, ""),
    ("Verify the audit trail", "console:trail_verify", "shield", Permission.AUDIT_EXPORT, ""),
    ("Export the audit trail", "console:trail_export", "file", Permission.AUDIT_EXPORT, ""),
    ("Change the cap", "console:cost", "coin", Permission.BUDGET_WRITE, ""),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One thing that was found, and where it is."""

    label: str
    href: str
    icon: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """One kind of thing: who may find it, and how it is looked for."""

    label: str
    permission: Permission
    find: Callable[["Asked"], Iterable[Hit]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is looked for, by whom."""

    text: str
    person: User
    granted: frozenset[Permission]

    @property
    def part_of_id(self) -> str:
        """What may be the beginning or the end of an id, else an empty text."""
        text = self.text.lower()
        return text if _PART_OF_ID.fullmatch(text) else ""

    def means(self, *texts: str) -> bool:
        """Say whether every word that was typed is in one of the texts."""
        told = " ".join(texts).lower()
        return all(word in told for word in self.text.lower().split())


def find(text: str, *, person: User, granted: frozenset[Permission]) -> list[tuple[str, list[Hit]]]:
    """Return what `text` finds, by kind, at most six of each; without a text the pages and deeds."""
    asked = Asked(text=text.strip()[:MAX_QUERY], person=person, granted=granted)
    finders = _FINDERS if asked.text else [one for one in _FINDERS if one.label in _WITHOUT_TEXT]
    found = ((one.label, _first(one.find(asked), asked)) for one in finders if one.permission in granted)
    return [(label, hits) for label, hits in found if hits]


def _first(hits: Iterable[Hit], asked: Asked) -> list[Hit]:
    most = MAX_HITS if asked.text else 2 * MAX_HITS
    return [hit for _, hit in zip(range(most), hits, strict=False)]


# --- by name ----------------------------------------------------------------------------------------------------
def _find_pages(asked: Asked) -> Iterator[Hit]:
    for _, items in NAV:
        for item in items:
            if item.permission in asked.granted and asked.means(item.label):
                key = GO.get(item.view, "")
                yield Hit(
                    label=item.label, href=reverse(item.view), icon=item.icon, note=f"G {key.upper()}" * bool(key)
                )
    if asked.text:
        yield from _list_links(_PAGES, asked)


def _find_deeds(asked: Asked) -> Iterator[Hit]:
    yield from _list_links(_DEEDS, asked)
    if not asked.text or Permission.TASKS_WRITE not in asked.granted:
        return
    for agent in registry.list_agents():
        label = f"New task for {agent.config.display_name}"
        if asked.means(label, agent.id):
            yield Hit(label=label, href=reverse("console:run_form", args=[agent.id]), icon="plus", note=agent.id)


def _list_links(links: Iterable[tuple[str, str, str, Permission, str]], asked: Asked) -> Iterator[Hit]:
    for label, view, icon, permission, query in links:
        if permission in asked.granted and asked.means(label):
            yield Hit(label=label, href=reverse(view) + query, icon=icon)


def _find_views(asked: Asked) -> Iterator[Hit]:
    for view in list_views(asked.person, asked.granted):
        one = LISTS[view.list]
        if asked.means(view.name, one.label):
            yield Hit(label=view.name, href=address_of(view), icon=one.icon, note=one.label)


def _find_agents(asked: Asked) -> Iterator[Hit]:
    for agent in registry.list_agents():
        name = agent.config.display_name
        if asked.means(agent.id, name):
            yield Hit(label=name, href=reverse("console:agent", args=[agent.id]), icon="agent", note=agent.id)


def _find_skills(asked: Asked) -> Iterator[Hit]:
    for skill in registry.list_skills():
        if asked.means(skill.id, skill.summary):
            yield Hit(label=skill.id, href=reverse("console:skill", args=[skill.id]), icon="skill", note=skill.summary)


def _find_rules(asked: Asked) -> Iterator[Hit]:
    for rule in policy_in_force().policy.rules:
        if asked.means(rule.id):
            note = f"{rule.effect} {rule.agent} → {rule.skill}"
            yield Hit(label=rule.id, href=reverse("console:rule", args=[rule.id]), icon="shield", note=note)


def _find_users(asked: Asked) -> Iterator[Hit]:
    users = User.objects.filter(username__startswith=asked.text).order_by("username")[:MAX_HITS]
    for user in users:
        yield Hit(label=user.username, href=reverse("console:user", args=[user.pk]), icon="key")


# --- by id ------------------------------------------------------------------------------------------------------
def _find_tasks(asked: Asked) -> Iterator[Hit]:
    for task in tasks.find_tasks_by_id(asked.part_of_id, limit=MAX_HITS):
        word, _, icon = TASK_LOOKS[task.state]
        label = f"{task.agent_id} → {task.skill_id}" if task.skill_id else task.agent_id
        href = reverse("console:task", args=[task.id])
        yield Hit(label=label, href=href, icon=icon, note=f"{word} · …{task.id[-8:]}")


def _find_approvals(asked: Asked) -> Iterator[Hit]:
    for approval in gate.find_approvals_by_id(asked.part_of_id, limit=MAX_HITS):
        word, _, icon = APPROVAL_LOOKS[approval.state]
        href = reverse("console:approval", args=[approval.id])
        yield Hit(label=f"{approval.agent_id} → {approval.skill_id}", href=href, icon=icon, note=word)


def _find_events(asked: Asked) -> Iterator[Hit]:
    number = _NUMBER.fullmatch(asked.text)
    if number and 1 <= int(number[1]) <= get_head().seq:
        yield _entry(int(number[1]), "")
    for seq, type_ in find_numbered(asked.part_of_id, limit=MAX_HITS):
        yield _entry(seq, type_)
    if asked.part_of_id:
        href = f"{reverse('console:event_list')}?q={quote(asked.text)}"
        yield Hit(label=f"Look for {asked.text} in the audit trail", href=href, icon="search")


def _entry(seq: int, type_: str) -> Hit:
    return Hit(label=f"Entry #{seq:,}", href=reverse("console:event", args=[seq]), icon="audit", note=type_)


_FINDERS: Final = (
    Finder(label="Tasks", permission=Permission.TASKS_READ, find=_find_tasks),
    Finder(label="Approvals", permission=Permission.APPROVALS_READ, find=_find_approvals),
    Finder(label="Pages", permission=Permission.TASKS_READ, find=_find_pages),
    Finder(label="Do", permission=Permission.TASKS_READ, find=_find_deeds),
    Finder(label="Saved views", permission=Permission.TASKS_READ, find=_find_views),
    Finder(label="Agents", permission=Permission.AGENTS_READ, find=_find_agents),
    Finder(label="Skills", permission=Permission.AGENTS_READ, find=_find_skills),
    Finder(label="Rules", permission=Permission.POLICY_READ, find=_find_rules),
    Finder(label="Users", permission=Permission.USERS_WRITE, find=_find_users),
    Finder(label="Audit trail", permission=Permission.AUDIT_READ, find=_find_events),
)
_WITHOUT_TEXT: Final = ("Pages", "Do", "Saved views")
