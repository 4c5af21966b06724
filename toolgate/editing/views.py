"""Edit the policy, for people: parse, one call, respond."""

from collections.abc import Callable
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from toolgate.editing import drafts, versions
from toolgate.editing.diff import WireRule, diff_rules
from toolgate.editing.findings import lint_rules
from toolgate.exceptions import GateError, VersionMissing
from toolgate.models import PolicyDraft, PolicyVersion
from toolgate.policy import policy_digest, read_policy
from toolgate.publishing import restore_version
from toolgate.words.rules import describe_rule

PAGE_SIZE: Final = 25
MAX_SHOWN: Final = 500  # rules on one page; the file and the API have them all
_MAX_DIGITS: Final = 9


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


# --- drafts -----------------------------------------------------------------------------------------------------
@require_safe
def show_draft(request: HttpRequest) -> HttpResponse:
    """Show the person's own draft: what it changes, what is odd about it, what it would have done."""
    draft = drafts.find_open_draft(_user(request))
    context = _describe_draft(draft) if draft else {}
    others = [other for other in versions.list_open_drafts() if draft is None or other.id != draft.id]
    return render(request, "toolgate/policy_draft.html", {**context, "is_mine": True, "others": others})


@require_safe
def show_draft_of(request: HttpRequest, draft_id: str) -> HttpResponse:
    """Show anybody's draft, open or closed, to read."""
    draft = versions.find_draft(draft_id)
    if draft is None:
        raise Http404("no such draft")
    if draft.closed_at is None and draft.author == _user(request):
        return redirect("console:policy_draft")
    return render(request, "toolgate/policy_draft.html", {**_describe_draft(draft), "is_mine": False})


def _describe_draft(draft: PolicyDraft) -> dict[str, Any]:
    is_open = draft.closed_at is None
    base = versions.read_rules(draft.base_version)
    diff = diff_rules(base, draft.rules)
    return {
        "draft": draft,
        "diff": diff,
        "newest": versions.get_newest(),
        "conflict": versions.find_conflict(draft.rules, base_version=draft.base_version) if is_open else None,
        **_look_over(draft.rules, base=base),
        "what_if": versions.find_replay(policy_digest(read_policy(draft.rules))),
        "old": f"Version {draft.base_version}",
        "new": "This draft",
    }


def _look_over(rules: list[WireRule], *, base: list[WireRule]) -> dict[str, Any]:
    """Return what is odd about the rules of a draft: what it brings, and what was so before."""
    now = timezone.now()
    known = set(lint_rules(base, now=now))
    found = lint_rules(rules, now=now)
    return {
        "findings": [finding for finding in found if finding not in known],
        "known_findings": [finding for finding in found if finding in known],
    }


@require_POST
def undo_rule(request: HttpRequest, rule_id: str) -> HttpResponse:
    """Take one rule's edit back."""

    def act() -> str:
        drafts.undo_rule(_user(request), rule_id, now=timezone.now())
        return f"The rule {rule_id} is again as in the version that the draft was made on."

    return _answer(request, act, done=redirect("console:policy_draft"), otherwise=redirect("console:policy_draft"))


@require_POST
def publish(request: HttpRequest) -> HttpResponse:
    """Make the draft the version in force, with a reason."""
    done = redirect("console:policy_draft")

    def act() -> str:
        reason, revision = request.POST.get("reason", ""), _read_number(request.POST.get("revision", ""))
        version = drafts.publish_draft(_user(request), reason=reason, revision=revision, now=timezone.now())
        done["Location"] = redirect("console:policy_version", version.number)["Location"]
        return _tell_in_force(version)

    return _answer(request, act, done=done, otherwise=redirect("console:policy_draft"))


@require_POST
def rebase(request: HttpRequest) -> HttpResponse:
    """Lay the draft over the version in force."""

    def act() -> str:
        draft = drafts.rebase_draft(_user(request), now=timezone.now())
        return f"Your draft is an edit of version {draft.base_version} now. Look at it once more, then publish it."

    return _answer(request, act, done=redirect("console:policy_draft"), otherwise=redirect("console:policy_draft"))


