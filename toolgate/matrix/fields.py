"""The fields of forms about rules that Django has not: names one a line, sizes with a unit, moments in UTC."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson
from django import forms

from toolgate.words.rules import show_bytes

UNBOUND: Final = "any"  # alone: a list that does not restrict
NOTHING: Final = "none"  # alone: a list that nothing satisfies
ROOT: Final = "/"  # the workspace, "" in a rule; every folder may be written from there
_SIZE: Final = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s*([kmg]?)b?", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


class NamesField(forms.CharField):
    """Hosts or folders, one a line: `any` alone does not restrict, `none` alone matches nothing, empty is not said.

    Cleans to what stands in a rule: a list, None for `any`, or the text "" where nothing was said.
    """

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        attrs = {"class": "textarea code-in", "rows": rows, "spellcheck": "false"}
        super().__init__(required=False, widget=forms.Textarea(attrs=attrs), **kwargs)

    def clean(self, value: Any) -> Any:
        """Return the names."""
        lines = [line.strip() for line in super().clean(value).splitlines() if line.strip()]
        if not lines:
            return ""
        if lines in ([UNBOUND], [NOTHING]):
            return None if lines == [UNBOUND] else []
        return [line.removeprefix(ROOT) for line in lines]

    def prepare_value(self, value: Any) -> Any:
        """Return the text of a rule's list."""
        if isinstance(value, list | tuple):
            return "\n".join(ROOT + name if name in {"", UNBOUND, NOTHING} else name for name in value) or NOTHING
        return value


class SizeField(forms.CharField):
    """A number of bytes, with or without a unit: "2 MB", "1.5 KB", "300"."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"class": "input", "autocomplete": "off", "placeholder": "2 MB, for example"}
        super().__init__(required=False, widget=forms.TextInput(attrs=attrs), **kwargs)

    def clean(self, value: Any) -> Any:
        """Return the bytes, None if none are given."""
        text = super().clean(value)
        if not text:
            return None
        found = _SIZE.fullmatch(text)
        if found is None or len(text) > 30:
            raise forms.ValidationError("Write a size such as 2 MB, 500 KB or 300.")
        count = Decimal(found[1].replace(",", "")) * _FACTORS[found[2].lower()]
        if count != int(count):
            raise forms.ValidationError("That is no whole number of bytes.")
        return int(count)

    def prepare_value(self, value: Any) -> Any:
        """Return the size with its unit."""
        return show_bytes(value) if isinstance(value, int) else value


class MomentField(forms.DateTimeField):
    """A moment in UTC; cleans to its ISO text, as in a rule."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"class": "input", "type": "datetime-local", "step": "1"}
        widget = forms.DateTimeInput(attrs=attrs, format="%Y-%m-%dT%H:%M:%S")
        super().__init__(required=False, widget=widget, **kwargs)

    def clean(self, value: Any) -> Any:
        """Return the moment, None if none is given."""
        moment = super().clean(value)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None

    def prepare_value(self, value: Any) -> Any:
        """Return a rule's moment as a browser takes it."""
        if isinstance(value, str) and "T" in value and not value.endswith("T"):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return value
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        return value


def make_count(label: str, hint: str = "", *, low: int = 1, high: int = 1_000_000) -> forms.IntegerField:
    """Return the field of a whole number that may be left out."""
    widget = forms.NumberInput(attrs={"class": "input"})
    return forms.IntegerField(label=label, help_text=hint, required=False, min_value=low, max_value=high, widget=widget)


def make_text(label: str, hint: str = "", *, required: bool = False, **attrs: str) -> forms.CharField:
    """Return the field of one line of text."""
    widget = forms.TextInput(attrs={"class": "input", "autocomplete": "off", **attrs})
    return forms.CharField(label=label, help_text=hint, required=required, max_length=500, widget=widget)


