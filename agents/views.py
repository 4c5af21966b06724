"""Tasks, agents and skills, for people: parse, one call, respond."""

from typing import Any

import orjson
from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agents import control, queries, queue, registry
from agents.advice import find_advice
from agents.exceptions import (
    AdmissionRefused,
    ArtifactNotFound,
    FileNotKept,
    FileTooLarge,
    TaskNotFound,
    TaskStateConflict,
)
from agents.files import open_artifact
from agents.models import Task
from agents.ordering.admission import admit_task, record_refusal
from agents.ordering.forms import OrderForm, build_order_form, initial_from_input
from agents.orders import Order
from agents.providers.vendors import is_configured
from agents.results import read_result
from agents.states import TERMINAL, TaskState
from agents.task_limits import list_limits
from agents.transcript.reading import open_transcript, record_result_read, tell_task
from agents.transcript.timeline import build_timeline
from agents.workflows.tree import build_tree
from audit.exceptions import StoreUnavailable, TrailBehind
from audit.status import require_room
from toolgate.exceptions import GateError
from toolgate.inbox.detail import read_detail
from toolgate.inbox.standing import person_of
from toolgate.models import ApprovalState, DecisionRecord
from toolgate.publishing import allow_host
from toolgate.queries import list_approvals_of_task, list_decisions_of_task, list_permissions
from toolgate.types import Reason

SHOWN_STEPS = 5  # in the panel beside the list


# --- read a task ------------------------------------------------------------------------------------------------
@require_safe
def show_task(request: HttpRequest, task_id: str) -> HttpResponse:
    """Show one task: its state, its steps as they happen, what it was asked and what it came to."""
    task = _get_task(task_id)
    if request.htmx.target == "peek":  # type: ignore[attr-defined]
        return render(request, "agents/_task_peek.html", _describe_briefly(task))
    decisions, approvals = list_decisions_of_task(task_id), list_approvals_of_task(task_id)
    pending = [approval for approval in approvals if approval.state == ApprovalState.PENDING]
    steps, runs = queries.list_steps(task_id), queries.list_runs(task_id)
    agent = registry.find_agent(task.agent_id)
    tree = build_tree(task)
    told, is_away = tell_task(task, steps=steps, decisions=decisions)
    context = {
        "task": task,
        "told": told,
        "is_transcript_away": is_away,
        "agent": agent,
        "limits": list_limits(task, agent.config, steps=steps, runs=runs, now=timezone.now()) if agent else [],
        "moments": build_timeline(
            task,
            runs=runs,
            decisions=[decision for decision in decisions if decision.id not in told.decision_ids],
            steps=[step for step in steps if step.id not in told.step_ids],
            approvals=approvals,
            told=told.moments,
        ),
        "request_detail": read_detail(pending[0], person_of(request.user), now=timezone.now()) if pending else None,
        "result": read_result(task.result),
        "artifacts": queries.list_artifacts(task_id),
        "advice": find_advice(task.error_code, task.error_reason) if task.state == TaskState.FAILED else None,
        "refused_host": find_refused_host(task, decisions),
        "refusal_id": find_refusal(task, decisions),
        "is_over": task.state in TERMINAL,
        "order_json": orjson.dumps(_order_of(task), option=orjson.OPT_INDENT_2).decode(),
        "tree": tree,
        "tree_cost": sum(branch.task.cost_micro for branch in tree if branch.task),
        "curl": _curl(request, task),
    }
    name = "agents/task_fragment.html" if request.htmx else "agents/task_detail.html"  # type: ignore[attr-defined]
    return render(request, name, context)


def _describe_briefly(task: Task) -> dict[str, Any]:
    """Return what the panel beside the list shows: where the task stands, why, and its last steps."""
    return {
        "task": task,
        "steps": queries.list_last_steps(task.id, limit=SHOWN_STEPS),
        "advice": find_advice(task.error_code, task.error_reason) if task.state == TaskState.FAILED else None,
    }


