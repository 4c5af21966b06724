"""What the bodies of events about agents, skills, vendors and money hold. PURE."""

from typing import Any, NotRequired, TypedDict

AgentSwitched = TypedDict("AgentSwitched", {"from": str, "to": str, "reason": str})
FleetSwitched = TypedDict("FleetSwitched", {"from": str | int | None, "slots": int | None, "reason": str})


class SkillSwitched(TypedDict):
    version: str
    reason: str


class AgentDrafted(TypedDict):
    draftId: str
    baseVersion: int
    changed: list[str]


class AgentDiscarded(TypedDict):
    draftId: str
    baseVersion: int


class AgentPublished(TypedDict):
    version: int
    reason: str
    digest: NotRequired[str]  # none of the first version, which comes with the product
    changed: NotRequired[list[Any]]
    draftId: NotRequired[str]
    restored: NotRequired[int]


class AgentExported(TypedDict):
    version: int


class ProviderMoved(TypedDict):
    provider: str
    why: str


# --- money --------------------------------------------------------------------------------------------------------
class BudgetReserved(TypedDict):
    reservationId: str
    stepId: str
    model: str
    worstMicro: int


class BudgetCharged(BudgetReserved):
    chargedMicro: int
    isEstimate: bool
    inputTokens: NotRequired[int]
    outputTokens: NotRequired[int]
    cacheReadTokens: NotRequired[int]
    cacheWriteTokens: NotRequired[int]


class BudgetRefused(TypedDict):
    scope: str
    model: str
    worstMicro: int
    spentMicro: int
    heldMicro: int
    capMicro: int


class BudgetCrossed(TypedDict):
    scope: str
    month: str
    percent: int
    refusedACall: bool
    spentMicro: int
    heldMicro: int
    capMicro: int


class BudgetCapped(TypedDict):
    scope: str
    amountMicroGbp: int
    previousMicroGbp: int | None
    usdPerGbp: str
    rateDay: str
    reason: str


class BudgetAdjusted(TypedDict):
    scope: str
    month: str
    capMicro: int
    previousMicro: int
