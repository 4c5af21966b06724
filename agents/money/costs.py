"""What the console, the API and the metrics read about money. Amounts are micro-dollars."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Min, Sum

from agents import metrics, registry
from agents.models import BudgetAccount, CapChange, DailyCost, Reservation
from agents.money.budget import (
    FLEET,
    MILLION,
    NO_CAP,
    WARN_PERCENT,
    agent_scope,
    find_reach,
    find_threshold,
    forecast_micro,
    is_old,
    month_key,
    month_of,
    next_month,
    percent_of,
    start_of_month,
    start_of_recent,
    task_key,
    to_micro_pounds,
    to_pounds,
)
from agents.money.caps import find_caps, to_cap_micro
from audit.wire import format_at
from toolgate.types import Spent

MAX_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one scope has spent and holds, under which cap; `cap` is None where only the fleet's binds."""

    name: str
    spent: int
    held: int
    cap: int | None
    is_refused: bool = False  # a call did not fit

    @property
    def free(self) -> int | None:
        """What may still be held, None without a cap."""
        return None if self.cap is None else max(0, self.cap - self.spent - self.held)

    @property
    def percent(self) -> int:
        """Share of the cap that is spent, in whole per cent; 0 without one."""
        return percent_of(self.spent, self.cap) if self.cap is not None else 0

    @property
    def used_percent(self) -> int:
        """Share of the cap that is spent or held, at most 100: where the meter ends."""
        return min(100, percent_of(self.spent + self.held, self.cap)) if self.cap is not None else 0

    @property
    def is_warning(self) -> bool:
        """Say whether the month's cap comes near."""
        return self.percent >= WARN_PERCENT

    @property
    def is_stopped(self) -> bool:
        """Say whether the cap refuses calls: all is spent, or one did not fit."""
        return self.is_refused or self.percent >= 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """What one model cost in a month."""

    model: str
    calls: int
    spent: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """A month's money."""

    month: str
    fleet: Account
    forecast: int
    agents: list[Account]
    models: list[ModelCost]
    days: list[tuple[date, int]]  # from the month's first to today
    reach: datetime | None  # when the fleet's cap is reached at this pace; None: not this month, or already
    held: list[Reservation]  # of the calls under way, the oldest first
    old: list[Reservation]  # those of them that are open for longer than any call should take


def read_costs(now: datetime) -> Costs:
    """Return the current month's money."""
    month = month_of(now)
    days = _read_days(now)
    fleet = read_account(FLEET, now=now)
    forecast = read_forecast(fleet.spent, now)
    held = list(Reservation.objects.filter(closed_at=None).order_by("opened_at")[:MAX_SHOWN])
    return Costs(
        month=month,
        fleet=fleet,
        forecast=forecast,
        reach=find_reach(fleet.spent, forecast, fleet.cap or 0, now=now),
        agents=read_agent_accounts(now),
        models=_read_models(month),
        days=days,
        held=held,
        old=[one for one in held if is_old(one.opened_at, now=now)],
    )


def read_account(scope: str, *, now: datetime) -> Account:
    """Return the account of the fleet or of an agent in the current month, made or not."""
    return read_accounts([scope], now=now)[0]


def read_accounts(scopes: Sequence[str], *, now: datetime) -> list[Account]:
    """Return the accounts of these scopes in the current month, in that order, made or not."""
    month = month_of(now)
    rows = BudgetAccount.objects.in_bulk([month_key(scope, month) for scope in scopes])
    caps = find_caps([scope for scope in scopes if month_key(scope, month) not in rows])
    made = {scope: BudgetAccount(cap_micro=to_cap_micro(cap)) for scope, cap in caps.items()}
    return [_to_account(scope, rows.get(month_key(scope, month)) or made[scope]) for scope in scopes]


def read_agent_accounts(now: datetime) -> list[Account]:
    """Return the account of each agent in the current month."""
    return read_accounts([agent_scope(agent.id) for agent in registry.list_agents()], now=now)


def _to_account(scope: str, row: BudgetAccount) -> Account:
    return Account(
        name=scope.removeprefix("agent:"),
        spent=row.spent_micro,
        held=row.held_micro,
        cap=None if row.cap_micro >= NO_CAP else row.cap_micro,
        is_refused=row.warned_percent >= 100 and row.spent_micro < row.cap_micro,
    )


