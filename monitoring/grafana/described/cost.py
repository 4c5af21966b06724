"""Cost: today, this month against the cap, and who spent it on which model."""

from monitoring.grafana.described.layout import dashboard
from monitoring.grafana.described.panels import (
    BAD,
    CALM,
    GOOD,
    TO_AGENT,
    WATCH,
    Json,
    bars,
    colour,
    console,
    gauge,
    pie,
    rising,
    runbook,
    series,
    stat,
    table,
)
from monitoring.grafana.described.queries import counted

DAILY = "max by (agent, model) (agent_cost_per_day_usd)"
# The gauge starts anew each day (UTC): a day's cost is its highest, from five past midnight, when it has fallen.
BY_DAY = f"max_over_time(({DAILY})[1435m:5m] offset -1d)"
IN_30_DAYS = f"sum_over_time(({BY_DAY})[30d:1d])"
SPENT, CAP = "max(budget_spent_gbp)", "max(budget_cap_gbp)"
# Days of the month that are over, at least one: on the first, one call would be a wild month.
PACE = f"{SPENT} * days_in_month() / clamp_min(day_of_month() - 1 + hour() / 24 + minute() / 1440, 1)"
PAGE = [console("Cost", "/cost/")]


def cost() -> Json:
    """Return the dashboard of money: today, this month against the cap, and who spent it on which model."""
    return dashboard(
        "cost",
        "Cost",
        [*_figures(), *_charts()],
        tell="Today, this month against the cap, and who spent it on which model. Days are UTC's.",
        since="30d",
        refresh="60s",
    )


def _figures() -> list[Json]:
    """Return the day's and the month's figures."""
    return [
        stat(
            "Today",
            "max(agent_total_cost_per_day_usd)",
            unit="currencyUSD",
            decimals=2,
            tell="Cost of all model calls since midnight UTC, as the vendors bill it.",
            links=PAGE,
        ),
        stat(
            "This month",
            SPENT,
            unit="currencyGBP",
            decimals=2,
            tell="Spent by the fleet this month, at the dated rate of the settings.",
            links=PAGE,
        ),
        stat(
            "Held for open calls",
            "max(budget_reserved_gbp)",
            unit="currencyGBP",
            decimals=2,
            tell="The worst that calls under way may cost. Not zero though nothing runs: see the cost page.",
            links=PAGE,
        ),
        gauge(
            "Share of the cap spent",
            f"{SPENT} / ({CAP} > 0)",
            unit="percentunit",
            steps=((None, GOOD), (0.5, "yellow"), (0.8, WATCH), (1, BAD)),
            none="no cap",
            tell="At 50, 80 and 100 % somebody is told. At 100 % no model is asked until the cap is raised.",
            links=[runbook("MonthlyBudget"), *PAGE],
        ),
        gauge(
            "Run rate against the cap",
            f"{PACE} / ({CAP} > 0)",
            unit="percentunit",
            steps=rising(0.9, 1),
            none="no cap",
            tell="What the month will cost at its pace so far, as a share of the cap. Red: lower limits or raise it.",
            links=[runbook("MonthlyBudget"), *PAGE],
        ),
        stat(
            "Calls refused for money",
            f"{counted('budget_refusals_total')} or vector(0)",
            unit="short",
            decimals=0,
            steps=((None, GOOD), (1, BAD)),
            tell="Model calls that did not fit under a cap, in the range of this dashboard. Their tasks failed.",
            links=PAGE,
        ),
    ]


def _charts() -> list[Json]:
    """Return the month's course, and who spent it."""
    return [
        series(
            "This month against the cap",
            {"spent": SPENT, "spent and held": f"{SPENT} + max(budget_reserved_gbp)", "at this pace": PACE, "cap": CAP},
            unit="currencyGBP",
            decimals=2,
            tell="Where the pace is above the cap, the month ends before its end. The console's forecast weighs the "
            "last seven days more and may differ.",
            links=PAGE,
            size=(24, 8),
            overrides=[
                colour("spent", CALM, fillOpacity=25),
                colour("spent and held", "light-blue"),
                colour("at this pace", WATCH, lineStyle={"fill": "dash", "dash": [8, 6]}),
                colour("cap", BAD),
            ],
        ),
        _spent_by_day("agent", "Who spends. A step without more work: a prompt or a tier was changed."),
        _spent_by_day("model", "What is asked. A dearer model than the tier's is its fallback: see the providers."),
        bars(
            "Today by agent and model",
            f"topk(10, {DAILY} > 0)",
            "{{agent}} · {{model}}",
            unit="currencyUSD",
            decimals=4,
            none="nothing spent today",
            tell="The ten dearest since midnight UTC. One far ahead of its usual day: look at its running tasks.",
            data_links=[TO_AGENT],
        ),
        pie(
            "Share by model, 30 days",
            f"sum by (model) ({IN_30_DAYS}) > 0",
            "{{model}}",
            unit="currencyUSD",
            decimals=2,
            none="nothing spent",
            tell="If the dear tier has most of it, see which of its agents would do with the cheap one.",
        ),
        table(
            "Ten dearest, 30 days",
            f"topk(10, sum by (agent, model) ({IN_30_DAYS}) > 0)",
            {"agent": "Agent", "model": "Model", "Value": "Cost"},
            unit="currencyUSD",
            decimals=2,
            none="nothing spent",
            size=(24, 8),
            tell="Agents and models by what they cost in the last 30 days, today with them: where saving pays.",
        ),
    ]


def _spent_by_day(label: str, tell: str) -> Json:
    return series(
        f"Each day by {label}",
        {f"{{{{{label}}}}}": f"sum by ({label}) ({BY_DAY}) > 0"},
        unit="currencyUSD",
        decimals=2,
        columns=True,
        stacked=True,
        interval="1d",
        totals=("sum", "max"),
        none="nothing spent",
        tell=tell,
    )
