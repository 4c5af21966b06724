"""What the bodies of events about people and tokens hold. PURE."""

from typing import NotRequired, TypedDict


class UserCreated(TypedDict):
    user: str


class UserChanged(TypedDict):
    user: str
    changed: list[str]  # names of fields: a password's value is nobody's to keep
    isActive: bool
    formerly: NotRequired[str]  # the name before
    reason: NotRequired[str]


class UserProfileChanged(TypedDict):
    user: str
    changed: list[str]


class SessionsEnded(TypedDict):
    user: str
    sessions: int
    reason: str


class UserDeleted(TypedDict):
    user: str
    roles: list[str]


class RoleMoved(TypedDict):
    user: str
    role: str
    reason: NotRequired[str]


class UserLoggedIn(TypedDict):
    address: str | None
    methods: list[str]  # password, totp, recovery-code, passkey, oidc; in order


class UserLoggedOut(TypedDict):
    address: str | None


class LoginFailed(TypedDict):
    address: str | None
    user: str | None  # if there is one of the name that was typed
    method: str


class LoginLinked(TypedDict):
    user: str
    provider: str


class FactorMoved(TypedDict):
    user: str
    method: str  # totp, passkey or recovery-codes
    factor: int  # its row: a person may have several passkeys
    reason: NotRequired[str]


class RecoveryCodeUsed(TypedDict):
    user: str
    left: int


class RecoveryCodesShown(TypedDict):
    user: str


class ViewMoved(TypedDict):
    view: int
    name: str
    list: str
    query: str  # the filters, as the list's address has them
    formerly: NotRequired[str]  # the name before


class _Token(TypedDict):
    name: str
    prefix: str
    owner: str


class TokenIssued(_Token):
    scopes: list[str]
    agents: list[str] | None  # what it is limited to; null: every agent
    expiresAt: str | None


class TokenRevoked(_Token):
    reason: str


class TokenRefused(TypedDict):
    token: str
    prefix: str
    scope: str
    method: str
    path: str
    agent: NotRequired[str]  # that it is not limited to; empty: the whole fleet
