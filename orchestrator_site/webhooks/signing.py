"""How a delivery is signed: Standard Webhooks, HMAC-SHA256 with a secret that only its receiver shares. PURE.

No secret is kept anywhere: each is derived from the installation's key, whom it is for, and how often it was changed.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

MARK: Final = "whsec_"
OVERLAP: Final = timedelta(hours=24)  # for so long after a change the secret before it signs too


def derive_secret(key: str, receiver: str, generation: int) -> str:
    """Return the secret `generation` of a receiver, as it is shown: 32 bytes."""
    message = f"webhooks\0{receiver}\0{generation}".encode()
    return MARK + base64.b64encode(hmac.digest(key.encode(), message, hashlib.sha256)).decode()


def list_secrets(key: str, receiver: str, generation: int, *, rotated_at: datetime | None, now: datetime) -> list[str]:
    """Return the secrets that sign at `now`: the newest, and the one before while receivers still change over."""
    secrets = [derive_secret(key, receiver, generation)]
    if generation > 1 and rotated_at is not None and now < rotated_at + OVERLAP:
        secrets.append(derive_secret(key, receiver, generation - 1))
    return secrets


def sign(delivery_id: str, payload: bytes, secrets: Iterable[str], *, now: datetime) -> dict[str, str]:
    """Return the three headers that a receiver verifies by."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((delivery_id.encode(), timestamp.encode(), payload))
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_sign(secret, signed) for secret in secrets),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(MARK))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
