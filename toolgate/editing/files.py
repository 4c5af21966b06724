"""A policy as a file that people read and keep in git: TOML with a comment a group, or JSON; and back. PURE."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import orjson

from toolgate.exceptions import PolicyInvalid
from toolgate.policy import ANY, Policy, dump_policy, load_policy, read_policy

if TYPE_CHECKING:
    from tomlkit.items import Table

MAX_FILE_BYTES: Final = 20_000_000
_MAX_LINE: Final = 100  # of a group of fields that is written on one line
_GROUPS: Final = ("conditions", "limits", "approval")
# Characters that would reorder or hide the text around them: written by their number, as they can only be in a text.
_INVISIBLE: Final = re.compile("[\x80-\x9f\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f]")


# --- out --------------------------------------------------------------------------------------------------------
def write_json(policy: Policy) -> str:
    """Return a policy as JSON that `read_file` takes: `{"rules": […]}`, ordered by id."""
    wire = {"rules": dump_policy(policy)}
    return orjson.dumps(wire, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def write_toml(policy: Policy, *, heading: Iterable[str] = ()) -> str:
    """Return a policy as TOML that `read_file` takes, by agent and skill, under `heading` as comments."""
    lines = [_CONTROLS.sub(_number, " ".join(line.split())) for line in heading]
    groups = list(_write_groups(policy)) or ["rules = []\n"]
    return _INVISIBLE.sub(_number, "\n".join([*(f"# {line}" for line in lines), *groups]))


def _number(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _write_groups(policy: Policy) -> Iterator[str]:
    """Give the rules of each agent under its name, those of every agent first."""
    ordered = sorted(dump_policy(policy), key=lambda rule: (rule["agent"] != ANY, *_place(rule)))
    for agent, rules in groupby(ordered, key=lambda rule: rule["agent"]):
        yield f"\n# --- {'every agent' if agent == ANY else agent} ---"
        for rule in rules:
            yield _write_rule(rule)


def _place(rule: Mapping[str, Any]) -> tuple[str, str, str]:
    return rule["agent"], rule["skill"], rule["id"]


def _write_rule(rule: Mapping[str, Any]) -> str:
    from tomlkit import aot, document, table  # on first use: only who exports needs it

    fields, file, rules = table(), document(), aot()
    for name, value in rule.items():
        if name not in _GROUPS and value != "":
            fields.add(name, value)
    for name in _GROUPS:
        if rule.get(name):
            _add_group(fields, name, rule[name])
    rules.append(fields)
    file.add("rules", rules)
    return file.as_string()


def _add_group(fields: "Table", name: str, group: Mapping[str, Any]) -> None:
    """Add fields that belong together: on one line if they fit, else as a table with its lists line by line."""
    from tomlkit import array, inline_table, table

    line = inline_table()
    line.update(group)
    if len(line.as_string()) <= _MAX_LINE:
        fields.add(name, line)
        return
    inner = table()
    for key, value in group.items():
        if isinstance(value, list):
            items = array()
            items.extend(value)
            inner.add(key, items.multiline(len(items.as_string()) > _MAX_LINE))
        elif isinstance(value, Mapping):
            one = inline_table()
            one.update(value)
            inner.add(key, one)
        else:
            inner.add(key, value)
    fields.add(name, inner)


# --- in ---------------------------------------------------------------------------------------------------------
def read_file(content: bytes) -> Policy:
    """Return the policy that a TOML or JSON file of at most `MAX_FILE_BYTES` holds. Raises: PolicyInvalid."""
    if len(content) > MAX_FILE_BYTES:
        raise PolicyInvalid([f"the file is larger than {MAX_FILE_BYTES // 1_000_000} MB"])
    if not content.lstrip().startswith(b"{"):
        return load_policy(content)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise PolicyInvalid([f"not JSON: {error}"]) from error
    if set(document) != {"rules"} or not isinstance(document["rules"], list):
        raise PolicyInvalid(['a JSON file holds {"rules": […]} and nothing else'])
    return read_policy(document["rules"])
