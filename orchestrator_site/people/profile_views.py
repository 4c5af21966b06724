"""Everybody's own settings, and what the roles let people do: parse, one call, respond."""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from orchestrator_site.console import THEME_COOKIE, THEMES
from orchestrator_site.people import words
from orchestrator_site.people.forms import ProfileForm
from orchestrator_site.people.profiles import read_profile, save_profile
from orchestrator_site.roles import ROLES, Permission, Role

_THEME_AGE: Final = timedelta(days=365)
_SHOWN: Final = ("theme", "density", "time_zone", "single_keys")


@require_http_methods(["GET", "HEAD", "POST"])
def show_profile(request: HttpRequest) -> HttpResponse:
    """Show how the console looks to whoever asks, and change it."""
    profile = read_profile(request.user)
    if request.method != "POST":
        form = ProfileForm(initial={name: getattr(profile, name) for name in _SHOWN})
        return render(request, "settings/profile.html", {"form": form})
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return render(request, "settings/profile.html", {"form": form}, status=422)
    save_profile(request.user, **form.cleaned_data)
    messages.success(request, "Kept. Every page looks so from now on, wherever you sign in.")
    return _keep_theme(redirect("console:profile"), form.cleaned_data["theme"])


@login_not_required
@require_POST
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen theme: light, dark, or whatever the system has; of who is signed in, for good."""
    target, theme = request.POST.get("next", ""), request.POST.get("theme", "")
    is_ours = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    if request.user.is_authenticated:
        save_profile(request.user, theme=theme if theme in THEMES else "")
    return _keep_theme(redirect(target if is_ours else "/"), theme)


def _keep_theme(response: HttpResponse, theme: str) -> HttpResponse:
    """Have the browser remember the theme too, for the page that it signs in on."""
    if theme in THEMES:
        response.set_cookie(
            THEME_COOKIE, theme, max_age=_THEME_AGE, samesite="Lax", secure=settings.HTTPS_ONLY, httponly=True
        )
    else:
        response.delete_cookie(THEME_COOKIE)
    return response


@require_safe
def show_roles(request: HttpRequest) -> HttpResponse:
    """Show the one table: which role may do what."""
    groups = words.group_permissions(Permission)
    rows = [
        (scope, says, [scope in ROLES[role] for role in Role]) for group in groups for scope, says in group.permissions
    ]
    roles = [(role.value, words.ROLES[role]) for role in Role]
    return render(request, "settings/roles.html", {"roles": roles, "rows": rows})
