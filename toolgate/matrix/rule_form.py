"""The whole form of a rule: every field of the schema, the tests of arguments as rows."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from django import forms

from toolgate.fleet import AgentFacts, SkillFacts
from toolgate.matrix.fields import (
    ArgumentRows,
    MomentField,
    NamesField,
    SizeField,
    make_choice,
    make_count,
    make_text,
    write_row,
)
from toolgate.matrix.wire_form import LISTS, WireForm, set_path, write_initial
from toolgate.policy import ANY, DAYS
from toolgate.types import Effect
from toolgate.words.fields import LABELS

EFFECTS: Final = ((Effect.ALLOW.value, "Allow"), (Effect.ASK.value, "Ask"), (Effect.DENY.value, "Deny"))
MAX_SECONDS: Final = 31 * 86_400
ALL_CAPABILITIES: Final = frozenset(capability for capability, _ in LISTS.values())
_WINDOW: Final = "conditions.timeWindow"


class MoneyField(forms.DecimalField):
    """Pounds; cleans to the text that stands in a rule."""

    def __init__(self, label: str) -> None:
        widget = forms.TextInput(attrs={"class": "input", "inputmode": "decimal", "autocomplete": "off"})
        super().__init__(label=label, required=False, max_digits=12, decimal_places=4, widget=widget)

    def clean(self, value: Any) -> Any:
        """Return the amount."""
        amount = super().clean(value)
        return None if amount is None else str(amount)


class HourField(forms.TimeField):
    """An hour of the day by the clock of a zone; cleans to the text that stands in a rule."""

    def __init__(self, label: str) -> None:
        widget = forms.TimeInput(attrs={"class": "input", "type": "time"}, format="%H:%M")
        super().__init__(label=label, required=False, widget=widget)

    def clean(self, value: Any) -> Any:
        """Return the hour."""
        hour = super().clean(value)
        return None if hour is None else hour.isoformat()


class ChoicesField(forms.MultipleChoiceField):
    """Some of a few, as check boxes; cleans to None if there is none."""

    def __init__(self, label: str, choices: Sequence[tuple[str, str]] = (), hint: str = "") -> None:
        super().__init__(
            label=label, choices=choices, help_text=hint, required=False, widget=forms.CheckboxSelectMultiple()
        )

    def clean(self, value: Any) -> Any:
        """Return what was chosen, in the order of the choices."""
        chosen = super().clean(value)
        choices: Any = self.choices
        return [value for value, _ in choices if value in chosen] or None


_FIELDS: Final[dict[str, forms.Field]] = {
    "id": make_text(
        "Id", "Lower-case letters, digits, dots, hyphens. It names the rule in every decision.", required=True
    ),
    "agent": make_choice(LABELS["agent"], ()),
    "exceptAgents": ChoicesField(LABELS["exceptAgents"], hint="Only beside “every agent”."),
    "skill": make_choice(LABELS["skill"], ()),
    "effect": forms.ChoiceField(label=LABELS["effect"], choices=EFFECTS, widget=forms.RadioSelect()),
    "shadow": forms.BooleanField(
        label="Log only (shadow)",
        help_text="It decides nothing, and stops deciding if it does now; what it would change is counted on its page.",
        required=False,
    ),
    "description": make_text(LABELS["description"], "Why it is there, for whoever reads a decision."),
    "conditions.domains": NamesField(
        label=LABELS["conditions.domains"], rows=5, help_text="One a line; *.example.org is all below it."
    ),
    "conditions.readPaths": NamesField(
        label=LABELS["conditions.readPaths"], rows=5, help_text="Folders or globs, one a line; / is the workspace."
    ),
    "conditions.writePaths": NamesField(
        label=LABELS["conditions.writePaths"], rows=5, help_text="Folders or globs, one a line; / is the workspace."
    ),
    "conditions.argumentBytes.min": SizeField(label="Smallest arguments"),
    "conditions.argumentBytes.max": SizeField(label="Largest arguments", help_text="All of them together, as JSON."),
    "conditions.tainted": make_choice(
        "Text from outside",
        (
            ("", "whether or not there is any"),
            ("false", "only before there is any"),
            ("true", "only once there is some"),
        ),
        "A skill may bring text into a task that nobody here wrote.",
    ),
    "conditions.timeWindow.zone": make_text("Time zone", "Europe/London, for example. Empty: at any time."),
    "conditions.timeWindow.start": HourField("From"),
    "conditions.timeWindow.end": HourField("To"),
    "conditions.timeWindow.days": ChoicesField(
        "Days", [(day, day.capitalize()) for day in DAYS], "None ticked: every day."
    ),
    "limits.callsPerTask": make_count(LABELS["limits.callsPerTask"]),
    "limits.ratePerSecond": make_count(LABELS["limits.ratePerSecond"]),
    "limits.burst": make_count(LABELS["limits.burst"], "Empty: one second's worth."),
    "limits.callsPerPeriod.amount": make_count(LABELS["limits.callsPerPeriod"]),
    "limits.callsPerPeriod.seconds": make_count(
        "Period of calls, in seconds", "60 is a minute, 3600 an hour, 86400 a day.", high=MAX_SECONDS
    ),
    "limits.bytesPerTask": SizeField(label=LABELS["limits.bytesPerTask"]),
    "limits.bytesPerPeriod.amount": SizeField(label=LABELS["limits.bytesPerPeriod"]),
    "limits.bytesPerPeriod.seconds": make_count("Period of arguments, in seconds", high=MAX_SECONDS),
    "limits.spendPerTask": MoneyField("Spend a task, in £"),
    "limits.spendPerDay": MoneyField("Spend a day of the agent, in £"),
    "approval.fourEyes": forms.BooleanField(
        label="Four eyes", help_text="Whoever submitted the task cannot approve.", required=False
    ),
    "approval.quorum": make_count(LABELS["approval.quorum"], high=10),
    "approval.approvers": NamesField(
        label=LABELS["approval.approvers"], help_text="User names or group:…, one a line. Empty: whoever may decide."
    ),
    "approval.slaSeconds": make_count("Seconds until an answer is due", high=30 * 86_400),
    "approval.expiresSeconds": make_count("Seconds until the question expires", low=10, high=30 * 86_400),
    "validFrom": MomentField(label=LABELS["validFrom"], help_text="UTC."),
    "validUntil": MomentField(label=LABELS["validUntil"], help_text="UTC; from then on it is as if it were not there."),
}
_GROUPS: Final = {
    "conditions": ("Conditions", tuple(LISTS)),
    "more": ("", ("conditions.argumentBytes.min", "conditions.argumentBytes.max", "conditions.tainted")),
    "times": ("Times", tuple(path for path in _FIELDS if path.startswith(_WINDOW))),
    "limits": ("Limits", tuple(path for path in _FIELDS if path.startswith("limits."))),
    "approval": ("Who answers", tuple(path for path in _FIELDS if path.startswith("approval."))),
    "validity": ("Validity", ("validFrom", "validUntil")),
}
_TAINTS: Final = {"": None, "true": True, "false": False}


class _RuleForm(WireForm):
    def __init__(
        self,
        data: Any = None,
        *,
        rule: Mapping[str, Any],
        is_new: bool,
        agents: Iterable[AgentFacts],
        skills: Iterable[SkillFacts],
    ) -> None:
        """Edit `rule` in wire form; what a new one starts with may be as little as its agent and skill."""
        initial = write_initial(rule, _FIELDS, is_new=is_new)
        taint = initial.get("conditions.tainted")
        initial["conditions.tainted"] = "" if taint is None else str(taint).lower()
        if get_effect(rule) != Effect.ASK:
            initial["approval.fourEyes"] = True
        super().__init__(data, initial=initial)
        self.document, self.is_new = dict(rule), is_new
        for field in self.fields.values():
            field.either = True  # type: ignore[attr-defined]  # nearly all may be left out: saying so each time is noise
        self._skills = {skill.id: skill for skill in skills}
        self._offer("agent", "every agent", [agent.id for agent in agents])
        self._offer("skill", "every skill", list(self._skills))
        self._offer("exceptAgents", "", [agent.id for agent in agents])
        if is_new:
            self.fields["id"].help_text += " Left as it is, it follows the agent and the skill."
        self.rows = ArgumentRows(data, prefix="argument", initial=list(self._list_rows()))

    def _offer(self, path: str, any_word: str, ids: list[str]) -> None:
        """Offer every id, and what the rule names though nobody has that id."""
        named = self.initial.get(path) or []
        extra = [one for one in ([named] if isinstance(named, str) else named) if one not in {*ids, ANY}]
        first = [(ANY, f"{any_word} (*)")] if any_word else []
        field: Any = self.fields[path]
        field.choices = [*first, *((one, one) for one in [*ids, *extra])]

    def _list_rows(self) -> Iterator[dict[str, str]]:
        """Give a row for each test, for each other argument of the skill, and an empty one."""
        tests = (self.document.get("conditions") or {}).get("arguments") or {}
        skill = self._skills.get(str(self.document.get("skill")))
        for name, test in tests.items():
            yield write_row(name, test)
        yield from ({"name": name} for name in (skill.arguments if skill else ()) if name not in tests)
        yield {"name": ""}

    def clean(self) -> dict[str, Any]:
        """Put the rule together and let the schema judge it."""
        cleaned = self.cleaned_data
        if "conditions.tainted" in cleaned:
            cleaned["conditions.tainted"] = _TAINTS.get(cleaned["conditions.tainted"])
        if "approval.approvers" in cleaned:
            cleaned["approval.approvers"] = cleaned["approval.approvers"] or None
        skill = self._skills.get(cleaned.get("skill", ""))
        self.capabilities = skill.capabilities if skill else ALL_CAPABILITIES
        self._check_rows()
        self._check_window()
        self.check()
        return cleaned

    def _check_rows(self) -> None:
        if not self.rows.is_valid():
            self.add_error(None, "A test of an argument cannot be taken: see the rows marked below.")
        seen: set[str] = set()
        for row in self._tested_rows():
            name = row.cleaned_data["name"]
            if name in seen:
                row.add_error("name", "It is tested above already.")
                self.add_error(None, f"The argument {name} is tested twice.")
            seen.add(name)

    def _tested_rows(self) -> list[Any]:
        return [row for row in self.rows if row.is_valid() and row.cleaned_data.get("test")]

    def _check_window(self) -> None:
        said = [path for path in _FIELDS if path.startswith(_WINDOW) and self.cleaned_data.get(path)]
        if said and f"{_WINDOW}.zone" not in said and f"{_WINDOW}.zone" not in self.errors:
            self.add_error(f"{_WINDOW}.zone", "By the clock of which zone?")

    def collect_rule(self) -> dict[str, Any]:
        """Return the rule as edited, in wire form."""
        rule = super().collect_rule()
        tests = {row.cleaned_data["name"]: row.cleaned_data["test"] for row in self._tested_rows()}
        set_path(rule, "conditions.arguments", tests or None)
        return rule

    def name_rule(self, taken: Iterable[str]) -> dict[str, Any]:
        """Return the rule as edited; a new one whose proposed id was left alone is named after its agent and skill."""
        rule = self.collect_rule()
        if self.is_new and "id" not in self.changed_data:
            rule["id"] = name_rule(rule["agent"], rule["skill"], taken)
        return rule

    def show(self, path: str, message: str) -> None:
        """Show a finding at its field, or at the row of its argument."""
        name = path.removeprefix("conditions.arguments.").split(".")[0]
        row = next((row for row in self._tested_rows() if row.cleaned_data["name"] == name), None)
        if row is None or not path.startswith("conditions.arguments."):
            super().show(path, message)
            return
        row.add_error("value" if row.cleaned_data["kind"] in {"equals", "oneOf", "pattern"} else "low", message)
        self.add_error(None, f"The test of {name} cannot be taken: see its row.")

    def groups(self) -> Iterator[tuple[str, str, list[forms.BoundField]]]:
        """Give each group's name, title and fields."""
        for name, (title, paths) in _GROUPS.items():
            yield name, title, [self[path] for path in paths]

    def subject_fields(self) -> list[forms.BoundField]:
        """Return the fields that say what the rule is about."""
        return [self["agent"], self["skill"]]

    def heads(self) -> list[forms.BoundField]:
        """Return the fields by which people know the rule."""
        return [self["id"], self["description"]]


RuleForm: type[_RuleForm] = type("RuleForm", (_RuleForm,), dict(_FIELDS))


def get_effect(rule: Mapping[str, Any]) -> str:
    """Return the effect of a rule in wire form, an empty text for a new one."""
    return str(rule.get("effect", ""))


def add_row(data: Any) -> Any:
    """Return what was sent with one more empty row."""
    sent = data.copy()
    total = str(sent.get("argument-TOTAL_FORMS", "0"))
    sent["argument-TOTAL_FORMS"] = str(int(total) + 1) if total.isdigit() and len(total) < 4 else total
    return sent


def name_rule(agent_id: str, skill_id: str, taken: Iterable[str]) -> str:
    """Return an id for a new rule of a pair that no other rule has: "qa-verification-test-runner"."""
    words = f"{agent_id.removesuffix('-agent')}-{re.sub(r'(?<=[a-z])(?=[A-Z])', '-', skill_id)}"
    plain = re.sub(r"[^a-z0-9._-]+", "every", words.lower()).strip("-._")[:90]
    used = set(taken)
    return next(
        name for name in (plain, *(f"{plain}-{number}" for number in range(2, len(used) + 3))) if name not in used
    )
