"""The console's small parts: icons, badges, times, numbers with units, inert text."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.ordering.gist import title_run
from agents.outbound.receivers import show_receiver
from audit.live.items import to_item
from orchestrator_site.looks import LOOKS, find_event_look
from orchestrator_site.people.zones import to_shown
from toolgate.approvals import REVIEW

register = template.Library()

NOTHING = "\N{EN DASH}"
_ID = re.compile(r"[a-zA-Z0-9._-]{1,64}")
TARGETS = ("url", "filePath", "target")  # arguments that name what a call is done to

# Characters that would reorder or hide the text around them: shown by their number.
_INVISIBLE = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x80, 0xA0),
        0xAD,
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
        0xFEFF,
    )
}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), 11, 12, *range(14, 32), 127)}


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """Return one glyph of the sprite, hidden from assistive technology: a word stands beside it."""
    return format_html('<svg class="i {}" aria-hidden="true"><use href="#i-{}"/></svg>', extra, name)


@register.simple_tag
def copy_button(text: str, what: str) -> SafeString:
    """Return the button that copies an id, a hash or a link; `what` names it for those who do not see where it is."""
    button = '<button class="btn small bare square copy" type="button" data-copy="{}" aria-label="Copy {}">{}</button>'
    return format_html(button, inert(text), what, icon("copy"))


@register.simple_tag
def badge(kind: str, value: str, solid: bool = False) -> SafeString:
    """Return the badge of a task, decision, approval, agent or step state: glyph, word, tint."""
    word, tint, glyph = LOOKS[kind].get(value or "", (str(value), "quiet", "info"))
    turning = "turning" if glyph == "running" else ""
    look = f"{tint} solid" if solid else tint
    return format_html('<span class="badge {}">{}{}</span>', look, icon(glyph, turning), word)


@register.filter
def tint(value: str, kind: str) -> str:
    """Return the tint's class name of a state."""
    return LOOKS[kind].get(value or "", ("", "quiet", ""))[1]


@register.filter
def glyph(value: str, kind: str) -> str:
    """Return the glyph's name of a state."""
    return LOOKS[kind].get(value or "", ("", "", "info"))[2]


@register.filter
def word(value: str, kind: str) -> str:
    """Return the word for a state."""
    return LOOKS[kind].get(value or "", (str(value), "", ""))[0]


@register.simple_tag
def event_badge(event: Any) -> SafeString:
    """Return the badge of an audit event in wire form or with the same names as attributes."""
    event_type, decision = _get(event, "type"), _get(event, "decision") or ""
    tint_, glyph_ = find_event_look(event_type, decision)
    return format_html('<span class="badge {}">{}{}</span>', tint_, icon(glyph_), event_type)


@register.simple_tag
def event_glyph(event: Any) -> SafeString:
    """Return the tinted glyph of an audit event; the sentence beside it says the same in words."""
    tint_, glyph_ = find_event_look(_get(event, "type"), _get(event, "decision") or "")
    return format_html('<span class="ink {}">{}</span>', tint_, icon(glyph_))


def _get(event: Any, name: str) -> Any:
    return event.get(name) if isinstance(event, Mapping) else getattr(event, name, None)


# --- time -----------------------------------------------------------------------------------------------------
def parse_time(value: Any) -> datetime | None:
    """Return an aware UTC time from a datetime or ISO 8601 text, None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


@register.filter
def ago(value: Any) -> SafeString | str:
    """Return a time as seen from now ("2 min ago", "in 5 min"), absolute in the title."""
    return _time_tag(value, "ago", lambda at: describe_distance(at, now=timezone.now()))


@register.filter
def clock(value: Any) -> SafeString | str:
    """Return a time as HH:MM:SS in the reader's zone, with its day if that is past."""
    today = to_shown(timezone.now())[0].date()
    return _time_tag(value, "clock", lambda at: f"{at:%H:%M:%S}" if at.date() == today else f"{at.day} {at:%b %T}")


