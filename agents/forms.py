"""One guided form per skill, made from its input schema and judged by its input model."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone
from pydantic import ValidationError

from agents.files import store_upload
from agents.form_fields import DocumentField, JsonField, RowsFileField, write_json
from agents.skills.base import Skill

PREFIX = "in_"  # before every field that stems from the schema
FILE_SUFFIX = "_file"
PATH_FIELDS = frozenset({"filePath"})  # may also come as an upload
ROW_FIELDS = frozenset({"data"})  # may also come as the rows of a CSV or JSON file
# What a JSON area starts with where the schema names no example of its own.
EXAMPLES: dict[str, Any] = {
    "data": [{"paidOn": "11/03/2026", "amount": "$1,200.50", "email": "Ana@Example.org"}],
    "schema": {"paidOn": {"type": "date"}, "amount": {"type": "currency"}, "email": {"type": "email"}},
    "changes": [{"type": "replace", "oldText": "the text as it stands", "newText": "the text to put in"}],
}
PLACEHOLDERS = {
    "url": "https://arxiv.org/abs/1706.03762",
    "filePath": "examples/invoices.csv",
    "target": "examples/project",
}
LONG_TEXT = 500  # characters; a text that may be longer gets an area
MAX_RUN_AHEAD = timedelta(days=365)

Schema = Mapping[str, Any]


class OrderForm(forms.Form):
    """What every order has beside its input."""

    priority = forms.IntegerField(
        required=False,
        initial=0,
        min_value=-100,
        max_value=100,
        help_text="From -100 to 100; a higher one runs first.",
        widget=forms.NumberInput(attrs={"class": "input"}),
    )
    run_at = forms.DateTimeField(
        required=False,
        label="Not before",
        help_text="UTC; empty means as soon as a slot is free.",
        widget=forms.DateTimeInput(attrs={"class": "input", "type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    nonce = forms.CharField(max_length=64, widget=forms.HiddenInput)

    skill: Skill  # set by build_order_form
    schema: Schema

    def clean_run_at(self) -> datetime | None:
        run_at: datetime | None = self.cleaned_data["run_at"]
        if run_at and run_at - timezone.now() > MAX_RUN_AHEAD:
            raise forms.ValidationError("This is more than a year ahead. Choose an earlier time.")
        return run_at

    def clean(self) -> dict[str, Any]:
        """Put the input together and let the skill's own model judge it."""
        cleaned: dict[str, Any] = self.cleaned_data
        if not self.errors:
            try:
                self.skill.input_model.model_validate(self.collect_input())
            except ValidationError as error:
                self._show(error)
            if len(orjson.dumps(self.collect_input())) > settings.MAX_BODY_BYTES:
                limit = settings.MAX_BODY_BYTES // 1_000_000
                self.add_error(None, f"The input is larger than {limit} MB. Send it as a file and parse it instead.")
        return cleaned

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes this order this order: its input, its options, and the content of what was uploaded."""
        uploads = {name: self.cleaned_data.get(PREFIX + name + FILE_SUFFIX) for name in PATH_FIELDS}
        run_at = self.cleaned_data["run_at"]
        return {
            "input": self.collect_input(),
            "uploads": {name: _digest(upload) for name, upload in uploads.items() if upload is not None},
            "priority": self.cleaned_data["priority"] or 0,
            "runAt": run_at.isoformat() if run_at else None,
        }

    def collect_input(self) -> dict[str, Any]:
        """Return the input as the wire has it; what was left empty is left out, so that defaults apply."""
        values = {}
        for name in self.schema["properties"]:
            value = self.cleaned_data.get(PREFIX + name)
            upload = self.cleaned_data.get(PREFIX + name + FILE_SUFFIX)
            if upload is not None and name in PATH_FIELDS:
                value = "uploads/file"  # stands in until it is stored under its real name
            elif upload is not None:
                value = upload  # rows, read by RowsFileField
            if value not in (None, ""):
                values[name] = value
        return values

    def store_files(self, *, actor: str, now: datetime) -> dict[str, Any]:
        """Put what was uploaded into the workspace and return the input that names it."""
        values = self.collect_input()
        for name in PATH_FIELDS & values.keys():
            upload = self.cleaned_data.get(PREFIX + name + FILE_SUFFIX)
            if upload is not None:
                values[name] = store_upload(upload, actor=actor, now=now).path
        return values

    def _show(self, error: ValidationError) -> None:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            where, message = problem["loc"], problem["msg"].removeprefix("Value error, ")
            field = PREFIX + str(where[0]) if where else None
            inner = " → ".join(str(part) for part in where[1:])
            text = f"{inner}: {message}" if inner else message
            self.add_error(field if field in self.fields else None, text[:300])

    def input_fields(self) -> list[forms.BoundField]:
        """Return the fields of the schema, in its order."""
        return [self[name] for name in self.fields if name.startswith(PREFIX)]

    def option_fields(self) -> list[forms.BoundField]:
        """Return what stands under "Options"."""
        return [self["priority"], self["run_at"]]


def _digest(upload: "UploadedFile[Any]") -> str:
    digest = hashlib.sha256()
    for chunk in upload.chunks():
        digest.update(chunk)
    upload.seek(0)
    return digest.hexdigest()


# --- from schema to fields --------------------------------------------------------------------------------------
def build_order_form(skill: Skill) -> type[OrderForm]:
    """Return the form class of one skill."""
    schema = skill.input_model.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    fields: dict[str, Any] = {}
    for name, raw in schema["properties"].items():
        spec = _Spec.read(name, raw, schema=schema, required=name in required)
        fields |= _build_fields(spec)
    return type(f"{skill.id}OrderForm", (OrderForm,), {**fields, "skill": skill, "schema": schema})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    """One property of the schema, references resolved and "or null" taken off."""

    name: str
    schema: Schema
    required: bool
    default: Any

    @classmethod
    def read(cls, name: str, raw: Schema, *, schema: Schema, required: bool) -> "_Spec":
        flat = _resolve(raw, schema)
        return cls(name=name, schema=flat, required=required, default=flat.get("default"))

    @property
    def label(self) -> str:
        """The property's name as words: "filePath" → "File path"."""
        words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in self.name)
        return "URL" if self.name == "url" else words[:1].upper() + words[1:].replace(" ms", " (ms)")

    @property
    def hint(self) -> str:
        """What the schema says about it, with its bounds."""
        low, high = self.schema.get("minimum"), self.schema.get("maximum")
        told = str(self.schema.get("description", ""))
        bounds = f"{low:,} to {high:,}." if low is not None and high is not None and f"{high:,}" not in told else ""
        return " ".join(part for part in (told, bounds) if part)

    @property
    def common(self) -> dict[str, Any]:
        """What every field of it takes."""
        return {"label": self.label, "help_text": self.hint, "required": self.required}


