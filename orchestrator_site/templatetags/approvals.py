"""What only approvals show: the clock of their SLA, their scope in words, who is asked."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orchestrator_site.templatetags.console import describe_span, inert
from toolgate.approvals.terms import GROUP, MINUTES, TASK

register = template.Library()

_ANYBODY = "anybody who may decide approvals"


@register.simple_tag
def sla_clock(approval: Any) -> SafeString | str:
    """Return when an approval should be answered; the page's script goes on counting."""
    if approval.sla_at is None:
        return ""
    machine = approval.sla_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = describe_sla(approval.sla_at, now=timezone.now())
    return format_html('<time datetime="{}" data-show="sla">{}</time>', machine, text)


def describe_sla(at: datetime, *, now: datetime) -> str:
    """Return "answer due in 12 min", or "answer overdue by 3 min"."""
    left = (at - now).total_seconds()
    return f"answer due in {describe_span(left)}" if left > 0 else f"answer overdue by {describe_span(-left)}"


@register.filter
def is_over_sla(approval: Any) -> bool:
    """Say whether an answer should have come by now."""
    return approval.sla_at is not None and approval.sla_at <= timezone.now()


@register.filter
def scope_words(approval: Any) -> str:
    """Return what an approval was for."""
    if approval.scope == TASK:
        return "this call, and further ones in this task"
    return "this call, and further ones for some minutes" if approval.scope == MINUTES else "this call, once"


@register.filter
def approver_words(names: Iterable[str]) -> str:
    """Return who may answer: "ana, ben or somebody of the group leads"."""
    words = [f"somebody of the group {name.removeprefix(GROUP)}" if name.startswith(GROUP) else name for name in names]
    *first, last = words or [_ANYBODY]
    return inert(f"{', '.join(first)} or {last}" if first else last)
