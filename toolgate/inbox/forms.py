"""What a person says to a request, or to several that are equal."""

from collections.abc import Iterable
from typing import Any

from django import forms

from toolgate.approvals import MAX_MINUTES, MINUTES, ONCE, SCOPES
from toolgate.approvals.answering import MAX_NOTE_LENGTH
from toolgate.inbox.arguments import read_object


class AnswerForm(forms.Form):
    """One answer. It carries the digest of what was on the screen: nothing else is approved by it."""

    decision = forms.ChoiceField(
        choices=[("approve", "Approve"), ("refuse", "Refuse")],
        error_messages={"required": "Choose “Approve” or “Refuse”.", "invalid_choice": "Choose “Approve” or “Refuse”."},
    )
    note = forms.CharField(required=False, max_length=MAX_NOTE_LENGTH)
    scope = forms.ChoiceField(required=False, choices=[(scope, scope) for scope in SCOPES])
    minutes = forms.IntegerField(required=False, min_value=1, max_value=MAX_MINUTES)
    digest = forms.RegexField(
        r"^[0-9a-f]{64}$", error_messages={"required": "The form does not say what you saw. Load the page again."}
    )
    arguments = forms.CharField(required=False, strip=False)  # JSON: what is approved in place of what was asked for

    def clean_arguments(self) -> dict[str, Any] | None:
        """Return the changed arguments, None if they are not changed."""
        text = self.cleaned_data["arguments"]
        return read_object(text) if text else None

    def clean(self) -> dict[str, Any]:
        """See that a number of minutes is there if it is needed."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("decision") != "approve":
            cleaned |= {"scope": ONCE, "minutes": None, "arguments": None}
            self.errors.pop("minutes", None)
        elif cleaned.get("scope") == MINUTES and not cleaned.get("minutes") and "minutes" not in self.errors:
            self.add_error("minutes", "Say for how many minutes.")
        return cleaned

    def answer(self) -> dict[str, Any]:
        """Return what `decide_approval` takes."""
        cleaned, scope = self.cleaned_data, self.cleaned_data["scope"] or ONCE
        return {
            "approve": cleaned["decision"] == "approve",
            "note": cleaned["note"],
            "digest": cleaned["digest"],
            "arguments": cleaned["arguments"],
            "scope": scope,
            "minutes": cleaned["minutes"] if scope == MINUTES else None,
        }


class BatchForm(forms.Form):
    """One answer to several equal requests; those that are left out go on waiting."""

    decision = AnswerForm.base_fields["decision"]
    note = AnswerForm.base_fields["note"]
    digest = AnswerForm.base_fields["digest"]
    ids = forms.MultipleChoiceField(
        error_messages={
            "required": "Choose at least one request.",
            "invalid_choice": "One of the requests is not equal to this one any more. Load the page again.",
        }
    )

    def __init__(self, *args: Any, ids: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ids"].choices = [(one, one) for one in ids]  # type: ignore[attr-defined]
