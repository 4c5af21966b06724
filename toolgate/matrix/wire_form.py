"""What forms about rules have in common: fields named as a rule's fields on the wire, judged by the schema itself."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

import orjson
from django import forms
from pydantic import ValidationError

from toolgate.matrix.fields import UNBOUND, NamesField
from toolgate.policy import Rule
from toolgate.types import Effect

LISTS: Final = {
    "conditions.domains": ("network", "host"),
    "conditions.readPaths": ("read_workspace", "folder"),
    "conditions.writePaths": ("write_workspace", "folder"),
}


class WireForm(forms.Form):
    """Edits a rule in wire form; what a person did not touch stays exactly as it was."""

    document: dict[str, Any]  # the rule that is edited, or what a new one starts with
    is_new: bool
    capabilities: frozenset[str]  # of the skill that it is about; all of them if that is any skill

    def collect_rule(self) -> dict[str, Any]:
        """Return the rule as edited, in wire form."""
        rule = deepcopy(self.document)
        for path in self.fields:
            if self.is_new or path in self.changed_data:
                set_path(rule, path, self.cleaned_data.get(path))
        drop_idle(rule)
        return rule

    def check(self) -> None:
        """Ask for the lists that must be said, and let the schema judge the rule; each finding goes to its field."""
        if "effect" not in self.cleaned_data:
            return
        if self.cleaned_data["effect"] != Effect.DENY:
            self._require_lists()
        for path, message in find_problems(self.collect_rule()):
            self.show(path, message)

    def show(self, path: str, message: str) -> None:
        """Show a finding at the field that a place in a rule belongs to."""
        field = next((name for name in _prefixes(path) if name in self.fields), None)
        if (field is None and self.errors) or field in self.errors:  # it follows from what is marked already
            return
        self.add_error(field, message if field or not path else f"{path}: {message}")

    def _require_lists(self) -> None:
        """Refuse a list that is empty where that would quietly open everything."""
        for path, (capability, what) in LISTS.items():
            if path in self.fields and capability in self.capabilities and self.cleaned_data.get(path) == "":
                self.add_error(path, f"Name at least one {what}; “any” alone is every {what}, “none” alone is none.")


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a path of names; None and an empty text take it away."""
    *groups, name = path.split(".")
    place = document
    for group in groups:
        place = place.setdefault(group, {})
    if value is None or value == "":
        place.pop(name, None)
    else:
        place[name] = value


def get_path(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path of names, None if there is none."""
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def write_initial(document: Mapping[str, Any], fields: Mapping[str, forms.Field], *, is_new: bool) -> dict[str, Any]:
    """Return the values that fields start with; a list that a rule leaves out is shown as `any`."""
    initial = {path: get_path(document, path) for path in fields}
    for path, field in fields.items():
        if isinstance(field, NamesField) and path in LISTS and initial[path] is None and not is_new:
            initial[path] = UNBOUND
    return {path: value for path, value in initial.items() if value is not None}


def drop_idle(rule: dict[str, Any]) -> None:
    """Take out what means nothing beside the rule's effect, and groups in which nothing is set."""
    if rule.get("effect") != Effect.ASK:
        rule.pop("approval", None)
    if rule.get("effect") == Effect.DENY:
        rule.pop("limits", None)
    for group in ("conditions", "limits"):
        for name, value in list(rule.get(group, {}).items()):
            if value == {}:
                del rule[group][name]


def find_problems(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give what keeps a rule in wire form from being one: the place and a sentence."""
    try:
        Rule.model_validate_json(orjson.dumps(rule))
    except ValidationError as error:
        for finding in error.errors(include_url=False, include_input=False):
            yield ".".join(str(part) for part in finding["loc"]), _say(finding["msg"])
    except TypeError as error:  # what JSON cannot hold
        yield "", str(error)


def _say(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{text[:1].upper()}{text[1:]}."


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        yield ".".join(parts[:length])
