"""What identity and the edge of the API refuse.

SiteError
├── TokenInvalid       no such token, or it is expired, revoked, or its owner may not enter: 401
├── TokenNotFound      no token has that prefix
├── ScopeUnknown       a scope that is no permission
├── NameInvalid        a name that cannot be kept, or that is taken
├── NoOwner            there is nobody to own a token
└── BodyRefused        a body that is not the JSON we take; carries its status and code
"""

from http import HTTPStatus


class SiteError(Exception):
    """Base of this package's errors; the message is for people."""


class TokenInvalid(SiteError):
    """The token opens nothing. The message never says why in more detail than its holder may know."""


class TokenNotFound(SiteError):
    """No token, or more than one, begins with what was given."""


class ScopeUnknown(SiteError):
    """A scope must be one of the permissions."""

    def __init__(self, unknown: list[str], known: list[str]) -> None:
        named = ", ".join(ascii(word)[1:-1][:40] for word in unknown)
        super().__init__(f"There is no scope {named}. Known are: {', '.join(known)}, or all.")


class NameInvalid(SiteError):
    """The name is empty, too long, taken, or holds what cannot be read."""


class NoOwner(SiteError):
    """A token needs an owner who can hold a role."""


class BodyRefused(SiteError):
    """The body was not read: `status` and `code` say why. Nothing was done."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
