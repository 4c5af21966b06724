"""Second factors: kept sealed, asked of the roles that `REQUIRE_MFA` names, and taken away from who has lost them."""

import base64
from typing import Any, Final

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from audit.transactions import write_transaction

ISSUER: Final = "Fleet console"
CODES: Final = str(Authenticator.Type.RECOVERY_CODES)  # they stand in for a factor, and are none by themselves
METHODS: Final = {  # what an authenticator is called in events and on pages
    str(Authenticator.Type.TOTP): "totp",
    str(Authenticator.Type.WEBAUTHN): "passkey",
    CODES: "recovery-codes",
}


class FactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """allauth's second factors, with their secrets sealed: a copy of the database alone opens no account."""

    def get_totp_issuer(self) -> str:
        """Return the name under which an authenticator app lists the account."""
        return ISSUER

    def build_totp_svg(self, url: str) -> str:
        """Return the QR code black on white: on a dark page no camera would read one without a ground."""
        import qrcode
        from qrcode.image.svg import SvgPathFillImage

        svg: str = qrcode.make(url, image_factory=SvgPathFillImage).to_string(encoding="unicode")
        return svg

    def encrypt(self, text: str) -> str:
        """Seal a secret before it is stored."""
        return _get_seals().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Open what `encrypt` sealed, also under an earlier key.

        Raises: cryptography.fernet.InvalidToken if the key is gone.
        """
        return _get_seals().decrypt(encrypted_text.encode()).decode()


def _get_seals() -> MultiFernet:
    """Return the seals of SECRET_KEY and of those before it; only the first seals anew."""
    return MultiFernet([_make_seal(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _make_seal(secret: str) -> Fernet:
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"orchestrator second factors")
    return Fernet(base64.urlsafe_b64encode(kdf.derive(secret.encode())))


def has_factor(user: Any) -> bool:
    """Say whether this user has a second factor; recovery codes alone are none."""
    return bool(Authenticator.objects.filter(user_id=user.pk).exclude(type=CODES).exists())


def lacks_factor(user: Any) -> bool:
    """Say whether this user has a role of which a second factor is required, and none."""
    if not settings.REQUIRE_MFA or not user.is_authenticated:
        return False
    return user.groups.filter(name__in=settings.REQUIRE_MFA).exists() and not has_factor(user)


def forget_factors(user: Any) -> int:
    """Take every second factor and the recovery codes from a user, each audited; returns how many there were."""
    with write_transaction():
        factors = list(Authenticator.objects.filter(user_id=user.pk))
        for factor in factors:
            factor.delete()
    return len(factors)
