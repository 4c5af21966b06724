"""May it, and why? For people: parse, one call, respond."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from toolgate.exceptions import GateError
from toolgate.explaining.answers import (
    Question,
    answer_call,
    answer_decision,
    draft_suggestion,
    find_asking_decision,
    question_of,
)
from toolgate.explaining.forms import QuestionForm, write_arguments
from toolgate.models import DecisionRecord
from toolgate.normal import is_plain_id
from toolgate.queries import find_approval, find_decision


@require_safe
def show_explanation(request: HttpRequest) -> HttpResponse:
    """Explain a decision on record, or a call whose arguments are said; without either, show the form."""
    now = timezone.now()
    record = _find_record(request.GET)
    if record is not None:
        replay = answer_decision(record, now=now)
        form = QuestionForm(write_arguments(replay.now.question))
        context = {"form": form, "replay": replay, "answer": replay.now, "shown": replay.then}
        return render(request, "toolgate/explain.html", context)
    given = _fill(request.GET)
    form = QuestionForm(given) if "arguments" in request.GET else QuestionForm(None, initial=given)
    answer = answer_call(form.to_question(), now=now) if form.is_bound and form.is_valid() else None
    context = {"form": form, "answer": answer, "shown": answer.why if answer else None}
    return render(request, "toolgate/explain.html", context, status=422 if form.is_bound and not answer else 200)


@require_POST
def draft(request: HttpRequest) -> HttpResponse:
    """Put the narrowest rule into the person's draft; it is worked out here, never taken from what they send."""
    try:
        draft_suggestion(_read_question(request), request.user.get_username(), now=timezone.now())
    except GateError as error:
        messages.error(request, str(error))
        return redirect(_return_to(request))
    messages.success(request, "The rule is in your draft. It is in force for nobody yet: see what it would have done.")
    return redirect("console:policy_draft")


def _read_question(request: HttpRequest) -> Question:
    if request.POST.get("decision"):
        return question_of(_get_decision(request.POST["decision"]))
    form = QuestionForm(request.POST)
    if not form.is_valid():
        raise Http404("no such question")
    return form.to_question()


def _return_to(request: HttpRequest) -> str:
    names = ("decision",) if request.POST.get("decision") else ("agent", "skill", "arguments", "tainted")
    query = QueryDict(mutable=True)
    query.update({name: request.POST[name] for name in names if request.POST.get(name)})
    return f"{reverse('console:explain')}?{query.urlencode()}"


def _fill(query: QueryDict) -> dict[str, Any]:
    return {name: query[name] for name in ("agent", "skill", "arguments", "tainted") if query.get(name)}


def _find_record(query: QueryDict) -> DecisionRecord | None:
    """Return the decision that is asked about, by its own id or as the one by which an approval was asked for."""
    if "decision" in query:
        return _get_decision(str(query["decision"]))
    if "approval" not in query:
        return None
    approval = find_approval(str(query["approval"]))
    record = find_asking_decision(approval) if approval else None
    if record is None:
        raise Http404("no such approval, or no decision that asked for it")
    return record


def _get_decision(decision_id: str) -> DecisionRecord:
    record = find_decision(decision_id) if is_plain_id(decision_id) else None
    if record is None:
        raise Http404("no such decision")
    return record
