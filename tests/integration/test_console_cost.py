"""The page Cost, the banner, the API and the gauges: what is shown of the month's money."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from django.utils.html import escape

from agents import registry
from agents.models import BudgetAccount, CapChange, Reservation
from agents.money.budget import month_of
from agents.money.caps import set_cap
from agents.money.spending import settle
from agents.wire import BudgetWire
from audit.transactions import write_transaction
from orchestrator_site.console import forget_budget_alert
from orchestrator_site.metrics import render_metrics
from tests.integration.api_cast import api_of, problem_of
from tests.integration.budget_cast import AGENT, MODEL, USAGE, hold, make_lease
from tests.integration.console_cast import sign_in, text_of, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world", "fresh_alert")


@pytest.fixture
def fresh_alert() -> Iterator[None]:
    forget_budget_alert()
    yield
    forget_budget_alert()


def spend(*, held: int = 0) -> None:
    """Settle one call of 3,000 micro-dollars now, and leave `held` open."""
    now = timezone.now()
    lease = make_lease()
    reservation_id = hold(lease, now=now, dispatched=True)
    with write_transaction():
        settle(reservation_id, usage=USAGE, now=now)
    if held:
        hold(lease, held, now=now)


def cap(pounds: str, scope: str = "fleet") -> None:
    set_cap(scope, Decimal(pounds), author="ada", reason="for a test", now=timezone.now())
    forget_budget_alert()


# --- the page -----------------------------------------------------------------------------------------------------
def test_it_shows_the_months_money() -> None:
    spend(held=131_000)
    page = text_of(sign_in("vera").get("/cost/"))
    assert "£0.0022 <small>of £20.00</small>" in page
    assert "£0.10</span>" in page  # held
    assert "£19.89</span>" in page  # free
    assert "1.31 US dollars a pound, of 1 Nov 2026" in page
    assert MODEL in page
    assert f'href="/agents/{AGENT}/"' in page
    assert "Held for long" not in page
    assert "Held now" in page
    assert 'aria-label="100 % of it"' in page  # the one agent's share


def test_it_says_so_where_nothing_was_spent() -> None:
    page = text_of(sign_in("vera").get("/cost/"))
    assert "No model was called this month." in page
    assert "Nobody has set a cap" in page


def test_it_lists_what_is_held_for_long() -> None:
    spend(held=1_000)
    Reservation.objects.filter(closed_at=None).update(opened_at=timezone.now() - timedelta(minutes=11))
    assert "Held for long" in text_of(sign_in("vera").get("/cost/"))


def test_the_form_is_for_those_who_may_set_a_cap() -> None:
    assert "Set the cap" in text_of(sign_in("ada").get("/cost/"))
    for person in ("vera", "olga", "ana", "axel"):
        assert "Set the cap" not in text_of(sign_in(person).get("/cost/"))


def test_a_cap_is_set_with_its_reason() -> None:
    answer = sign_in("ada").post(
        "/cost/cap/", {"scope": "fleet", "pounds": "12.50", "reason": "<b>less</b>"}, follow=True
    )
    page = text_of(answer)
    assert "The cap is set and in force" in page
    assert "£12.50" in page
    assert "&lt;b&gt;less&lt;/b&gt;" in page
    change = CapChange.objects.get()
    assert (change.scope, change.amount_micro_gbp, change.author) == ("fleet", 12_500_000, "ada")
    assert BudgetAccount.objects.get(key=f"fleet:{month_of(timezone.now())}").cap_micro == 16_375_000


@pytest.mark.parametrize(
    "form",
    [
        {"scope": "fleet", "pounds": "12", "reason": ""},
        {"scope": "fleet", "pounds": "20.01", "reason": "more"},
        {"scope": "fleet", "pounds": "a lot", "reason": "more"},
        {"scope": "agent:nobody", "pounds": "1", "reason": "more"},
        {},
    ],
)
def test_a_cap_that_cannot_be_set_says_why(form: dict[str, str]) -> None:
    page = text_of(sign_in("ada").post("/cost/cap/", form))
    assert "othing" in page
    for name in form.keys() & {"pounds", "reason"}:
        assert f'name="{name}" value="{escape(form[name])}"' in page
    assert not CapChange.objects.exists()


# --- everywhere else ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pounds", "told"),
    [
        ("0.01", ""),
        ("0.0040", 'class="note run" role="status"'),
        ("0.0027", "% of the fleet's cap"),
        ("0.0020", "The fleet's cap for this month is used up"),
    ],
)
def test_every_page_tells_when_the_cap_is_near(pounds: str, told: str) -> None:
    spend()
    cap(pounds)
    page = text_of(sign_in("vera").get("/tasks/"))
    assert ("See the cost" in page) is bool(told)
    assert told in page


def test_every_page_tells_when_a_call_did_not_fit() -> None:
    from agents.money.budget import Refusal
    from tests.integration.budget_cast import try_hold

    cap("0.0001")
    assert isinstance(try_hold(make_lease(), now=timezone.now()), Refusal)
    assert "no longer fits" in text_of(sign_in("vera").get("/tasks/"))


def test_task_agent_and_overview_show_what_they_cost() -> None:
    spend()
    cap("1", f"agent:{AGENT}")
    task_id = Reservation.objects.get().task_id
    client = sign_in("vera")
    limit = registry.get_agent(AGENT).config.limits.max_cost_gbp
    assert f"£0.0022 of £{limit:.2f}" in text_of(client.get(f"/tasks/{task_id}/"))
    assert "£0.0022 of £1.00" in text_of(client.get(f"/agents/{AGENT}/"))
    assert "£0.0022 <small>of £20.00</small>" in text_of(client.get("/"))


def test_the_api_tells_the_same() -> None:
    spend(held=1_000)
    answer = api_of("vera", "budget:read").get("budget")
    wire: dict[str, Any] = answer.json()
    BudgetWire.model_validate_json(answer.content)
    assert wire["fleet"] == {
        "spentMicro": 3_000, "heldMicro": 1_000, "capMicro": 26_200_000, "freeMicro": 26_196_000, "percentSpent": 0,
    }  # fmt: skip
    assert wire["models"] == [
        {"model": MODEL, "calls": 1, "spentMicro": 3_000, "inputTokens": 1_000, "outputTokens": 100}
    ]
    agents = {agent["agentId"]: agent for agent in wire["agents"]}
    assert len(agents) == 11
    assert (agents[AGENT]["spentMicro"], agents[AGENT]["capMicro"]) == (3_000, None)
    assert wire["days"][-1] == {"day": timezone.now().date().isoformat(), "spentMicro": 3_000}
    assert (wire["hardCapGbp"], wire["usdPerGbp"], wire["rateDay"]) == ("20", "1.31", "2026-11-01")
    assert wire["forecastMicro"] >= 3_000
    problem_of(api_of("vera", "budget:read").get("budget", month="2026-10"), 400, "query_invalid")


@pytest.mark.django_db(transaction=True)
def test_the_gauges_tell_the_same() -> None:
    spend(held=131_000)
    text = render_metrics().decode()
    assert f'agent_cost_per_day_usd{{agent="{AGENT}",model="{MODEL}"}} 0.003' in text
    assert 'agent_cost_per_day_usd{agent="security-agent",model="other"} 0.0' in text
    assert "agent_total_cost_per_day_usd 0.003" in text
    assert "budget_spent_gbp 0.00229" in text
    assert "budget_reserved_gbp 0.1" in text
    assert "budget_cap_gbp 20.0" in text
