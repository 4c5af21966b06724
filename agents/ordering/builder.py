"""From a JSON Schema to the fields of a guided form: what is simple gets a field of its kind, the rest JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms

from agents.ordering.fields import DocumentField, LinesField, RowsFileField
from toolgate.fields import JsonField

PREFIX = "in_"  # before every field that stems from the schema
FILE_SUFFIX = "_file"
FILE_MARK = "@file"  # stands in an agent's input for the path of what is sent along
PATH_FIELDS = frozenset({"filePath"})  # may also come as an upload
ROW_FIELDS = frozenset({"data"})  # may also come as the rows of a CSV or JSON file
# What a JSON area starts with where the schema names no example of its own.
EXAMPLES: dict[str, Any] = {
    "data": [{"paidOn": "11/03/2026", "amount": "$1,200.50", "email": "Ana@Example.org"}],
    "schema": {"paidOn": {"type": "date"}, "amount": {"type": "currency"}, "email": {"type": "email"}},
    "changes": [{"type": "replace", "oldText": "the text as it stands", "newText": "the text to put in"}],
    "path": FILE_MARK,
    "steps": [
        {
            "name": "parse",
            "agentId": "data-extraction-agent",
            "skillId": "documentParser",
            "input": {"filePath": "examples/invoices.csv", "format": "csv"},
        },
        {
            "name": "normalise",
            "agentId": "normalization-agent",
            "skillId": "normalizer",
            "input": {"data": {"$from": "parse", "path": "/tables/0"}, "schema": {}},
            "optional": False,
        },
    ],
}
PLACEHOLDERS = {
    "url": "https://arxiv.org/abs/1706.03762",
    "filePath": "examples/invoices.csv",
    "target": "examples/project",
}
LONG_TEXT = 500  # characters; a text that may be longer gets an area

Schema = Mapping[str, Any]


def build_fields(schema: Schema) -> dict[str, forms.Field]:
    """Return the fields of an object's schema, in its order."""
    choices = [choice.get("required", []) for choice in schema.get("oneOf", schema.get("anyOf", ()))]
    required, first = set(schema.get("required", [])), set(choices[0] if choices else [])
    fields: dict[str, forms.Field] = {}
    for name, raw in schema["properties"].items():
        spec = _Spec.read(name, raw, schema=schema, required=name in required, suggested=name in required | first)
        built = _build_fields(spec)
        fields |= _mark_as_either(built) if any(name in choice for choice in choices) else built
    return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    """One property of the schema, references resolved and "or null" taken off."""

    name: str
    schema: Schema
    required: bool
    suggested: bool  # shown with an example to change: it is required, or one of those of which one is
    default: Any

    @classmethod
    def read(cls, name: str, raw: Schema, *, schema: Schema, required: bool, suggested: bool) -> "_Spec":
        flat = _resolve(raw, schema)
        return cls(name=name, schema=flat, required=required, suggested=suggested, default=flat.get("default"))

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
    kind, items = schema.get("type"), schema.get("items", {})
    if kind == "boolean":
        return forms.BooleanField(
            label=spec.label, help_text=spec.hint, required=False, initial=bool(spec.default),
            widget=forms.CheckboxInput(),
        )  # fmt: skip
    if kind in ("integer", "number"):
        field = forms.IntegerField if kind == "integer" else forms.FloatField
        bounds: dict[str, Any] = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
        return field(**spec.common, **bounds, initial=spec.default, widget=forms.NumberInput({"class": "input"}))
    if kind == "string":
        return _build_text(spec.common, spec)
    if kind == "array" and items.get("type") == "string":
        return LinesField(**spec.common, hint_text=spec.hint)
    return JsonField(**spec.common, example=find_example(spec), is_suggested=spec.suggested or spec.default is not None)


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
    """Return what a JSON area starts with: the schema's first example, its default, ours, or its bare shape."""
    if spec.default is not None and not spec.schema.get("examples"):
        return spec.default
    return _sketch(spec.schema, spec.name)


def _sketch(schema: Schema, name: str) -> Any:
    """Return the smallest value of a schema's shape, for a person to fill in."""
    known = [*schema.get("examples", ())[:1], *([EXAMPLES[name]] if name in EXAMPLES else ()), *schema.get("enum", ())]
    if known:
        return known[0]
    kind, items, properties = schema.get("type"), schema.get("items", {}), schema.get("properties", {})
    if kind == "array":
        return [_sketch(items, name)] if schema.get("minItems") else []
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind in ("string", "boolean"):
        return "" if kind == "string" else False
    return {key: _sketch(properties[key], key) for key in schema.get("required", ()) if key in properties}
