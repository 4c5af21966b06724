"""The two steps of a login by provider, and the end of a link to one."""

from urllib.parse import urlsplit

from allauth.core.internal import ratelimit
from allauth.socialaccount.internal.flows.connect import validate_disconnect
from allauth.socialaccount.models import SocialAccount, SocialApp
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from orchestrator_site.entering.fresh import ask_fresh
from orchestrator_site.entering.oidc import TokenAdapter


@login_not_required
@require_POST
@ratelimit.decorator(app="allauth.account", action="oidc")  # type: ignore[untyped-decorator]
def enter(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send a person to the provider, by a page in between: the policy lets a form lead nowhere else."""
    from requests import RequestException

    try:
        answer: HttpResponse = OAuth2LoginView.adapter_view(TokenAdapter(request, provider_id))(request)
    except SocialApp.DoesNotExist:
        return _refuse(request, "No provider is set up here. Sign in with your password or passkey.")
    except (RequestException, ValueError, KeyError):
        return _refuse(request, f"{settings.OIDC_NAME} cannot be reached. Try again, or sign in another way.")
    address = answer.headers.get("Location", "")
    if not urlsplit(address).netloc:
        return answer
    return render(request, "account/hand_over.html", {"address": address, "provider": settings.OIDC_NAME})


@login_not_required
@require_safe
@ratelimit.decorator(app="allauth.account", action="oidc", limit_get=True)  # type: ignore[untyped-decorator]
def come_back(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take what the provider says of who comes back."""
    try:
        view = OAuth2CallbackView.adapter_view(TokenAdapter(request, provider_id))
        answer: HttpResponse = view(request)
    except SocialApp.DoesNotExist:
        return _refuse(request, "No provider is set up here. Sign in with your password or passkey.")
    return answer


def _refuse(request: HttpRequest, why: str) -> HttpResponse:
    messages.error(request, why)
    return redirect("account_login")


@require_POST
@ask_fresh
def unlink(request: HttpRequest, pk: int) -> HttpResponse:
    """End the link between this account and the provider's, unless it is the only way in."""
    account = get_object_or_404(SocialAccount, pk=pk, user=request.user)
    try:
        validate_disconnect(request, account)
    except ValidationError:
        why = f"It is your only way in. Have an administrator set a password first, then unlink {settings.OIDC_NAME}."
        messages.error(request, why)
        return redirect("console:security")
    account.delete()  # its event is told in the same transaction
    messages.success(request, "The login is unlinked: it no longer opens this account.")
    return redirect("console:security")
