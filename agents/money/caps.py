"""The caps in force, and how a person changes one.

The conditional updates of `spending` compare with the account's row alone. So the row is brought up to date whenever
a cap may differ: when the account is made, when a person sets a cap, and when a process starts with other settings,
another rate or other configurations. Each of these takes its turn before it reads what the cap should be.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.db.models import Max

from agents import registry
from agents.claiming import CLAIM_LOCK
from agents.exceptions import CapRefused
from agents.models import BudgetAccount, CapChange
from agents.money.budget import (
    AGENT_PREFIX,
    FLEET,
    MILLION,
    NO_CAP,
    agent_scope,
    find_threshold,
    list_crossed,
    month_key,
    month_of,
    next_month,
    to_micro_usd,
    write_pounds,
)
from audit import bodies
from audit.context import SYSTEM, caused_by
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction

MAX_REASON = 2_000  # characters
MAX_POUNDS = Decimal(10**8)

_OPEN = """
    INSERT INTO agents_budgetaccount (key, cap_micro, spent_micro, held_micro, warned_percent)
    VALUES (%s, %s, 0, 0, 0) ON CONFLICT (key) DO NOTHING
"""


def take_turn() -> None:
    """Wait for the turn to change accounts, which lasts to the end of the transaction.

    A worker's transaction serves several runs, and so touches accounts in any order; with SQLite's one writer that
    is safe by itself. It is the turn of claims too: both are parts of such transactions, and two turns could be
    waited for in a circle.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])


# --- in force -------------------------------------------------------------------------------------------------
def find_cap(scope: str) -> Decimal | None:
    """Return the cap of the fleet or of an agent in pounds a month, None for an agent that has only the fleet's.

    The fleet's is never above COST_BUDGET_CAP. An agent's is what a person set last, else its configuration's.
    """
    return find_caps([scope])[scope]


def find_caps(scopes: Collection[str]) -> dict[str, Decimal | None]:
    """Return the cap of each scope, as `find_cap` does, in one question."""
    newest = CapChange.objects.filter(scope__in=scopes).values("scope").annotate(newest=Max("id")).values("newest")
    chosen = dict(CapChange.objects.filter(id__in=newest).values_list("scope", "amount_micro_gbp"))
    return {scope: _choose_cap(scope, chosen.get(scope)) for scope in scopes}


def _choose_cap(scope: str, micro_gbp: int | None) -> Decimal | None:
    chosen = None if micro_gbp is None else Decimal(micro_gbp) / MILLION
    if scope == FLEET:
        hard: Decimal = settings.COST_BUDGET_CAP
        return hard if chosen is None else min(hard, chosen)
    agent = registry.find_agent(scope.removeprefix(AGENT_PREFIX))
    return agent.config.limits.monthly_cap_gbp if chosen is None and agent else chosen


def find_cap_micro(scope: str) -> int:
    """Return the cap of the fleet or of an agent in micro-dollars at the dated rate."""
    return to_cap_micro(find_cap(scope))


def to_cap_micro(pounds: Decimal | None) -> int:
    """Return a cap in micro-dollars at the dated rate; none is one that nobody reaches."""
    return NO_CAP if pounds is None else min(NO_CAP, to_micro_usd(pounds, settings.USD_PER_GBP.usd_per_gbp))


