"""What a URL really names. Everything after works on the parsed target, never on the text it came from."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import idna

from agents.skills.base import SkillRefused

MAX_URL_CHARACTERS = 2_048
HTTPS_PORT = 443

# The last label starts with a letter, so no way of writing an IP address is a name.
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_AUTHORITY = re.compile(r"[^@\\%\[\]/?#\s]+")
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """Where fetches may go. Outside tests these are the defaults, and nothing configures them."""

    port: int = HTTPS_PORT
    certificates: str | None = None  # a file of trusted roots instead of the public ones
    extra_networks: tuple[str, ...] = ()  # networks that count as public


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One https address, in its one form."""

    host: str  # lower-case ASCII (IDNA), no trailing dot
    port: int
    path: str  # with the query; percent-encoded

    @property
    def url(self) -> str:
        """Return the address as it is requested."""
        port = "" if self.port == HTTPS_PORT else f":{self.port}"
        return f"https://{self.host}{port}{self.path}"


def parse_url(url: str, *, port: int = HTTPS_PORT) -> Target:
    """Return what a URL names.

    Raises: SkillRefused `domain_not_allowed` unless it is https, on the port, by name, without user or password.
    """
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable() or " " in url or "\\" in url:
        raise _refuse(url, f"an address is printable, without spaces, in at most {MAX_URL_CHARACTERS} characters")
    try:
        parts = urlsplit(url)
        written_port = parts.port
    except ValueError:
        raise _refuse(url, "it is not a well-formed address") from None
    if parts.scheme != "https":
        raise _refuse(url, "only https is fetched")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise _refuse(url, "it carries a user, a password, an IP literal or a broken host")
    if (HTTPS_PORT if written_port is None else written_port) != port:
        raise _refuse(url, f"only port {port} is fetched")
    query = f"?{quote(parts.query, safe=_SAFE_IN_QUERY)}" if parts.query else ""
    return Target(host=normalise_host(parts.hostname or "", url), port=port, path=_write_path(parts.path) + query)


def _write_path(path: str) -> str:
    return quote(path or "/", safe=_SAFE_IN_PATH)


def normalise_host(host: str, url: str) -> str:
    """Return a host as lower-case ASCII. Raises: SkillRefused for what is not a domain name."""
    try:
        name = idna.encode(host.removesuffix("."), uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        raise _refuse(url, "its host is not a domain name") from None
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise _refuse(url, "its host is not a domain name")
    return name


def _refuse(url: str, why: str) -> SkillRefused:
    return SkillRefused("domain_not_allowed", f"{url[:200]!r} was refused: {why}. Nothing was fetched.")


def is_allowed_host(host: str, domains: tuple[str, ...]) -> bool:
    """Say whether a host is one of the domains: an exact name, or `*.name` for what lies below a name."""
    return any(host.endswith(domain[1:]) if domain.startswith("*.") else host == domain for domain in domains)
