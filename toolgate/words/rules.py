"""A rule as one plain sentence, the same on every page and in every difference. PURE."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from toolgate.policy import ANY, DAYS, Rule, dump_rule

Wire = Mapping[str, Any]

MAX_NAMED = 3  # hosts or folders in a sentence; of the others only how many there are
WHOLE_WORKSPACE = ""
_PERIODS: Final = {1: "a second", 60: "a minute", 3_600: "an hour", 86_400: "a day", 604_800: "a week"}
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_SIZES: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB"))
_TAINT: Final = {
    True: "once text from outside has come into the task",
    False: "as long as no text from outside has come into the task",
}


def describe_rule(rule: Rule | Wire) -> str:
    """Return what a rule says as one sentence; `rule` may be its wire form."""
    wire = dump_rule(rule) if isinstance(rule, Rule) else rule
    conditions = wire.get("conditions", {})
    hosts = _describe_hosts(conditions)
    parts = [
        f"{_describe_verdict(wire)} {hosts}" if hosts else _describe_verdict(wire),
        *describe_conditions({name: value for name, value in conditions.items() if name != "domains"}),
        _join(describe_limits(wire.get("limits", {})), "at most "),
        _join(describe_terms(wire), ""),
        _describe_validity(wire),
    ]
    sentence = ", ".join(part for part in parts if part)
    return f"{'Log only: ' if wire.get('shadow') else ''}{sentence}."


def _describe_verdict(wire: Wire) -> str:
    skill = "any skill" if wire["skill"] == ANY else wire["skill"]
    effect = str(wire["effect"])
    if wire["agent"] != ANY:
        return f"{wire['agent']} {_VERBS[effect]} {skill}"
    but = f" but {list_names(wire['exceptAgents'])}" if wire.get("exceptAgents") else ""
    return f"No agent{but} may call {skill}" if effect == "deny" else f"Every agent{but} {_VERBS[effect]} {skill}"


_VERBS: Final = {"allow": "may call", "ask": "has to ask a person before it calls", "deny": "may not call"}


# --- conditions -------------------------------------------------------------------------------------------------
def describe_conditions(conditions: Wire) -> list[str]:
    """Return the conditions of a rule in wire form, a phrase each."""
    phrases = [
        _describe_hosts(conditions),
        _describe_list(conditions.get("readPaths"), "reading below", "nothing", "folders"),
        _describe_list(conditions.get("writePaths"), "writing below", "nothing", "folders"),
        *(f"where {describe_test(name, test)}" for name, test in sorted(conditions.get("arguments", {}).items())),
        _describe_argument_bytes(conditions.get("argumentBytes")),
        _describe_window(conditions.get("timeWindow")),
        _TAINT.get(conditions.get("tainted"), ""),  # type: ignore[arg-type]  # None is no key
    ]
    return [phrase for phrase in phrases if phrase]


def _describe_hosts(conditions: Wire) -> str:
    return _describe_list(conditions.get("domains"), "on", "no host at all", "hosts")


def _describe_list(names: Sequence[str] | None, verb: str, none: str, kind: str) -> str:
    if names is None:
        return ""
    if not names:
        return f"{verb.removesuffix(' below')} {none}"
    if WHOLE_WORKSPACE in names:
        return f"{verb.removesuffix(' below')} anywhere in the workspace"
    rest = len(names) - MAX_NAMED
    if rest <= 1:  # "and 1 more" is no shorter than its name
        return f"{verb} {list_names(names, 'or')}"
    return f"{verb} {', '.join(names[:MAX_NAMED])} or {rest} more {kind}"


def describe_test(name: str, test: Wire) -> str:
    """Return what one argument has to be: "dryRun is false"."""
    if "equals" in test:
        return f"{name} is {show_scalar(test['equals'])}"
    if "oneOf" in test:
        values = list_names([show_scalar(value) for value in test["oneOf"]], "or")
        return f"{name} is {values}" if test["oneOf"] else f"{name} is one of no values"
    if "pattern" in test:
        return f"{name} matches {test['pattern']}"
    if "min" in test or "max" in test:
        return f"{name} is {_describe_range(test.get('min'), test.get('max'), show_scalar)}"
    length = _describe_range(test.get("minLength"), test.get("maxLength"), lambda count: f"{count:,}")
    return f"{name} is {length} characters long"


def show_scalar(value: Any) -> str:
    """Return an argument's value as people write it: a text that could be something else in quotation marks."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return value if value and value.strip() == value and value not in {"true", "false"} else f"“{value}”"


def _describe_range(low: Any, high: Any, show: Callable[[Any], str]) -> str:
    if low is None:
        return f"at most {show(high)}"
    return f"at least {show(low)}" if high is None else f"{show(low)} to {show(high)}"


