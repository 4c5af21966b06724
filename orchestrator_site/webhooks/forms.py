"""The form of a subscription, judged as the API judges it."""

from typing import Any

from django import forms

from agents import registry
from agents.outbound.receivers import parse_receiver
from orchestrator_site.webhooks.kinds import WORDS
from orchestrator_site.webhooks.models import WebhookSubscription
from orchestrator_site.webhooks.subscribing import MAX_NAME, Wanted


class SubscriptionForm(forms.Form):
    """Who is told, and of what."""

    name = forms.CharField(
        max_length=MAX_NAME,
        help_text="For people: which receiver this is.",
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off"}),
    )
    url = forms.CharField(
        label="Address",
        help_text="https, or http. Public addresses; networks of your own need WEBHOOK_ALLOWED_NETWORKS.",
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "inputmode": "url"}),
    )
    kinds = forms.MultipleChoiceField(
        label="Told of",
        choices=[(kind.value, word) for kind, word in WORDS.items()],
        widget=forms.CheckboxSelectMultiple(),
        error_messages={"required": "Choose one at least."},
    )
    agents = forms.MultipleChoiceField(
        label="Only of these agents",
        required=False,
        help_text="None chosen: of all, and of what concerns no agent.",
        widget=forms.CheckboxSelectMultiple(),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["agents"]
        field.choices = [(agent.id, agent.id) for agent in registry.list_agents()]

    def clean_url(self) -> str:
        """Return the address in its one form."""
        try:
            return parse_receiver(self.cleaned_data["url"]).url
        except ValueError as error:
            raise forms.ValidationError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error

    def read(self) -> Wanted:
        """Return what is wanted, once it is valid."""
        return Wanted(**{name: self.cleaned_data[name] for name in ("name", "url", "kinds", "agents")})


def initial_of(row: WebhookSubscription) -> dict[str, Any]:
    """Return a form's start values from a subscription as it is."""
    return {"name": row.name, "url": row.url, "kinds": row.kinds, "agents": row.agents}
