"""How many series a scrape may hold: labels from closed sets, whatever is sent and whoever sends it."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from prometheus_client import REGISTRY

from agents import metrics as agent_metrics
from agents import registry
from agents.models import DailyCost
from agents.money.costs import refresh_cost_gauges
from audit.problems import Problem
from orchestrator_site.metrics import render_metrics
from orchestrator_site.observing.requests import METHODS, NO_VIEW, OTHER_METHOD
from orchestrator_site.webhooks.metrics import Outcome
from tests.integration.api_cast import Api, api_of, open_world
from tests.monitored import PROMISED, list_made
from toolgate import metrics as gate_metrics
from toolgate.types import Reason

__all__ = ["open_world"]

Series = tuple[str, frozenset[tuple[str, str]]]


def list_series() -> dict[Series, float]:
    """Return each sample that this process would show, without Python's own."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in REGISTRY.collect()
        if not family.name.startswith(("python_", "process_"))
        for sample in family.samples
    }


def view_names(patterns: list[URLPattern | URLResolver], spaces: str = "") -> Iterator[str]:
    """Give the name by which each view is counted."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from view_names(pattern.url_patterns, spaces + (f"{pattern.namespace}:" if pattern.namespace else ""))
        else:
            yield spaces + (pattern.name or pattern.lookup_str)


def closed_sets() -> dict[str, frozenset[str] | set[str]]:
    """Return every value that each label may have."""
    agents = {agent.id for agent in registry.list_agents()} | {"unknown"}
    models = {*settings.MODEL_TIERS.values(), *settings.MODEL_FALLBACKS.values(), "none", "other"}
    return {
        "agent": agents,
        "skill": {skill.id for skill in registry.list_skills()} | {"unknown"},
        "model": models,
        "reason": {reason.value for reason in Reason},
        "error_type": agent_metrics.ERROR_TYPES | {"other"},
        "task_type": {agent.config.task_type for agent in registry.list_agents()} | {"unknown"},
        "approval_result": set(gate_metrics.ANSWERS),
        "escalation_reason": {gate_metrics.OVERDUE},
        "violation_type": {problem.value for problem in Problem},
        "provider": {"openai", "anthropic"},
        "scope": {"fleet", "agent", "task"},
        "outcome": {outcome.value for outcome in Outcome},
        "dependency": {"state_store", "audit_store", "redis"},
        "view": {*view_names(get_resolver().url_patterns), NO_VIEW},
        "method": METHODS | {OTHER_METHOD},
        "transport": {"http", "https"},
    }


def be_hostile(*clients: Api) -> None:
    """Send what nobody should: names, paths and methods that there are none of, other ones each time."""
    word = secrets.token_hex(6)
    for number in range(250):
        for client in clients:
            client.send("GET", f"/{word}/{number}")
    for client in clients:
        for method in (word.upper(), "PROPFIND", "TRACE", "OPTIONS", "DELETE", "get"):
            for path in (
                "/",
                "/api/tasks",
                "/tasks/",
                f"/tasks/{word}/",
                "/api/alerts",
                "/metrics",
                "/accounts/login/",
            ):
                client.send(method, path)
        for body in ({"agentId": word, "skillId": word, "input": {}}, {"agentId": "content-agent", "skillId": word}):
            client.post("/api/tasks", body)
    agent_metrics.count_failure("content-agent", word)
    day = timezone.now().date()
    DailyCost.objects.create(day=day, agent_id=word, model=word, calls=1, spent_micro=1)
    refresh_cost_gauges([agent.id for agent in registry.list_agents()], now=timezone.now())


@pytest.fixture
def clients(open_world: None, settings: Any) -> list[Api]:
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    return [Api(None), api_of("vera", "tasks:read", "tasks:write")]


def test_strangers_add_no_series_however_they_try(clients: list[Api]) -> None:
    be_hostile(*clients)
    render_metrics()
    before = set(list_series())
    be_hostile(*clients)
    render_metrics()
    assert set(list_series()) - before == set()


def test_every_label_is_of_a_closed_set(clients: list[Api]) -> None:
    before = set(list_series())  # with skills and agents of other tests' making, where they ran in this process
    be_hostile(*clients)
    render_metrics()
    known, made = closed_sets(), set(list_series()) - before
    found = {(name, value) for _, labels in made for name, value in labels if name in known}
    assert {(name, value) for name, value in found if value not in known[name]} == set()
    others = {name for _, labels in made for name, _ in labels} - set(known)
    assert others <= {"le", "status", "charset", "templatename", "type"}  # each of the code's own making


def test_our_own_metrics_cannot_hold_more_series_than_their_labels_allow(clients: list[Api]) -> None:
    render_metrics()
    known = {name: len(values) for name, values in closed_sets().items()}
    made, bound = {name for _, name in list_made()}, 0
    for family in REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name in made:
            own = getattr(REGISTRY._names_to_collectors[family.name], "_labelnames", ())
            product = 1
            for label in own:
                product *= known[label]
            bound += product * (19 if family.type == "histogram" else 1)
    shown = [name for name, _ in list_series() if not name.startswith("orchestrator_django")]
    assert len(shown) < bound < 6_000, (len(shown), bound)


def test_a_scrape_shows_each_metric_that_was_promised(clients: list[Api]) -> None:
    text = render_metrics().decode()
    assert {name for name in PROMISED if f"# TYPE {name} " not in text} == set()


def test_a_page_counts_under_its_view_for_whom_it_let_in(clients: list[Api]) -> None:
    clients[0].get("tasks")
    clients[1].get("tasks")
    Client().get("/health")
    names = {dict(labels).get("view", "") for _, labels in list_series()}
    assert "agents.api.TaskCollection" in names
    assert "health" in names or "orchestrator_site.health.show_health" in names
