"""Approvals, for people: parse, one call, respond."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from toolgate import queries
from toolgate.approvals import REVIEW, decide_approval
from toolgate.exceptions import ApprovalNotFound, GateError

PAGE_SIZE = 50


@require_safe
def show_approvals(request: HttpRequest) -> HttpResponse:
    """List what waits, soonest expiry first; or, when asked, what was decided, newest first."""
    show = "decided" if request.GET.get("show") == "decided" else "pending"
    approvals = queries.list_approvals(decided=show == "decided", limit=PAGE_SIZE)
    return render(request, "toolgate/approval_list.html", {"approvals": approvals, "show": show})


@require_safe
def show_approval(request: HttpRequest, approval_id: str) -> HttpResponse:
    """Show one question with the exact arguments it is bound to, beside the others that wait."""
    approval = queries.find_approval(approval_id)
    if approval is None:
        raise Http404("no such approval")
    context = {
        "approval": approval,
        "approvals": queries.list_approvals(decided=False, limit=PAGE_SIZE),
        "selected_id": approval.id,
        "is_own": approval.four_eyes and approval.submitted_by == request.user.get_username(),
    }
    return render(request, "toolgate/approval_detail.html", context)


@require_POST
def decide(request: HttpRequest, approval_id: str) -> HttpResponse:
    """Approve once or refuse, as the signed-in user, and go back to where the answer was given."""
    answer = request.POST.get("decision")
    if answer not in {"approve", "refuse"}:
        messages.error(request, "Nothing was decided: choose “Approve once” or “Refuse”.")
        return _back(request, approval_id)
    try:
        approval = decide_approval(
            approval_id,
            approve=answer == "approve",
            user=request.user.get_username(),
            note=request.POST.get("note", "").strip(),
            now=timezone.now(),
        )
    except ApprovalNotFound as error:
        raise Http404("no such approval") from error
    except GateError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _tell(answer, kind=approval.kind))
    return _back(request, approval_id)


def _tell(answer: str, *, kind: str) -> str:
    is_review = kind == REVIEW
    if answer == "approve":
        done = "The report is the task's result." if is_review else "The task goes on with exactly these arguments."
        return f"Approved once. {done}"
    kept = "The report is no result" if is_review else "The call is not made"
    return f"Refused. {kept}, and the task ends with your answer."


def _back(request: HttpRequest, approval_id: str) -> HttpResponse:
    target = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        return redirect(target)
    return redirect("console:approval", approval_id)
