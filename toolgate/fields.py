"""JSON in a form, as a person writes it."""

from typing import Any

import orjson
from django import forms

from toolgate.lines import dump_plain

MAX_DEPTH = 100
MAX_WIDTH = 100  # characters of a line before a value is spread over more


class JsonField(forms.CharField):
    """A JSON value in a text area; the example is there to be changed if `is_suggested`, else behind an empty area."""

    def __init__(self, *, example: Any, is_suggested: bool = True, **kwargs: Any):
        text = write_json(example)
        rows = min(max(text.count("\n") + 2, 5), 16)
        attrs = {"class": "textarea code-in", "rows": rows, "spellcheck": "false"}
        widget = forms.Textarea(attrs=attrs if is_suggested else attrs | {"placeholder": text})
        super().__init__(widget=widget, initial=text if is_suggested else None, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Return the text of a value."""
        return write_json(value) if isinstance(value, dict | list) else value

    def clean(self, value: Any) -> Any:
        """Return the parsed value, None if the area is empty."""
        text = super().clean(value)
        return None if not text else read_json(text)


def write_json(value: Any) -> str:
    """Return JSON as a person writes it: one line for each entry of the outermost object or list, if that is enough."""
    text = _write_lines(value)
    too_wide = max(map(len, text.splitlines())) > MAX_WIDTH
    return dump_plain(value, indent=2) if too_wide else text


def _write_lines(value: Any) -> str:
    if isinstance(value, dict) and value:
        lines = [f"  {dump_plain(key)}: {dump_plain(inner)}" for key, inner in value.items()]
        return "{\n" + ",\n".join(lines) + "\n}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {dump_plain(inner)}" for inner in value) + "\n]"
    return dump_plain(value)


def read_json(text: str) -> Any:
    """Return a JSON value without NUL and no deeper than `MAX_DEPTH`.

    Raises: django.forms.ValidationError that names the place.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise forms.ValidationError(f"This is not JSON: {error.msg} at {where}.") from error
    check_value(value)
    return value


def check_value(value: Any, *, depth: int = 1) -> None:
    """See that a JSON value holds no NUL and is no deeper than `MAX_DEPTH`.

    Raises: django.forms.ValidationError.
    """
    if depth > MAX_DEPTH:
        raise forms.ValidationError(f"This is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str) and "\0" in value:
        raise forms.ValidationError("A text in this holds a NUL character. Remove it.")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_value(key, depth=depth + 1)
            check_value(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_value(inner, depth=depth + 1)
