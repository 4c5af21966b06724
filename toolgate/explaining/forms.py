"""The form of a question: who, which skill, which arguments."""

import json
from typing import Any

import orjson
from django import forms

from toolgate.explaining.answers import Question
from toolgate.fleet import get_fleet

MAX_ARGUMENTS = 100_000  # characters


class QuestionForm(forms.Form):
    """What a call would be; ids that are not listed can be typed into the address, and are explained too."""

    agent = forms.ChoiceField(label="Agent")
    skill = forms.ChoiceField(label="Skill")
    arguments = forms.CharField(
        label="Arguments",
        required=False,
        max_length=MAX_ARGUMENTS,
        widget=forms.Textarea(attrs={"class": "textarea code-in", "rows": 8, "spellcheck": "false"}),
        help_text='One JSON object, such as {"url": "https://example.org/"}. What is left out has its default.',
    )
    tainted = forms.BooleanField(label="Text from outside has come into the task", required=False)

    def __init__(self, data: Any, **options: Any) -> None:
        super().__init__(data, **options)
        fleet = get_fleet()
        self._offer("agent", [agent.id for agent in fleet.list_agents()])
        self._offer("skill", [skill.id for skill in fleet.list_skills()])

    def _offer(self, name: str, ids: list[str]) -> None:
        given = self.data.get(name, "") if self.is_bound else ""
        choices = ids if given in ids or not given else [*ids, given]
        field = self.fields[name]
        field.choices = [(one, one) for one in choices]  # type: ignore[attr-defined]
        field.widget.attrs["class"] = "select"

    def clean_arguments(self) -> dict[str, Any]:
        """Return the arguments. Raises: ValidationError for what is no JSON object."""
        text = self.cleaned_data["arguments"].strip()
        try:
            arguments = orjson.loads(text) if text else {}
        except orjson.JSONDecodeError as error:
            raise forms.ValidationError(f"This is no JSON: {error}.") from error
        if not isinstance(arguments, dict):
            raise forms.ValidationError("This is no JSON object: put the arguments in {}.")
        return arguments

    def to_question(self, *, task_id: str = "") -> Question:
        """Return the question of a valid form."""
        given = self.cleaned_data
        return Question(
            agent_id=given["agent"],
            skill_id=given["skill"],
            arguments=given["arguments"],
            tainted=given["tainted"],
            task_id=task_id,
        )


def write_arguments(question: Question) -> dict[str, Any]:
    """Return what fills the form with a question."""
    arguments = json.dumps(dict(question.arguments), indent=2)  # ASCII: nothing in it can reorder the text around it
    tainted = {"tainted": "on"} if question.tainted else {}
    return {"agent": question.agent_id, "skill": question.skill_id, "arguments": arguments, **tainted}
