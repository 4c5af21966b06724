"""Who works: workers, and the vendors whose models agents think with."""

from collections.abc import Iterator
from typing import Final

from django.conf import settings
from django.utils import timezone

from agents import circuits
from agents.breaker import CircuitState
from agents.leases import lease_clock
from agents.models import Task, Worker
from agents.money.pricing import PriceUnknown, price_bound
from agents.providers.switchboard import ModelRef
from agents.providers.vendors import list_configured, read_tiers
from agents.states import TaskState
from agents.switches.reading import read_fleet_state
from orchestrator_site.doctor.findings import Finding, fine, judge, problem, warn
from orchestrator_site.webhooks.models import WebhookSubscription

_PATIENCE_SECONDS: Final = 10.0
_REFUSED: Final = frozenset({401, 403})
_BUSY: Final = 429
_KEYS: Final = "Set OPENAI_API_KEY or ANTHROPIC_API_KEY, or a server of your own (README, Models)."


def examine_workers() -> Iterator[Finding]:
    """See that somebody runs what is queued, and may."""
    alive = Worker.objects.filter(lease_expires_at__gt=lease_clock(timezone.now())).count()
    queued = Task.objects.filter(state=TaskState.QUEUED).exists()
    if alive:
        yield fine("workers", f"{alive} {'worker is' if alive == 1 else 'workers are'} alive.")
    else:
        stands = problem if queued else warn
        what = "No worker is alive" + (", and tasks wait." if queued else ".")
        yield stands("workers", what, "Start manage.py worker (with `make run` it is a part of the server).")
    if read_fleet_state().is_stopped:
        yield warn("fleet.stopped", "The fleet is stopped: nothing runs.", "manage.py fleet resume --slots 1")


def examine_models() -> Iterator[Finding]:
    """See that each tier's models can be asked, and have a price. Nobody is asked for that."""
    vendors = list_configured()
    if not vendors:
        yield warn("models.keys", "No vendor has a key: tasks that name a skill work, agents that think do not.", _KEYS)
        return
    yield fine("models.keys", f"Configured: {', '.join(vendors)}.")
    try:
        tiers = read_tiers()
    except ValueError:
        return  # the settings' own check says so
    for tier, refs in tiers.items():
        usable = [ref for ref in refs if ref.provider in vendors]
        fault = "" if usable else f"No model of the tier {tier} can be asked: {', '.join(map(str, refs))}"
        yield judge(f"models.{tier}", fault, well=f"Tier {tier}: {', '.join(map(str, usable))}.", cure=_KEYS)
        yield from filter(None, map(_find_price, usable))
    for row in circuits.list_circuits():
        if row.provider in vendors and row.state != CircuitState.CLOSED:
            what = f"{row.provider} keeps failing ({row.why}) and is left alone for a while."
            yield warn(f"models.{row.provider}", what, "It is asked again by itself; its status page may say more.")


def _find_price(ref: ModelRef) -> Finding | None:
    try:
        price_bound(str(ref), input_tokens=1, max_output_tokens=1, at=timezone.now())
    except PriceUnknown:
        what = f"There is no price for {ref}, so it is never called."
        return problem("models.price", what, f"Set MODEL_PRICES={ref}=IN/OUT, US dollars a million tokens.")
    return None


def examine_webhooks() -> Iterator[Finding]:
    """See that receivers are still told: one that kept failing is paused."""
    paused = WebhookSubscription.objects.filter(is_active=False).order_by("name")
    for name, why in paused.values_list("name", "paused_why"):
        what = f"The webhook {name} is paused: {why or 'a person did that'}"
        yield warn("webhooks.paused", what, "Settings, Webhooks: mend the receiver, then resume it.")
    if not paused:
        yield fine("webhooks", "No webhook is paused.")


def call_providers() -> Iterator[Finding]:
    """Ask each configured vendor for its list of models, which costs nothing."""
    for name in list_configured():
        yield _ask(name)


def _ask(name: str) -> Finding:
    import httpx2

    id_, (address, headers) = f"models.{name}.answers", _address_of(name)
    cure = f"Look at the way to {address.rpartition('/v1')[0] or address}, and at its status."
    try:
        answer = httpx2.get(address, headers=headers, timeout=_PATIENCE_SECONDS)
    except httpx2.HTTPError as error:
        return problem(id_, f"{name} does not answer ({type(error).__name__}).", cure)
    if answer.status_code in _REFUSED:
        return problem(id_, f"{name} refused the key ({answer.status_code}).", f"Set another {name.upper()}_API_KEY.")
    if answer.status_code != _BUSY and not 200 <= answer.status_code < 300:
        return problem(id_, f"{name} answers {answer.status_code}.", cure)
    return fine(id_, f"{name} answers.")


def _address_of(name: str) -> tuple[str, dict[str, str]]:
    """Return where a vendor lists its models, and what opens that."""
    if name == "openai":
        base, key = settings.OPENAI_BASE_URL or "https://api.openai.com/v1", settings.OPENAI_API_KEY
        return f"{base.rstrip('/')}/models", {"Authorization": f"Bearer {key}"} if key else {}
    base, key = settings.ANTHROPIC_BASE_URL or "https://api.anthropic.com", settings.ANTHROPIC_API_KEY
    return f"{base.rstrip('/')}/v1/models", {"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {})
