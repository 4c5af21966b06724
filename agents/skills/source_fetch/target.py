"""What a URL really names. Everything after works on the parsed target, never on the text it came from."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from agents.outbound.reach import MAX_URL_CHARACTERS, Reach, is_one_printable_word, normalise_name, write_path
from agents.skills.base import SkillRefused

HTTPS_PORT = 443

_AUTHORITY = re.compile(r"[^@\\%\[\]/?#\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy(Reach):
    """Where fetches may go. Outside tests these are the defaults, and nothing configures them."""

    port: int = HTTPS_PORT


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
    if not is_one_printable_word(url):
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
    return Target(host=normalise_host(parts.hostname or "", url), port=port, path=write_path(parts.path, parts.query))


def normalise_host(host: str, url: str) -> str:
    """Return a host as lower-case ASCII. Raises: SkillRefused for what is not a domain name."""
    try:
        return normalise_name(host)
    except ValueError:
        raise _refuse(url, "its host is not a domain name") from None


def _refuse(url: str, why: str) -> SkillRefused:
    return SkillRefused("domain_not_allowed", f"{url[:200]!r} was refused: {why}. Nothing was fetched.")


def is_allowed_host(host: str, domains: tuple[str, ...]) -> bool:
    """Say whether a host is one of the domains: an exact name, or `*.name` for what lies below a name."""
    return any(host.endswith(domain[1:]) if domain.startswith("*.") else host == domain for domain in domains)
