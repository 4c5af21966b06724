"""What is checked of the settings before the server starts; each finding has an id and says what to do."""

import os
import stat
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as Caution

from agents.border import list_secrets
from agents.providers.openai import APIS
from agents.providers.switchboard import parse_ref
from agents.redaction import MIN_SECRET_LENGTH, find_problem

TAG = "orchestrator"
MIN_SECRET_CHARS = 32
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OWN_NETWORKS = tuple(map(ip_network, ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10", "fd00:ec2::/32")))


@register(TAG)
def check_secret_key(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A short key can be guessed, and with it every session forged."""
    if len(settings.SECRET_KEY) < MIN_SECRET_CHARS:
        hint = "Set SECRET_KEY or SECRET_KEY_FILE to 50 random characters, or neither: then one is made."
        yield Error(f"SECRET_KEY has fewer than {MIN_SECRET_CHARS} characters", hint=hint, id="orchestrator.E001")


@register(TAG)
def check_private_folder(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """The state folder holds logins, keys and documents."""
    var: Path = settings.VAR
    if not os.access(var, os.W_OK | os.X_OK):
        hint = "Make it writable, or name another with ORCHESTRATOR_VAR."
        yield Error(f"the state folder {var} cannot be written", hint=hint, id="orchestrator.E002")
    elif var.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Caution(
            f"the state folder {var} is open to other users of this machine",
            hint=f"chmod 700 {var}",
            id="orchestrator.W001",
        )


@register(TAG)
def check_engine_and_state(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """Redis means workers on other machines, and those cannot share a SQLite file."""
    sqlite = str(settings.DATABASES["default"]["ENGINE"]).endswith("sqlite3")
    if settings.REDIS_URL and sqlite:
        hint = "Set STATE_DATABASE_URL=postgres://… beside REDIS_URL, or unset REDIS_URL."
        yield Error("REDIS_URL is set, but the state is kept in SQLite", hint=hint, id="orchestrator.E003")
    if not sqlite and not settings.REDIS_URL:
        hint = "Set REDIS_URL if web and worker are to run as processes of their own."
        yield Caution("PostgreSQL without Redis serves one process only", hint=hint, id="orchestrator.W002")


@register(TAG)
def check_shared_keys(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """Where processes share their work, a key that one of them has made for itself is unknown to those elsewhere."""
    if not settings.REDIS_URL:
        return
    if not settings.SECRET_KEY_IS_GIVEN:
        what = "processes share their work, but SECRET_KEY is made in each state folder: sessions hold in one of them"
        hint = "Give all the same with SECRET_KEY_FILE; until then let them share the state folder."
        yield Caution(what, hint=hint, id="orchestrator.W020")
    if settings.AUDIT_KEY_FILE.exists() and not settings.AUDIT_SIGNING_KEY:
        what = "processes share their work, but the key that signs checkpoints was made in this state folder"
        hint = "Give sequencer and standby this key with AUDIT_SIGNING_KEY_FILE; a standby elsewhere signs nothing."
        yield Caution(what, hint=hint, id="orchestrator.W021")


@register(TAG)
def check_proxy(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """What stands between the people and this process decides which forms are taken, and where links lead."""
    if settings.HTTPS_ONLY and not settings.FORWARDED_ALLOW_IPS:
        what = "HTTPS_ONLY is set, but no proxy is believed that says so: forms sent over https are refused (403)"
        hint = "Set FORWARDED_ALLOW_IPS to the address of the proxy that ends TLS."
        yield Caution(what, hint=hint, id="orchestrator.W022")
    names = {name for name in settings.ALLOWED_HOSTS if "." in name} - LOOPBACK  # without a dot: a container's own
    if names and urlsplit(settings.CONSOLE_URL).hostname in LOOPBACK:
        what = "the console has other names than this machine's, but links in webhooks lead to CONSOLE_URL on loopback"
        hint = "Set CONSOLE_URL to the address that people open, such as https://orchestrator.example.com."
        yield Caution(what, hint=hint, id="orchestrator.W023")


@register(TAG)
def check_audit_store(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A MongoDB that acknowledges what it has not written down may lose events that are believed kept."""
    if settings.MONGODB_ARCHIVE_URI and not settings.MONGODB_ARCHIVE_URI.startswith(("mongodb://", "mongodb+srv://")):
        hint = "It is a second login to the server of DATABASE_URL, for what archives and erases."
        yield Error("DATABASE_ARCHIVE_URL is not a mongodb:// address", hint=hint, id="orchestrator.E013")
    if not settings.MONGODB_URI:
        return
    parts = urlsplit(settings.MONGODB_URI)
    if parts.scheme not in {"mongodb", "mongodb+srv"}:
        hint = "The relational database is STATE_DATABASE_URL."
        yield Error("DATABASE_URL is not a mongodb:// address", hint=hint, id="orchestrator.E004")
        return
    options = {name.lower(): values[-1].lower() for name, values in parse_qs(parts.query).items()}
    if options.get("w") != "majority" or options.get("journal") != "true":
        hint = "Add ?w=majority&journal=true to DATABASE_URL."
        yield Caution("the audit store may acknowledge writes it can still lose", hint=hint, id="orchestrator.W003")


@register(TAG)
def check_hosts(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """With `*` any name is served, and a page elsewhere may reach the console by a name of its own."""
    if "*" in settings.ALLOWED_HOSTS:
        hint = "List the names under which the console is reached, separated by commas."
        yield Error("ALLOWED_HOSTS contains *", hint=hint, id="orchestrator.E005")


@register(TAG)
def check_webhook_networks(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A network too wide lets whoever names an address reach the machine itself, or what a cloud tells its machines."""
    for text in settings.WEBHOOK_ALLOWED_NETWORKS:
        network = ip_network(text)
        if any(network.version == own.version and network.overlaps(own) for own in OWN_NETWORKS):
            hint = "Name the networks of your receivers alone, such as 10.1.0.0/16, in WEBHOOK_ALLOWED_NETWORKS."
            what = f"WEBHOOK_ALLOWED_NETWORKS opens {text}, in which this machine or its cloud's metadata answers"
            yield Caution(what, hint=hint, id="orchestrator.W014")


@register(TAG)
def check_models(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A tier that names no vendor would fail with the first task of its agents."""
    named = {f"MODEL_TIER_{tier.upper()}": text for tier, text in settings.MODEL_TIERS.items()}
    named |= {f"MODEL_TIER_{tier.upper()}_FALLBACK": text for tier, text in settings.MODEL_FALLBACKS.items() if text}
    for name, text in named.items():
        try:
            parse_ref(text)
        except ValueError as error:
            hint = "Write the vendor, a colon and its name for the model; of vendors there are openai and anthropic."
            yield Error(f"{name}: {error}", hint=hint, id="orchestrator.E006")
    if settings.OPENAI_API not in APIS:
        hint = f"Set it to one of {', '.join(APIS)}, or unset it."
        yield Error(f"OPENAI_API={settings.OPENAI_API!r} is no API of OpenAI's", hint=hint, id="orchestrator.E007")


@register(TAG)
def check_redaction(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """A pattern that cannot be used would leave in prompts and transcripts what it was written to take out."""
    for pattern in settings.REDACT_PATTERNS:
        if problem := find_problem(pattern):
            hint = "Write one google-re2 pattern a line in REDACT_PATTERNS, without look-around or back-references."
            yield Error(
                f"the redaction pattern {pattern!r} cannot be used: {problem}", hint=hint, id="orchestrator.E010"
            )
    if short := sum(len(secret) < MIN_SECRET_LENGTH for secret in list_secrets()):
        yield Caution(
            f"{short} of the configured secrets have fewer than {MIN_SECRET_LENGTH} characters and are not redacted",
            hint="Give the databases and providers longer passwords and keys.",
            id="orchestrator.W010",
        )
