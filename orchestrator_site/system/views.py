"""The system page: look at each figure, render what each has."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from orchestrator_site.alerts.keeping import list_firing
from orchestrator_site.system.deliveries import read_deliveries
from orchestrator_site.system.figures import Figure, look
from orchestrator_site.system.machine import list_versions, read_rooms
from orchestrator_site.system.stores import read_audit_store, read_redis, read_state_store, read_vendors
from orchestrator_site.system.trail import read_feed, read_trail
from orchestrator_site.system.work import read_errands, read_queue, read_workers

# What the request's own store answers is read on its thread; whatever else may hang is read apart.
FIGURES: dict[str, Figure[Any]] = {
    "audit_store": Figure(read_audit_store, apart=True),
    "redis": Figure(read_redis, apart=True),
    "rooms": Figure(read_rooms, apart=True),
    "state_store": Figure(read_state_store),
    "vendors": Figure(read_vendors),
    "queue": Figure(read_queue),
    "workers": Figure(read_workers),
    "trail": Figure(read_trail),
    "feed": Figure(read_feed),
    "errands": Figure(read_errands),
    "deliveries": Figure(read_deliveries),
    "alerts": Figure(list_firing),
}
STORES = (("state_store", "Relational store"), ("audit_store", "Audit store"), ("redis", "Redis"))


@require_safe
def show_system(request: HttpRequest) -> HttpResponse:
    """Show how each part is; to htmx the part that is brought up to date alone."""
    wanted = {name: figure for name, figure in FIGURES.items() if name != "redis" or settings.REDIS_URL}
    seen = look(wanted)
    context = {
        "seen": seen,
        "stores": [(label, seen[name]) for name, label in STORES if name in seen],
        "versions": list_versions(),
        "looked_at": timezone.now(),
        "grafana": settings.GRAFANA_URL,
        "alertmanager": settings.ALERTMANAGER_URL,
        "faults": sum(bool(one.fault) for one in seen.values()),
    }
    is_part = bool(request.htmx)  # type: ignore[attr-defined]
    return render(request, "system/_board.html" if is_part else "system/system.html", context)
