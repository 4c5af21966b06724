"""Nobody changes what opens an account on the strength of an open browser alone."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account import app_settings
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows, is_reauthentication_required
from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

View = Callable[..., HttpResponseBase]


def ask_fresh(view: View) -> View:
    """Let a change of what opens an account be made only by who has signed in, or confirmed it, within five minutes.

    Who has a password or a factor is asked for it. Who has neither, because another provider vouches for them, has to
    have come in just now: allauth would let them pass.
    """

    @wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_reauthentication_required(request, app="allauth.account"):
            raise ReauthenticationRequired
        return refuse_stale(request) if is_stale(request) else view(request, *args, **kwargs)

    return asked


def is_stale(request: HttpRequest) -> bool:
    """Say whether they have nothing to confirm with, and did not come in just now either."""
    return not get_reauthentication_flows(request.user) and not _is_fresh(request)


def refuse_stale(request: HttpRequest) -> HttpResponse:
    """Say what to do, where a person sees what opens their account."""
    messages.error(request, "Nothing was changed. Sign out and in again: for five minutes after that this is open.")
    return redirect("console:security")


def _is_fresh(request: HttpRequest) -> bool:
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - records[-1]["at"] < app_settings.REAUTHENTICATION_TIMEOUT
