"""What the bodies of events about people and tokens hold. PURE."""

from typing import NotRequired, TypedDict


class UserCreated(TypedDict):
    user: str


class UserChanged(TypedDict):
    user: str
    changed: list[str]  # names of fields: a password's value is nobody's to keep
    isActive: bool
    formerly: NotRequired[str]  # the name before


class UserDeleted(TypedDict):
    user: str
    roles: list[str]


class RoleMoved(TypedDict):
    user: str
    role: str


class UserEntered(TypedDict):
    address: str | None


class LoginFailed(TypedDict):
    address: str | None
    user: str | None  # if there is one of the name that was typed


class _Token(TypedDict):
    name: str
    prefix: str
    owner: str


class TokenIssued(_Token):
    scopes: list[str]
    expiresAt: str | None


class TokenRevoked(_Token):
    reason: str


class TokenRefused(TypedDict):
    token: str
    prefix: str
    scope: str
    method: str
    path: str
