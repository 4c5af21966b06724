"""The arithmetic of the budget."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.money import budget
from agents.money.budget import explain_refusal, find_threshold, forecast_micro, list_crossed, month_of, write_pounds

RATE = Decimal("1.31")
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


# --- months -----------------------------------------------------------------------------------------------------
def test_months_are_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert month_of(datetime(2026, 12, 1, 8, 59, tzinfo=tokyo)) == "2026-11"
    assert month_of(datetime(2026, 12, 1, 9, 0, tzinfo=tokyo)) == "2026-12"


@pytest.mark.parametrize(("month", "after"), [("2026-11", "2026-12"), ("2026-12", "2027-01"), ("2028-01", "2028-02")])
def test_a_month_follows_a_month(month: str, after: str) -> None:
    assert budget.next_month(month) == after


def test_accounts_are_named_by_scope_and_month() -> None:
    assert budget.month_key(budget.FLEET, "2026-11") == "fleet:2026-11"
    assert budget.month_key(budget.agent_scope("content-agent"), "2026-11") == "agent:content-agent:2026-11"
    assert budget.task_key("t1") == "task:t1"


# --- money ------------------------------------------------------------------------------------------------------
def test_a_cap_is_turned_into_dollars_and_rounded_down() -> None:
    assert budget.to_micro_usd(Decimal(20), RATE) == 26_200_000
    assert budget.to_micro_usd(Decimal("0.0001"), Decimal("1.313")) == 131


@given(st.decimals(0, 10**6, places=4), st.decimals("0.5", "3", places=6))
def test_rounding_never_loosens_a_cap(pounds: Decimal, rate: Decimal) -> None:
    micro = budget.to_micro_usd(pounds, rate)
    assert Decimal(micro) <= pounds * rate * 10**6
    assert budget.to_pounds(micro, rate) <= pounds


@pytest.mark.parametrize(
    ("pounds", "text"),
    [
        ("0", "£0.00"), ("0.5", "£0.50"), ("0.0499", "£0.0499"), ("0.04", "£0.04"), ("0.123456", "£0.1234"),
        ("0.00004", "under £0.0001"), ("1", "£1.00"), ("12.509", "£12.50"), ("1234.5", "£1,234.50"),
    ],
)  # fmt: skip
def test_amounts_are_written_for_people(pounds: str, text: str) -> None:
    assert write_pounds(Decimal(pounds)) == text


# --- thresholds and the forecast ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("spent", "cap", "threshold"),
    [
        (0, 100, 0),
        (49, 100, 0),
        (50, 100, 50),
        (799, 1000, 50),
        (80, 100, 80),
        (100, 100, 100),
        (250, 100, 100),
        (0, 0, 100),
    ],
)
def test_thresholds_are_reached_by_what_is_spent(spent: int, cap: int, threshold: int) -> None:
    assert find_threshold(spent, cap) == threshold


def test_a_leap_over_several_thresholds_tells_of_each() -> None:
    assert list_crossed(0, 100) == [50, 80, 100]
    assert list_crossed(50, 80) == [80]
    assert list_crossed(80, 80) == []


def test_the_forecast_goes_on_as_it_did_lately() -> None:
    since = datetime(2026, 11, 10, tzinfo=UTC)
    assert budget.start_of_recent(NOON) == since
    # 6.5 days cost 650; 14.5 days are left
    assert forecast_micro(5_000, 650, since=since, now=NOON) == 5_000 + 1_450


def test_the_forecast_of_a_first_hour_counts_a_whole_day() -> None:
    now = datetime(2026, 11, 1, 1, tzinfo=UTC)
    assert forecast_micro(10, 10, since=now.replace(hour=0), now=now) == 10 + int(10 * (30 - 1 / 24))


def test_a_month_at_its_end_is_what_it_has_cost() -> None:
    end = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    assert forecast_micro(700, 10**4, since=end - timedelta(days=6), now=end) == 700


# --- refusals -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scope", "cure"), [("task", "maxCostGbp"), ("agent", "page Cost"), ("fleet", "COST_BUDGET_CAP")]
)
def test_a_refusal_says_which_cap_and_what_to_do(scope: budget.ScopeKind, cure: str) -> None:
    message = explain_refusal(scope, "openai:gpt-6-luna", "£0.50", "£0.03", "£0.05")
    assert cure in message
    assert "£0.50, has £0.03 left" in message
    assert "It was not sent" in message
