"""One rule, for people: what it says and did, and the whole form of it."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from toolgate.editing.drafts import put_rule, remove_rule
from toolgate.exceptions import GateError, PolicyInvalid, RuleMissing
from toolgate.matrix.reading import Sight, describe_rules, list_changes_of, list_decisions_by, look
from toolgate.matrix.rule_form import RuleForm, add_row, name_rule
from toolgate.policy import ANY, Rule, dump_rule
from toolgate.words.rules import describe_conditions, describe_limits, describe_terms

FORM_METHODS = ["GET", "HEAD", "POST"]


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


def _get_rule(sight: Sight, rule_id: str) -> Rule:
    rule = sight.find_rule(rule_id)
    if rule is None:
        raise Http404("no such rule")
    return rule


@require_safe
def show_rule(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Show a rule: in words, on the wire, who set it, what it decided; the person's draft of it if there is one."""
    sight, source = look(_user(request), request.GET.get("rules", "")), "draft"
    rule = sight.find_rule(rule_id)
    if rule is None and sight.is_draft:  # the draft takes it out: what is in force is still a rule
        sight, source = look(_user(request), "force"), "gone"
        rule = sight.find_rule(rule_id)
    if rule is None:
        raise Http404("no such rule")
    wire = dump_rule(rule)
    context = {
        "sight": sight,
        "is_gone": source == "gone",
        "agent_known": sight.find_agent(rule.agent) is not None and sight.find_skill(rule.skill) is not None,
        "line": describe_rules([rule], now=timezone.now(), before=sight.base)[0],
        "rule": rule,
        "wire": wire,
        "conditions": describe_conditions({**wire["conditions"], "domains": None}),
        "limits": describe_limits(wire["limits"]),
        "terms": describe_terms(wire),
        "changes": list_changes_of(rule_id),
        "decisions": list_decisions_by(rule),
    }
    return render(request, "toolgate/rule_detail.html", context)


@require_http_methods(FORM_METHODS)
def edit_rule(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Show the whole form of a rule; on POST keep it in the person's draft."""
    sight = look(_user(request))
    wire = dump_rule(_get_rule(sight, rule_id))
    return _answer(request, sight, wire, replaces=rule_id)


@require_http_methods(FORM_METHODS)
def new_rule(request: HttpRequest) -> HttpResponse:
    """Show the whole form of a new rule; on POST keep it in the person's draft."""
    sight = look(_user(request))
    agent_id, skill_id = request.GET.get("agent", ANY), request.GET.get("skill", ANY)
    taken = (rule.id for rule in sight.rules)
    wire = {"id": name_rule(agent_id, skill_id, taken), "agent": agent_id, "skill": skill_id}
    return _answer(request, sight, wire, replaces=None)


@require_POST
def delete_rule(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Take a rule out of the person's draft."""
    try:
        remove_rule(_user(request), rule_id, now=timezone.now())
    except RuleMissing as error:
        raise Http404("no such rule") from error
    except GateError as error:
        messages.error(request, str(error))
        return redirect("console:rule", rule_id)
    messages.success(request, f"Your draft does without {rule_id}. It stays in force until you publish the draft.")
    return redirect("console:permissions")


def _answer(request: HttpRequest, sight: Sight, wire: Mapping[str, Any], *, replaces: str | None) -> HttpResponse:
    wants_row = request.POST.get("add") == "row"
    data = add_row(request.POST) if wants_row else request.POST if request.method == "POST" else None
    form: Any = RuleForm(data, rule=wire, is_new=replaces is None, agents=sight.agents, skills=sight.skills)
    if form.is_bound and not wants_row and form.is_valid() and (kept := _keep(request, form, sight, replaces=replaces)):
        messages.success(request, "Kept in your draft. It is in force once you publish the draft.")
        return redirect(kept)
    status = 422 if form.is_bound and not wants_row else 200
    context = {"sight": sight, "form": form, "wire": wire, "replaces": replaces, "wants_row": wants_row}
    return render(request, "toolgate/rule_edit.html", context, status=status)


def _keep(request: HttpRequest, form: Any, sight: Sight, *, replaces: str | None) -> str:
    """Keep the rule and return where to go; an empty text if it could not be kept, and the form says why."""
    rule = form.name_rule(one.id for one in sight.rules)
    try:
        put_rule(_user(request), rule, replaces=replaces, now=timezone.now())
    except PolicyInvalid as error:
        for problem in error.problems:
            form.add_error("id" if "used twice" in problem else None, problem)
    except GateError as error:
        form.add_error(None, str(error))
    else:
        return reverse("console:rule", args=[rule["id"]])
    return ""
