"""API tokens, for whoever owns them: parse, one call, respond. A token is in the one answer that made it.

Everybody makes tokens for themselves, within their own roles; who holds `tokens:write` sees and revokes all.
"""

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agents.registry import list_agents
from audit.context import current_actor
from orchestrator_site.console import find_permissions
from orchestrator_site.entering.fresh import ask_fresh
from orchestrator_site.exceptions import SiteError
from orchestrator_site.models import ApiToken
from orchestrator_site.people import listing
from orchestrator_site.people.forms import TokenForm
from orchestrator_site.people.words import PERMISSIONS, group_permissions
from orchestrator_site.roles import Permission, permissions_of
from orchestrator_site.tokens import issue_token, revoke
from toolgate.exceptions import GateError
from toolgate.texts import check_reason

_MAX_DIGITS = 15


@require_safe
def show_tokens(request: HttpRequest) -> HttpResponse:
    """List one's own tokens; everybody's, or another's, for who may."""
    whose = request.GET.get("of", "")[:150]
    owner = _find_owner(request, whose)
    before = request.GET.get("before", "")
    is_number = before.isascii() and before.isdigit() and len(before) <= _MAX_DIGITS
    page = listing.list_tokens(owner=owner, before=int(before) if is_number else None)
    now = timezone.now()
    context = {
        "page": page,
        "rows": [(token, listing.find_state(token, now=now)) for token in page.rows],
        "owner": owner,
        "is_own": owner is not None and owner.pk == request.user.pk,
        "before": before if is_number else "",
    }
    return render(request, "settings/token_list.html", context)


def _find_owner(request: HttpRequest, whose: str) -> User | None:
    """Return whose tokens are asked for, None for everybody's."""
    user = cast(User, request.user)
    if not whose or whose == user.username or Permission.TOKENS_WRITE not in find_permissions(request):
        return user
    if whose == "*":
        return None
    return get_object_or_404(User, username=whose)


@require_http_methods(["GET", "HEAD", "POST"])
def new_token(request: HttpRequest) -> HttpResponseBase:
    """Make a token for whoever asks, and show it once."""
    granted = find_permissions(request)
    agents = [agent.id for agent in list_agents()]
    form = TokenForm(request.POST if request.method == "POST" else None, permissions=granted, agents=agents)
    if form.is_valid():
        return _make(request, form)
    return _show_form(request, form)


@ask_fresh  # a token outlives the session that made it
def _make(request: HttpRequest, form: TokenForm) -> HttpResponse:
    try:
        row, token = _issue(request, form)
    except SiteError as error:
        form.add_error(None, str(error))
        return _show_form(request, form)
    return render(request, "settings/token_made.html", {"token": row, "secret": token})


def _show_form(request: HttpRequest, form: TokenForm) -> HttpResponse:
    context = {
        "form": form,
        "groups": group_permissions(find_permissions(request)),
        "agents": [agent.id for agent in list_agents()],
    }
    return render(request, "settings/token_new.html", context, status=422 if form.is_bound else 200)


def _issue(request: HttpRequest, form: TokenForm) -> tuple[ApiToken, str]:
    now, given = timezone.now(), form.cleaned_data
    return issue_token(
        given["name"],
        owner=cast(User, request.user),
        scopes=given["scopes"],
        agents=form.limit,
        now=now,
        created_by=current_actor(),
        expires_at=now + form.life if form.life else None,
    )


@require_safe
def show_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Show what is known of one token, which is all but the token."""
    return _show(request, _get_token(request, token_id))


def _get_token(request: HttpRequest, token_id: int) -> ApiToken:
    """Return a token that is one's own, or that one's roles let one see.

    Raises: Http404, PermissionDenied.
    """
    token = get_object_or_404(ApiToken.objects.select_related("owner"), pk=token_id)
    if token.owner_id != request.user.pk and Permission.TOKENS_WRITE not in find_permissions(request):
        needed = f"that needs the permission {Permission.TOKENS_WRITE}, which none of your roles gives"
        raise PermissionDenied(f"It is another's token: {needed}.")
    return token


def _show(request: HttpRequest, token: ApiToken, *, reason: str = "", status: int = 200) -> HttpResponse:
    held: frozenset[Any] = permissions_of(token.owner)
    context = {
        "token": token,
        "state": listing.find_state(token, now=timezone.now()),
        "scopes": [(scope, PERMISSIONS.get(scope, ""), scope in held) for scope in token.scopes],
        "reason": reason,
    }
    return render(request, "settings/token_detail.html", context, status=status)


@require_POST
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Take a token out of use for good."""
    token, reason = _get_token(request, token_id), request.POST.get("reason", "")
    try:
        revoke(token, reason=check_reason(reason), revoked_by=current_actor(), now=timezone.now())
    except GateError as error:
        messages.error(request, str(error))
        return _show(request, token, reason=reason, status=422)
    messages.success(request, f"{token.name} opens nothing any more, on every process within two seconds.")
    return redirect("console:token", token.pk)