def open_account(scope: str, month: str) -> None:
    """Make the account of a scope in a month, unless it is there."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, [month_key(scope, month), find_cap_micro(scope)])


# --- changed --------------------------------------------------------------------------------------------------
def set_cap(scope: str, pounds: Decimal, *, author: str, reason: str, now: datetime) -> CapChange:
    """Set the monthly cap of the fleet or of an agent ("agent:ID"), from now on and for the months to come.

    A cap below what is spent and held takes nothing back: it only refuses the calls to come.

    Raises: CapRefused.
    """
    reason = reason.strip()
    _refuse(scope, pounds, reason)
    with write_transaction():
        take_turn()
        open_account(scope, month_of(now))
        before = find_cap(scope)
        change = CapChange.objects.create(
            scope=scope, amount_micro_gbp=int(pounds * MILLION), author=author, reason=reason, created_at=now
        )
        event = _capped(change, before=before)
        record(event)
        with caused_by(event.id):
            _apply(scope, now=now)
    return change


def _refuse(scope: str, pounds: Decimal, reason: str) -> None:
    if scope != FLEET and registry.find_agent(scope.removeprefix(AGENT_PREFIX)) is None:
        raise CapRefused("There is no agent of this id, so it has no cap. Nothing was changed.")
    if not pounds.is_finite() or not 0 <= pounds < MAX_POUNDS or pounds != round(pounds, 4):
        raise CapRefused("A cap is an amount in pounds with at most four decimals, such as 12.50. Nothing was changed.")
    if not reason or len(reason) > MAX_REASON or "\0" in reason:
        raise CapRefused(f"Say why, in at most {MAX_REASON:,} characters: the audit trail keeps it. Nothing changed.")
    hard: Decimal = settings.COST_BUDGET_CAP
    if scope == FLEET and pounds > hard:
        raise CapRefused(
            f"The fleet's cap cannot be above {write_pounds(hard)}, which COST_BUDGET_CAP sets for this server. "
            "Nothing was changed; who runs the server can raise it there and start it anew."
        )


def _capped(change: CapChange, *, before: Decimal | None) -> Event:
    body = {
        "scope": change.scope,
        "amountMicroGbp": change.amount_micro_gbp,
        "previousMicroGbp": None if before is None else int(before * MILLION),
        "usdPerGbp": str(settings.USD_PER_GBP.usd_per_gbp),
        "rateDay": settings.USD_PER_GBP.day.isoformat(),
        "reason": change.reason,
    }
    actor, agent_id = f"user:{change.author}", _agent_of(change.scope)
    return Event(type=EventType.BUDGET_CAPPED, at=change.created_at, actor=actor, agent_id=agent_id, body=body)


def _agent_of(scope: str) -> str:
    return scope.removeprefix(AGENT_PREFIX) if scope != FLEET else ""


def follow_caps(*, now: datetime, agent_ids: Iterable[str] | None = None) -> None:
    """Bring the accounts in line with settings, rate and configurations: at a start, or after an agent's edit."""
    ids = [agent.id for agent in registry.list_agents()] if agent_ids is None else agent_ids
    with write_transaction():
        take_turn()
        for scope in (FLEET, *(agent_scope(agent_id) for agent_id in ids)):
            _apply(scope, now=now)


def _apply(scope: str, *, now: datetime) -> None:
    month = month_of(now)
    keys = [month_key(scope, month), month_key(scope, next_month(month))]  # a faster clock may have made the next
    cap = find_cap_micro(scope)
    for account in BudgetAccount.objects.filter(key__in=keys).exclude(cap_micro=cap):
        event = _adjusted(account, cap, now=now)
        record(event)
        account.cap_micro = cap
        account.warned_percent = min(account.warned_percent, find_threshold(account.spent_micro, cap))
        account.save(update_fields=["cap_micro", "warned_percent"])
        with caused_by(event.id):
            tell_crossed(account, now=now)


def _adjusted(account: BudgetAccount, cap_micro: int, *, now: datetime) -> Event:
    scope, _, month = account.key.rpartition(":")
    body = bodies.BudgetAdjusted(scope=scope, month=month, capMicro=cap_micro, previousMicro=account.cap_micro)
    return Event(type=EventType.BUDGET_ADJUSTED, at=now, actor=SYSTEM, agent_id=_agent_of(scope), body=body)


# --- told -----------------------------------------------------------------------------------------------------
def tell_crossed(account: BudgetAccount, *, now: datetime, refused: bool = False) -> None:
    """Record each threshold that a month's account has crossed and that was not told of before.

    A call that no longer fits counts as 100 %: with holds at their worst case, spend alone seldom gets there.
    The caller's transaction has locked the row.
    """
    reached = 100 if refused else find_threshold(account.spent_micro, account.cap_micro)
    crossed = list_crossed(account.warned_percent, reached)
    if not crossed:
        return
    BudgetAccount.objects.filter(key=account.key).update(warned_percent=reached)
    scope, _, month = account.key.rpartition(":")
    figures = {"spentMicro": account.spent_micro, "heldMicro": account.held_micro, "capMicro": account.cap_micro}
    record(
        *(
            Event(
                type=EventType.BUDGET_CROSSED, at=now, actor=SYSTEM, agent_id=_agent_of(scope),
                body={"scope": scope, "month": month, "percent": percent, "refusedACall": refused, **figures},
            )
            for percent in crossed
        )
    )  # fmt: skip
