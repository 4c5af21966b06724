"""Who may sign in to the console: accounts are made by an administrator, never by a visitor."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.views import password_change
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

NO_ADDRESS = "0.0.0.0"  # noqa: S104  (nobody listens there: a caller over a Unix socket has no address)


class ClosedSignupAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth without signing up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Refuse everybody."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the caller's address as the server knows it; whom it believes, `FORWARDED_ALLOW_IPS` says."""
        return request.META.get("REMOTE_ADDR") or NO_ADDRESS

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponse:
        """Send who was locked out back to the login, rather than to a page that is open to all."""
        messages.error(request, "This account is switched off. Ask an administrator.")
        return redirect("account_login")


def change_password(request: HttpRequest) -> HttpResponse:
    """Ask for the old password and a new one; an account that has none cannot give itself one here."""
    user = request.user
    if user.is_authenticated and not user.has_usable_password():
        messages.error(request, "This account has no password to change. An administrator can set one.")
        return redirect("console:security")
    response: HttpResponse = password_change(request)
    return response
