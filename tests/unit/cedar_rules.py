"""Rules and requests put into Cedar, another language with an engine of its own: what `test_gate_cedar` compares with.

    deny            forbid when touched
    ask             permit when covered and a person has approved, and forbid when touched unless one has
    ask if tainted  forbid when touched unless a person has approved
    allow           permit when covered

So Cedar itself gives deny, ask and allow their order: what it allows at once is allowed, what it allows only once
somebody has approved is asked. A rule's id and effect are annotations. Cedar has no quantifiers over sets and gives an
attribute one type: up to two hosts and paths, and each type that an argument can have, are attributes of their own.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from toolgate.types import Request

MOST = 2  # hosts or paths of a request
DEEPEST = 4  # names in a path
KINDS = {bool: "bool", int: "long", str: "text"}

_OPTIONAL = [
    *(f"{kind}{number}?: String" for kind in ("host", "read", "write") for number in range(MOST)),
    *(f"{name}_{kind}?: {type_}" for name in ("n", "m") for kind, type_ in (
        ("bool", "Bool"), ("long", "Long"), ("text", "String"), ("length", "Long"))),
]  # fmt: skip
SCHEMA = f"""
    entity Agent;
    entity Workspace;
    action "skill", "other" appliesTo {{
        principal: Agent, resource: Workspace, context: {{
            approved: Bool, tainted: Bool, filesOnly: Bool, now: datetime, bytes?: Long, {", ".join(_OPTIONAL)}
        }}
    }};
"""


# --- rules ----------------------------------------------------------------------------------------------------
def translate_policy(rules: Iterable[dict[str, Any]]) -> str:
    """Return the rules, in wire form, as the text of a Cedar policy set; shadow rules are left out."""
    return "\n".join(text for rule in rules if not rule.get("shadow") for text in _translate_rule(rule))


def _translate_rule(rule: dict[str, Any]) -> list[str]:
    conditions, effect = rule["conditions"], rule["effect"]
    always = _all([*_hold_in_time(rule), *_hold_by_taint(conditions), *_except_agents(rule)])
    covered, touched = (f"{always} && {question(conditions)}" for question in (_covers, _touches))
    head = f'@id("{rule["id"]}") @effect("{effect}")'
    scope = f"({_principal(rule)}, {_action(rule)}, resource)"
    if effect == "deny":
        return [f"{head} forbid {scope} when {{ {touched} }};"]
    if effect == "allow":
        return [f"{head} permit {scope} when {{ {covered} }};"]
    asks = f"{head} forbid {scope} when {{ {touched} }} unless {{ context.approved }};"
    permits = f"{head} permit {scope} when {{ context.approved && {covered} }};"
    return [asks] if conditions.get("tainted") else [asks, permits]


def _principal(rule: dict[str, Any]) -> str:
    return "principal" if rule["agent"] == "*" else f'principal == Agent::"{rule["agent"]}"'


def _action(rule: dict[str, Any]) -> str:
    return "action" if rule["skill"] == "*" else f'action == Action::"{rule["skill"]}"'


def _except_agents(rule: dict[str, Any]) -> list[str]:
    return [f'principal != Agent::"{agent}"' for agent in rule.get("exceptAgents", ())]


def _hold_in_time(rule: dict[str, Any]) -> list[str]:
    begins = [f'datetime("{rule["validFrom"]}") <= context.now'] if "validFrom" in rule else []
    return begins + ([f'context.now < datetime("{rule["validUntil"]}")'] if "validUntil" in rule else [])


def _hold_by_taint(conditions: dict[str, Any]) -> list[str]:
    return [f"context.tainted == {_write(conditions['tainted'])}"] if "tainted" in conditions else []


def _covers(conditions: dict[str, Any]) -> str:
    parts = []
    if "domains" in conditions:
        parts += ["context has host0", _each("host", lambda at: _host_is(at, conditions["domains"]))]
    for key, kind in (("readPaths", "read"), ("writePaths", "write")):
        if key in conditions:
            parts.append(_each(kind, partial(_ask_places, _lies_in, conditions[key])))
            parts.append(_write(bool(conditions[key])))
    tests = [(f"{name}_", test) for name, test in conditions.get("arguments", {}).items()]
    parts += [_judge(name, test)[1] for name, test in tests]
    if "argumentBytes" in conditions:
        parts.append(f"context has bytes && {_in_range('context.bytes', conditions['argumentBytes'])}")
    return _all(parts)


def _touches(conditions: dict[str, Any]) -> str:
    parts = []
    if "domains" in conditions:
        parts.append(_some("host", lambda at: _host_is(at, conditions["domains"])))
    for key, kind in (("readPaths", "read"), ("writePaths", "write")):
        if key in conditions:
            parts.append(_some(kind, partial(_ask_places, _has_to_do, conditions[key])))
    for name, test in conditions.get("arguments", {}).items():
        judged, accepted = _judge(f"{name}_", test)
        parts.append(f"(if {judged} then {accepted} else true)")
    if "argumentBytes" in conditions:
        in_range = _in_range("context.bytes", conditions["argumentBytes"])
        parts.append(f"(if context has bytes then {in_range} else true)")
    return _all(parts)


# --- hosts and paths ------------------------------------------------------------------------------------------
def _host_is(at: str, patterns: list[str]) -> str:
    return _any(f"{at} like {_write(one)}" if one.startswith("*.") else f"{at} == {_write(one)}" for one in patterns)


def _ask_places(question: Callable[[str, str], str], places: list[str], at: str) -> str:
    return _any(question(at, place) for place in places)


def _lies_in(at: str, place: str) -> str:
    if "*" in place:
        return _matches(at, place)
    return f"({at} == {_write(place)} || {at} like {_write(place + '/*')})" if place else "true"


def _has_to_do(at: str, place: str) -> str:
    """Return whether a path lies in a place, or is a folder in which something of it may lie."""
    names = place.split("/")
    if "*" not in place:
        above = ["/".join(names[:count]) for count in range(len(names))]
        return _any([_lies_in(at, place), *(f"{at} == {_write(folder)}" for folder in above)])
    around = [_matches(at, place + "/*" * more) for more in range(DEEPEST + 1)]
    fixed = names[: names.index("**")] if "**" in names else names[:-1]
    above = [_matches(at, "/".join(fixed[:count])) for count in range(len(fixed) + 1)]
    if "**" in names:
        above += [_matches(at, "/".join([*fixed, *["*"] * more])) for more in range(1, DEEPEST + 1)]
    return f'({_any(around)} || (!context.filesOnly || {at} == "") && {_any(above)})'


def _matches(at: str, glob: str) -> str:
    """Return whether a path matches a glob: a star of Cedar's passes over slashes, so these are counted besides."""
    names = glob.split("/")
    if "**" not in names:
        deeper = "/".join("*" * (len(names) + 1))
        return f'({at} != "" && {at} like {_write(glob)} && !({at} like {_write(deeper)}))' if glob else f'{at} == ""'
    place = names.index("**")
    spelled = ["/".join([*names[:place], *["*"] * more, *names[place + 1 :]]) for more in range(DEEPEST + 1)]
    return _any(_matches(at, one) for one in spelled)