@require_POST
def discard(request: HttpRequest) -> HttpResponse:
    """Throw the draft away."""

    def act() -> str:
        drafts.discard_draft(_user(request), now=timezone.now())
        return "The draft is thrown away. The rules in force are as they were."

    return _answer(request, act, done=redirect("console:permissions"), otherwise=redirect("console:policy_draft"))


def _tell_in_force(version: PolicyVersion) -> str:
    return f"Version {version.number} is in force: every process decides by it within a second, in runs under way too."


def _answer(
    request: HttpRequest, act: Callable[[], str], *, done: HttpResponseRedirect, otherwise: HttpResponseRedirect
) -> HttpResponse:
    """Do it, say what was done or why not, and lead on."""
    try:
        messages.success(request, act())
    except VersionMissing as error:
        raise Http404("no such version") from error
    except GateError as error:
        messages.error(request, str(error))
        return otherwise
    return done


# --- versions ---------------------------------------------------------------------------------------------------
@require_safe
def show_history(request: HttpRequest) -> HttpResponse:
    """List the versions, newest first, with what each changed."""
    before = _read_number(request.GET.get("before", "")) or None
    found = versions.list_editions(before=before, limit=PAGE_SIZE + 1)
    page = found[:PAGE_SIZE]
    context = {
        "editions": page,
        "newest": versions.get_newest(),
        "before": before,
        "next_before": page[-1].version.number if len(found) > PAGE_SIZE else None,
    }
    return render(request, "toolgate/policy_history.html", context)


@require_safe
def show_version(request: HttpRequest, number: int) -> HttpResponse:
    """Show one version: what it changed, and all its rules."""
    edition, newest = _get_edition(number), versions.get_newest()
    context = {
        "edition": edition,
        "version": edition.version,
        "newest": newest,
        "is_in_force": number == newest.number,
        "rules": _describe_rules(edition.version.rules),
        "old": f"Version {number - 1}",
        "new": f"Version {number}",
        "restore_reason": f"Back to version {number}",
    }
    return render(request, "toolgate/policy_version.html", context)


def _describe_rules(rules: list[WireRule]) -> list[tuple[WireRule, str]]:
    """Return rules with their sentences, by agent and skill."""
    ordered = sorted(rules, key=lambda rule: (rule["agent"], rule["skill"], rule["id"]))
    return [(rule, describe_rule(rule)) for rule in ordered[:MAX_SHOWN]]


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """Show what differs between any two versions: by default between the one in force and the one before."""
    newest = versions.get_newest()
    new = _read_number(request.GET.get("to", "")) or newest.number
    old = _read_number(request.GET.get("from", "")) or max(new - 1, 1)
    before, after = _get_edition(old).version, _get_edition(new).version
    context = {
        "before": before,
        "after": after,
        "newest": newest,
        "diff": diff_rules(before.rules, after.rules),
        "old": f"Version {before.number}",
        "new": f"Version {after.number}",
    }
    return render(request, "toolgate/policy_compare.html", context)


@require_POST
def restore(request: HttpRequest, number: int) -> HttpResponse:
    """Publish an earlier version's rules once more, with a reason."""
    done = redirect("console:policy_version", number)

    def act() -> str:
        version = restore_version(
            number,
            author=_user(request),
            reason=request.POST.get("reason", ""),
            base_version=_read_number(request.POST.get("base", "")),
            now=timezone.now(),
        )
        done["Location"] = redirect("console:policy_version", version.number)["Location"]
        return f"{_tell_in_force(version)} It says what version {number} said."

    return _answer(request, act, done=done, otherwise=redirect("console:policy_version", number))


def _get_edition(number: int) -> versions.Edition:
    try:
        return versions.get_edition(number)
    except VersionMissing as error:
        raise Http404("no such version") from error


def _read_number(text: str) -> int:
    """Return a whole number that was sent, 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0
