"""A secret that comes into an agent's run, by whatever way, goes nowhere from there.

It is in the task's input, in a file, in all that the model says and in what a vendor's error quotes. What is written,
shown, sent or logged holds a marker in its place. Only the task's own input is kept as its submitter sent it.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from llmock.scenarios import Fail, Reply, ToolCall, ToolFault

from agents import registry
from agents.models import Step, Task
from agents.providers.base import ModelMessage, ModelReply, StopReason
from agents.skills.base import SkillError
from agents.turns import clean_reply
from audit.models import TranscriptEntry
from orchestrator_site.metrics import render_metrics
from orchestrator_site.roles import Role
from tests.agents.conftest import KEYS
from tests.agents.scenes import SUMMARY
from tests.contract.scripted import ScriptedSkill, publish_rules
from tests.contract.test_logs import Lines
from tests.integration.api_cast import api_of, make_person

BADGE = "KST-402113"  # of the operator's own pattern
SECRETS = (*KEYS.values(), BADGE)
PIECES = [secret[-6:] for secret in SECRETS]  # a marker shows the first four characters at most
ALL = " ".join(SECRETS)
LETTER = "uploads/letter.md"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Give what is logged, of every level, as it is written."""
    handler, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.lines
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_it_is_written_sent_and_shown_nowhere(vendor, use, think, worker, ended, lines, settings, monkeypatch):
    settings.REDACT_PATTERNS = [r"KST-\d{6}"]
    monkeypatch.setattr("agents.retry.BASE_SECONDS", 0.05)
    llmock = use(vendor)
    llmock.add(*list_lines())
    add_failing_skill(monkeypatch)
    (settings.WORKSPACE_ROOT / LETTER).write_text(f"# Letter\n\nThe keys are {ALL}.\n")
    source = {"source": {"type": "file", "content": LETTER}, "format": "key_findings"}
    with worker():
        task = ended(think("summarization-agent", source | {"constraints": {"audience": f"who know {ALL}"}}))
    assert (task.state, task.attempt) == ("succeeded", 2)
    assert ALL in task.input["constraints"]["audience"]
    make_person("olga", Role.OPERATOR)
    shown = api_of("olga").get(f"tasks/{task.id}").json()
    assert ALL in shown.pop("input")["constraints"]["audience"]
    places = {
        "log": lines,
        "metrics": render_metrics().decode(),
        "answer": shown,
        "prompts": [request.body for request in llmock.requests],
        **read_tables(),
    }
    for place, content in places.items():
        text = json.dumps(content, default=str)
        assert [piece for piece in PIECES if piece in text] == [], place
    assert_marked(task, llmock.requests[-1].body)


def add_failing_skill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent call a skill whose error quotes what it met."""
    skill = ScriptedSkill()
    monkeypatch.setitem(registry.SKILLS, skill.id, skill)
    publish_rules([{"id": "scripted", "agent": "summarization-agent", "skill": skill.id, "effect": "allow"}])

    def fail(name: str) -> None:
        raise SkillError("upstream_busy", f"The other side said: {ALL}")

    skill.act = fail


def list_lines() -> Iterator[Any]:
    """Yield a vendor's error and a model's lines, each with the secrets in all its parts."""
    yield Fail(503, message=f"overloaded, {ALL}", code=KEYS["openai"])
    yield ToolFault("malformed_arguments")
    yield Reply(text=ALL, tool_calls=(ToolCall("documentParser", {"filePath": ALL, "padding": "x" * 200}),))
    yield Reply(
        text=ALL,
        tool_calls=(
            ToolCall("documentParser", {"filePath": LETTER, "format": "markdown"}),
            ToolCall("documentParser", {"filePath": f"uploads/{ALL}.md", "format": "markdown"}),
            ToolCall("scripted", {"name": "x"}),
            ToolCall("documentParser", {"filePath": LETTER, "format": "markdown", ALL: ALL}),
            ToolCall(KEYS["anthropic"], {"key": ALL}),
        ),
    )
    yield Reply(text=json.dumps(SUMMARY | {ALL: ALL}))
    yield Reply(text=json.dumps(SUMMARY | {"summary": f"1. It names {ALL}.", "warnings": [ALL]}))


def read_tables() -> dict[str, Any]:
    """Return every row of every table, but for what a task was given."""
    rows = {model._meta.db_table: list(model._default_manager.values()) for model in apps.get_models()}
    for row in rows[Task._meta.db_table]:
        del row["input"]
    return rows


def assert_marked(task: Task, last_request: Any) -> None:
    """See that each way was really taken: a marker stands in the place of the secrets, in every record of a turn."""
    told = json.dumps(last_request)
    for name in ("secret", "pattern"):
        mark = f"[redacted: {name} "
        assert all(mark in text for text in (told, json.dumps(task.result)))
        kept = Step.objects.filter(task=task).exclude(output=None)
        unmarked = [step.error_message for step in kept if mark not in json.dumps(step.output)]
        assert unmarked == ["the arguments are no JSON object"]  # so there are none to keep
        entries = TranscriptEntry.objects.filter(task_id=task.id, kind__in=["prompt", "reply", "result"])
        assert any(mark in json.dumps(entry.body) for entry in entries)
    states = Step.objects.filter(task=task, kind="skill").order_by("fence", "ordinal")
    assert list(states.values_list("state", "error_code")) == [
        ("refused", "input_invalid"),
        ("done", ""),
        ("failed", "file_not_found"),
        ("failed", "upstream_busy"),
        ("refused", "input_invalid"),
        ("refused", "skill_unknown"),
    ]


def test_what_only_the_vendors_own_form_of_a_reply_holds_is_not_kept(settings):
    """Its thoughts, for one, which are in no text and in no call."""
    settings.OPENAI_API_KEY = KEYS["openai"]

    def clean(thought: str) -> Any:
        opaque = [{"type": "thinking", "thinking": thought}, {"type": "text", "text": "Done."}]
        message = ModelMessage(text="Done.", provider="anthropic", opaque=opaque)
        return clean_reply(ModelReply(message=message, stop=StopReason.FINISHED, usage=None)).message.opaque

    assert clean(f"I know {KEYS['openai']}") is None
    assert clean("I know nothing") is not None
