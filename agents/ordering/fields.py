"""The fields of guided forms that Django has not: documents, lines, rows from a file."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from agents.ordering import tables
from toolgate.fields import check_value


class DocumentField(forms.FileField):
    """A document for the workspace, no larger than one may be."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        """Return the file, None if none was chosen."""
        upload = super().clean(data, initial)
        if upload is not None and upload.size > settings.MAX_UPLOAD_BYTES:
            raise forms.ValidationError(f"The file is larger than {settings.MAX_UPLOAD_BYTES // 1_000_000} MB.")
        return upload


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
        check_value(rows)
        return rows
