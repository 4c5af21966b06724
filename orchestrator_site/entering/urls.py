"""Which of allauth's pages are reachable: the others need e-mail, or would let visitors make accounts."""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from django.contrib.auth.decorators import login_required
from django.urls import URLPattern, path, reverse_lazy
from django.views.generic import RedirectView

from orchestrator_site.console import require
from orchestrator_site.entering import provider_views as provider
from orchestrator_site.entering.accounts import change_password
from orchestrator_site.entering.fresh import ask_fresh
from orchestrator_site.entering.passkeys import enter_by_passkey, show_login

signed_in = require(None)
SECURITY = reverse_lazy("console:security")

confirm_by_passkey = signed_in(passkeys.reauthenticate_webauthn)
make_codes = signed_in(ask_fresh(codes.generate_recovery_codes))

urlpatterns: list[URLPattern] = [
    path("login/", show_login, name="account_login"),
    path("logout/", login_required(account.logout), name="account_logout"),
    path("reauthenticate/", signed_in(account.reauthenticate), name="account_reauthenticate"),
    path("password/change/", signed_in(change_password), name="account_change_password"),
    path("2fa/", RedirectView.as_view(url=SECURITY, http_method_names=["get", "head"]), name="mfa_index"),
    path("2fa/authenticate/", mfa.authenticate, name="mfa_authenticate"),
    path("2fa/reauthenticate/", signed_in(mfa.reauthenticate), name="mfa_reauthenticate"),
    path("2fa/totp/activate/", signed_in(ask_fresh(totp.activate_totp)), name="mfa_activate_totp"),
    path("2fa/totp/deactivate/", signed_in(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("2fa/recovery-codes/", signed_in(codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path("2fa/recovery-codes/generate/", make_codes, name="mfa_generate_recovery_codes"),
    path("2fa/passkeys/login/", enter_by_passkey, name="mfa_login_webauthn"),
    path("2fa/passkeys/add/", signed_in(ask_fresh(passkeys.add_webauthn)), name="mfa_add_webauthn"),
    path(
        "2fa/passkeys/reauthenticate/",
        signed_in(passkeys.reauthenticate_webauthn),
        name="mfa_reauthenticate_webauthn",
    ),
    path(
        "2fa/passkeys/<int:pk>/remove/",
        signed_in(passkeys.RemoveWebAuthnView.as_view(success_url=SECURITY)),
        name="mfa_remove_webauthn",
    ),
    path("sso/<slug:provider_id>/login/", provider.enter, name="openid_connect_login"),
    path("sso/<slug:provider_id>/callback/", provider.come_back, name="openid_connect_callback"),
    path("sso/links/<int:pk>/unlink/", signed_in(provider.unlink), name="provider_unlink"),
]
