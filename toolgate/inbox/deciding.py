"""Answers to approvals, for people: parse, one call, respond. What was typed is never lost to a mistake."""

from typing import Any

import orjson
from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from toolgate.approvals import CALL, decide_approval, decide_equal, list_equal
from toolgate.digests import digest_call
from toolgate.exceptions import ApprovalError, GateError, TextInvalid
from toolgate.fleet import get_fleet
from toolgate.inbox.arguments import ArgumentsForm, read_object
from toolgate.inbox.forms import AnswerForm, BatchForm
from toolgate.inbox.outcomes import describe_outcome
from toolgate.inbox.standing import person_of, read_standing
from toolgate.inbox.views import get_or_404, render_queue
from toolgate.lines import diff_values
from toolgate.models import Approval


@require_POST
def decide(request: HttpRequest, approval_id: str) -> HttpResponse:
    """Approve or refuse, as the signed-in user, and go back to where the answer was given."""
    approval, form, person = get_or_404(approval_id), AnswerForm(request.POST), person_of(request.user)
    if not form.is_valid():
        return render_queue(request, approval, form=form, status=422)
    answer = form.answer()
    try:
        decided = decide_approval(approval_id, user=person.name, groups=person.groups, now=timezone.now(), **answer)
    except TextInvalid as error:
        form.add_error("note", str(error))
        return render_queue(request, approval, form=form, status=422)
    except GateError as error:
        messages.error(request, str(error))
        if answer["arguments"] is not None and not _find_bar(request, get_or_404(approval_id)):
            return _render_edit(request, approval, ArgumentsForm(approval.arguments, edited=answer["arguments"]), 422)
    else:
        messages.success(request, describe_outcome(decided))
    return _go_back(request, approval_id)


def _go_back(request: HttpRequest, approval_id: str) -> HttpResponse:
    target = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        return redirect(target)
    return redirect("console:approval", approval_id)


# --- several at once --------------------------------------------------------------------------------------------
@require_POST
def decide_batch(request: HttpRequest, approval_id: str) -> HttpResponse:
    """Give one answer to this request and those that are equal to it, and tell what came of each."""
    approval, person = get_or_404(approval_id), person_of(request.user)
    equal = {one.id: one for one in [approval, *list_equal(approval)]}
    form = BatchForm(request.POST, ids=equal)
    if not form.is_valid():
        messages.error(request, f"Nothing was decided. {' '.join(str(texts[0]) for texts in form.errors.values())}")
        return redirect("console:approval", approval_id)
    sent = form.cleaned_data
    try:
        results = decide_equal(
            sent["ids"],
            approve=sent["decision"] == "approve",
            user=person.name,
            groups=person.groups,
            note=sent["note"],
            digest=sent["digest"],
            now=timezone.now(),
        )
    except GateError as error:
        messages.error(request, str(error))
        return redirect("console:approval", approval_id)
    rows = [_describe_result(equal[one], result) for one, result in results]
    return render(request, "toolgate/approval_results.html", {"rows": rows})


def _describe_result(asked: Approval, result: Approval | ApprovalError) -> dict[str, Any]:
    if isinstance(result, ApprovalError):
        return {"approval": asked, "is_kept": False, "text": str(result)}
    return {"approval": result, "is_kept": True, "text": describe_outcome(result)}


# --- with other arguments ---------------------------------------------------------------------------------------
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, approval_id: str) -> HttpResponse:
    """Show the arguments as a form; on POST what is changed, line by line, to be approved or changed further."""
    approval = get_or_404(approval_id)
    if bar := _find_bar(request, approval):
        messages.error(request, f"Nothing can be changed here. {bar}")
        return redirect("console:approval", approval_id)
    if request.method != "POST":
        return _render_edit(request, approval, ArgumentsForm(approval.arguments))
    if "arguments" in request.POST:  # back from the preview
        return _render_edit(request, approval, _reopen(approval, request.POST["arguments"]))
    form = ArgumentsForm(approval.arguments, request.POST)
    arguments = _check(approval, form) if form.is_valid() else None
    if arguments is None:
        return _render_edit(request, approval, form, 422)
    return _render_preview(request, approval, arguments)


def _find_bar(request: HttpRequest, approval: Approval) -> str:
    if approval.kind != CALL:
        return "Only the arguments of a call can be changed."
    standing = read_standing(approval, person_of(request.user), now=timezone.now())
    return "" if standing.can_approve else standing.bar or "It has its answer."


def _reopen(approval: Approval, text: str) -> ArgumentsForm:
    try:
        return ArgumentsForm(approval.arguments, edited=read_object(text))
    except forms.ValidationError:  # not what the preview sent: begin anew
        return ArgumentsForm(approval.arguments)


def _check(approval: Approval, form: ArgumentsForm) -> dict[str, Any] | None:
    """Return what would run, after defaults; None if it is nothing else, or no such call: the form says why."""
    described = get_fleet().describe_call(approval.agent_id, approval.skill_id, form.collect(), tainted=False)
    if described.refusal is not None:
        _, sentence = described.refusal
        form.add_error(None, f"{sentence[:1].upper()}{sentence[1:]}.")
        return None
    if described.arguments == approval.arguments:
        form.add_error(None, "Nothing is changed yet. Approve the call as it was asked, or change it here.")
        return None
    return dict(described.arguments)


def _render_edit(request: HttpRequest, approval: Approval, form: ArgumentsForm, status: int = 200) -> HttpResponse:
    context = {"approval": approval, "form": form, "is_refused": status != 200}
    return render(request, "toolgate/approval_edit.html", context, status=status)


def _render_preview(request: HttpRequest, approval: Approval, arguments: dict[str, Any]) -> HttpResponse:
    context = {
        "approval": approval,
        "arguments": arguments,
        "arguments_json": orjson.dumps(arguments).decode(),
        "changes": diff_values(approval.arguments, arguments),
        "digest": digest_call(approval.agent_id, approval.skill_id, arguments, approval.policy_version),
    }
    return render(request, "toolgate/approval_preview.html", context)
