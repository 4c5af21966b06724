"""The arithmetic of the budget: scopes, months, money, thresholds, the forecast. PURE.

Amounts are whole millionths of a US dollar, for providers bill in dollars; caps are set in pounds and turned into
dollars at the dated rate of the settings, rounded down, so that rounding never loosens a cap.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final, Literal

MILLION: Final = 1_000_000
THRESHOLDS: Final = (50, 80, 100)  # per cent of a month's cap, each told of once
WARN_PERCENT: Final = 80  # from here on it is a warning, not a piece of news
NO_CAP: Final = 10**15  # a thousand million dollars: an agent without a cap of its own still has an account
OLD_RESERVATION: Final = timedelta(minutes=10)  # no single model call takes so long: somebody should look
RECENT: Final = timedelta(days=7)  # what the forecast goes by

FLEET: Final = "fleet"
AGENT_PREFIX: Final = "agent:"


ScopeKind = Literal["fleet", "agent", "task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call that does not fit under a cap; nothing was held."""

    scope: ScopeKind
    message: str
    code: str = "budget_exhausted"


_OWNERS: Final = {
    "task": "The task's cap",
    "agent": "The agent's cap for this month",
    "fleet": "The fleet's cap for this month",
}
_CURES: Final = {
    "task": "Give the agent a higher maxCostGbp and retry the task, or order less in one task.",
    "agent": "An admin can raise it on the page Cost; it begins anew with the month.",
    "fleet": "An admin can raise it on the page Cost, up to COST_BUDGET_CAP; it begins anew with the month.",
}


def explain_refusal(scope: ScopeKind, model: str, cap: str, left: str, worst: str) -> str:
    """Say which cap stopped a call and what to do; the amounts are written out in pounds."""
    return (
        f"{_OWNERS[scope]}, {cap}, has {left} left, and the next call of {model} may cost up to {worst}. "
        f"It was not sent. {_CURES[scope]}"
    )


# --- scopes and months ----------------------------------------------------------------------------------------
def agent_scope(agent_id: str) -> str:
    """Return the scope of one agent; the whole fleet's is `FLEET`."""
    return f"{AGENT_PREFIX}{agent_id}"


def month_key(scope: str, month: str) -> str:
    """Return the account of the fleet or of an agent in a month."""
    return f"{scope}:{month}"


def task_key(task_id: str) -> str:
    """Return the account of one task: all its attempts, also those after a person's retry."""
    return f"task:{task_id}"


def month_of(at: datetime) -> str:
    """Return the calendar month in UTC, such as "2026-11"."""
    return f"{at.astimezone(UTC):%Y-%m}"


def start_of_month(month: str) -> datetime:
    """Return a month's first moment."""
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)


def next_month(month: str) -> str:
    """Return the month after."""
    return month_of(start_of_month(month) + timedelta(days=31))


# --- money ----------------------------------------------------------------------------------------------------
def to_micro_usd(pounds: Decimal, usd_per_gbp: Decimal) -> int:
    """Return an amount in pounds as whole micro-dollars, rounded down."""
    return int((pounds * usd_per_gbp * MILLION).to_integral_value(ROUND_DOWN))


def to_pounds(micro_usd: int, usd_per_gbp: Decimal) -> Decimal:
    """Return micro-dollars as pounds with six decimals, rounded down."""
    return (Decimal(micro_usd) / MILLION / usd_per_gbp).quantize(Decimal("0.000001"), ROUND_DOWN)


def to_micro_pounds(micro_usd: int, usd_per_gbp: Decimal) -> int:
    """Return micro-dollars as whole micro-pounds, rounded up: what is spent is never shown as less to a limit."""
    return int((Decimal(micro_usd) / usd_per_gbp).to_integral_value(ROUND_UP))


def write_pounds(pounds: Decimal) -> str:
    """Return an amount for people: "£12.50"; below a pound with up to four decimals: "£0.0499"."""
    if 0 < pounds < Decimal("0.0001"):
        return "under £0.0001"
    if pounds >= 1:
        return f"£{pounds.quantize(Decimal('0.01'), ROUND_DOWN):,}"
    text = f"{pounds.quantize(Decimal('0.0001'), ROUND_DOWN):f}"
    return f"£{text[:4]}{text[4:].rstrip('0')}"


# --- thresholds and the forecast ------------------------------------------------------------------------------
def percent_of(spent_micro: int, cap_micro: int) -> int:
    """Return how much of a cap is spent, in whole per cent rounded down; a cap of nothing is always used up."""
    return 100 * spent_micro // cap_micro if cap_micro else 100


def find_threshold(spent_micro: int, cap_micro: int) -> int:
    """Return the highest threshold that was reached, or 0.

    What was spent counts, not what is held: a hold is a worst case, most of which comes back.
    """
    percent = percent_of(spent_micro, cap_micro)
    return max((threshold for threshold in THRESHOLDS if threshold <= percent), default=0)


def list_crossed(before: int, after: int) -> list[int]:
    """Return the thresholds above `before` up to `after`."""
    return [threshold for threshold in THRESHOLDS if before < threshold <= after]


def start_of_recent(now: datetime) -> datetime:
    """Return when the days begin that the forecast goes by: today and the six days before it, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - RECENT + timedelta(days=1)


def forecast_micro(spent_micro: int, recent_micro: int, *, since: datetime, now: datetime) -> int:
    """Return what the month will have cost at its end, if it goes on as it did lately.

    It is the month's spend so far, and for each second left in the month the mean of what was spent since `since`:
    `start_of_recent`, or the first day with any cost if that is later. At least a day counts as passed.
    """
    left = start_of_month(next_month(month_of(now))) - now
    passed = max(now - since, timedelta(days=1))
    return spent_micro + int(recent_micro * left.total_seconds() / passed.total_seconds())


def find_reach(spent_micro: int, forecast: int, cap_micro: int, *, now: datetime) -> datetime | None:
    """Return when the cap is reached, if the month goes on as its forecast says; None if it is not, or is already."""
    if not spent_micro < cap_micro < forecast:
        return None
    left = start_of_month(next_month(month_of(now))) - now
    return now + left * ((cap_micro - spent_micro) / (forecast - spent_micro))


def is_old(opened_at: datetime, *, now: datetime) -> bool:
    """Say whether a reservation has been open for longer than any call should take."""
    return now - opened_at > OLD_RESERVATION
