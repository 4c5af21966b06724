"""What is looked at for every request of somebody who has signed in."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from orchestrator_site.entering.factors import lacks_factor
from orchestrator_site.entering.sessions import note_seen


class EnteringMiddleware:
    """Django: note that the session is used, and lead who lacks a required second factor to where it is made."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            note_seen(request)
            if not _is_open_without(request.path) and lacks_factor(request.user):
                return redirect("console:security")
        return self.get_response(request)


def _is_open_without(path: str) -> bool:
    """Say whether a page is needed to set a factor up, to leave, or says nothing about the fleet."""
    return path.startswith(("/accounts/", settings.STATIC_URL)) or path in {
        reverse("console:security"),
        reverse("console:theme"),
        "/health",
        "/ready",
    }
