"""What a person fills in about themselves, their tokens and other people's accounts."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

from django import forms

from orchestrator_site.people.profiles import COSY
from orchestrator_site.people.words import PERMISSIONS, ROLES
from orchestrator_site.people.zones import LOCAL, list_zones

_SELECT: Final = {"class": "select"}
_INPUT: Final = {"class": "input", "autocomplete": "off"}
LIVES: Final = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "A year", "": "Until it is revoked"}
EVERY, SOME = "every", "some"


def _leave_unsaid(fields: Mapping[str, forms.Field]) -> None:
    """Say of none of these that it is optional: an empty choice of theirs is a choice."""
    for field in fields.values():
        field.either = True  # type: ignore[attr-defined]


class ProfileForm(forms.Form):
    """How the console looks to whoever fills it in."""

    theme = forms.ChoiceField(
        required=False,
        choices=[("", "As the system has it"), ("light", "Light"), ("dark", "Dark")],
        widget=forms.Select(attrs=_SELECT),
    )
    density = forms.ChoiceField(
        label="Rows",
        required=False,
        choices=[("", "Compact"), (COSY, "Cosy")],
        widget=forms.Select(attrs=_SELECT),
        help_text="How high the rows of tables and feeds are.",
    )
    time_zone = forms.ChoiceField(
        label="Times in",
        required=False,
        choices=lambda: [(LOCAL, "This browser's zone"), *((name, name) for name in list_zones())],
        widget=forms.Select(attrs=_SELECT),
        help_text="Of every page. Without scripts the browser's zone is not known: then they are in UTC.",
    )
    single_keys = forms.BooleanField(
        label="Shortcuts of a single key",
        required=False,
        help_text="Such as / for the search. Switch them off where speech or a switch types for you.",
        widget=forms.CheckboxInput(attrs={"aria-describedby": "id_single_keys_helptext"}),
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        _leave_unsaid(self.fields)


class NewUserForm(forms.Form):
    """An account to be made; its password is made for it."""

    name = forms.CharField(label="User name", max_length=150, widget=forms.TextInput(attrs=_INPUT))
    roles = forms.MultipleChoiceField(
        choices=[(role, role) for role in ROLES],
        error_messages={"required": "Choose at least one role."},
    )


class TokenForm(forms.Form):
    """A token to be made, within what its owner may do."""

    name = forms.CharField(
        max_length=100, widget=forms.TextInput(attrs=_INPUT), help_text="What it is for, to tell tokens apart."
    )
    scopes = forms.MultipleChoiceField(error_messages={"required": "Choose at least one scope."})
    reach = forms.ChoiceField(choices=[(EVERY, "Every agent"), (SOME, "Only these")], initial=EVERY)
    agents = forms.MultipleChoiceField(required=False)
    days = forms.ChoiceField(
        label="Expires after",
        required=False,
        choices=list(LIVES.items()),
        initial="90",
        widget=forms.Select(attrs=_SELECT),
    )

    def __init__(self, *args: Any, permissions: Iterable[str], agents: Iterable[str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        wanted = frozenset(permissions)
        _leave_unsaid({"days": self.fields["days"]})
        self._offer("scopes", (scope for scope in PERMISSIONS if scope in wanted))
        self._offer("agents", agents)

    def _offer(self, name: str, values: Iterable[str]) -> None:
        cast(forms.MultipleChoiceField, self.fields[name]).choices = [(value, value) for value in values]

    def clean(self) -> dict[str, Any]:
        """See that a token for some agents names one."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("reach") == SOME and not cleaned.get("agents") and "agents" not in self.errors:
            self.add_error("agents", "Choose at least one agent.")
        return cleaned

    @property
    def limit(self) -> list[str] | None:
        """The agents that it is limited to, None for every one."""
        agents: list[str] = self.cleaned_data["agents"]
        return agents if self.cleaned_data["reach"] == SOME else None

    @property
    def life(self) -> timedelta | None:
        """How long it lasts, None for ever."""
        days: str = self.cleaned_data["days"]
        return timedelta(days=int(days)) if days else None