def _describe_argument_bytes(bounds: Wire | None) -> str:
    return f"with {_describe_range(bounds.get('min'), bounds.get('max'), show_bytes)} of arguments" if bounds else ""


def _describe_window(window: Wire | None) -> str:
    if window is None:
        return ""
    days = list(window.get("days", DAYS))
    start, end = (str(window.get(name, "00:00"))[:5] for name in ("start", "end"))
    hours = "at any time" if start == end == "00:00" else f"from {start} to {end}"
    when = "" if set(days) == set(DAYS) else f" on {list_names([day.capitalize() for day in DAYS if day in days])}"
    return f"{hours}{when} ({window['zone']})"


# --- limits, terms, validity ------------------------------------------------------------------------------------
def describe_limits(limits: Wire) -> list[str]:
    """Return the limits of a rule in wire form, a phrase each: "20 calls a task"."""
    phrases = []
    if "callsPerTask" in limits:
        phrases.append(f"{_count(limits['callsPerTask'], 'call')} a task")
    if "ratePerSecond" in limits:
        burst = f" (bursts of {limits['burst']:,})" if "burst" in limits else ""
        phrases.append(f"{_count(limits['ratePerSecond'], 'call')} a second{burst}")
    if period := limits.get("callsPerPeriod"):
        phrases.append(f"{_count(period['amount'], 'call')} {show_period(period['seconds'])}")
    if "bytesPerTask" in limits:
        phrases.append(f"{show_bytes(limits['bytesPerTask'])} of arguments a task")
    if period := limits.get("bytesPerPeriod"):
        phrases.append(f"{show_bytes(period['amount'])} of arguments {show_period(period['seconds'])}")
    if "spendPerTask" in limits:
        phrases.append(f"{show_pounds(limits['spendPerTask'])} spent by the task")
    if "spendPerDay" in limits:
        phrases.append(f"{show_pounds(limits['spendPerDay'])} spent by the agent a day")
    return phrases


def describe_terms(wire: Wire) -> list[str]:
    """Return who answers what a rule asks and how long they have, a phrase each; nothing of a rule that asks nobody."""
    if wire["effect"] != "ask":
        return []
    terms = wire.get("approval", {})
    quorum, approvers = terms.get("quorum", 1), terms.get("approvers")
    phrases = []
    if quorum > 1 or approvers:
        who = f" of {list_names([name.replace('group:', 'the group ') for name in approvers])}" if approvers else ""
        phrases.append(f"{_count(quorum, 'person', 'people')}{who} {'has' if quorum == 1 else 'have'} to approve")
    if not terms.get("fourEyes", True):
        phrases.append("who submitted the task may approve too")
    if "slaSeconds" in terms:
        phrases.append(f"an answer is due within {show_span(terms['slaSeconds'])}")
    if "expiresSeconds" in terms:
        phrases.append(f"the question expires after {show_span(terms['expiresSeconds'])}")
    return phrases


def _describe_validity(wire: Wire) -> str:
    start, end = wire.get("validFrom"), wire.get("validUntil")
    parts = [f"from {show_moment(start)}" if start else "", f"until {show_moment(end)}" if end else ""]
    return " ".join(part for part in parts if part)


# --- values -----------------------------------------------------------------------------------------------------
def show_moment(at: datetime | str) -> str:
    """Return a moment to the minute, as its own offset has it: "1 Dec 2026, 09:00 UTC"."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    offset = f"{moment:%z}"
    zone = "UTC" if offset in {"", "+0000"} else f"{offset[:3]}:{offset[3:5]}"
    return f"{moment.day} {moment:%b %Y, %H:%M} {zone}"


def show_period(seconds: int) -> str:
    """Return "an hour", or "in 2 hours"."""
    return _PERIODS.get(seconds, f"in {show_span(seconds)}")


def show_span(seconds: int) -> str:
    """Return a length of time in the largest whole unit: "15 minutes"."""
    length, unit = next((length, unit) for length, unit in _UNITS if seconds % length == 0)
    return _count(seconds // length, unit)


def show_bytes(count: int) -> str:
    """Return bytes in the largest unit that tells them exactly with two places: "2 MB", "1.5 KB", "999 B"."""
    for size, unit in _SIZES:
        if count >= size and count * 100 % size == 0:
            return f"{count / size:,.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{count:,} B"


def show_pounds(amount: str) -> str:
    """Return an amount in pounds without idle zeros: "£5", "£0.50"."""
    whole, _, pence = str(amount).partition(".")
    pence = pence.rstrip("0")
    return f"£{int(whole):,}{f'.{pence.ljust(2, "0")}' if pence else ''}"


def list_names(names: Iterable[str], last: str = "and") -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *first, final = list(names) or [""]
    return f"{', '.join(first)} {last} {final}" if first else final


def _join(phrases: list[str], before: str) -> str:
    return f"{before}{list_names(phrases)}" if phrases else ""


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
