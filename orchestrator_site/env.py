"""Read the environment: plain values, secrets from `NAME_FILE`, and secrets that a laptop makes for itself."""

import os
import re
import secrets
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def read_text(name: str, default: str = "") -> str:
    """Return the variable `name`, or the content of the file that `NAME_FILE` names, stripped.

    Raises: ImproperlyConfigured if the file cannot be read.
    """
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return os.environ.get(name, default)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {error.strerror}") from error


def read_int(name: str, default: int, *, minimum: int = 0) -> int:
    """Return the variable `name` as a whole number of at least `minimum`.

    Raises: ImproperlyConfigured if it is none.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < minimum:
        raise ImproperlyConfigured(f"{name}={text!r} is not a whole number of at least {minimum}")
    return int(text)


def read_flag(name: str, default: bool) -> bool:
    """Return the variable `name` as a switch: 1/true/yes/on or 0/false/no/off."""
    text = os.environ.get(name, "").strip().lower()
    if not text:
        return default
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}={text!r} is neither true nor false")


def read_list(name: str, default: list[str]) -> list[str]:
    """Return the variable `name` split at commas, empty parts dropped."""
    parts = [part.strip() for part in os.environ.get(name, "").split(",")]
    return [part for part in parts if part] or default


def read_pairs(name: str) -> dict[str, str]:
    """Return the variable `name`, such as fleet-admins=admin,ops=operator, as a mapping.

    Raises: ImproperlyConfigured.
    """
    pairs = [entry.rpartition("=") for entry in read_list(name, [])]
    if not all(left and right for left, _, right in pairs):
        raise ImproperlyConfigured(f"{name} is no list such as fleet-admins=admin,ops=operator")
    return {left.strip(): right.strip() for left, _, right in pairs}


def read_url(name: str) -> str:
    """Return the variable `name` as an address of http or https, empty if it is not set.

    Raises: ImproperlyConfigured.
    """
    text = read_text(name)
    if text and (urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname):
        raise ImproperlyConfigured(f"{name} is not an http or https address")
    return text


def read_address(name: str, *, completed_by: str) -> str:
    """Return a server's address, with the password of the variable `completed_by` where the address has none.

    So an address may stand in a file that everybody reads, and its password in one that they do not.
    """
    address, secret = read_text(name), read_text(completed_by)
    parts = urlsplit(address)
    if not address or not secret or parts.password:
        return address
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(secret, safe='')}@{host}").geturl()


def read_networks(name: str) -> list[str]:
    """Return the variable `name` as networks in CIDR notation, such as 10.0.0.0/8, separated by commas.

    Raises: ImproperlyConfigured.
    """
    try:
        return [str(ip_network(text)) for text in read_list(name, [])]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is no list of networks such as 10.1.0.0/16,fd00::/8: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """US dollars for a pound, on a day."""

    usd_per_gbp: Decimal
    day: date


def read_pounds(name: str, default: str) -> Decimal:
    """Return the variable `name` as an amount in pounds, at most four decimals.

    Raises: ImproperlyConfigured.
    """
    text = os.environ.get(name, "").strip() or default
    if not re.fullmatch(r"\d{1,9}(\.\d{1,4})?", text):
        raise ImproperlyConfigured(f"{name}={text!r} is no amount in pounds such as 20 or 12.50")
    return Decimal(text)


def read_rate(name: str, default: str) -> Rate:
    """Return the variable `name`, such as 1.31@2026-11-01.

    Raises: ImproperlyConfigured.
    """
    text = os.environ.get(name, "").strip() or default
    found = re.fullmatch(r"(\d{1,3}\.?\d{0,6})@(\d{4}-\d\d-\d\d)", text)
    try:
        rate = Rate(usd_per_gbp=Decimal(found[1]), day=date.fromisoformat(found[2])) if found else None
    except ValueError:
        rate = None
    if rate is None or rate.usd_per_gbp <= 0:
        raise ImproperlyConfigured(f"{name}={text!r} is no rate with its day, such as 1.31@2026-11-01")
    return rate


def read_prices(name: str) -> dict[str, tuple[Decimal, Decimal]]:
    """Return the variable `name`, such as openai:llama3.2=0/0: US dollars a million tokens in and out, by model.

    Raises: ImproperlyConfigured.
    """
    prices = {}
    for entry in read_list(name, []):
        found = re.fullmatch(r"([a-z]+:[^=\s]+)=(\d{1,6}(?:\.\d{1,6})?)/(\d{1,6}(?:\.\d{1,6})?)", entry)
        if found is None:
            raise ImproperlyConfigured(f"{name}: {entry!r} is no price such as openai:llama3.2=0.10/0.50")
        prices[found[1]] = Decimal(found[2]), Decimal(found[3])
    return prices


def find_or_make_secret(path: Path) -> str:
    """Return the secret kept at `path`, making it (mode 600) the first time.

    Raises: ImproperlyConfigured if the folder cannot be written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, secrets.token_urlsafe(48))
        return path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{path.parent} cannot be written ({error.strerror}): "
            "make it writable, or name another with ORCHESTRATOR_VAR"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` whole or not at all, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def parse_database_url(url: str, *, default_path: Path) -> dict[str, object]:
    """Return Django's DATABASES entry for `postgres://user:password@host:port/name` or `sqlite:///path`.

    Raises: ImproperlyConfigured for any other scheme.
    """
    parts = urlsplit(url)
    if not url or parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path)) if url else default_path)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(f"STATE_DATABASE_URL has the scheme {parts.scheme!r}: use postgres:// or sqlite:///")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or "") or read_text("POSTGRES_PASSWORD"),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        # A server that is there no more, and does not say so, is given up before a worker's lease runs out.
        "OPTIONS": {"connect_timeout": 5, "tcp_user_timeout": 10_000},
    }


def _sqlite(path: Path) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "TEST": {"NAME": path.with_name("test.sqlite3")},  # a file: threads must meet as they do in production
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # NORMAL in WAL mode: kill -9 loses nothing, a power cut may drop the last commits.
            # What is erased or archived is written over, not only let go of.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000; "
            "PRAGMA secure_delete=ON;",
        },
    }
