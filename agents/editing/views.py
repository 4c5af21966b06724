"""Edit agents, for people: parse, one call, respond."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agents import registry
from agents.editing import drafts as editing
from agents.editing import versions
from agents.editing.configs import write_file
from agents.editing.diff import LABELS, diff_configs, merge_configs
from agents.editing.examples import make_example
from agents.editing.forms import ConfigForm, ImportForm, TryForm, write_json
from agents.exceptions import AdmissionRefused, ConfigInvalid, EditRefused, VersionNotFound
from agents.models import AgentDraft, Task
from agents.ordering.admission import admit_task
from agents.registry import AgentNotFound, RegisteredAgent
from agents.skills.base import dump
from agents.types import AgentConfig
from audit.exceptions import TrailBehind
from toolgate.exceptions import GateError

FORM_METHODS = ["GET", "HEAD", "POST"]


def _get_agent(agent_id: str) -> RegisteredAgent:
    agent = registry.find_agent(agent_id)
    if agent is None:
        raise Http404("no such agent")
    return agent


def _get_draft(agent_id: str, draft_id: str) -> AgentDraft:
    draft = versions.find_draft(agent_id, draft_id)
    if draft is None:
        raise Http404("no such draft")
    return draft


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


# --- drafts -----------------------------------------------------------------------------------------------------
@require_http_methods(FORM_METHODS)
def edit(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Show the configuration, or the person's draft of it, as a form; on POST keep it as a draft."""
    agent = _get_agent(agent_id)
    draft = versions.find_open_draft(agent_id, _user(request))
    form = ConfigForm(
        request.POST if request.method == "POST" else None,
        document=draft.config if draft else dump(agent.config),
        base_version=draft.base_version if draft else agent.version,
    )
    if form.is_bound and form.is_valid():
        base = form.cleaned_data["base_version"]
        saved = _save(request, form, agent_id, form.collect_config(), base_version=base)
        if saved:
            return redirect("console:agent_draft", agent_id, saved.id)
    context = {"agent": agent, "draft": draft, "form": form}
    return render(request, "agents/agent_edit.html", context, status=422 if form.is_bound else 200)


def _save(request: HttpRequest, form: Any, agent_id: str, document: dict[str, Any], **base: int) -> AgentDraft | None:
    """Keep a draft; None if it could not be kept, and the form says why."""
    try:
        return editing.save_draft(agent_id, document, author=_user(request), now=timezone.now(), **base)
    except ConfigInvalid as error:
        form.show(error)
    except EditRefused as error:
        form.add_error(None, str(error))
    return None


