"""Money in pounds, from micro-dollars at the dated rate of the settings."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

from django import template
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.money.budget import to_pounds, write_pounds
from orchestrator_site.charts import draw_bars
from orchestrator_site.templatetags.console import NOTHING

register = template.Library()
UNITS: Final = 10_000  # of a pound: the chart's whole numbers


@register.filter
def pounds(micro: Any) -> str:
    """Return micro-dollars as pounds: "£12.50", "£0.0499"."""
    if not isinstance(micro, int):
        return NOTHING
    return write_pounds(to_pounds(micro, settings.USD_PER_GBP.usd_per_gbp))


@register.filter
def amount(value: Any) -> str:
    """Return an amount that is in pounds already."""
    return write_pounds(value) if isinstance(value, Decimal) else NOTHING


@register.filter
def micro_amount(micro_gbp: int) -> str:
    """Return millionths of a pound as pounds."""
    return write_pounds(Decimal(micro_gbp) / 1_000_000)


@register.filter
def day_rate(rate: Any) -> str:
    """Return a dated rate in words: "1.31 US dollars a pound, of 1 Nov 2026"."""
    return f"{rate.usd_per_gbp} US dollars a pound, of {rate.day.day} {rate.day:%b %Y}"


@register.inclusion_tag("agents/_cost_chart.html")
def day_chart(days: Sequence[tuple[date, int]]) -> dict[str, Any]:
    """Return what a chart of spend by day needs: bars, ticks in pounds, and the numbers behind it."""
    rate = settings.USD_PER_GBP.usd_per_gbp
    points = [
        (datetime.combine(day, time(), UTC), [int(to_pounds(micro, rate) * UNITS)]) for day, micro in days
    ]  # fmt: skip
    chart = draw_bars(points, css=("spend",), words=("",))
    ticks = [write_pounds(Decimal(tick) / UNITS) for tick in chart.ticks]
    rows = [(bar, day, micro) for bar, (day, micro) in zip(chart.bars, days, strict=True)]
    return {"chart": chart, "ticks": ticks, "rows": rows, "total": sum(micro for _, micro in days)}


@register.simple_tag
def share(part: int, whole: int) -> SafeString:
    """Return a meter of how much of `whole` a part is; the numbers stand beside it."""
    percent = min(100, 100 * part // whole) if whole else 0
    drawn = '<rect width="100" height="6"/><rect class="full" width="{0}" height="6"/>'
    frame = '<svg class="meter run" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{0} % of it">'
    return format_html(frame + drawn + "</svg>", percent)
