"""API tokens: issue, verify, revoke. A token is shown once; the store keeps its SHA-256.

Verifying costs one dictionary look-up: what the store said about a token is believed for `FRESH_SECONDS`. So a
token that is revoked, an owner who is locked out or a role that is taken away is noticed within that time, in
every process; in the process that revokes, at once. An expiry is checked at each use.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from audit.context import name_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.exceptions import NameInvalid, ScopeUnknown, TokenInvalid, TokenNotFound
from orchestrator_site.models import ApiToken
from orchestrator_site.roles import Permission, permissions_of

MARK: Final = "orc_"
ALL: Final = "all"
PREFIX_LENGTH: Final = 8
FRESH_SECONDS: Final = 2.0
USE_WRITTEN_EVERY: Final = timedelta(minutes=1)
MAX_KNOWN: Final = 1_000
MAX_REASON_LENGTH: Final = 200

_SHAPE: Final = re.compile(r"orc_[A-Za-z0-9_-]{43}")
_UNUSABLE: Final = "This token is unknown, expired or revoked, or its owner may not enter. Ask for a new one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a verified token lets its bearer do; `granted` is its scopes as far as its owner's roles reach."""

    token_id: int
    name: str
    prefix: str
    owner: User
    granted: frozenset[str]
    expires_at: datetime | None


# --- verify ---------------------------------------------------------------------------------------------------
_known: dict[str, tuple[float, Grant]] = {}


def verify_token(token: str, *, now: datetime) -> Grant:
    """Return what `token` grants.

    Raises: TokenInvalid.
    """
    digest = hashlib.sha256(token.encode()).hexdigest()
    held = _known.get(digest)
    if held is None or monotonic() - held[0] >= FRESH_SECONDS:
        held = (monotonic(), _load(token, digest, now=now))
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[digest] = held
    grant = held[1]
    if grant.expires_at is not None and grant.expires_at <= now:
        raise TokenInvalid(_UNUSABLE)
    return grant


def verify_header(header: str, *, now: datetime) -> Grant:
    """Return what the token in an Authorization header grants.

    Raises: TokenInvalid.
    """
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not _SHAPE.fullmatch(token):
        raise TokenInvalid("Send a token as “Authorization: Bearer orc_…”; manage.py issue_token makes one.")
    return verify_token(token, now=now)


def forget_tokens() -> None:
    """Make every next look-up read the store."""
    _known.clear()


def _load(token: str, digest: str, *, now: datetime) -> Grant:
    _known.pop(digest, None)
    prefix = token[len(MARK) :][:PREFIX_LENGTH]
    rows = ApiToken.objects.select_related("owner").filter(prefix=prefix, revoked_at=None)
    found = next((row for row in rows if hmac.compare_digest(row.digest, digest)), None)
    if found is None or not found.owner.is_active:
        raise TokenInvalid(_UNUSABLE)
    if found.expires_at is None or found.expires_at > now:
        _write_use(found, now=now)
    return Grant(
        token_id=found.pk,
        name=found.name,
        prefix=found.prefix,
        owner=found.owner,
        granted=frozenset(found.scopes) & permissions_of(found.owner),
        expires_at=found.expires_at,
    )


def _write_use(token: ApiToken, *, now: datetime) -> None:
    """Write down the use unless that was done within the minute, so that reading seldom waits for the write lock."""
    before = now - USE_WRITTEN_EVERY
    if token.last_used_at is not None and token.last_used_at > before:
        return
    due = Q(last_used_at=None) | Q(last_used_at__lte=before)
    with write_transaction():
        ApiToken.objects.filter(due, pk=token.pk).update(last_used_at=now)


class TokenAuthentication(BaseAuthentication):
    """DRF: `request.user` is the token's owner, `request.auth` the Grant."""

    def authenticate(self, request: Request) -> tuple[User, Grant] | None:
        """Return owner and grant, None if no token was sent."""
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        try:
            grant = verify_header(header, now=timezone.now())
        except TokenInvalid as error:
            raise AuthenticationFailed(str(error)) from error
        name_actor(f"user:{grant.owner.get_username()}")
        return grant.owner, grant

    def authenticate_header(self, request: Request) -> str:
        """Return what a 401 says in WWW-Authenticate."""
        return "Bearer"


def record_refusal(grant: Grant, *, scope: str, method: str, path: str, now: datetime) -> None:
    """Audit that a valid token was used for what it does not grant."""
    body = {"token": grant.name, "prefix": grant.prefix, "scope": scope, "method": method, "path": path[:200]}
    actor = f"user:{grant.owner.get_username()}"
    with write_transaction():
        record(Event(type=EventType.TOKEN_REFUSED, at=now, actor=actor, decision="deny", body=body))


# --- issue and revoke -----------------------------------------------------------------------------------------
def issue_token(
    name: str,
    *,
    owner: User,
    scopes: Iterable[str],
    now: datetime,
    created_by: str = "system",
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """Make a token and return its row and the token itself, which nobody can read again.

    Raises: ScopeUnknown, NameInvalid.
    """
    _check_name(name)
    granted = read_scopes(scopes)
    token = MARK + secrets.token_urlsafe(32)
    row = ApiToken(
        prefix=token[len(MARK) :][:PREFIX_LENGTH],
        digest=hashlib.sha256(token.encode()).hexdigest(),
        name=name,
        owner=owner,
        scopes=granted,
        created_at=now,
        created_by=created_by,
        expires_at=expires_at,
    )
    with write_transaction():
        row.save(force_insert=True)
        body = {"scopes": granted, "expiresAt": expires_at.isoformat() if expires_at else None}
        record(_event(EventType.TOKEN_ISSUED, row, actor=created_by, now=now, **body))
    return row, token


def read_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the permissions that the words name, sorted; "all" names every one.

    Raises: ScopeUnknown; also if there is none.
    """
    words = {word.strip() for word in scopes}
    known = [permission.value for permission in Permission]
    unknown = sorted(words - {*known, ALL})
    if unknown or not words:
        raise ScopeUnknown(unknown or [""], known)
    return sorted(known) if ALL in words else sorted(words)


def _check_name(name: str) -> None:
    if not (1 <= len(name) <= 100 and name.isprintable() and name.strip() == name):
        raise NameInvalid("A token's name has 1 to 100 printable characters. No token was made.")


def revoke_token(prefix: str, *, reason: str, revoked_by: str, now: datetime) -> ApiToken:
    """Revoke the one token whose prefix this is (the token itself will do); revoking twice changes nothing.

    Raises: TokenNotFound if no token, or more than one, has it.
    """
    rows = list(ApiToken.objects.filter(prefix=prefix.removeprefix(MARK)[:PREFIX_LENGTH])[:2])
    if len(rows) != 1:
        raise TokenNotFound(f"{len(rows) or 'No'} tokens begin with {ascii(prefix)[1:-1][:12]}. Nothing was revoked.")
    row = rows[0]
    with write_transaction():
        changes = {"revoked_at": now, "revoke_reason": reason[:MAX_REASON_LENGTH]}
        if ApiToken.objects.filter(pk=row.pk, revoked_at=None).update(**changes):
            record(_event(EventType.TOKEN_REVOKED, row, actor=revoked_by, now=now, reason=changes["revoke_reason"]))
    _known.pop(row.digest, None)
    row.refresh_from_db()
    return row


def _event(type_: EventType, token: ApiToken, *, actor: str, now: datetime, **body: object) -> Event:
    about = {"name": token.name, "prefix": token.prefix, "owner": token.owner.get_username()}
    return Event(type=type_, at=now, actor=actor, body=about | body)
