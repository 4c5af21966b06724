"""Logins that another provider vouches for: what is believed of it, and what an account gets by it.

Only the ID token is believed, and only signed by a key that the provider publishes. An account is found by the
provider's own name for the person (`sub`), never by an e-mail address: whoever can choose theirs would choose yours.
"""

from collections.abc import Mapping
from typing import Any, Final

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError, AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse

from audit.context import acting
from audit.transactions import write_transaction
from orchestrator_site.entering.fresh import is_stale, refuse_stale
from orchestrator_site.entering.login_audit import record_refused
from orchestrator_site.roles import Role

PROVIDER: Final = "oidc"  # its name in addresses and rows; `OIDC_NAME` is what people read
ACTOR: Final = f"provider:{PROVIDER}"


class TokenAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """allauth's client of a provider, which believes the ID token alone, and checks it."""

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **more: Any) -> SocialLogin:
        """Return the login that the provider's answer stands for.

        Raises: OAuth2Error if there is no ID token, or it does not hold.
        """
        claims = self._decode_id_token(app, str(more["response"].get("id_token") or ""))
        return self.get_provider().sociallogin_from_response(request, {"id_token": claims})

    def _decode_id_token(self, app: Any, id_token: str) -> dict[str, Any]:
        self.did_fetch_access_token = False  # else allauth would leave the signature unchecked
        try:
            claims: dict[str, Any] = super()._decode_id_token(app, id_token)
            if not str(claims["sub"]):
                raise OAuth2Error("the ID token names nobody")
        except (KeyError, TypeError, ValueError) as error:  # of a header or a key set that is not as it should be
            raise OAuth2Error("the ID token cannot be read") from error
        return claims


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """What this installation does with a login that the provider vouches for."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Make an account for whom the provider knows; it has no role unless a claim says so."""
        return True

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Ask nothing: there is nothing to choose."""
        return True

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: Mapping[str, Any]) -> Any:
        """Take over the name, and no e-mail address: none is used here."""
        return super().populate_user(request, sociallogin, {**data, "email": None})

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Bring the roles of an account that the provider rules in line with its claim, before it may enter.

        Raises: ImmediateHttpResponse for a link that somebody's open browser alone asks for.
        """
        sociallogin.email_addresses = []
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            if is_stale(request):
                raise ImmediateHttpResponse(refuse_stale(request))
        elif sociallogin.is_existing:
            _follow_claim(sociallogin.user, sociallogin.account.extra_data)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        """Make the account, what links it and its roles, in one transaction."""
        with acting(actor=ACTOR), write_transaction():
            user = super().save_user(request, sociallogin, form)
            _follow_claim(user, sociallogin.account.extra_data)
        return user

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: Any) -> str:
        """Go back to where the link was asked for."""
        return reverse("console:security")

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """Audit the failure and go back to the login; why is in the provider's answer, which is not shown.

        Raises: ImmediateHttpResponse always.
        """
        record_refused(PROVIDER, request)
        if error == AuthError.CANCELLED:
            messages.info(request, f"You did not sign in with {settings.OIDC_NAME}.")
        else:
            messages.error(request, f"{settings.OIDC_NAME} did not vouch for you. Try again, or sign in another way.")
        raise ImmediateHttpResponse(redirect("account_login"))


def forget_links(user: User) -> None:
    """Let no provider's login open this account any more, each audited."""
    with write_transaction():
        for link in SocialAccount.objects.filter(user=user):
            link.delete()


def _follow_claim(user: User, told: Mapping[str, Any]) -> None:
    """Give and take roles as the claim says, of an account that has no password here; others keep what they have."""
    if not settings.OIDC_ROLE_CLAIM or user.has_usable_password():
        return
    wanted = pick_roles((told.get("id_token") or {}).get(settings.OIDC_ROLE_CLAIM), settings.OIDC_ROLES)
    with acting(actor=ACTOR), write_transaction():
        user.groups.set([Group.objects.get_or_create(name=role.value)[0] for role in sorted(wanted)])


def pick_roles(claim: Any, names: Mapping[str, str]) -> set[Role]:
    """Return the roles that a claim's values stand for: by `names`, or, if that is empty, by the roles' own names."""
    values = claim if isinstance(claim, list) else [claim]
    known = {name: Role(role) for name, role in names.items()} or {role.value: role for role in Role}
    return {known[value] for value in values if isinstance(value, str) and value in known}
