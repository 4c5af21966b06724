"""What-ifs and shadow rules, for people: parse, one call, respond."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from audit.background import OPEN
from audit.models import RunState
from toolgate.editing.drafts import find_open_draft
from toolgate.exceptions import GateError, RuleMissing
from toolgate.models import PolicyVersion, WhatIf
from toolgate.policy import dump_rule
from toolgate.replay import runs, trials
from toolgate.words.rules import describe_rule

DAYS: Final = {"7": 7, "30": 30}  # anything else is the whole history
PATIENCE: Final = timedelta(seconds=10)  # after it a page says that no worker takes a what-if up
# What became of calls, in the order of the columns: name, and the kinds that are counted together.
COLUMNS: Final = (
    ("refused", ("allow_deny", "ask_deny")),
    ("asked", ("allow_ask", "deny_ask")),
    ("passed", ("ask_allow", "deny_allow")),
)


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


# --- what-ifs ---------------------------------------------------------------------------------------------------
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Replay the history under the person's own draft."""
    draft, now = find_open_draft(_user(request)), timezone.now()
    if draft is None:
        messages.error(request, "You have no open draft, so there is nothing to hold against the history.")
        return redirect("console:policy_draft")
    days = DAYS.get(request.POST.get("since", ""))
    since = None if days is None else now - timedelta(days=days)
    try:
        what_if = runs.start_what_if(
            draft.rules, base_version=draft.base_version, asked_by=draft.author, since=since, now=now
        )
    except GateError as error:
        messages.error(request, str(error))
        return redirect("console:policy_draft")
    return redirect("console:what_if", what_if.id)


@require_safe
def show_what_if(request: HttpRequest, what_if_id: str) -> HttpResponse:
    """Show how far a what-if is, then its report; to htmx the part that changes alone."""
    what_if = runs.find_what_if(what_if_id)
    if what_if is None:
        raise Http404("no such what-if")
    name = "toolgate/_what_if_live.html" if request.htmx else "toolgate/what_if_detail.html"  # type: ignore[attr-defined]
    return render(request, name, _describe(what_if))


def _describe(what_if: WhatIf) -> dict[str, Any]:
    is_open = what_if.state in OPEN
    context: dict[str, Any] = {
        "what_if": what_if,
        "is_open": is_open,
        "percent": 100 * what_if.done // what_if.total if what_if.total else 0,
        "is_idle": what_if.state == RunState.WAITING and timezone.now() - what_if.created_at > PATIENCE,
    }
    if what_if.state == RunState.DONE:
        context |= _describe_report(what_if.result)
    return context


def _describe_report(report: dict[str, Any]) -> dict[str, Any]:
    asks = report["asks"]
    tables = (
        ("agents", "By agent", report["byAgent"]), ("skills", "By skill", report["bySkill"]),
        ("rules", "By rule", report["byRule"]),
    )  # fmt: skip
    return {
        "report": report,
        "turned": _turn(report["flips"]),
        "total": sum(report["flips"].values()),
        "asks_before": asks["before"] / asks["days"],
        "asks_after": asks["after"] / asks["days"],
        "tables": [
            (name, title, [row | _turn(row["flips"]) for row in rows if row["total"]]) for name, title, rows in tables
        ],
    }


def _turn(flips: dict[str, int]) -> dict[str, int]:
    return {name: sum(flips[kind] for kind in kinds) for name, kinds in COLUMNS}


# --- shadow -----------------------------------------------------------------------------------------------------
@require_safe
def show_shadow(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Show what a shadow rule would have turned so far."""
    try:
        trial = trials.get_trial(rule_id)
    except RuleMissing as error:
        raise Http404("no such shadow rule") from error
    context = {"trial": trial, "rule": trial.rule, "sentence": describe_rule(dump_rule(trial.rule))}
    return render(request, "toolgate/shadow_detail.html", context)


@require_POST
def promote(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Have a shadow rule enforced, with a reason."""
    return _end(request, rule_id, trials.promote_rule, "The rule {} is enforced now, as version {}.")


@require_POST
def drop(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Take a shadow rule out, with a reason."""
    return _end(request, rule_id, trials.drop_rule, "The rule {} is gone, as version {} has it.")


def _end(request: HttpRequest, rule_id: str, end: Callable[..., PolicyVersion], told: str) -> HttpResponse:
    text = request.POST.get("version", "")
    base_version = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
    reason, now = request.POST.get("reason", ""), timezone.now()
    try:
        version = end(rule_id, author=_user(request), reason=reason, base_version=base_version, now=now)
    except RuleMissing as error:
        raise Http404("no such shadow rule") from error
    except GateError as error:
        messages.error(request, str(error))
        return redirect("console:shadow", rule_id)
    messages.success(request, told.format(rule_id, version.number))
    return redirect("console:policy_version", version.number)
