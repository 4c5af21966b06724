"""The fields of guided forms that Django has not: documents, JSON in a text area, rows from a file."""

import json
from typing import Any

import orjson
from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from agents.ordering import tables

MAX_DEPTH = 100
MAX_WIDTH = 100  # characters of a line before a value is spread over more


class DocumentField(forms.FileField):
    """A document for the workspace, no larger than one may be."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        """Return the file, None if none was chosen."""
        upload = super().clean(data, initial)
        if upload is not None and upload.size > settings.MAX_UPLOAD_BYTES:
            raise forms.ValidationError(f"The file is larger than {settings.MAX_UPLOAD_BYTES // 1_000_000} MB.")
        return upload


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


class LinesField(forms.CharField):
    """A list of texts, one a line."""

    def __init__(self, *, hint_text: str, **kwargs: Any):
        widget = forms.Textarea(attrs={"class": "textarea", "rows": 4, "spellcheck": "false"})
        super().__init__(widget=widget, **kwargs | {"help_text": f"{hint_text} One a line.".strip()})

    def clean(self, value: Any) -> Any:
        """Return the lines that hold something, None if there is none."""
        return [line.strip() for line in super().clean(value).splitlines() if line.strip()] or None

    def prepare_value(self, value: Any) -> Any:
        """Return the text of a list."""
        return "\n".join(map(str, value)) if isinstance(value, list) else value


class RowsFileField(forms.FileField):
    """A CSV or JSON file whose rows become the value."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        """Return the rows, None if no file was chosen."""
        upload: UploadedFile[Any] | None = super().clean(data, initial)
        if upload is None:
            return None
        try:
            rows = tables.read_rows(upload)
        except tables.TableUnreadable as error:
            raise forms.ValidationError(error.message) from error
        _check_value(rows, depth=1)
        return rows


def write_json(value: Any) -> str:
    """Return JSON as a person writes it: one line for each entry of the outermost object or list, if that is enough."""
    text = _write_lines(value)
    too_wide = max(map(len, text.splitlines())) > MAX_WIDTH
    return json.dumps(value, ensure_ascii=False, indent=2) if too_wide else text


def _write_lines(value: Any) -> str:
    if isinstance(value, dict) and value:
        lines = [f"  {json.dumps(key)}: {json.dumps(inner, ensure_ascii=False)}" for key, inner in value.items()]
        return "{\n" + ",\n".join(lines) + "\n}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(inner, ensure_ascii=False)}" for inner in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def read_json(text: str) -> Any:
    """Return a JSON value without NUL and no deeper than `MAX_DEPTH`.

    Raises: django.forms.ValidationError that names the place.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise forms.ValidationError(f"This is not JSON: {error.msg} at {where}.") from error
    _check_value(value, depth=1)
    return value


def _check_value(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise forms.ValidationError(f"This is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str) and "\0" in value:
        raise forms.ValidationError("A text in this holds a NUL character. Remove it.")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_value(key, depth=depth + 1)
            _check_value(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_value(inner, depth=depth + 1)
