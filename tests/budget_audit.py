"""Look at what a storm left in the store: every account against the reservations that it is made of."""

import json
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Sum


def audit_store(now: datetime) -> None:
    """Reconcile what is still open, then print one JSON object: `wrong` is empty if all is well."""
    from agents import leases
    from agents.models import BudgetAccount, Reservation

    leases.forget_workers(now=now)
    rows = list(Reservation.objects.values())
    wrong = [*_find_violations(), *_check_accounts(rows), *_check_sums(rows), *_check_events(rows), *_check_free(now)]
    months = Counter(row["month"] for row in rows if row["state"] == "settled")
    report = {
        "wrong": wrong[:20],
        "violations": len(_find_violations()),
        "states": Counter(row["state"] for row in rows),
        "estimates": sum(row["is_estimate"] for row in rows),
        "months": months,
        "events": _count_events(),
        "accounts": BudgetAccount.objects.count(),
    }
    print(json.dumps(report))


def _total(column: str) -> int:
    from agents.models import BudgetAccount

    return BudgetAccount.objects.filter(key__startswith="fleet:").aggregate(total=Sum(column))["total"] or 0


def _find_violations() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT key, spent, held, cap FROM violation")
        return [f"{key}: {spent} spent + {held} held, cap {cap}" for key, spent, held, cap in cursor.fetchall()]


def _check_accounts(rows: list[dict[str, Any]]) -> list[str]:
    from agents.models import BudgetAccount

    spent: Counter[str] = Counter()
    wrong = [f"{row['id']} is still {row['state']}" for row in rows if row["state"] not in ("settled", "released")]
    for row in rows:
        for key in (f"fleet:{row['month']}", f"agent:{row['agent_id']}:{row['month']}", f"task:{row['task_id']}"):
            spent[key] += row["actual_micro"] or 0
    return wrong + [
        f"{account.key}: {account.held_micro} held, {account.spent_micro} spent, {spent[account.key]} charged"
        for account in BudgetAccount.objects.all()
        if account.held_micro or account.spent_micro != spent[account.key]
    ]


def _check_sums(rows: list[dict[str, Any]]) -> list[str]:
    from agents.models import DailyCost, Task

    total = sum(row["actual_micro"] or 0 for row in rows)
    sums = {
        "tasks": Task.objects.aggregate(total=Sum("cost_micro"))["total"] or 0,
        "days": DailyCost.objects.aggregate(total=Sum("spent_micro"))["total"] or 0,
        "fleet": _total("spent_micro"),
    }
    calls = DailyCost.objects.aggregate(total=Sum("calls"))["total"] or 0
    settled = sum(row["state"] == "settled" for row in rows)
    wrong = [f"{name} add up to {found}, reservations to {total}" for name, found in sums.items() if found != total]
    return wrong if calls == settled else [*wrong, f"{calls} calls by day, {settled} settled"]


def _count_events() -> dict[str, int]:
    from audit.models import LedgerEvent

    return dict(Counter(LedgerEvent.objects.filter(type__startswith="budget.").values_list("type", flat=True)))


def _check_events(rows: list[dict[str, Any]]) -> list[str]:
    states, events = Counter(row["state"] for row in rows), Counter(_count_events())
    expected = {
        "reserved": len(rows), "settled": states["settled"] - events["budget.reconciled"],
        "released": states["released"],
    }  # fmt: skip
    return [
        f"{events[f'budget.{name}']} events {name}, {count} expected"
        for name, count in expected.items()
        if events[f"budget.{name}"] != count
    ]


def _check_free(now: datetime) -> list[str]:
    """Hold all that is free in the month after next, to the last micro-dollar, and give it back."""
    from agents import registry
    from agents.models import BudgetAccount
    from agents.money import caps, spending
    from agents.money.budget import FLEET, month_of
    from agents.orders import Lease
    from agents.types import AgentConfig
    from audit.ids import new_id
    from audit.transactions import write_transaction

    config = registry.get_agent("content-agent").config
    rich = AgentConfig.model_validate(
        config.model_dump(by_alias=True) | {"limits": config.limits.model_copy(update={"max_cost_gbp": Decimal(10**6)})}
    )
    with write_transaction():
        caps.set_cap(f"agent:{rich.id}", Decimal(10**6), author="ada", reason="the end", now=now)
        account = BudgetAccount.objects.get(key=f"{FLEET}:{month_of(now)}")
        BudgetAccount.objects.filter(key=account.key).update(cap_micro=account.spent_micro + 1_000)
        lease = Lease(
            task_id="free", worker_id="w", fence=1, agent_id=rich.id, agent_version=1, config=rich, skill_id="",
            input={}, input_bytes=2, attempt=1, submitted_by="olga", trace_id="t", started_at=now, deadline_at=None,
            task_type=rich.task_type, timeout_seconds=1.0, max_attempts=1,
        )  # fmt: skip
        answers = [
            spending.reserve(lease, step_id=new_id(), model="openai:gpt-6-luna", worst_micro=worst, now=now)
            for worst in (1_001, 1_000, 1)
        ]
        fits = [isinstance(answer, str) for answer in answers]
        spending.reconcile_run("free", 1, now=now + timedelta(seconds=1))
    return [] if fits == [False, True, False] else [f"1,001, 1,000 and 1 of 1,000 free fit: {fits}"]
