"""The forms by which a person edits an agent: its configuration, a file with one, an input to try it out with."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from django import forms

from agents.editing.configs import MAX_FILE_BYTES, read_config, read_file
from agents.editing.diff import LABELS
from agents.exceptions import ConfigInvalid
from agents.schemas import list_problems
from agents.types import AgentConfig, Tier
from toolgate.fields import JsonField
from toolgate.reading import FieldProblem

_SCHEMA: Final = AgentConfig.model_json_schema(by_alias=True)
_GROUPS: Final = {
    "Agent": ("displayName", "tier"),
    "Runs": ("timeoutSeconds", "retries", "concurrent"),
    "Limits of a task by a model": tuple(field for field in LABELS if field.startswith("limits.")),
    "Constraints": tuple(field for field in LABELS if field.startswith("constraints.")),
}


# --- fields -----------------------------------------------------------------------------------------------------
def _find_spec(field: str) -> dict[str, Any]:
    """Return what the schema of configurations says of a field, "or null" taken off."""
    spec: dict[str, Any] = _SCHEMA
    for name in field.split("."):
        spec = spec["properties"][name]
        spec = _SCHEMA["$defs"][spec["$ref"].rsplit("/", 1)[-1]] if "$ref" in spec else spec
    return {**spec, **next((part for part in spec.get("anyOf", ()) if part.get("type") != "null"), {})}


def _number(field: str, hint: str = "", *, required: bool = True) -> forms.IntegerField:
    low, high = (_find_spec(field).get(key) for key in ("minimum", "maximum"))
    bounds = f"{low:,} to {high:,}." if high is not None else f"{low:,} or more."
    return forms.IntegerField(
        label=LABELS[field],
        help_text=f"{hint} {bounds}".strip(),
        required=required,
        min_value=low,
        max_value=high,
        widget=forms.NumberInput(attrs={"class": "input"}),
    )


def _money(field: str, hint: str, *, required: bool = True) -> forms.DecimalField:
    widget = forms.TextInput(attrs={"class": "input", "inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(
        label=LABELS[field],
        help_text=hint,
        required=required,
        min_value=0,
        max_digits=12,
        decimal_places=4,
        widget=widget,
    )


def _schema(field: str, hint: str) -> JsonField:
    area = JsonField(label=LABELS[field], help_text=hint, example={})
    area.widget.attrs["rows"] = 18
    return area


_FIELDS: Final[dict[str, forms.Field]] = {
    "displayName": forms.CharField(
        label=LABELS["displayName"], max_length=80, widget=forms.TextInput(attrs={"class": "input"})
    ),
    "tier": forms.ChoiceField(
        label=LABELS["tier"],
        choices=[(tier.value, tier.value) for tier in Tier],
        help_text="The settings say which model each tier stands for.",
        widget=forms.Select(attrs={"class": "select"}),
    ),
    "timeoutSeconds": _number("timeoutSeconds"),
    "retries": _number("retries", "For errors only."),
    "concurrent": _number("concurrent", "Beyond it tasks wait."),
    "limits.maxSteps": _number("limits.maxSteps"),
    "limits.maxCalls": _number("limits.maxCalls", "Refused ones count."),
    "limits.maxOutputTokens": _number("limits.maxOutputTokens"),
    "limits.maxCostGbp": _money("limits.maxCostGbp", "Reserved before each call, so never passed."),
    "limits.monthlyCapGbp": _money("limits.monthlyCapGbp", "Empty: only the fleet's cap holds.", required=False),
    "constraints.reviewRequired": forms.BooleanField(
        label=LABELS["constraints.reviewRequired"],
        help_text="Before that its task does not count as done.",
        required=False,
    ),
    "constraints.maxPatchCharacters": _number("constraints.maxPatchCharacters", required=False),
    "constraints.maxFilesPerTask": _number("constraints.maxFilesPerTask", required=False),
    "constraints.maxSummaryWords": _number("constraints.maxSummaryWords", required=False),
    "prompt": forms.CharField(
        label=LABELS["prompt"],
        help_text="What the agent is told before its task, 40 to 20,000 characters.",
        strip=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"class": "textarea", "rows": 14}),
    ),
    "inputSchema": _schema("inputSchema", "JSON Schema, Draft 2020-12. A task's input has to fit it."),
    "outputSchema": _schema("outputSchema", "A run ends when the model's answer fits it."),
}


# --- forms ------------------------------------------------------------------------------------------------------
class _ConfigForm(forms.Form):
    base_version = forms.IntegerField(widget=forms.HiddenInput, min_value=1)

    def __init__(self, data: Any = None, *, document: Mapping[str, Any], base_version: int) -> None:
        """Edit `document`, a configuration as on the wire, that was made of `base_version`."""
        super().__init__(data, initial=_write_initial(document) | {"base_version": base_version})
        self._document = document

    def clean(self) -> dict[str, Any]:
        """Put the configuration together and let its own schema judge it."""
        if not self.errors:
            try:
                read_config(self.collect_config(), agent_id=self._document["id"])
            except ConfigInvalid as error:
                self.show(error)
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned

    def show(self, error: ConfigInvalid) -> None:
        """Show each problem at its field."""
        for problem in error.problems:
            field = _find_field(problem)
            self.add_error(field, problem.detail if field else f"{problem.pointer[2:]}: {problem.detail}")

    def collect_config(self) -> dict[str, Any]:
        """Return the configuration as edited; what the form does not show is as it was."""
        document = deepcopy(dict(self._document))
        for field in _FIELDS:
            *groups, name = field.split(".")
            place = document
            for group in groups:
                place = place.setdefault(group, {})
            value = self.cleaned_data[field]
            place[name] = str(value) if _is_money(field) and value is not None else value
        return document

    def clean_prompt(self) -> str:
        """Return the prompt with the line ends that the store has; a browser sends others."""
        return str(self.cleaned_data["prompt"]).replace("\r\n", "\n")

    def groups(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """Give the title and the fields of each group; the large areas stand by themselves."""
        for title, fields in _GROUPS.items():
            yield title, [self[field] for field in fields]


def _is_money(field: str) -> bool:
    return isinstance(_FIELDS[field], forms.DecimalField)


def _find_field(problem: FieldProblem) -> str | None:
    """Return the form's field that a problem of the configuration belongs to, or None."""
    place = problem.pointer.removeprefix("#/").split("/")
    return next((name for name in (".".join(place[:2]), place[0]) if name in _FIELDS), None)


