"""What the bodies of events about webhooks hold. PURE.

An address is told by its host: the rest of it may hold what only its receiver should know.
"""

from typing import TypedDict


class WebhookTurned(TypedDict):
    subscriptionId: str
    name: str
    host: str


class WebhookCreated(WebhookTurned):
    kinds: list[str]
    agents: list[str]


class WebhookChanged(WebhookTurned):
    changed: list[str]  # names of fields


class WebhookPaused(WebhookTurned):
    why: str  # empty if a person did


class WebhookDeleted(WebhookTurned):
    dropped: int  # deliveries that were not taken yet


class WebhookResent(TypedDict):
    deliveryId: str
    subscriptionId: str  # or "callback"
    type: str  # of the event that it tells of


class WebhookAbandoned(WebhookResent):
    attempts: int
    status: int | None  # of the last answer
    code: str  # why there was none