@require_http_methods(FORM_METHODS)
def import_file(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Take a file's configuration as the person's draft; it is never published by that alone."""
    agent = _get_agent(agent_id)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if form.is_bound and form.is_valid():
        saved = _save(request, form, agent_id, form.document)
        if saved:
            return redirect("console:agent_draft", agent_id, saved.id)
    context = {"agent": agent, "form": form, "draft": versions.find_open_draft(agent_id, _user(request))}
    return render(request, "agents/agent_import.html", context, status=422 if form.is_bound else 200)


@require_safe
def show_draft(request: HttpRequest, agent_id: str, draft_id: str) -> HttpResponse:
    """Show what a draft changes, what was published meanwhile, and what it was tried out with."""
    agent, draft = _get_agent(agent_id), _get_draft(agent_id, draft_id)
    base, config = registry.get_config(agent_id, draft.base_version), AgentConfig.model_validate(draft.config)
    is_open = draft.closed_at is None
    is_stale = is_open and draft.base_version != agent.version
    contested = merge_configs(base, mine=config, theirs=agent.config).contested if is_stale else ()
    context = {
        "agent": agent,
        "draft": draft,
        "config": config,
        "changes": diff_configs(base, config),
        "is_mine": is_open and draft.author == _user(request),
        "is_stale": is_stale,
        "meanwhile": diff_configs(base, agent.config) if is_stale else [],
        "contested": [LABELS[field] for field in contested],
        "tasks": versions.list_try_outs(draft),
    }
    return render(request, "agents/agent_draft.html", context)


@require_POST
def publish(request: HttpRequest, agent_id: str, draft_id: str) -> HttpResponse:
    """Make a draft the version in force, with a reason."""

    def act() -> str:
        reason = request.POST.get("reason", "")
        number = editing.publish_draft(draft_id, author=_user(request), reason=reason, now=timezone.now())
        return f"Version {number} is in force. Runs under way end with the version that they began with."

    done = redirect("console:agent", agent_id)
    return answer_action(request, act, done=done, otherwise=redirect("console:agent_draft", agent_id, draft_id))


@require_POST
def rebase(request: HttpRequest, agent_id: str, draft_id: str) -> HttpResponse:
    """Lay a draft over the version in force."""
    back = redirect("console:agent_draft", agent_id, draft_id)

    def act() -> str:
        draft = editing.rebase_draft(draft_id, author=_user(request), now=timezone.now())
        back["Location"] = redirect("console:agent_draft", agent_id, draft.id)["Location"]
        return f"Your draft is an edit of version {draft.base_version} now. Look at it once more, then publish it."

    return answer_action(request, act, done=back, otherwise=back)


@require_POST
def discard(request: HttpRequest, agent_id: str, draft_id: str) -> HttpResponse:
    """Throw a draft away."""

    def act() -> str:
        editing.discard_draft(draft_id, author=_user(request), now=timezone.now())
        return "The draft is thrown away. The agent is as it was."

    back = redirect("console:agent", agent_id)
    return answer_action(request, act, done=back, otherwise=back)


def answer_action(
    request: HttpRequest, act: Callable[[], str], *, done: HttpResponseRedirect, otherwise: HttpResponseRedirect
) -> HttpResponse:
    """Do it, say what was done or why not, and lead on."""
    try:
        messages.success(request, act())
    except AgentNotFound as error:
        raise Http404("no such agent") from error
    except ConfigInvalid as error:
        messages.error(request, f"{error} {error.problems[0].pointer}: {error.problems[0].detail}")
        return otherwise
    except (EditRefused, GateError) as error:
        messages.error(request, str(error))
        return otherwise
    return done


# --- try-outs ---------------------------------------------------------------------------------------------------
@require_http_methods(FORM_METHODS)
def try_out(request: HttpRequest, agent_id: str, draft_id: str) -> HttpResponse:
    """Show the form of a try-out; on POST order a real task that runs with the draft."""
    agent, draft = _get_agent(agent_id), _get_draft(agent_id, draft_id)
    if draft.closed_at is not None or draft.author != _user(request):
        raise Http404("no such draft that is open")
    schema = draft.config["inputSchema"]
    data = request.POST if request.method == "POST" else None
    form = TryForm(data, schema=schema, initial=_initial_try(agent_id, schema))
    if form.is_bound and form.is_valid() and (task := _order_try(request, form, draft)):
        return redirect("console:task", task.id)
    context = {"agent": agent, "draft": draft, "form": form, "schema": schema}
    return render(request, "agents/agent_try.html", context, status=422 if form.is_bound else 200)


def _initial_try(agent_id: str, schema: dict[str, Any]) -> dict[str, Any]:
    newest = versions.find_newest_run(agent_id)
    return {"nonce": get_random_string(22), "input": write_json(newest.input if newest else make_example(schema))}


def _order_try(request: HttpRequest, form: TryForm, draft: AgentDraft) -> Task | None:
    """Order once, however often the same form is sent; None if it could not be taken, and the form says why."""
    now, nonce = timezone.now(), form.cleaned_data["nonce"]
    try:
        admit_task(now=now)
        return editing.try_draft(
            draft.id, form.cleaned_data["input"], author=_user(request), key=f"try-{nonce}", now=now
        )
    except (AdmissionRefused, EditRefused, TrailBehind) as error:
        form.add_error(None, str(error))
        return None


# --- versions ---------------------------------------------------------------------------------------------------
@require_safe
def show_version(request: HttpRequest, agent_id: str, version: int) -> HttpResponse:
    """Show one version: what it changed, and all of it."""
    agent = _get_agent(agent_id)
    context = {"agent": agent, "edition": _get_edition(agent_id, version)}
    return render(request, "agents/agent_version.html", context)


def _get_edition(agent_id: str, version: int) -> versions.Edition:
    try:
        return versions.get_edition(agent_id, version)
    except VersionNotFound as error:
        raise Http404("no such version") from error


@require_safe
def compare(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Show what differs between any two versions: by default between the one in force and the one before."""
    agent = _get_agent(agent_id)
    new = _read_version(request, "to", agent.version)
    old = _read_version(request, "from", max(new - 1, 1))
    before, after = _get_edition(agent_id, old), _get_edition(agent_id, new)
    context = {
        "agent": agent,
        "before": before,
        "after": after,
        "changes": diff_configs(before.config, after.config),
        "numbers": versions.list_versions(agent_id),
    }
    return render(request, "agents/agent_compare.html", context)


def _read_version(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else default


@require_safe
def export(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Send a version's configuration as a file, the one in force unless another is named."""
    agent = _get_agent(agent_id)
    edition = _get_edition(agent_id, _read_version(request, "version", agent.version))
    editing.record_export(agent_id, edition.version, author=_user(request), now=timezone.now())
    response = HttpResponse(write_file(edition.config), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{agent_id}-{edition.version}.json"'
    return response


@require_POST
def restore(request: HttpRequest, agent_id: str, version: int) -> HttpResponse:
    """Publish an earlier version once more, with a reason."""

    def act() -> str:
        reason = request.POST.get("reason", "")
        number = editing.restore_version(agent_id, version, author=_user(request), reason=reason, now=timezone.now())
        return f"Version {number} is in force: it says what version {version} said."

    done = redirect("console:agent", agent_id)
    return answer_action(request, act, done=done, otherwise=redirect("console:agent_version", agent_id, version))
