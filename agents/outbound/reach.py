"""How far a request may reach, and what its host is called in one form. PURE."""

import re
from dataclasses import dataclass
from urllib.parse import quote

import idna

MAX_URL_CHARACTERS = 2_048
# The last label starts with a letter, so no way of writing an IP address is a name.
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"
_SAFE_IN_QUERY = _SAFE_IN_PATH + "?[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which connections are let through: by default https to public addresses."""

    certificates: str | None = None  # a file of trusted roots instead of the public ones
    extra_networks: tuple[str, ...] = ()  # networks that count as public
    plain_http: bool = False


def is_one_printable_word(url: str) -> bool:
    """Say whether an address is short enough, and holds nothing that is read in more than one way."""
    return len(url) <= MAX_URL_CHARACTERS and url.isprintable() and " " not in url and "\\" not in url


def normalise_name(host: str) -> str:
    """Return a domain name as lower-case ASCII (IDNA), without the dot at its end.

    Raises: ValueError for what is none.
    """
    name: str = idna.encode(host.removesuffix("."), uts46=True).decode("ascii").lower()
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError("it is not a domain name")
    return name


def write_path(path: str, query: str) -> str:
    """Return what an address names of its host, percent-encoded."""
    asked = f"?{quote(query, safe=_SAFE_IN_QUERY)}" if query else ""
    return quote(path or "/", safe=_SAFE_IN_PATH) + asked