def make_choice(label: str, choices: Sequence[tuple[str, str]], hint: str = "") -> forms.ChoiceField:
    """Return the field of a choice from a list."""
    widget = forms.Select(attrs={"class": "select"})
    return forms.ChoiceField(label=label, choices=choices, help_text=hint, required=False, widget=widget)


# --- arguments --------------------------------------------------------------------------------------------------
KINDS: Final = (
    ("", "no test"),
    ("equals", "is"),
    ("oneOf", "is one of"),
    ("range", "is a number from … to"),
    ("length", "has … to … characters"),
    ("pattern", "matches (RE2)"),
)


class ArgumentForm(forms.Form):
    """One row: an argument, and what it has to be."""

    name = make_text("Argument", spellcheck="false")
    kind = make_choice("Test", KINDS)
    value = forms.CharField(
        label="Value",
        required=False,
        strip=False,
        widget=forms.TextInput(attrs={"class": "input", "spellcheck": "false"}),
    )
    low = make_text("From", inputmode="decimal")
    high = make_text("To", inputmode="decimal")

    def clean(self) -> dict[str, Any]:
        """Put the test together; a row without one is none."""
        cleaned: dict[str, Any] = self.cleaned_data
        kind = cleaned.get("kind", "")
        filled = [name for name in ("value", "low", "high") if cleaned.get(name)]
        if not kind:
            if filled:
                self.add_error("kind", "Choose what is tested, or empty the row.")
            return cleaned
        if not cleaned.get("name"):
            self.add_error("name", "Which argument?")
        if not self.errors:
            cleaned["test"] = self._read_test(kind)
        return cleaned

    def _read_test(self, kind: str) -> dict[str, Any] | None:
        if kind in {"range", "length"}:
            return self._read_bounds(kind)
        value = self.cleaned_data["value"]
        if not value:
            self.add_error("value", 'Against what? An empty text is written "".')
            return None
        if kind == "pattern":
            return {"pattern": value}
        return {"equals": read_scalar(value)} if kind == "equals" else {"oneOf": _read_list(value)}

    def _read_bounds(self, kind: str) -> dict[str, Any] | None:
        names = ("min", "max") if kind == "range" else ("minLength", "maxLength")
        test = {}
        for name, field in zip(names, ("low", "high"), strict=True):
            text = self.cleaned_data[field]
            number = read_scalar(text) if text else None
            if text and (isinstance(number, str | bool) or (kind == "length" and not isinstance(number, int))):
                self.add_error(field, "Write a number.")
            elif text:
                test[name] = number
        if not test and not self.errors:
            self.add_error("low", "Give a bound, from or to.")
        return test


ArgumentRows = forms.formset_factory(ArgumentForm, extra=0, max_num=200, absolute_max=200)


def read_scalar(text: str) -> Any:
    """Return what a text stands for: false, 12 and 1.5 as JSON has them, everything else as the text that it is."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _read_list(text: str) -> list[Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if isinstance(value, list):
        return value
    return [read_scalar(part.strip()) for part in text.split(",") if part.strip()]


def write_scalar(value: Any) -> str:
    """Return an argument's value so that `read_scalar` gives it again."""
    if isinstance(value, str) and read_scalar(value) == value and value and value.strip() == value:
        return value
    return orjson.dumps(value).decode()


def write_row(name: str, test: dict[str, Any]) -> dict[str, str]:
    """Return the row of a rule's test."""
    if "equals" in test:
        return {"name": name, "kind": "equals", "value": write_scalar(test["equals"])}
    if "oneOf" in test:
        return {"name": name, "kind": "oneOf", "value": orjson.dumps(test["oneOf"]).decode()}
    if "pattern" in test:
        return {"name": name, "kind": "pattern", "value": test["pattern"]}
    is_length = "minLength" in test or "maxLength" in test
    low, high = (test.get("minLength"), test.get("maxLength")) if is_length else (test.get("min"), test.get("max"))
    bounds = {"low": low, "high": high}
    kind = "length" if is_length else "range"
    return {"name": name, "kind": kind, **{key: str(bound) for key, bound in bounds.items() if bound is not None}}
