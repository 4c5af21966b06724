"""What is checked of the settings about entering before the server starts."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from orchestrator_site.roles import Role

TAG: Final = "orchestrator"
_ROLES: Final = f"Roles are {', '.join(Role)}."
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}


@register(TAG)
def check_required_factors(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A role that is misspelt would be let in without the factor that it was to have."""
    if unknown := sorted(set(settings.REQUIRE_MFA) - set(Role)):
        yield Error(f"REQUIRE_MFA names no role: {', '.join(unknown)}", hint=_ROLES, id="orchestrator.E014")


@register(TAG)
def check_provider(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A provider that is half set up lets nobody in, and one that is reached in the clear lets anybody in."""
    if unknown := sorted(set(settings.OIDC_ROLES.values()) - set(Role)):
        yield Error(f"OIDC_ROLES names no role: {', '.join(unknown)}", hint=_ROLES, id="orchestrator.E015")
    if not settings.OIDC_ISSUER:
        return
    if not settings.OIDC_CLIENT_ID or not settings.OIDC_CLIENT_SECRET:
        hint = "Set OIDC_CLIENT_ID, and OIDC_CLIENT_SECRET or OIDC_CLIENT_SECRET_FILE, as the provider gave them."
        yield Error("OIDC_ISSUER is set without its client's name and secret", hint=hint, id="orchestrator.E016")
    issuer = urlsplit(settings.OIDC_ISSUER)
    if issuer.scheme != "https" and issuer.hostname not in _LOOPBACK:
        hint = "Use the provider's https address: what is read from it says who may enter."
        yield Error("OIDC_ISSUER is reached without https", hint=hint, id="orchestrator.E017")