def _resolve(raw: Schema, root: Schema) -> Schema:
    """Follow one reference and drop the null of an optional value, keeping title, description and default."""
    flat = dict(raw)
    choices = [part for part in flat.get("anyOf", ()) if part.get("type") != "null"]
    if len(choices) == 1:
        flat = {**choices[0], **{key: value for key, value in flat.items() if key != "anyOf"}}
    reference = flat.pop("$ref", "")
    if reference:
        flat = {**root["$defs"][reference.rsplit("/", 1)[-1]], **flat}
    return flat


def _build_fields(spec: _Spec) -> dict[str, forms.Field]:
    name = PREFIX + spec.name
    if spec.name in PATH_FIELDS:
        upload = DocumentField(required=False, label="Or send a file", help_text="It is put into uploads/.")
        path = _build_text({**spec.common, "required": False}, spec)
        return _mark_as_either({name: path, name + FILE_SUFFIX: upload})
    field = _build_field(spec)
    if spec.name in ROW_FIELDS and isinstance(field, JsonField):
        field.required = False  # the model asks for it where neither is given
        help_text = "Its rows are used in place of the text above; the first line of a CSV names the fields."
        rows = RowsFileField(required=False, label="Or take the rows of a CSV or JSON file", help_text=help_text)
        rows.widget.attrs["accept"] = ".csv,.json,text/csv,application/json"
        return _mark_as_either({name: field, name + FILE_SUFFIX: rows})
    return {name: field}


def _mark_as_either(fields: dict[str, forms.Field]) -> dict[str, forms.Field]:
    """Mark fields of which one is enough, so that none is shown as optional."""
    for field in fields.values():
        field.either = True  # type: ignore[attr-defined]
    return fields


def _build_field(spec: _Spec) -> forms.Field:
    schema = spec.schema
    if "enum" in schema:
        return _build_choice(spec, schema["enum"])
    kind = schema.get("type")
    if kind == "boolean":
        return forms.BooleanField(
            label=spec.label, help_text=spec.hint, required=False, initial=bool(spec.default),
            widget=forms.CheckboxInput(),
        )  # fmt: skip
    if kind in {"integer", "number"}:
        field = forms.IntegerField if kind == "integer" else forms.FloatField
        bounds: dict[str, Any] = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
        return field(**spec.common, **bounds, initial=spec.default, widget=forms.NumberInput({"class": "input"}))
    if kind == "string":
        return _build_text(spec.common, spec)
    return JsonField(**spec.common, example=find_example(spec))


def _build_choice(spec: _Spec, values: Sequence[str]) -> forms.ChoiceField:
    choices = [(value, value) for value in values]
    if spec.default is None:
        choices.insert(0, ("", "Choose…" if spec.required else "None"))
    widget = forms.Select(attrs={"class": "select"})
    return forms.ChoiceField(**spec.common, choices=choices, initial=spec.default, widget=widget)


def _build_text(common: Mapping[str, Any], spec: _Spec) -> forms.CharField:
    longest = spec.schema.get("maxLength")
    attrs: dict[str, Any] = {"class": "input", "spellcheck": "false"}
    example = next(iter(spec.schema.get("examples") or ()), PLACEHOLDERS.get(spec.name))
    if example:
        attrs["placeholder"] = f"{example}, for example"
    if spec.name not in PATH_FIELDS and spec.name != "url" and (longest is None or longest > LONG_TEXT):
        widget: forms.Widget = forms.Textarea(attrs=attrs | {"class": "textarea", "rows": 6})
    else:
        widget = forms.TextInput(attrs=attrs | ({"type": "url", "inputmode": "url"} if spec.name == "url" else {}))
    return forms.CharField(**common, max_length=longest, strip=False, initial=spec.default, widget=widget)


def find_example(spec: _Spec) -> Any:
    """Return what a JSON area starts with: the schema's first example, its default, ours, or an empty value."""
    examples = spec.schema.get("examples")
    if examples:
        return examples[0]
    if spec.default is not None:
        return spec.default
    return EXAMPLES.get(spec.name, [] if spec.schema.get("type") == "array" else {})


def initial_from_input(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form's start values from an earlier task's input."""
    return {
        PREFIX + name: write_json(value) if isinstance(value, dict | list) else value for name, value in values.items()
    }
