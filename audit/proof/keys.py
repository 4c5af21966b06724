"""The key that signs checkpoints. It is kept outside every database: who can rewrite them all still cannot sign."""

import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.models import Checkpoint
from audit.proof.notes import VerifierKey, is_key_name, public_key_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def load_key() -> "Ed25519PrivateKey":
    """Return the signing key: AUDIT_SIGNING_KEY, else the one in the state folder, made the first time.

    Raises: ImproperlyConfigured if it cannot be read or is no Ed25519 key in PEM, or the log has no proper name.
    """
    if not is_key_name(settings.AUDIT_ORIGIN):
        raise ImproperlyConfigured("AUDIT_ORIGIN, the log's name, may hold neither spaces nor plus")
    return parse_pem(settings.AUDIT_SIGNING_KEY or _find_or_make())


def load_verifier() -> VerifierKey:
    """Return what checks the signatures of `load_key`, in the log's name.

    Raises: ImproperlyConfigured.
    """
    return public_key_of(load_key(), name=settings.AUDIT_ORIGIN)


@cache
def parse_pem(pem: str) -> "Ed25519PrivateKey":
    """Return the key in a PEM text. Raises: ImproperlyConfigured if it is no Ed25519 key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ImproperlyConfigured(
            "the signing key is no Ed25519 key in PEM without a password. Make one with: "
            "openssl genpkey -algorithm ed25519"
        )
    return key


def _find_or_make() -> str:
    path: Path = settings.AUDIT_KEY_FILE
    try:
        if not path.exists():
            _refuse_second_key(path)
            make_pem(path)
        return path.read_text()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ImproperlyConfigured(f"{path} cannot be read or made ({reason}): set AUDIT_SIGNING_KEY") from error


def _refuse_second_key(path: Path) -> None:
    """Raise if another key has signed already: a new one would make the whole past look forged."""
    if Checkpoint.objects.exists():
        raise ImproperlyConfigured(
            f"the key that signed this log's checkpoints is not at {path}. Put it back, or name it with "
            "AUDIT_SIGNING_KEY; no new one is made, because it would not be known to anyone who verifies"
        )


def make_pem(path: Path) -> None:
    """Make a key and write it to `path`, for its owner alone; a key that is there already stays. Raises: OSError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, this leaves a key that another process made a moment ago
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk hold the names of files that were just made in `folder`. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
