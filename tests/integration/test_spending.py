"""Money is held, sent, charged or given back: once, in every account, with its audit event."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents.calls import Wish, pass_gate
from agents.exceptions import CapRefused, ReservationClosed
from agents.models import BudgetAccount, CapChange, DailyCost, Reservation, Step, Task
from agents.money.budget import Refusal
from agents.money.caps import find_cap, follow_caps, set_cap
from agents.money.costs import find_spent
from agents.money.spending import mark_dispatched, reconcile_run, release, settle
from agents.orders import Cancelled, Failed, Released, Retried, Succeeded, TaskError
from agents.providers.base import Usage
from agents.registry import forget_fleet, seed_agents
from audit.transactions import write_transaction
from tests.integration.budget_cast import (
    AGENT,
    MODEL,
    NOW,
    USAGE,
    WORST,
    config_of,
    events_of,
    figures,
    hold,
    make_lease,
    open_step,
    state_of,
    try_hold,
)
from tests.integration.gate_cast import in_threads
from toolgate.models import DecisionRecord
from toolgate.publishing import publish_policy
from toolgate.types import Spent

pytestmark = pytest.mark.django_db(transaction=True)

FLEET_KEY, AGENT_KEY = "fleet:2026-11", f"agent:{AGENT}:2026-11"
ERROR = TaskError(code="timeout", message="too slow")


@pytest.fixture(autouse=True)
def fleet() -> Iterator[None]:
    forget_fleet()
    seed_agents(now=NOW)
    yield
    forget_fleet()


def keys_of(lease: Any) -> list[str]:
    return [f"task:{lease.task_id}", AGENT_KEY, FLEET_KEY]


def close(reservation_id: str, usage: Usage | None = USAGE, *, now: datetime = NOW) -> int:
    with write_transaction():
        return settle(reservation_id, usage=usage, now=now)


def cap(scope: str, pounds: str, *, now: datetime = NOW) -> None:
    set_cap(scope, Decimal(pounds), author="ada", reason="for a test", now=now)


# --- hold -------------------------------------------------------------------------------------------------------
def test_a_hold_is_in_every_account() -> None:
    lease = make_lease()
    reservation_id = hold(lease)
    assert [figures(key) for key in keys_of(lease)] == [(0, WORST)] * 3
    assert state_of(reservation_id) == ("held", None, False)
    assert [body["worstMicro"] for body in events_of("budget.reserved")] == [WORST]


def test_a_cap_may_be_used_to_the_last_micro_dollar() -> None:
    lease = make_lease(task_cap="0.10")  # 131,000
    hold(lease, 131_000)
    refusal = try_hold(lease, 1)
    assert isinstance(refusal, Refusal)
    assert (refusal.scope, refusal.code) == ("task", "budget_exhausted")
    assert "£0.10, has £0.00 left" in refusal.message


@pytest.mark.parametrize(("scope", "capped"), [("task", ""), ("agent", f"agent:{AGENT}"), ("fleet", "fleet")])
def test_all_accounts_hold_or_none(scope: str, capped: str) -> None:
    lease = make_lease(task_cap="0.01" if scope == "task" else "0.50")
    if capped:
        cap(capped, "0.01")
    refusal = try_hold(lease, 20_000)
    assert isinstance(refusal, Refusal)
    assert refusal.scope == scope
    assert set(BudgetAccount.objects.values_list("held_micro", flat=True)) == {0}
    assert not Reservation.objects.exists()
    assert [(body["scope"], body["worstMicro"]) for body in events_of("budget.refused")] == [(scope, 20_000)]


def test_a_call_that_no_longer_fits_crosses_the_last_threshold_once() -> None:
    cap("fleet", "0.01")
    lease = make_lease()
    for _ in range(3):
        assert isinstance(try_hold(lease), Refusal)
    assert [(body["percent"], body["refusedACall"]) for body in events_of("budget.crossed")] == [
        (50, True), (80, True), (100, True),
    ]  # fmt: skip


def test_a_task_without_an_agent_may_spend_nothing() -> None:
    import dataclasses

    lease = dataclasses.replace(make_lease(), config=None)
    assert isinstance(try_hold(lease, 1), Refusal)


def test_a_hundred_callers_share_what_is_left() -> None:
    cap("fleet", "0.10")  # 131,000
    leases = [make_lease() for _ in range(20)]

    def ask(number: int) -> bool:
        return isinstance(try_hold(leases[number % 20], 10_000), str)

    assert sum(in_threads(100, ask)) == 13
    assert figures(FLEET_KEY) == (0, 130_000)


# --- dispatch -----------------------------------------------------------------------------------------------------
def test_only_what_is_held_is_sent() -> None:
    reservation_id = hold(make_lease(), dispatched=True)
    with pytest.raises(ReservationClosed, match="not sent"), write_transaction():
        mark_dispatched(reservation_id, now=NOW)
    with write_transaction():
        release(reservation_id, now=NOW)
    with pytest.raises(ReservationClosed), write_transaction():
        mark_dispatched(reservation_id, now=NOW)


# --- settle -------------------------------------------------------------------------------------------------------
def test_a_call_is_charged_what_it_cost_and_the_rest_comes_back() -> None:
    lease = make_lease()
    step_id = open_step(lease)
    reservation_id = hold(lease, dispatched=True, step_id=step_id)
    assert close(reservation_id) == 3_000
    assert [figures(key) for key in keys_of(lease)] == [(3_000, 0)] * 3
    assert state_of(reservation_id) == ("settled", 3_000, False)
    assert Task.objects.get(id=lease.task_id).cost_micro == 3_000
    step = Step.objects.get(id=step_id)
    assert (step.cost_micro, step.usage) == (3_000, USAGE.to_wire())
    daily = DailyCost.objects.get()
    assert (daily.day, daily.agent_id, daily.model, daily.calls) == (date(2026, 11, 20), AGENT, MODEL, 1)
    assert (daily.spent_micro, daily.input_tokens, daily.output_tokens) == (3_000, 1_000, 100)
    body = events_of("budget.settled")[0]
    assert (body["chargedMicro"], body["isEstimate"]) == (3_000, False)


def test_a_call_without_usage_is_charged_its_worst_case() -> None:
    lease = make_lease()
    reservation_id = hold(lease, dispatched=True)
    assert close(reservation_id, None) == WORST
    assert state_of(reservation_id) == ("settled", WORST, True)
    assert figures(FLEET_KEY) == (WORST, 0)


def test_a_call_is_settled_once() -> None:
    lease = make_lease()
    reservation_id = hold(lease, dispatched=True)
    assert [close(reservation_id), close(reservation_id, None), close(reservation_id)] == [3_000] * 3
    with write_transaction():
        release(reservation_id, now=NOW)
    assert figures(FLEET_KEY) == (3_000, 0)
    assert len(events_of("budget.settled")) == 1
    assert not events_of("budget.released")


def test_what_cost_nothing_is_given_back() -> None:
    lease = make_lease()
    reservation_id = hold(lease, dispatched=True)
    for _ in range(2):
        with write_transaction():
            release(reservation_id, now=NOW)
    assert state_of(reservation_id) == ("released", 0, False)
    assert [figures(key) for key in keys_of(lease)] == [(0, 0)] * 3
    assert close(reservation_id) == 0
    assert len(events_of("budget.released")) == 1


def test_calls_of_a_day_add_up() -> None:
    lease = make_lease()
    for _ in range(3):
        close(hold(lease, dispatched=True))
    daily = DailyCost.objects.get()
    assert (daily.calls, daily.spent_micro, daily.input_tokens) == (3, 9_000, 3_000)
    assert Task.objects.get(id=lease.task_id).cost_micro == 9_000


def test_a_call_is_charged_to_the_month_in_which_it_was_held() -> None:
    late = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    reservation_id = hold(make_lease(), now=late, dispatched=True)
    close(reservation_id, now=late + timedelta(minutes=2))
    assert figures(FLEET_KEY) == (3_000, 0)
    assert not BudgetAccount.objects.filter(key="fleet:2026-12").exists()
    assert DailyCost.objects.get().day == date(2026, 11, 30)


def test_a_new_month_begins_with_all_of_its_cap() -> None:
    cap("fleet", "0.05")
    assert isinstance(try_hold(make_lease(), 65_500), str)
    assert isinstance(try_hold(make_lease(), 1), Refusal)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert isinstance(try_hold(make_lease(), 65_500, now=december), str)


def test_a_bound_that_did_not_hold_is_charged_and_sounds_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    lease = make_lease()
    assert close(hold(lease, 2_000, dispatched=True)) == 3_000
    assert figures(FLEET_KEY) == (3_000, 0)
    assert [(line.levelname, vars(line)["action"]) for line in caplog.records] == [
        ("CRITICAL", "budget.bound-exceeded")
    ]
    from audit.models import LedgerEvent

    assert LedgerEvent.objects.get(type="budget.settled").reason == "bound_exceeded"


def test_each_threshold_is_told_once() -> None:
    cap("fleet", "0.01")  # 13,100
    lease = make_lease()
    for _ in range(4):
        close(hold(lease, 3_100, dispatched=True))
    told = [(body["scope"], body["percent"]) for body in events_of("budget.crossed")]
    assert told == [("fleet", 50), ("fleet", 80)]  # at 9,000 and at 12,000


# --- what runs leave behind ---------------------------------------------------------------------------------------
def test_a_lost_run_is_charged_for_what_was_sent_and_for_nothing_else() -> None:
    lease = make_lease()
    kept, sent = hold(lease, 1_000), hold(lease, 2_000, dispatched=True)
    with write_transaction():
        reconcile_run(lease.task_id, lease.fence, now=NOW)
    assert (state_of(kept), state_of(sent)) == (("released", 0, False), ("settled", 2_000, True))
    assert figures(FLEET_KEY) == (2_000, 0)
    assert [body["reservationId"] for body in events_of("budget.reconciled")] == [sent]
    assert close(sent) == 2_000  # its usage comes late


def test_the_reaper_reconciles() -> None:
    from agents import leases

    lease = make_lease()
    sent = hold(lease, dispatched=True)
    leases.reap(own="", now=NOW)
    assert state_of(sent) == ("settled", WORST, True)
    assert Task.objects.get(id=lease.task_id).state == "queued"


def test_a_worker_that_stops_reconciles() -> None:
    from agents import leases

    kept = hold(make_lease())
    leases.release_unfinished("w", now=NOW)
    assert state_of(kept) == ("released", 0, False)


@pytest.mark.parametrize(
    "ending",
    [Cancelled(), Released(), Succeeded(result={}), Failed(error=ERROR), Retried(error=ERROR, run_at=NOW)],
    ids=lambda ending: type(ending).__name__,
)
def test_no_ending_leaves_money_held(ending: Any) -> None:
    from agents.endings import finish

    lease = make_lease()
    kept, sent = hold(lease), hold(lease, dispatched=True)
    with write_transaction():
        assert finish(lease, ending, now=NOW)
    assert (state_of(kept)[0], state_of(sent)) == ("released", ("settled", WORST, True))
    assert figures(FLEET_KEY) == (WORST, 0)


def test_another_runs_money_is_left_alone() -> None:
    lease = make_lease()
    kept = hold(lease)
    with write_transaction():
        reconcile_run(lease.task_id, lease.fence + 1, now=NOW)
    assert state_of(kept)[0] == "held"


def test_a_retried_task_keeps_what_it_has_spent() -> None:
    from agents.control import retry_task

    lease = make_lease(task_cap="0.01")  # 13,100
    close(hold(lease, 13_100, dispatched=True), None)
    Task.objects.filter(id=lease.task_id).update(state="failed", worker_id="")
    retry_task(lease.task_id, actor="user:olga", now=NOW)
    assert isinstance(try_hold(make_lease(task_cap="0.01", task_id=lease.task_id), 1), Refusal)
    assert isinstance(try_hold(make_lease(task_cap="0.02", task_id=lease.task_id), 13_100), str)


# --- caps ---------------------------------------------------------------------------------------------------------
def test_a_cap_is_in_force_at_once_and_audited() -> None:
    lease = make_lease()
    hold(lease, 10_000)
    cap("fleet", "0.001")
    assert BudgetAccount.objects.get(key=FLEET_KEY).cap_micro == 1_310
    assert isinstance(try_hold(lease, 1), Refusal)
    cap("fleet", "1")
    assert isinstance(try_hold(lease, 10_000), str)
    bodies = events_of("budget.capped")
    assert [(body["amountMicroGbp"], body["previousMicroGbp"]) for body in bodies] == [
        (1_000, 20_000_000), (1_000_000, 1_000),
    ]  # fmt: skip
    assert (bodies[0]["reason"], bodies[0]["usdPerGbp"], bodies[0]["rateDay"]) == ("for a test", "1.31", "2026-11-01")


def test_a_lowered_cap_takes_nothing_back() -> None:
    lease = make_lease()
    sent = hold(lease, dispatched=True)
    cap("fleet", "0")
    assert figures(FLEET_KEY) == (0, WORST)
    assert close(sent) == 3_000


def test_the_hard_cap_is_never_raised_in_the_console(settings: Any) -> None:
    with pytest.raises(CapRefused, match="COST_BUDGET_CAP"):
        cap("fleet", "20.01")
    assert not CapChange.objects.exists()
    cap("fleet", "15")
    settings.COST_BUDGET_CAP = Decimal(10)
    assert find_cap("fleet") == Decimal(10)
    follow_caps(now=NOW)
    assert BudgetAccount.objects.get(key=FLEET_KEY).cap_micro == 13_100_000


@pytest.mark.parametrize(
    ("scope", "pounds", "reason"),
    [
        ("fleet", "1", "  "), ("fleet", "-1", "r"), ("fleet", "NaN", "r"), ("fleet", "0.00001", "r"),
        ("agent:nobody", "1", "r"), ("task:t", "1", "r"), ("", "1", "r"), ("fleet", "1", "x" * 2_001),
        ("fleet", "Infinity", "r"), (f"agent:{AGENT}", "1e9", "r"),
    ],
)  # fmt: skip
def test_a_cap_that_is_none_is_refused(scope: str, pounds: str, reason: str) -> None:
    with pytest.raises(CapRefused, match=r"[Nn]othing"):
        set_cap(scope, Decimal(pounds), author="ada", reason=reason, now=NOW)
    assert not CapChange.objects.exists()
    assert not events_of("budget.capped")


def test_an_agents_cap_is_its_configurations_until_a_person_sets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents import registry

    agent = registry.get_agent(AGENT)
    limited = type(agent)(
        config=config_of(AGENT, monthly_cap_gbp=Decimal("0.02")), version=agent.version, status=agent.status
    )
    monkeypatch.setattr(registry, "find_agent", {AGENT: limited}.get)
    refusal = try_hold(make_lease(), 26_201)
    assert isinstance(refusal, Refusal)
    assert refusal.scope == "agent"
    assert isinstance(try_hold(make_lease(), 26_200), str)
    cap(f"agent:{AGENT}", "0.03")
    assert isinstance(try_hold(make_lease(), 13_100), str)
    assert isinstance(try_hold(make_lease(), 1), Refusal)


def test_another_rate_is_followed_from_the_next_start(settings: Any) -> None:
    hold(make_lease())
    settings.USD_PER_GBP = type(settings.USD_PER_GBP)(usd_per_gbp=Decimal("1.2"), day=date(2026, 11, 20))
    follow_caps(now=NOW)
    assert BudgetAccount.objects.get(key=FLEET_KEY).cap_micro == 24_000_000


def test_a_raised_cap_may_be_crossed_again() -> None:
    cap("fleet", "0.01")
    lease = make_lease()
    close(hold(lease, 13_100, dispatched=True), None)
    cap("fleet", "1")
    assert BudgetAccount.objects.get(key=FLEET_KEY).warned_percent == 0
    cap("fleet", "0.02")
    assert [body["percent"] for body in events_of("budget.crossed")] == [50, 80, 100, 50]


# --- what the gate is told ------------------------------------------------------------------------------------
def test_what_was_spent_is_told_in_pounds_with_what_is_held(settings: Any) -> None:
    settings.USD_PER_GBP = type(settings.USD_PER_GBP)(usd_per_gbp=Decimal("1.2"), day=date(2026, 11, 20))
    lease, other, stranger = make_lease(), make_lease(), make_lease(agent_id="security-agent")
    yesterday = NOW - timedelta(days=1)
    close(hold(lease, dispatched=True))  # 3,000 micro-dollars
    hold(lease)
    close(hold(other, dispatched=True))
    close(hold(lease, dispatched=True, now=yesterday), now=yesterday)
    hold(other, now=yesterday)
    close(hold(stranger, dispatched=True))
    assert find_spent(lease.task_id, AGENT, now=NOW) == Spent(task_micro=46_667, day_micro=46_667)
    assert find_spent(other.task_id, AGENT, now=NOW) == Spent(task_micro=44_167, day_micro=46_667)
    assert find_spent("none", "nobody", now=NOW) == Spent(task_micro=0, day_micro=0)
    assert find_spent(lease.task_id, AGENT, now=NOW + timedelta(days=1)).day_micro == 0


@pytest.mark.parametrize(("limit", "reason"), [("0.0300", "budget_exhausted"), ("0.5000", "allowed")])
def test_a_skill_call_is_refused_once_its_rule_grants_no_more_money(limit: str, reason: str) -> None:
    lease = make_lease()
    hold(lease)
    rule = {"id": "r", "agent": AGENT, "skill": "documentParser", "effect": "allow"}
    wish = Wish(skill_id="documentParser", arguments={"content": "# a", "format": "markdown"}, call_id="c")
    for version, limits in enumerate(({"spendPerTask": limit}, {"callsPerTask": 9})):
        publish_policy([rule | {"limits": limits}], author="o", reason="r", base_version=version, now=NOW)
        with write_transaction(), CaptureQueriesContext(connection) as queries:
            passage = pass_gate(lease, replace(wish, ordinal=version + 2), now=NOW)
        read_money = any("agents_dailycost" in query["sql"] for query in queries)
        assert read_money is (version == 0)  # nobody looks if no limit asks
        assert (passage.permit is not None) is (version == 1 or reason == "allowed")
    assert DecisionRecord.objects.order_by("at", "id").values_list("reason", flat=True)[0] == reason