def _get_task(task_id: str) -> Task:
    try:
        return queries.get_task(task_id)
    except TaskNotFound as error:
        raise Http404("no such task") from error


def find_refused_host(task: Task, decisions: list[DecisionRecord]) -> str:
    """Return the host that the last decision refused, empty unless that is why the task failed."""
    if task.state != TaskState.FAILED or Reason.DOMAIN_NOT_ALLOWED not in {task.error_code, task.error_reason}:
        return ""
    refused = [decision for decision in decisions if decision.reason == Reason.DOMAIN_NOT_ALLOWED]
    hosts = refused[-1].resource.get("hosts", []) if refused else []
    return str(hosts[0]) if hosts else ""


def find_refusal(task: Task, decisions: list[DecisionRecord]) -> str:
    """Return the id of the decision that a failed task failed by, empty if it failed by something else."""
    if task.state != TaskState.FAILED:
        return ""
    reasons = {task.error_code, task.error_reason}
    return next((one.id for one in reversed(decisions) if one.effect == "deny" and one.reason in reasons), "")


def _order_of(task: Task) -> dict[str, Any]:
    skill = {"skillId": task.skill_id} if task.skill_id else {}
    return {"agentId": task.agent_id, **skill, "input": task.input}


def _curl(request: HttpRequest, task: Task) -> str:
    body = orjson.dumps(_order_of(task)).decode().replace("'", "'\\''")
    return (
        f"curl -sS {request.build_absolute_uri('/api/tasks')} \\\n"
        f"  -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n  -d '{body}'"
    )


