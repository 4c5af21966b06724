"""A person's own way in: what opens their account, and where it is open."""

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from orchestrator_site.entering.factors import CODES, lacks_factor
from orchestrator_site.entering.fresh import ask_fresh
from orchestrator_site.entering.login_audit import list_methods
from orchestrator_site.entering.passkeys import takes_passkeys
from orchestrator_site.entering.sessions import end_session, end_sessions, list_sessions


@require_safe
def show_security(request: HttpRequest) -> HttpResponse:
    """Show password, authenticator app, passkeys, recovery codes and linked login: what is set up, and what is next."""
    factors = list(Authenticator.objects.filter(user_id=request.user.pk).order_by("created_at"))
    codes = next((factor for factor in factors if factor.type == CODES), None)
    context = {
        "totp": next((factor for factor in factors if factor.type == Authenticator.Type.TOTP), None),
        "passkeys": [factor for factor in factors if factor.type == Authenticator.Type.WEBAUTHN],
        "codes": codes,
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else 0,
        "has_factor": any(factor.type != CODES for factor in factors),
        "is_required": lacks_factor(request.user),
        "links": SocialAccount.objects.filter(user_id=request.user.pk),
        "provider": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
        "methods": list_methods(request, request.user),  # type: ignore[arg-type]
        "takes_passkeys": takes_passkeys(request),
    }
    return render(request, "settings/security.html", context)


@require_safe
def show_sessions(request: HttpRequest) -> HttpResponse:
    """Show where this user is signed in."""
    sessions = list_sessions(request.user, this=request.session.session_key or "")
    return render(request, "settings/sessions.html", {"sessions": sessions})


@require_POST
@ask_fresh
def close_session(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of this user's other sessions."""
    if not end_session(request.user, pk):
        raise Http404
    messages.success(request, "The session is ended. Its open pages stop within 30 seconds.")
    return redirect("console:sessions")


@require_POST
@ask_fresh
def close_others(request: HttpRequest) -> HttpResponse:
    """End every session of this user but this one."""
    ended = end_sessions(request.user, keep=request.session.session_key or "")
    told = "1 other session is" if ended == 1 else f"{ended} other sessions are"
    messages.success(request, f"{told} ended. Their open pages stop within 30 seconds.")
    return redirect("console:sessions")
