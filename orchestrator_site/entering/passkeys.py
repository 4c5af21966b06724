"""Signing in with a passkey alone, and where browsers let one be used."""

from http import HTTPStatus
from typing import Any

from allauth.account.views import LoginView
from allauth.core.internal import ratelimit
from allauth.mfa.webauthn.views import login_webauthn
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from orchestrator_site.entering.login_audit import record_refused


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@ratelimit.decorator(app="allauth.account", action="passkey", limit_get=True)  # type: ignore[untyped-decorator]
def enter_by_passkey(request: HttpRequest) -> HttpResponse:
    """Challenge a passkey, or take its answer; one that does not hold is audited as a login that failed.

    Both have a pace, for anybody may ask: a challenge makes a session, and an answer an event.
    """
    answer: HttpResponse = login_webauthn(request)
    is_looked_at = answer.status_code != HTTPStatus.TOO_MANY_REQUESTS
    if request.method == "POST" and is_looked_at and not request.user.is_authenticated:
        record_refused("passkey", request)
    return answer


def takes_passkeys(request: HttpRequest) -> bool:
    """Say whether browsers offer passkeys to the address under which this was asked: https, or this machine's name."""
    return request.is_secure() or request.get_host().partition(":")[0] == "localhost"


@login_not_required
def show_login(request: HttpRequest) -> HttpResponse:
    """Show the login with the ways in that there are, or take a name and a password."""
    answer: HttpResponse = _login(request)
    return answer


class _Login(LoginView):  # type: ignore[misc]
    def get_context_data(self, **more: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**more, takes_passkeys=takes_passkeys(self.request))
        return context


_login = _Login.as_view()
