"""The short form of one cell: it edits the one rule of exactly an agent and a skill."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django import forms

from toolgate.fleet import SkillFacts
from toolgate.matrix.cells import UNSET
from toolgate.matrix.fields import MomentField, NamesField, SizeField, make_choice, make_count, make_text
from toolgate.matrix.rule_form import name_rule
from toolgate.matrix.wire_form import LISTS, WireForm, write_initial
from toolgate.types import Effect
from toolgate.words.rules import show_span

EFFECTS: Final = (
    (Effect.ALLOW.value, "Allow"),
    (Effect.ASK.value, "Ask"),
    (Effect.DENY.value, "Deny"),
    (UNSET, "Default"),
)
_PERIODS: Final = {60: "minute", 3_600: "hour", 86_400: "day"}
_PERIOD: Final = "limits.callsPerPeriod"

_FIELDS: Final[dict[str, forms.Field]] = {
    "effect": forms.ChoiceField(label="Effect", choices=EFFECTS, widget=forms.RadioSelect()),
    "limits.callsPerTask": make_count("Calls a task"),
    "limits.ratePerSecond": make_count("Calls a second"),
    f"{_PERIOD}.amount": make_count("Calls"),
    f"{_PERIOD}.seconds": make_choice("Period", ()),
    "conditions.argumentBytes.max": SizeField(label="Largest arguments"),
    "conditions.domains": NamesField(
        label="Only to hosts", rows=4, help_text="One a line; *.example.org is all below it."
    ),
    "conditions.readPaths": NamesField(label="Read below", help_text="Folders, one a line; / is the workspace."),
    "conditions.writePaths": NamesField(label="Write below", help_text="Folders, one a line; / is the workspace."),
    "approval.quorum": make_count("People to approve", high=10),
    "approval.fourEyes": forms.BooleanField(label="Not who submitted the task", required=False),
    "validUntil": MomentField(label="Until (UTC)"),
    "description": make_text("Why", placeholder="kept with the rule"),
}


class _CellForm(WireForm):
    use_required_attribute = False  # what is hidden beside another effect is not asked for

    def __init__(
        self,
        data: Any = None,
        *,
        agent_id: str,
        skill: SkillFacts,
        rule: Mapping[str, Any] | None,
        is_crowded: bool = False,
    ) -> None:
        """Edit `rule` in wire form, the one rule of the pair; None: there is none yet.

        Where the pair is crowded with rules, all that the form can say is that every call is refused, or no rule.
        """
        self.document = dict(rule) if rule else {"agent": agent_id, "skill": skill.id}
        self.is_new, self.capabilities = rule is None, skill.capabilities
        initial = write_initial(self.document, _FIELDS, is_new=self.is_new) | self._write_special()
        if is_crowded:
            del initial["effect"]  # either choice does much: it has to be made
        super().__init__(data, initial=initial)
        for path, (capability, _) in LISTS.items():
            if capability not in skill.capabilities:
                del self.fields[path]
        self.is_crowded = is_crowded
        if is_crowded:
            effect: Any = self.fields["effect"]
            effect.choices = EFFECTS[2:]
        seconds = initial[f"{_PERIOD}.seconds"]
        periods = _PERIODS if int(seconds) in _PERIODS else _PERIODS | {int(seconds): show_span(int(seconds))}
        choice: Any = self.fields[f"{_PERIOD}.seconds"]
        choice.choices = [(str(length), word) for length, word in periods.items()]

    def _write_special(self) -> dict[str, Any]:
        period = self.document.get("limits", {}).get("callsPerPeriod", {})
        approval = self.document.get("approval", {})
        return {
            "effect": self.document.get("effect", UNSET),
            f"{_PERIOD}.seconds": str(period.get("seconds", 3_600)),
            "approval.fourEyes": approval.get("fourEyes", True),
            "approval.quorum": approval.get("quorum", 1),
        }

    def clean(self) -> dict[str, Any]:
        """Put the rule together and let the schema judge it; "default" means no rule."""
        if self.cleaned_data.get("effect") != UNSET:
            self.check()
        return self.cleaned_data

    def collect_rule(self) -> dict[str, Any]:
        """Return the rule as edited, in wire form; one that becomes a refusal refuses every call of the pair."""
        rule = super().collect_rule()
        if "seconds" in (period := rule.get("limits", {}).get("callsPerPeriod", {})):
            period["seconds"] = int(period["seconds"])
        if "amount" not in period:
            rule.get("limits", {}).pop("callsPerPeriod", None)
        else:
            period.setdefault("seconds", int(self.cleaned_data.get(f"{_PERIOD}.seconds", 3_600)))
        if rule["effect"] == Effect.DENY and self.document.get("effect") != Effect.DENY:
            rule.pop("conditions", None)
        rule.setdefault("id", "new")  # named when it is kept
        return rule

    def name_rule(self, taken: Iterable[str]) -> dict[str, Any]:
        """Return the rule as edited, under an id that no other rule has if it is new."""
        rule = self.collect_rule()
        if self.is_new:
            rule["id"] = name_rule(rule["agent"], rule["skill"], taken)
        return rule

    # --- for the template: fields whose names hold dots ---
    def _pick(self, *paths: str) -> list[forms.BoundField]:
        return [self[path] for path in paths if path in self.fields]

    def plain_fields(self) -> list[forms.BoundField]:
        """Return the limits of one number."""
        return self._pick("limits.callsPerTask", "limits.ratePerSecond")

    def period_amount(self) -> forms.BoundField:
        """Return how many calls fit a period."""
        return self[f"{_PERIOD}.amount"]

    def period_seconds(self) -> forms.BoundField:
        """Return the period's length."""
        return self[f"{_PERIOD}.seconds"]

    def reach_fields(self) -> list[forms.BoundField]:
        """Return how large the arguments may be and what a call may touch."""
        return self._pick("conditions.argumentBytes.max", *LISTS)

    def answer_fields(self) -> list[forms.BoundField]:
        """Return who answers."""
        return self._pick("approval.quorum", "approval.fourEyes")

    def end_fields(self) -> list[forms.BoundField]:
        """Return how long it holds, and why."""
        return self._pick("validUntil", "description")


CellForm: type[_CellForm] = type("CellForm", (_CellForm,), dict(_FIELDS))
