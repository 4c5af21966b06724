"""A call's arguments as a form that a person edits: scalars as what they are, all else as JSON."""

from collections.abc import Mapping
from typing import Any, override

from django import forms

from toolgate.fields import JsonField, read_json, write_json
from toolgate.lines import dump_plain

LONG_TEXT = 100  # characters of a line; what is longer, or has several lines, gets an area


class ArgumentsForm(forms.Form):
    """The arguments of one call, a field each of the kind that `asked` has; it begins with what they were made of."""

    def __init__(self, asked: Mapping[str, Any], *args: Any, edited: Mapping[str, Any] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._names = {f"a{number}": name for number, name in enumerate(asked)}
        for name, argument in self._names.items():
            field = self.fields[name] = _build_field(asked[argument], label=dump_plain(argument)[1:-1])
            if edited is not None and argument in edited:
                field.initial = _show(edited[argument], field)

    def collect(self) -> dict[str, Any]:
        """Return the arguments as they were edited."""
        return {name: self.cleaned_data[field] for field, name in self._names.items()}


class NumberField(forms.CharField):
    """A number, whole or not, as JSON writes it."""

    @override
    def clean(self, value: Any) -> Any:
        number = read_json(super().clean(value))
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise forms.ValidationError("Write a number, with a point before its decimals.")
        return number


class TextField(forms.CharField):
    """A text, exactly as written; a browser ends lines in its own way, the text does not."""

    either = True  # it may be empty, and is not optional for that

    @override
    def clean(self, value: Any) -> Any:
        return super().clean(value).replace("\r\n", "\n")


def read_object(text: str) -> dict[str, Any]:
    """Return a JSON object. Raises: django.forms.ValidationError."""
    value = read_json(text)
    if not isinstance(value, dict):
        raise forms.ValidationError("The arguments are not a JSON object.")
    return value


def _build_field(value: Any, *, label: str) -> forms.Field:
    if isinstance(value, bool):
        return forms.BooleanField(label=label, required=False, initial=value)
    if isinstance(value, int | float):
        widget: forms.Widget = forms.TextInput(attrs={"class": "input mono", "inputmode": "decimal"})
        return NumberField(label=label, initial=dump_plain(value), widget=widget)
    if isinstance(value, str) and _can_be_typed(value):
        return TextField(label=label, required=False, strip=False, initial=value, widget=_widget_of(value))
    return JsonField(label=label, example=value, help_text="JSON")


def _show(value: Any, field: forms.Field) -> Any:
    as_it_is = isinstance(value, str | bool) and not isinstance(field, JsonField)
    return value if as_it_is else write_json(value)


def _can_be_typed(text: str) -> bool:
    """Say whether a field shows all of a text, and gives it back unchanged."""
    return all(line.isprintable() for line in text.split("\n"))


def _widget_of(text: str) -> forms.Widget:
    if "\n" not in text and len(text) <= LONG_TEXT:
        return forms.TextInput(attrs={"class": "input mono", "spellcheck": "false"})
    rows = min(max(text.count("\n") + 2, 4), 20)
    return forms.Textarea(attrs={"class": "textarea code-in", "rows": rows, "spellcheck": "false"})
