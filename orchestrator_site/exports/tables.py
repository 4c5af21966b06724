"""The lists that can be taken out: which columns each has, whom it is open to, and where its rows come from."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from agents import queries, registry
from agents.bulk.reading import find_bulk, iterate_items
from agents.listing.filters import read_filters
from agents.models import AgentVersion, BulkRun, DailyCost
from agents.outbound.receivers import show_receiver
from agents.skills.base import Skill
from audit.wire import format_at
from orchestrator_site.models import ApiToken
from orchestrator_site.roles import Permission
from orchestrator_site.templatetags.console import call_title
from orchestrator_site.webhooks import queries as webhooks
from toolgate.in_force import policy_in_force
from toolgate.inbox.listing import iterate_approvals, read_inbox_filters
from toolgate.inbox.standing import person_of
from toolgate.models import Grant, PolicyVersion
from toolgate.policy import dump_rule
from toolgate.queries import list_permissions

CHUNK: Final = 200  # rows in memory at once
_UPPER: Final = re.compile("[A-Z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The rows of one export, with the filters that they passed, under the names that addresses use."""

    rows: Iterable[Any]
    filters: dict[str, str] = field(default_factory=dict)


Column = str | Callable[[Any], Any]  # the attribute of a row that it shows, or how it is made of a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A list as a file: its columns in order, and its rows."""

    name: str
    permission: Permission
    read: Callable[[HttpRequest], Source]
    columns: Mapping[str, Column]

    def show(self, row: Any) -> dict[str, Any]:
        """Return one row under the names of its columns, as JSON can hold it."""
        return {name: _show(column, row) for name, column in self.columns.items()}


def _show(column: Column, row: Any) -> Any:
    value = getattr(row, column) if isinstance(column, str) else column(row)
    return format_at(value) if isinstance(value, datetime) else value


# --- rows -------------------------------------------------------------------------------------------------------
def _read_tasks(request: HttpRequest) -> Source:
    filters = read_filters(request.GET).filters
    rows = queries.filter_tasks(filters).defer("result").iterator(chunk_size=CHUNK)
    return Source(rows=rows, filters=filters.describe())


def _read_bulk(request: HttpRequest) -> Source:
    bulk_id = request.GET.get("run", "")
    run = find_bulk(bulk_id)
    return Source(rows=iterate_items(run) if run else (), filters={"run": bulk_id})


def _read_approvals(request: HttpRequest) -> Source:
    filters, is_decided = read_inbox_filters(request.GET), request.GET.get("show") == "decided"
    rows = iterate_approvals(filters, person_of(request.user), is_decided=is_decided, now=timezone.now())
    shown = {"show": "decided"} if is_decided else {}
    return Source(rows=rows, filters=filters.describe() | shown)


def _read_grants(request: HttpRequest) -> Source:
    return Source(rows=Grant.objects.order_by("-id").iterator(chunk_size=CHUNK))


def _read_rules(request: HttpRequest) -> Source:
    policy = policy_in_force()
    return Source(rows=policy.policy.rules, filters={"version": str(policy.version)})


def _read_policy_versions(request: HttpRequest) -> Source:
    return Source(rows=PolicyVersion.objects.order_by("-number").iterator(chunk_size=CHUNK))


def _read_agents(request: HttpRequest) -> Source:
    return Source(rows=registry.list_agents())


def _read_agent_versions(request: HttpRequest) -> Source:
    agent_id = request.GET.get("agent", "")
    rows = AgentVersion.objects.filter(agent_id=agent_id).order_by("-version")
    return Source(rows=rows.iterator(chunk_size=CHUNK), filters={"agent": agent_id})


def _read_skills(request: HttpRequest) -> Source:
    return Source(rows=registry.list_skills())


def _read_costs(request: HttpRequest) -> Source:
    first = timezone.now().date().replace(day=1)
    rows = DailyCost.objects.filter(day__gte=first).order_by("day", "agent_id", "model")
    return Source(rows=rows.iterator(chunk_size=CHUNK), filters={"month": f"{first:%Y-%m}"})


def _read_deliveries(request: HttpRequest) -> Source:
    filters = webhooks.read_filters(request.GET)
    rows = webhooks.filter_deliveries(**filters).iterator(chunk_size=CHUNK)
    return Source(rows=rows, filters={name: value for name, value in filters.items() if value})


def _read_webhooks(request: HttpRequest) -> Source:
    return Source(rows=webhooks.list_subscriptions())


def _read_bulk_runs(request: HttpRequest) -> Source:
    return Source(rows=BulkRun.objects.order_by("-created_at", "-id").iterator(chunk_size=CHUNK))


def _read_users(request: HttpRequest) -> Source:
    role = request.GET.get("role", "")
    users = User.objects.filter(groups__name=role) if role else User.objects.all()
    rows = users.order_by("username").prefetch_related("groups").iterator(chunk_size=CHUNK)
    return Source(rows=rows, filters={"role": role} if role else {})


def _read_tokens(request: HttpRequest) -> Source:
    return Source(rows=ApiToken.objects.select_related("owner").order_by("-pk").iterator(chunk_size=CHUNK))


# --- columns ----------------------------------------------------------------------------------------------------
def _list_effects(agent: registry.RegisteredAgent) -> dict[str, str]:
    skills = [skill.id for skill in registry.list_skills()]
    return {one.skill_id: one.effect.value for one in list_permissions(agent.id, skills)}