def find_spent(task_id: str, agent_id: str, *, now: datetime) -> Spent:
    """Return what a task, and its agent on this day (UTC), have spent or hold, as the gate's limits count it."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    account = BudgetAccount.objects.filter(key=task_key(task_id)).values_list("spent_micro", "held_micro").first()
    costs = DailyCost.objects.filter(day=today.date(), agent_id=agent_id).aggregate(total=Sum("spent_micro"))
    open_ones = Reservation.objects.filter(closed_at=None, agent_id=agent_id, opened_at__gte=today)
    held = open_ones.aggregate(total=Sum("worst_micro"))  # each is settled on the day that it was opened
    rate = settings.USD_PER_GBP.usd_per_gbp
    return Spent(
        task_micro=to_micro_pounds(sum(account or (0, 0)), rate),
        day_micro=to_micro_pounds((costs["total"] or 0) + (held["total"] or 0), rate),
    )


def _read_days(now: datetime) -> list[tuple[date, int]]:
    today = now.astimezone(UTC).date()
    first = today.replace(day=1)
    spent: dict[date, int] = defaultdict(int)
    rows = DailyCost.objects.filter(day__gte=first, day__lte=today).values("day").annotate(total=Sum("spent_micro"))
    for row in rows.order_by():
        spent[row["day"]] = row["total"]
    return [(day, spent[day]) for day in (first + timedelta(days=n) for n in range((today - first).days + 1))]


def read_forecast(spent: int, now: datetime) -> int:
    """Return what the month will have cost at its end, if it goes on as in the last seven days."""
    recent = DailyCost.objects.filter(day__gte=start_of_recent(now).date(), spent_micro__gt=0)
    found = recent.aggregate(total=Sum("spent_micro"), first=Min("day"))
    if found["first"] is None:
        return spent
    first = datetime.combine(found["first"], datetime.min.time(), tzinfo=UTC)
    return forecast_micro(spent, found["total"], since=first, now=now)


def _read_models(month: str) -> list[ModelCost]:
    first, end = start_of_month(month).date(), start_of_month(next_month(month)).date()
    rows = DailyCost.objects.filter(day__gte=first, day__lt=end).values("model").order_by()
    sums = rows.annotate(
        total_calls=Sum("calls"), total=Sum("spent_micro"), total_in=Sum("input_tokens"), total_out=Sum("output_tokens")
    )
    costs = [
        ModelCost(
            model=row["model"], calls=row["total_calls"], spent=row["total"], input_tokens=row["total_in"],
            output_tokens=row["total_out"],
        )
        for row in sums
    ]  # fmt: skip
    return sorted(costs, key=lambda cost: (-cost.spent, cost.model))


def list_cap_changes() -> list[CapChange]:
    """Return the newest caps that people set."""
    return list(CapChange.objects.order_by("-id")[:MAX_SHOWN])


# --- wire -----------------------------------------------------------------------------------------------------
def costs_to_wire(costs: Costs) -> dict[str, Any]:
    """Return a month's money as the API shows it."""
    rate = settings.USD_PER_GBP
    return {
        "month": costs.month,
        "fleet": _account_to_wire(costs.fleet),
        "forecastMicro": costs.forecast,
        "agents": [{"agentId": account.name, **_account_to_wire(account)} for account in costs.agents],
        "models": [
            {
                "model": cost.model,
                "calls": cost.calls,
                "spentMicro": cost.spent,
                "inputTokens": cost.input_tokens,
                "outputTokens": cost.output_tokens,
            }
            for cost in costs.models
        ],
        "days": [{"day": day.isoformat(), "spentMicro": spent} for day, spent in costs.days],
        "oldReservations": [_reservation_to_wire(reservation) for reservation in costs.old],
        "hardCapGbp": str(settings.COST_BUDGET_CAP),
        "usdPerGbp": str(rate.usd_per_gbp),
        "rateDay": rate.day.isoformat(),
    }


def _account_to_wire(account: Account) -> dict[str, Any]:
    return {
        "spentMicro": account.spent,
        "heldMicro": account.held,
        "capMicro": account.cap,
        "freeMicro": account.free,
        "percentSpent": account.percent,
    }


def _reservation_to_wire(reservation: Reservation) -> dict[str, Any]:
    return {
        "reservationId": reservation.id,
        "taskId": reservation.task_id,
        "agentId": reservation.agent_id,
        "model": reservation.model,
        "state": reservation.state,
        "worstMicro": reservation.worst_micro,
        "openedAt": format_at(reservation.opened_at),
    }


# --- gauges ---------------------------------------------------------------------------------------------------
def refresh_cost_gauges(agent_ids: Iterable[str], *, now: datetime) -> None:
    """Set the gauges of money from the store; what is neither of the fleet nor of a tier is summed up as other."""
    known = list(agent_ids)
    models = {*settings.MODEL_TIERS.values(), *filter(None, settings.MODEL_FALLBACKS.values())}
    spent: dict[tuple[str, str], int] = dict.fromkeys(
        ((agent, model) for agent in (*known, metrics.UNKNOWN) for model in (*models, metrics.OTHER_MODEL)), 0
    )
    for row in DailyCost.objects.filter(day=now.astimezone(UTC).date()):
        agent = row.agent_id if row.agent_id in known else metrics.UNKNOWN
        spent[agent, row.model if row.model in models else metrics.OTHER_MODEL] += row.spent_micro
    for (agent, model), micro in spent.items():
        metrics.COST_PER_DAY.labels(agent=agent, model=model).set(micro / MILLION)
    metrics.TOTAL_COST_PER_DAY.set(sum(spent.values()) / MILLION)
    fleet, rate = read_account(FLEET, now=now), settings.USD_PER_GBP.usd_per_gbp
    metrics.BUDGET_SPENT.set(float(to_pounds(fleet.spent, rate)))
    metrics.BUDGET_RESERVED.set(float(to_pounds(fleet.held, rate)))
    metrics.BUDGET_CAP.set(float(to_pounds(fleet.cap or 0, rate)))
    metrics.BUDGET_THRESHOLD.set(find_threshold(fleet.spent, fleet.cap or 0))