@register.filter
def stamp(value: Any) -> SafeString | str:
    """Return a time in full, in the reader's zone."""
    return _time_tag(value, "stamp", lambda at: f"{at.day} {at:%b %Y, %H:%M:%S}")


def _time_tag(value: Any, kind: str, show: Any) -> SafeString | str:
    at = parse_time(value)
    if at is None:
        return NOTHING
    shown, zone = to_shown(at)  # UTC for who has chosen none: the page's script then knows the browser's
    title = f"{shown.day} {shown:%b %Y, %H:%M:%S} {zone}"
    machine = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return format_html('<time datetime="{}" title="{}" data-show="{}">{}</time>', machine, title, kind, show(shown))


def describe_distance(at: datetime, *, now: datetime) -> str:
    """Return "just now", "2 min ago", "in 3 h": one unit, rounded down."""
    seconds = (now - at).total_seconds()
    size = abs(seconds)
    if size < 5:
        return "just now"
    return f"{describe_span(size)} ago" if seconds > 0 else f"in {describe_span(size)}"


def describe_span(seconds: float) -> str:
    """Return "3 d", "2 h", "12 min", "0 s": one unit, rounded down."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


@register.filter
def duration(value: Any) -> str:
    """Return seconds or a timedelta with a unit: "0.5 s", "54.0 s", "1 min 20 s", "2 h 5 min"."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.3f} s" if 0 < seconds < 0.1 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


@register.filter
def millis(seconds: float) -> str:
    """Return a short time in milliseconds: "0.42 ms", "12 ms"."""
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


@register.filter
def lead(skew: timedelta) -> str:
    """Return how far another clock is ahead of ours: "3 ms behind", "2.5 s ahead", "in step" below a millisecond."""
    size = abs(skew.total_seconds())
    if size < 0.001:
        return "in step"
    return f"{millis(size) if size < 1 else duration(size)} {'ahead' if skew > timedelta(0) else 'behind'}"


@register.simple_tag
def took(start: Any, end: Any) -> str:
    """Return the time between two moments with a unit, or an empty text while it still runs."""
    first, last = parse_time(start), parse_time(end)
    return duration((last - first).total_seconds()) if first and last else ""


# --- numbers and text -------------------------------------------------------------------------------------------
@register.filter
def number(value: Any) -> str:
    """Return a whole number with thousands separated."""
    return f"{value:,}" if isinstance(value, int) else str(value)


@register.filter
def size(value: Any) -> str:
    """Return bytes with a unit: "512 B", "4.2 KB", "1.0 MB", "12.0 GB"."""
    if not isinstance(value, int):
        return NOTHING
    if value < 1_000:
        return f"{value} B"
    amount, unit = (value / 1_000, "KB") if value < 1_000_000 else (value / 1_000_000, "MB")
    if amount >= 1_000:
        amount, unit = amount / 1_000, "GB"
    return f"{amount:.1f} {unit}"


@register.filter
def short(value: str) -> str:
    """Return the last eight characters of an id: its first ones are a time and alike among neighbours."""
    return str(value)[-8:]


@register.filter
def inert(value: Any) -> str:
    """Return text with controls and reordering marks shown by number; autoescape does the rest."""
    return str(value).translate(_CONTROLS).translate(_INVISIBLE)


@register.filter
def spaced(name: str) -> str:
    """Return the name of a field in words: "Decision id" for decisionId."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


@register.filter
def pretty(value: Any) -> str:
    """Return a JSON value indented, as inert text."""
    return inert(json.dumps(value, indent=2, ensure_ascii=False, default=str))


@register.filter
def actor(value: str) -> str:
    """Return who acted, without the kind in front for people and agents."""
    return inert(str(value).removeprefix("user:").removeprefix("agent:"))


@register.filter
def receiver(url: str) -> str:
    """Return a webhook's address without its query, as inert text."""
    return inert(show_receiver(str(url)))


