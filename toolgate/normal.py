"""The normal form of ids, hosts and paths: rules are matched against this and nothing else. PURE."""

import re
from dataclasses import replace

from toolgate.types import Reason, Resource

_ID = re.compile(r"[a-zA-Z0-9._-]{1,64}", re.ASCII)
# A last label of digits would be an address ("10.1"), never a name.
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])", re.ASCII)
_PATH = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]+(?:/(?!\Z)|\Z))*")
MAX_HOST_LENGTH = 253
MAX_PATH_LENGTH = 4096


class NotNormal(ValueError):
    """A call names something in a form that no rule can be matched against; the gate refuses it."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def is_plain_id(text: object) -> bool:
    """Say whether `text` is an id: 1 to 64 ASCII letters, digits, dots, underscores or hyphens."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Say whether `text` is a DNS name in normal form: lower case, two labels or more, no address."""
    return len(text) <= MAX_HOST_LENGTH and _HOST.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Say whether `text` is a path in normal form, relative to the workspace; "" is the workspace itself."""
    return len(text) <= MAX_PATH_LENGTH and _PATH.fullmatch(text) is not None


def normalise_host(text: str) -> str:
    """Return `text` in lower case, as ASCII (IDNA) and without the dot of the root.

    Raises: ValueError if that is no plain DNS name.
    """
    try:
        host = text.removesuffix(".").lower()
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{ascii(text)[:120]} is not a host name") from None
    if not is_host(host):
        raise ValueError(f"{ascii(text)[:120]} is not a host name")
    return host


def normalise_resource(resource: Resource) -> Resource:
    """Return `resource` if it is in normal form, else with its hosts normalised.

    Raises: NotNormal for a host or a path that has no normal form.
    """
    _require_paths(resource.read_paths, Reason.READ_PATH)
    _require_paths(resource.write_paths, Reason.WRITE_PATH)
    if all(map(is_host, resource.hosts)):
        return resource
    return replace(resource, hosts=tuple(map(_require_host, resource.hosts)))


def _require_paths(paths: tuple[str, ...], reason: Reason) -> None:
    for path in paths:
        if not is_path(path):
            raise NotNormal(reason, f"the path {ascii(path)[:120]} is not in normal form")


def _require_host(text: str) -> str:
    try:
        return normalise_host(text)
    except ValueError as error:
        raise NotNormal(Reason.DOMAIN_NOT_ALLOWED, str(error)) from None
