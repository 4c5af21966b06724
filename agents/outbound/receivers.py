"""Where a webhook is sent: what an address that somebody gave really names. PURE."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from agents.outbound.reach import MAX_URL_CHARACTERS, is_one_printable_word, normalise_name, write_path

SCHEMES = {"https": 443, "http": 80}
_AUTHORITY = re.compile(r"[^@\\%/?#\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One address of a webhook, in its one form; whether it may be reached is judged when it is."""

    scheme: str
    host: str  # a domain name as lower-case ASCII, or an IP address
    port: int
    path: str  # with the query; percent-encoded

    @property
    def url(self) -> str:
        """Return the address as it is requested."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == SCHEMES[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def parse_receiver(url: str) -> Receiver:
    """Return what the address of a webhook names.

    Raises: ValueError, which says what is wrong with it; pydantic turns that into a problem of the field.
    """
    if not url or not is_one_printable_word(url):
        raise ValueError(f"an address is printable, without spaces, in at most {MAX_URL_CHARACTERS:,} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("this is not a well-formed address") from None
    if parts.scheme not in SCHEMES:
        raise ValueError("a webhook is an address of https or http")
    if "#" in url:
        raise ValueError("a fragment (#…) would never be sent: leave it out")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise ValueError("an address carries no user and no password: the receiver knows us by the signature")
    if port == 0:
        raise ValueError("0 is no port")
    host = _normalise(parts.hostname or "")
    path = write_path(parts.path, parts.query)
    receiver = Receiver(scheme=parts.scheme, host=host, port=port or SCHEMES[parts.scheme], path=path)
    if len(receiver.url) > MAX_URL_CHARACTERS:
        raise ValueError(f"an address has at most {MAX_URL_CHARACTERS:,} characters, percent-encoded")
    return receiver


def _normalise(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return normalise_name(host)
    except ValueError:
        raise ValueError("its host is neither a domain name nor an IP address") from None


def check_receiver(url: str | None) -> str | None:
    """Return the address in its one form; None stands for none.

    Raises: ValueError.
    """
    return None if url is None else parse_receiver(url).url


def show_receiver(url: str) -> str:
    """Return the address without its query, which may hold what only the receiver should know."""
    kept, asked, _ = url.partition("?")
    return f"{kept}?…" if asked else kept
