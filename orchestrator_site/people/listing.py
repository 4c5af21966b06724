"""Users and tokens by the page: each page is found by where the one before ended, so that ten thousand cost no more."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.apps import apps
from django.contrib.auth.models import User

from orchestrator_site.models import ApiToken
from orchestrator_site.roles import Role

PAGE_SIZE: Final = 50
_AUTHENTICATOR: str = "mfa.Authenticator"  # of allauth, where it is installed
_FACTORS: Final = ("totp", "webauthn")  # recovery codes alone are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user as the list shows them."""

    user: User
    roles: list[str]
    has_factor: bool | None  # None: nobody here can have a second factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Page[Row]:
    """Some rows, and the cursor of those that follow, None at the end."""

    rows: list[Row]
    next: Any


def list_users(*, after: str = "", role: str = "") -> Page[Person]:
    """Return users by name, those that come after one."""
    users = User.objects.order_by("username").prefetch_related("groups")
    if after:
        users = users.filter(username__gt=after)
    if role:
        users = users.filter(groups__name=role)
    rows = list(users[: PAGE_SIZE + 1])
    page = rows[:PAGE_SIZE]
    return Page(rows=describe_people(page), next=page[-1].username if len(rows) > PAGE_SIZE else None)


def describe_people(users: Iterable[User]) -> list[Person]:
    """Return users with their roles, and whether each has a second factor."""
    users = list(users)
    factors = find_factors([user.pk for user in users])
    return [
        Person(
            user=user,
            roles=[role.value for role in Role if role in {group.name for group in user.groups.all()}],
            has_factor=None if factors is None else user.pk in factors,
        )
        for user in users
    ]


def find_factors(ids: Iterable[int]) -> set[int] | None:
    """Return who of these has a second factor; None where there is none to have."""
    if not apps.is_installed("allauth.mfa"):
        return None
    authenticators: Any = apps.get_model(_AUTHENTICATOR)._default_manager
    return set(authenticators.filter(user_id__in=list(ids), type__in=_FACTORS).values_list("user_id", flat=True))


def list_tokens(*, owner: User | None, before: int | None = None) -> Page[ApiToken]:
    """Return the tokens of one owner, or of everybody, the newest first."""
    tokens = ApiToken.objects.select_related("owner").order_by("-pk")
    if owner is not None:
        tokens = tokens.filter(owner=owner)
    if before is not None:
        tokens = tokens.filter(pk__lt=before)
    rows = list(tokens[: PAGE_SIZE + 1])
    page = rows[:PAGE_SIZE]
    return Page(rows=page, next=page[-1].pk if len(rows) > PAGE_SIZE else None)


def find_state(token: ApiToken, *, now: datetime) -> str:
    """Return "revoked", "expired", "idle" for one whose owner is switched off, or "valid"."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    return "valid" if token.owner.is_active else "idle"
