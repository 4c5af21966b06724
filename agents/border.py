"""The border between this house and its models: one redactor, made from the settings.

It is crossed in three places, and what was redacted there is what the step ledger, the transcript and the prompts
hold: the task before its prompt is built, a tool's result before a model sees it, and a model's reply before anything
of it is stored or executed. See decision 17.
"""

import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings

from agents.redaction import Redactor

_SECRETS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SECRET_KEY", "OIDC_CLIENT_SECRET")
_ADDRESSES = ("MONGODB_URI", "MONGODB_ARCHIVE_URI", "REDIS_URL")  # they may hold a password


def find_redactor() -> Redactor:
    """Return the redactor for the secrets and patterns that are configured now.

    Raises: ValueError for a pattern that the system checks would have refused.
    """
    return _make(tuple(settings.REDACT_PATTERNS), *_read_settings())


def list_secrets() -> list[str]:
    """Return the secrets that this process knows: providers' keys, the signing key, the stores' passwords."""
    return _pick_secrets(*_read_settings())


def _read_settings() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the values that are secrets, and the addresses that may hold one."""
    databases = (str(entry.get("PASSWORD") or "") for entry in settings.DATABASES.values())
    values = (*(str(getattr(settings, name) or "") for name in _SECRETS), *databases)
    addresses = (
        *(str(getattr(settings, name) or "") for name in _ADDRESSES),
        _read_embedded(settings.MONGODB_URI_FILE),
    )
    return values, addresses


def _pick_secrets(values: tuple[str, ...], addresses: tuple[str, ...]) -> list[str]:
    passwords = [unquote(password) for address in addresses if (password := _find_password(address))]
    return [*(value for value in values if value), *passwords]


def _find_password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""


def _read_embedded(path: Path) -> str:
    """Return the embedded store's address, read again only when its file was written anew."""
    try:
        return _read(path, os.stat(path).st_mtime_ns)
    except OSError:
        return ""


@lru_cache(maxsize=2)
def _read(path: Path, written_ns: int) -> str:
    return path.read_text().strip()


@lru_cache(maxsize=4)
def _make(patterns: tuple[str, ...], values: tuple[str, ...], addresses: tuple[str, ...]) -> Redactor:
    return Redactor(patterns, _pick_secrets(values, addresses))