# --- arguments ------------------------------------------------------------------------------------------------
def _judge(name: str, test: dict[str, Any]) -> tuple[str, str]:
    """Return whether the test can be evaluated, and whether it then holds."""
    if "min" in test or "max" in test:
        return _judge_range(f"{name}long", test)
    if "minLength" in test or "maxLength" in test:
        renamed = {"min": test.get("minLength"), "max": test.get("maxLength")}
        return _judge_range(f"{name}length", {key: bound for key, bound in renamed.items() if bound is not None})
    options = test.get("oneOf", [test.get("equals")])
    kinds = sorted({KINDS[type(option)] for option in options})
    judged = _any(f"context has {name}{kind}" for kind in kinds)
    accepted = _any(
        f"(context has {name}{kind} && {_write([one for one in options if KINDS[type(one)] == kind])}"
        f".contains(context.{name}{kind}))"
        for kind in kinds
    )
    return judged, accepted


def _judge_range(attribute: str, bounds: dict[str, int]) -> tuple[str, str]:
    judged = f"(context has {attribute})"
    return judged, f"({judged} && {_in_range(f'context.{attribute}', bounds)})"


def _in_range(at: str, bounds: dict[str, int]) -> str:
    low = [f"{bounds['min']} <= {at}"] if "min" in bounds else []
    return _all(low + ([f"{at} <= {bounds['max']}"] if "max" in bounds else []))


# --- words of Cedar -------------------------------------------------------------------------------------------
def _each(kind: str, question: Callable[[str], str]) -> str:
    return _all(f"(if context has {kind}{n} then {question(f'context.{kind}{n}')} else true)" for n in range(MOST))


def _some(kind: str, question: Callable[[str], str]) -> str:
    return _any(f"(context has {kind}{n} && {question(f'context.{kind}{n}')})" for n in range(MOST))


def _all(parts: Iterable[str]) -> str:
    return f"({' && '.join(['true', *parts])})"


def _any(parts: Iterable[str]) -> str:
    return f"({' || '.join([*parts, 'false'])})"


def _write(value: Any) -> str:
    return json.dumps(value)


# --- requests -------------------------------------------------------------------------------------------------
def translate_request(request: Request, now: str, *, approved: bool) -> dict[str, str]:
    """Return a request as Cedar takes it, its context as JSON; `now` is an ISO time in UTC."""
    resource = request.resource
    context: dict[str, Any] = {
        "approved": approved, "tainted": request.tainted, "filesOnly": resource.files_only,
        "now": {"__extn": {"fn": "datetime", "arg": now}},
    }  # fmt: skip
    for kind, values in (("host", resource.hosts), ("read", resource.read_paths), ("write", resource.write_paths)):
        context |= {f"{kind}{number}": value for number, value in enumerate(values)}
    if resource.argument_bytes:
        context["bytes"] = resource.argument_bytes
    for name, value in resource.arguments.items():
        if value is not None:
            context[f"{name}_{KINDS[type(value)]}"] = value
        if isinstance(value, str):
            context[f"{name}_length"] = len(value)
    return {
        "principal": f'Agent::"{request.principal.agent_id}"',
        "action": f'Action::"{request.action.skill_id}"',
        "resource": 'Workspace::"all"',
        "context": json.dumps(context),
    }
