"""Users, for administrators: parse, one call, respond. A password is in the one answer that made it."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.context import current_actor
from orchestrator_site.bootstrap import create_user, make_password
from orchestrator_site.entering.fresh import ask_fresh
from orchestrator_site.exceptions import SiteError
from orchestrator_site.people import listing, users
from orchestrator_site.people.forms import NewUserForm
from orchestrator_site.people.words import ROLES
from orchestrator_site.roles import Role
from toolgate.exceptions import GateError

_MAX_NAME = 150


@require_safe
def show_users(request: HttpRequest) -> HttpResponse:
    """List the users, by name."""
    after, role = request.GET.get("after", "")[:_MAX_NAME], request.GET.get("role", "")
    role = role if role in Role else ""
    page = listing.list_users(after=after, role=role)
    context = {"page": page, "after": after, "role": role, "roles": list(Role)}
    return render(request, "settings/user_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new_user(request: HttpRequest) -> HttpResponseBase:
    """Make a user, and show the password that was made for them, once."""
    form = NewUserForm(request.POST if request.method == "POST" else None)
    return _make(request, form) if form.is_valid() else _show_form(request, form)


@ask_fresh
def _make(request: HttpRequest, form: NewUserForm) -> HttpResponse:
    password, given = make_password(), form.cleaned_data
    roles = [Role(role) for role in given["roles"]]
    try:
        user = create_user(
            given["name"], password=password, roles=roles, now=timezone.now(), created_by=current_actor()
        )
    except SiteError as error:
        form.add_error("name", str(error))
        return _show_form(request, form)
    return _show_password(request, user, password)


def _show_form(request: HttpRequest, form: NewUserForm) -> HttpResponse:
    context = {"form": form, "roles": ROLES.items()}
    return render(request, "settings/user_new.html", context, status=422 if form.is_bound else 200)


def _show_password(request: HttpRequest, user: User, password: str) -> HttpResponse:
    context = {"person": user, "secret": password}
    return render(request, "settings/user_password.html", context)


@require_safe
def show_user(request: HttpRequest, user_id: int) -> HttpResponse:
    """Show one user, with what can be done to the account."""
    return _show(request, get_object_or_404(User, pk=user_id))


def _show(request: HttpRequest, user: User, *, failed: str = "") -> HttpResponse:
    [person] = listing.describe_people([user])
    context = {
        "person": person,
        "roles": [(role.value, ROLES[role], role.value in person.roles) for role in Role],
        "is_self": user.pk == request.user.pk,
        "failed": failed,
        "reason": request.POST.get("reason", ""),
    }
    return render(request, "settings/user_detail.html", context, status=422 if failed else 200)


# --- acts -----------------------------------------------------------------------------------------------------
@require_POST
@ask_fresh
def set_roles(request: HttpRequest, user_id: int) -> HttpResponse:
    """Give a user the roles that are ticked, and take the others."""
    roles = [role for role in request.POST.getlist("roles") if role in Role]

    def act(name: str, reason: str) -> str:
        users.set_roles(name, roles, reason=reason)
        return f"{name} has these roles now. Open pages follow within 30 s."

    return _act(request, user_id, verb="roles", act=act)


@require_POST
def switch(request: HttpRequest, user_id: int) -> HttpResponse:
    """Switch an account off, or on again."""

    def act(name: str, reason: str) -> str:
        if request.POST.get("to") == "on":
            users.switch_on(name, reason=reason)
            return f"{name} may sign in again."
        users.switch_off(name, reason=reason)
        return f"{name} is switched off, and signed out everywhere. Open pages close within 30 s."

    return _act(request, user_id, verb="switch", act=act)


@require_POST
def end_sessions(request: HttpRequest, user_id: int) -> HttpResponse:
    """Sign a user out everywhere."""

    def act(name: str, reason: str) -> str:
        ended = users.end_sessions(name, reason=reason)
        return f"{ended} session{pluralize(ended)} of {name} ended. Open pages close within 30 s."

    return _act(request, user_id, verb="sessions", act=act)


@require_POST
@ask_fresh
def forget_factors(request: HttpRequest, user_id: int) -> HttpResponse:
    """Take the second factors from a user who lost theirs."""

    def act(name: str, reason: str) -> str:
        gone = users.forget_factors(name, reason=reason)
        return f"{gone} factor{pluralize(gone)} of {name} removed; recovery codes count as one. The password is left."

    return _act(request, user_id, verb="factors", act=act)


@require_POST
@ask_fresh
def renew_password(request: HttpRequest, user_id: int) -> HttpResponse:
    """Give a user a new password, and show it once."""
    user = get_object_or_404(User, pk=user_id)
    try:
        password = users.renew_password(user.username, reason=request.POST.get("reason", ""))
    except (SiteError, GateError) as error:
        messages.error(request, str(error))
        return _show(request, user, failed="password")
    return _show_password(request, user, password)


def _act(request: HttpRequest, user_id: int, *, verb: str, act: Callable[[str, str], Any]) -> HttpResponse:
    """Do one thing to a user and say what it came to; what is refused leaves the reason in its form."""
    user = get_object_or_404(User, pk=user_id)
    try:
        done = act(user.username, request.POST.get("reason", ""))
    except (SiteError, GateError) as error:
        messages.error(request, str(error))
        return _show(request, user, failed=verb)
    messages.success(request, done)
    return redirect("console:user", user.pk)