def _write_initial(document: Mapping[str, Any]) -> dict[str, Any]:
    initial: dict[str, Any] = {}
    for field in _FIELDS:
        value: Any = document
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        initial[field] = write_json(value) if isinstance(value, dict) else value
    return initial


def write_json(value: Any) -> str:
    """Return JSON as a person edits it: indented throughout."""
    return json.dumps(value, indent=2, ensure_ascii=False)


ConfigForm: type[_ConfigForm] = type("ConfigForm", (_ConfigForm,), dict(_FIELDS))


class ImportForm(forms.Form):
    """A file that holds a configuration; `document` is what was read of it."""

    file = forms.FileField(
        label="File",
        help_text=f"JSON, as an export is, or TOML. At most {MAX_FILE_BYTES // 1000} KB.",
        widget=forms.FileInput(attrs={"accept": ".json,.toml,application/json,application/toml"}),
    )

    document: dict[str, Any]

    def clean_file(self) -> Any:
        """Read the file; what is wrong with it is the field's error."""
        upload = self.cleaned_data["file"]
        try:
            self.document = read_file(upload.read(MAX_FILE_BYTES + 1))
        except ConfigInvalid as error:
            raise forms.ValidationError([problem.detail for problem in error.problems]) from error
        return upload

    def show(self, error: ConfigInvalid) -> None:
        """Show what keeps the configuration in the file from being this agent's."""
        for problem in error.problems:
            self.add_error("file", f"{problem.pointer.removeprefix('#/')}: {problem.detail}")


class TryForm(forms.Form):
    """The input of a try-out, judged by the draft's own schema."""

    input = JsonField(label="Input", example={}, help_text="JSON; the draft's input schema judges it.")
    nonce = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, schema: Mapping[str, Any], initial: Mapping[str, Any]) -> None:
        super().__init__(data, initial=dict(initial))
        self._schema = schema

    def clean_input(self) -> dict[str, Any]:
        """Return the input if it fits."""
        value = self.cleaned_data["input"]
        if not isinstance(value, dict):
            raise forms.ValidationError("The input is a JSON object.")
        problems = list_problems(self._schema, value)
        if problems:
            raise forms.ValidationError(list(problems))
        return value
