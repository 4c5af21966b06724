"""What identity and the edge of the API refuse.

SiteError
├── TokenInvalid       no such token, or it is expired, revoked, or its owner may not enter: 401
├── TokenNotFound      no token has that prefix
├── ScopeUnknown       a scope that is no permission
├── AgentsUnknown      a token was to be limited to agents that there are not
├── NameInvalid        a name that cannot be kept, or that is taken
├── UserNotFound       no user has that name
├── AccountUnchanged   it is so already
├── LockedOut          it would lock the last admin out, or who asks for it
├── NoOwner            there is nobody to own a token
├── ViewRefused        a view of a list that cannot be kept
├── NameTaken          there is a webhook of that name: 409
├── TooManyWebhooks    there are as many as there may be: 409
├── TooManyAlerts      more alerts fire than are kept: 409
├── SubscriptionNotFound, DeliveryNotFound  no such webhook or delivery: 404
├── DeliveryBusy       it is being sent at this moment: 409
├── FigureUnread       a figure of the system page could not be read; its last good one stays
├── BackupRefused      a copy could not be taken, or not be put back
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


class AgentsUnknown(SiteError):
    """A token can be limited to agents of the fleet only."""

    def __init__(self, unknown: list[str], known: list[str]) -> None:
        named = ", ".join(ascii(word)[1:-1][:64] for word in unknown)
        super().__init__(f"There is no agent {named}. Known are: {', '.join(known)}. No token was made.")


class NameInvalid(SiteError):
    """The name is empty, too long, taken, or holds what cannot be read."""


class UserNotFound(SiteError):
    """No user has that name."""


class AccountUnchanged(SiteError):
    """What was asked for is so already."""


class LockedOut(SiteError):
    """It would leave nobody, or not who asks for it, able to take it back."""


class NoOwner(SiteError):
    """A token needs an owner who can hold a role."""


class ViewRefused(SiteError):
    """A view's name, list or filters cannot be kept; the message says why, and that nothing was."""


class NameTaken(SiteError):
    """Two webhooks of one name could not be told apart."""

    code = "name_taken"

    def __init__(self, name: str) -> None:
        named = ascii(name)[1:-1]
        super().__init__(f"There is a webhook named {named} already. Choose another name; nothing was changed.")


class TooManyWebhooks(SiteError):
    """There are as many subscriptions as there may be."""

    code = "too_many_webhooks"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} webhooks already, as many as there may be. Delete one first.")


class TooManyAlerts(SiteError):
    """More alerts fire than are kept; none of the notice's was."""

    code = "too_many_alerts"

    def __init__(self, limit: int) -> None:
        super().__init__(f"Over {limit:,} alerts would fire, more than are kept. Nothing of this notice was kept.")


class SubscriptionNotFound(SiteError):
    """No subscription has this id: it never was, or it was deleted."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is no webhook of this id: it was deleted, or never was. GET /api/webhooks lists them.")


class DeliveryNotFound(SiteError):
    """No delivery has this id."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is no delivery of this id. Deliveries are kept for 30 days.")


class DeliveryBusy(SiteError):
    """A delivery is being sent at this moment."""

    code = "delivery_busy"

    def __init__(self) -> None:
        super().__init__("It is being sent at this moment. See what comes of that, and then send it again if need be.")


class FigureUnread(SiteError):
    """Why a figure of the system page could not be read; the last one that was is shown in its place."""


class BackupRefused(SiteError):
    """A copy could not be taken, or not be put back; the message says what was kept and what to do."""


class BodyRefused(SiteError):
    """The body was not read: `status` and `code` say why. Nothing was done."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