@register.filter
def rule_words(value: str) -> str:
    """Return a reason code as words: "domain_not_allowed" → "domain not allowed"."""
    return str(value).replace("_", " ")


@register.filter
def call_title(call: Any, agent: Any = None) -> str:
    """Return what a call or task is about in one line: its skill and what it is done to, or whose own run it is."""
    if _get(call, "kind") == REVIEW:
        return f"Report of {inert(_get(call, 'agent_id'))}"
    skill, target = str(_get(call, "skill_id") or ""), call_target(call)
    name = agent.config.display_name if agent else ""
    skill = skill or inert(title_run(_get(call, "input"), name=name, with_gist=not target))
    return f"{skill} on {target}" if target else skill


@register.filter
def call_target(call: Any) -> str:
    """Return the one argument that names what a call is done to, empty if it has none."""
    arguments = _get(call, "arguments") or _get(call, "input") or {}
    named = [arguments.get(name) for name in TARGETS] if isinstance(arguments, Mapping) else []
    return next((inert(target)[:160] for target in named if target), "")


@register.filter
def long_texts(arguments: Any) -> list[tuple[str, str]]:
    """Return the texts of a report that do not fit a line, by name."""
    items = arguments.items() if isinstance(arguments, Mapping) else ()
    return [(name, value) for name, value in items if isinstance(value, str) and not is_plain(value)]


@register.filter
def patch_lines(arguments: Any) -> list[tuple[str, str]]:
    """Return what a patch takes away ("-") and puts in ("+"), line by line, each change under its number."""
    changes = arguments.get("changes") if isinstance(arguments, Mapping) else None
    if not isinstance(changes, list) or not all(isinstance(change, Mapping) for change in changes):
        return []
    lines: list[tuple[str, str]] = []
    for number, change in enumerate(changes, 1):
        texts = [(sign, change.get(name)) for sign, name in (("-", "oldText"), ("+", "newText"))]
        lines.append(("", f"change {number}: {change.get('type', '')}"))
        lines += [(sign, line) for sign, text in texts if isinstance(text, str) for line in text.splitlines()]
    return lines if any(sign for sign, _ in lines) else []


@register.simple_tag
def agent_link(agent_id: str) -> SafeString | str:
    """Return an agent's id as a link, or as inert text if it is none."""
    return _link("console:agent", agent_id, inert(agent_id), "")


@register.simple_tag
def task_link(task_id: str, whole: bool = False) -> SafeString | str:
    """Return a task's id, short unless `whole`, as a link, or as inert text if it is none."""
    return _link("console:task", task_id, inert(task_id) if whole else short(inert(task_id)), "mono")


def _link(view: str, target: str, text: str, css: str) -> SafeString | str:
    if not _ID.fullmatch(str(target)):
        return text
    return format_html('<a class="{}" href="{}" title="{}">{}</a>', css, reverse(view, args=[target]), target, text)


@register.filter
def is_plain(value: Any) -> bool:
    """Say whether a value fits a line of a key-value list."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 120 and "\n" not in value)


@register.filter
def config_json(config: Any) -> str:
    """Return a configuration under its names on the wire, indented."""
    return pretty(config.model_dump(mode="json", by_alias=True) if hasattr(config, "model_dump") else config)


@register.filter
def plain(value: Any) -> str:
    """Return one value as JSON writes it, texts without their quotes."""
    if value is None:
        return NOTHING
    return str(value).lower() if isinstance(value, bool) else inert(value)


@register.simple_tag
def event_sentence(event: Mapping[str, Any], subject: bool = False) -> SafeString:
    """Return what happened in words, from an event in wire form or the feed's item; who did it only if `subject`."""
    item = event if "text" in event else to_item(event)
    who = f"{inert(item['subject'])} " if subject else ""
    before, skill, after = inert(item["text"]).partition(inert(item["skillId"] or "") or "\0")
    code = format_html("<code>{}</code>", skill) if skill else ""
    return format_html("{}{}{}{}", who, before, code, after)
