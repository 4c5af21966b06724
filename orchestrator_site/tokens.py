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

from agents.registry import list_agents
from audit.context import name_actor
from audit.events import Event, EventType
from audit.exceptions import AgentNotGranted
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.exceptions import AgentsUnknown, NameInvalid, ScopeUnknown, TokenInvalid, TokenNotFound
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
    agents: frozenset[str] | None  # that it is limited to; None: every agent
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
        agents=None if found.agents is None else frozenset(found.agents),
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


def record_refusal(
    grant: Grant, *, scope: str, method: str, path: str, now: datetime, beyond: AgentNotGranted | None = None
) -> None:
    """Audit that a valid token was used for what it does not grant: a scope, or an agent that is `beyond` its limit."""
    body = {"token": grant.name, "prefix": grant.prefix, "scope": scope, "method": method, "path": path[:200]}
    actor, reason = f"user:{grant.owner.get_username()}", ""
    if beyond is not None:
        body["agent"], reason = ascii(beyond.agent_id)[1:-1][:64], beyond.code
    with write_transaction():
        record(Event(type=EventType.TOKEN_REFUSED, at=now, actor=actor, decision="deny", reason=reason, body=body))


# --- issue and revoke -----------------------------------------------------------------------------------------
def issue_token(
    name: str,
    *,
    owner: User,
    scopes: Iterable[str],
    now: datetime,
    created_by: str = "system",
    expires_at: datetime | None = None,
    agents: Iterable[str] | None = None,
) -> tuple[ApiToken, str]:
    """Make a token and return its row and the token itself, which nobody can read again.

    With `agents` it opens nothing that is about another agent, nor about the whole fleet.

    Raises: ScopeUnknown, NameInvalid, AgentsUnknown.
    """
    _check_name(name)
    granted = read_scopes(scopes)
    limit = None if agents is None else read_agents(agents)
    token = MARK + secrets.token_urlsafe(32)
    row = ApiToken(
        prefix=token[len(MARK) :][:PREFIX_LENGTH],
        digest=hashlib.sha256(token.encode()).hexdigest(),
        name=name,
        owner=owner,
        scopes=granted,
        agents=limit,
        created_at=now,
        created_by=created_by,
        expires_at=expires_at,
    )
    with write_transaction():
        row.save(force_insert=True)
        until = expires_at.isoformat() if expires_at else None
        body: dict[str, object] = {"scopes": granted, "agents": limit, "expiresAt": until}
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


def read_agents(words: Iterable[str]) -> list[str]:
    """Return the ids of the agents that the words name, sorted.

    Raises: AgentsUnknown; also if there is none: a token that reaches no agent is nobody's wish.
    """
    wanted, known = {word.strip() for word in words}, {agent.id for agent in list_agents()}
    if unknown := sorted(wanted - known) or ([] if wanted else [""]):
        raise AgentsUnknown(unknown, sorted(known))
    return sorted(wanted)


def _check_name(name: str) -> None:
    if not (1 <= len(name) <= 100 and name.isprintable() and name.strip() == name):
        raise NameInvalid("A token's name has 1 to 100 printable characters. No token was made.")


def revoke_token(prefix: str, *, reason: str, revoked_by: str, now: datetime) -> ApiToken:
    """Revoke the one token whose prefix this is (the token itself will do).

    Raises: TokenNotFound if no token, or more than one, has it.
    """
    rows = list(ApiToken.objects.filter(prefix=prefix.removeprefix(MARK)[:PREFIX_LENGTH])[:2])
    if len(rows) != 1:
        raise TokenNotFound(f"{len(rows) or 'No'} tokens begin with {ascii(prefix)[1:-1][:12]}. Nothing was revoked.")
    return revoke(rows[0], reason=reason, revoked_by=revoked_by, now=now)


def revoke(row: ApiToken, *, reason: str, revoked_by: str, now: datetime) -> ApiToken:
    """Take a token out of use for good; twice changes nothing."""
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