def _list_users(skill: Skill) -> dict[str, str]:
    found = ((agent.id, list_permissions(agent.id, [skill.id])) for agent in registry.list_agents())
    return {agent_id: permissions[0].effect.value for agent_id, permissions in found if permissions}


def _columns(names: str, **made: Column) -> dict[str, Column]:
    """Return columns in order; one that is not `made` shows the attribute of its name: task_id as taskId."""
    return {name: made.get(name, _UPPER.sub(r"_\g<0>", name).lower()) for name in names.split()}


def _of_config(name: str) -> Column:
    return lambda agent: getattr(agent.config, name)


TABLES: Final = (
    Table(
        name="tasks",
        permission=Permission.TASKS_READ,
        read=_read_tasks,
        columns=_columns(
            "taskId status agentId skillId about submittedBy priority attempt createdAt startedAt endedAt errorCode "
            "errorReason errorMessage costMicro parentTaskId traceId",
            taskId="id",
            status="state",
            about=call_title,
        ),
    ),
    Table(
        name="bulk",
        permission=Permission.TASKS_READ,
        read=_read_bulk,
        columns=_columns("taskId outcome refusal at", outcome=lambda item: "refused" if item.refusal else "done"),
    ),
    Table(
        name="approvals",
        permission=Permission.APPROVALS_READ,
        read=_read_approvals,
        columns=_columns(
            "approvalId state kind taskId agentId skillId ruleId submittedBy createdAt expiresAt escalatedAt decidedBy "
            "decidedAt note",
            approvalId="id",
        ),
    ),
    Table(
        name="grants",
        permission=Permission.APPROVALS_READ,
        read=_read_grants,
        columns=_columns(
            "grantId approvalId agentId skillId taskId rules grantedBy uses createdAt expiresAt revokedAt revokedBy",
            grantId="id",
            rules=lambda grant: sorted(grant.rules),
        ),
    ),
    Table(
        name="rules",
        permission=Permission.POLICY_READ,
        read=_read_rules,
        columns=_columns(
            "ruleId agentId skillId effect shadow description rule",
            ruleId="id",
            agentId="agent",
            skillId="skill",
            effect=lambda rule: rule.effect.value,
            rule=dump_rule,
        ),
    ),
    Table(
        name="policy-versions",
        permission=Permission.POLICY_READ,
        read=_read_policy_versions,
        columns=_columns(
            "version rules digest author reason createdAt restoredFrom",
            version="number",
            rules=lambda version: len(version.rules),
        ),
    ),
    Table(
        name="agents",
        permission=Permission.AGENTS_READ,
        read=_read_agents,
        columns=_columns(
            "agentId name status tier model skills concurrent timeoutSeconds retries version",
            agentId="id",
            name=_of_config("display_name"),
            status=lambda agent: agent.status.value,
            tier=lambda agent: agent.config.tier.value,
            model=lambda agent: settings.MODEL_TIERS[agent.config.tier.value],
            skills=_list_effects,
            concurrent=_of_config("concurrent"),
            timeoutSeconds=_of_config("timeout_seconds"),
            retries=_of_config("retries"),
        ),
    ),
    Table(
        name="agent-versions",
        permission=Permission.AGENTS_READ,
        read=_read_agent_versions,
        columns=_columns("agentId version author reason createdAt config"),
    ),
    Table(
        name="skills",
        permission=Permission.AGENTS_READ,
        read=_read_skills,
        columns=_columns(
            "skillId version summary status capabilities agents",
            skillId="id",
            status=lambda skill: "quarantined" if registry.is_quarantined(skill.id) else "enabled",
            capabilities=lambda skill: sorted(capability.value for capability in skill.capabilities),
            agents=_list_users,
        ),
    ),
    Table(
        name="cost",
        permission=Permission.BUDGET_READ,
        read=_read_costs,
        columns=_columns(
            "day agentId model calls spentMicro inputTokens outputTokens", day=lambda cost: cost.day.isoformat()
        ),
    ),
    Table(
        name="deliveries",
        permission=Permission.WEBHOOKS_READ,
        read=_read_deliveries,
        columns=_columns(
            "deliveryId webhookId address type taskId state attempts note createdAt nextAt endedAt",
            deliveryId="id",
            webhookId="receiver",
            address=lambda delivery: show_receiver(delivery.url),
        ),
    ),
    Table(
        name="webhooks",
        permission=Permission.WEBHOOKS_READ,
        read=_read_webhooks,
        columns=_columns(
            "webhookId name address kinds agents isActive pausedWhy since createdAt createdBy",
            webhookId="id",
            address=lambda webhook: show_receiver(webhook.url),
        ),
    ),
    Table(
        name="bulk-runs",
        permission=Permission.TASKS_READ,
        read=_read_bulk_runs,
        columns=_columns("bulkId action state filters reason askedBy total done result createdAt endedAt", bulkId="id"),
    ),
    Table(
        name="users",
        permission=Permission.USERS_WRITE,
        read=_read_users,
        columns=_columns(
            "name roles isActive lastSignIn madeAt",
            name="username",
            roles=lambda user: sorted(group.name for group in user.groups.all()),
            lastSignIn="last_login",
            madeAt="date_joined",
        ),
    ),
    Table(
        name="tokens",
        permission=Permission.TOKENS_WRITE,  # everybody's
        read=_read_tokens,
        columns=_columns(
            "prefix name owner scopes agents createdAt createdBy expiresAt lastUsedAt revokedAt revokeReason",
            owner=lambda token: token.owner.username,
        ),
    ),
)
