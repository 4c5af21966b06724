"""One guided form per skill, and one per agent for its own runs: made from a schema, judged as the API judges."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone

from agents.exceptions import InputInvalid, OrderRefused, WorkflowInvalid
from agents.files import store_upload
from agents.ordering.admission import check_input
from agents.ordering.builder import FILE_MARK, FILE_SUFFIX, PATH_FIELDS, PREFIX, Schema, build_fields
from agents.ordering.fields import DocumentField
from agents.skills.base import Skill
from agents.types import AgentConfig
from toolgate.reading import FieldProblem

MAX_RUN_AHEAD = timedelta(days=365)


class OrderForm(forms.Form):
    """What every order has beside its input."""

    priority = forms.IntegerField(
        required=False,
        initial=0,
        min_value=-100,
        max_value=100,
        help_text="From -100 to 100; a higher one runs first.",
        widget=forms.NumberInput(attrs={"class": "input"}),
    )
    run_at = forms.DateTimeField(
        required=False,
        label="Not before",
        help_text="UTC; empty means as soon as a slot is free.",
        widget=forms.DateTimeInput(attrs={"class": "input", "type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    nonce = forms.CharField(max_length=64, widget=forms.HiddenInput)

    agent_id: str  # set by build_order_form
    skill_id: str
    schema: Schema
    refusal: OrderRefused | None = None  # an agent or skill that a workflow's step names and there is not

    def clean_run_at(self) -> datetime | None:
        run_at: datetime | None = self.cleaned_data["run_at"]
        if run_at and run_at - timezone.now() > MAX_RUN_AHEAD:
            raise forms.ValidationError("This is more than a year ahead. Choose an earlier time.")
        return run_at

    def clean(self) -> dict[str, Any]:
        """Put the input together and judge it as the API does."""
        cleaned: dict[str, Any] = self.cleaned_data
        if not self.errors:
            try:
                check_input(self.agent_id, self.skill_id, self.collect_input())
            except (InputInvalid, WorkflowInvalid, OrderRefused) as error:
                self.refusal = error if isinstance(error, OrderRefused) else None
                for problem in error.problems:
                    self._show(problem)
            if len(orjson.dumps(self.collect_input())) > settings.MAX_BODY_BYTES:
                limit = settings.MAX_BODY_BYTES // 1_000_000
                self.add_error(None, f"The input is larger than {limit} MB. Send it as a file and parse it instead.")
        return cleaned

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes this order this order: its input, its options, and the content of what was uploaded."""
        run_at = self.cleaned_data["run_at"]
        return {
            "input": self.collect_input(),
            "uploads": {name: _digest(upload) for name, upload in self.find_uploads().items()},
            "priority": self.cleaned_data["priority"] or 0,
            "runAt": run_at.isoformat() if run_at else None,
        }

    def find_uploads(self) -> dict[str, Any]:
        """Return what was sent along for the workspace, by what stands for its path in the input."""
        uploads = {name: self.cleaned_data.get(PREFIX + name + FILE_SUFFIX) for name in PATH_FIELDS}
        return {name: upload for name, upload in uploads.items() if upload is not None}

    def collect_input(self, paths: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the input as the wire has it; what was left empty is left out, so that defaults apply.

        `paths` are where the uploads were put; before that a path stands in for each.
        """
        values = {}
        for name in self.schema.get("properties", {}):
            value = self.cleaned_data.get(PREFIX + name)
            rows = self.cleaned_data.get(PREFIX + name + FILE_SUFFIX)
            if rows is not None and name not in PATH_FIELDS:
                value = rows
            if value not in (None, ""):
                values[name] = value
        return self.name_uploads(values, paths or dict.fromkeys(self.find_uploads(), "uploads/file"))

    def name_uploads(self, values: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
        """Return the input with the paths of what was uploaded."""
        return {**values, **paths}

    def store_files(self, *, actor: str, now: datetime) -> dict[str, Any]:
        """Put what was uploaded into the workspace and return the input that names it."""
        uploads = self.find_uploads().items()
        return self.collect_input({name: store_upload(upload, actor=actor, now=now).path for name, upload in uploads})

    def _show(self, problem: FieldProblem) -> None:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in problem.pointer.split("/")[2:]]
        field = PREFIX + parts[0] if parts else None
        inner = " → ".join(f"item {int(part) + 1}" if part.isdecimal() else part for part in parts[1:])
        text = f"{inner}: {problem.detail}" if inner else problem.detail
        self.add_error(field if field in self.fields else None, text)

    def input_fields(self) -> list[forms.BoundField]:
        """Return the fields of the schema, in its order."""
        return [self[name] for name in self.fields if name.startswith(PREFIX)]

    def option_fields(self) -> list[forms.BoundField]:
        """Return what stands under "Options"."""
        return [self["priority"], self["run_at"]]


class RunForm(OrderForm):
    """An order that leaves the choice of skills to the agent; one file may be sent along."""

    attachment = DocumentField(
        required=False,
        label="Send a file along",
        help_text=f"It is put into uploads/. Write {FILE_MARK} above where its path belongs.",
    )

    def clean(self) -> dict[str, Any]:
        """See that the file is named if there is one, and only then."""
        cleaned = super().clean()
        plain = {name: value for name, value in cleaned.items() if name.startswith(PREFIX)}
        if ("attachment" not in self.errors) and (bool(cleaned.get("attachment")) != _is_marked(plain)):
            missing = f"Write {FILE_MARK} where the file's path belongs." if cleaned.get("attachment") else ""
            self.add_error("attachment", missing or f"The input names {FILE_MARK}, so a file is needed.")
        return cleaned

    def find_uploads(self) -> dict[str, Any]:
        """Return the file, if one was sent."""
        upload = self.cleaned_data.get("attachment")
        return {} if upload is None else {FILE_MARK: upload}

    def name_uploads(self, values: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
        """Return the input with the file's path wherever it is marked."""
        named: dict[str, Any] = _replace_mark(values, paths.get(FILE_MARK, FILE_MARK))
        return named

    def input_fields(self) -> list[forms.BoundField]:
        """Return the fields of the schema, and the file's."""
        return [*super().input_fields(), self["attachment"]]


def _is_marked(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(_is_marked(inner) for inner in (value.values() if isinstance(value, dict) else value))
    return bool(value == FILE_MARK)


def _replace_mark(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return {key: _replace_mark(inner, path) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace_mark(inner, path) for inner in value]
    return path if value == FILE_MARK else value


def _digest(upload: "UploadedFile[Any]") -> str:
    digest = hashlib.sha256()
    for chunk in upload.chunks():
        digest.update(chunk)
    upload.seek(0)
    return digest.hexdigest()


# --- which form -------------------------------------------------------------------------------------------------
def build_order_form(agent: AgentConfig, skill: Skill | None) -> type[OrderForm]:
    """Return the form class of an agent's use of one skill or, without a skill, of its own run."""
    schema = skill.input_model.model_json_schema(by_alias=True) if skill else agent.input_schema
    members = {"agent_id": agent.id, "skill_id": skill.id if skill else "", "schema": schema}
    base = OrderForm if skill else RunForm
    return type(base.__name__, (base,), {**build_fields(schema), **members})


def initial_from_input(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form's start values from an earlier task's input."""
    return {PREFIX + name: value for name, value in values.items()}