@require_safe
def send_result(request: HttpRequest, task_id: str) -> HttpResponse:
    """Send a task's whole result as a file."""
    task = _get_task(task_id)
    if task.result is None:
        raise Http404("no result")
    actor = f"user:{request.user.get_username()}"
    record_result_read(task, actor=actor, now=timezone.now())
    response = HttpResponse(orjson.dumps(task.result, option=orjson.OPT_INDENT_2), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{task.id}.json"'
    return response


@require_safe
def send_transcript(request: HttpRequest, task_id: str) -> HttpResponseBase:
    """Send a task's whole transcript as a file."""
    task = _get_task(task_id)
    try:
        file = open_transcript(task, actor=f"user:{request.user.get_username()}", now=timezone.now())
    except StoreUnavailable as error:
        messages.error(request, f"The transcript cannot be read now: {error}. It is kept; try again soon.")
        return redirect("console:task", task_id)
    return FileResponse(
        file, as_attachment=True, filename=f"{task.id}-transcript.json", content_type="application/json"
    )


@require_safe
def send_artifact(request: HttpRequest, task_id: str, name: str) -> FileResponse:
    """Send one file of a task, as a download: what a skill wrote is never shown as a page of ours."""
    artifact = queries.find_artifact(task_id, name)
    if artifact is None:
        raise Http404("no such file")
    try:
        file = open_artifact(artifact, actor=f"user:{request.user.get_username()}", now=timezone.now())
    except ArtifactNotFound as error:
        raise Http404(str(error)) from error
    return FileResponse(file, as_attachment=True, filename=artifact.name, content_type="application/octet-stream")


# --- order, cancel, retry ---------------------------------------------------------------------------------------
@require_safe
def show_choice(request: HttpRequest) -> HttpResponse:
    """Let a person choose an agent and one of the skills that it may use."""
    choices = [
        {"agent": agent, "permissions": list_permissions(agent.id, [skill.id for skill in registry.list_skills()])}
        for agent in registry.list_agents()
    ]
    return render(request, "agents/task_choice.html", {"choices": choices})


@require_http_methods(["GET", "HEAD", "POST"])
def submit(request: HttpRequest, agent_id: str, skill_id: str = "") -> HttpResponse:
    """Show the guided form of one skill, or of the agent's own run; on POST submit what it holds."""
    agent, skill = registry.find_agent(agent_id), registry.find_skill(skill_id)
    if agent is None or (skill is None and skill_id):
        raise Http404("no such agent or skill")
    form_class = build_order_form(agent.config, skill)
    if request.method == "POST":
        form = form_class(request.POST, request.FILES)
        if form.is_valid() and (task := _submit(request, form, agent_id=agent_id, skill_id=skill_id)):
            return redirect("console:task", task.id)
        if form.refusal:
            record_refusal(form.refusal, submitted_by=request.user.get_username(), now=timezone.now())
    else:
        form = form_class(initial=_initial(request))
    asked = [skill_id] if skill else [one.id for one in registry.list_skills()]
    context = {
        "form": form,
        "agent": agent,
        "skill": skill,
        "permissions": list_permissions(agent_id, asked),
        "lacks_key": not (skill or agent.config.is_workflow or is_configured()),
    }
    return render(request, "agents/task_form.html", context, status=422 if form.is_bound else 200)


def _initial(request: HttpRequest) -> dict[str, Any]:
    earlier = queries.find_task(request.GET.get("copy", ""))
    return {"nonce": get_random_string(22)} | (initial_from_input(earlier.input) if earlier else {})


def _submit(request: HttpRequest, form: OrderForm, *, agent_id: str, skill_id: str) -> Task | None:
    """Submit once, however often the same form is sent: its nonce and its content are the idempotency key.

    None if it could not be taken; the form says why.
    """
    try:
        return _order(form, agent_id=agent_id, skill_id=skill_id, user=request.user.get_username())
    except (AdmissionRefused, FileNotKept, FileTooLarge, TrailBehind) as error:
        form.add_error(None, str(error))
        return None


def _order(form: OrderForm, *, agent_id: str, skill_id: str, user: str) -> Task:
    now = timezone.now()
    require_room()  # before a file is kept for a task that is not taken
    admit_task(now=now)
    values = form.store_files(actor=f"user:{user}", now=now)
    digest = queue.digest_of({"agent": agent_id, "skill": skill_id, **form.fingerprint()})
    order = Order(
        agent_id=agent_id,
        skill_id=skill_id,
        input=values,
        priority=form.cleaned_data["priority"] or 0,
        run_at=form.cleaned_data["run_at"],
        submitted_by=user,
        idempotency_key=f"form-{form.cleaned_data['nonce']}-{digest[:24]}",
        body_digest=digest,
    )
    return queue.submit_task(order, now=now).task


@require_POST
def cancel(request: HttpRequest, task_id: str) -> HttpResponse:
    """Cancel a task that has not ended."""
    return _change(request, task_id, control.cancel_task, "Cancelled. What was done up to here is kept.")


@require_POST
def retry(request: HttpRequest, task_id: str) -> HttpResponse:
    """Queue a failed or cancelled task again."""
    return _change(request, task_id, control.retry_task, "Queued again.")


def _change(request: HttpRequest, task_id: str, change: Any, done: str) -> HttpResponse:
    try:
        change(task_id, actor=f"user:{request.user.get_username()}", now=timezone.now())
    except TaskNotFound as error:
        raise Http404("no such task") from error
    except (TaskStateConflict, TrailBehind) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, done)
    return redirect("console:task", task_id)


@require_POST
def allow_refused_host(request: HttpRequest, task_id: str) -> HttpResponse:
    """Allow the host that this task was refused for its agent and skill, with a reason, and retry the task."""
    task = _get_task(task_id)
    host = find_refused_host(task, list_decisions_of_task(task_id))
    if not host or host != request.POST.get("host"):
        messages.error(request, "Nothing was changed: this task is not waiting for that host any more.")
        return redirect("console:task", task_id)
    user, now, reason = request.user.get_username(), timezone.now(), request.POST.get("reason", "")
    try:
        require_room()  # before a rule is changed for a retry that is not taken
        version = allow_host(task.agent_id, task.skill_id, host, author=user, reason=reason, now=now)
    except (GateError, TrailBehind) as error:
        messages.error(request, str(error))
        return redirect("console:task", task_id)
    done = f"{host} is allowed for {task.agent_id} by policy version {version.number}. The task is queued again."
    return _change(request, task_id, control.retry_task, done)
