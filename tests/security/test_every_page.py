"""What holds for every page there is: kept private, changing nothing, and inert whatever was written into it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import CharField, Model, TextField
from django.test import Client

from agents.models import Artifact, Step, Task
from audit.fields import JsonText
from audit.models import LedgerEvent
from audit.sequencer import Sequencer
from tests.audit_cast import NOW
from tests.integration.console_cast import make_decision, make_refused_task, sign_in, world
from tests.integration.test_console_access import (
    HEADERS,
    OWN_WRITES,
    PAGES,
    PATTERNS,
    READS_OF_THE_STORE,
    WRITES,
    address,
)
from tests.recorded import is_exempt
from toolgate.models import Approval, DecisionRecord

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world", "audit_store")

HOSTILE = (
    '<script>alert(1)</script>"><img src=x onerror=alert(2)><svg onload=alert(3)>'
    "javascript:alert(4){{ 7|add:7 }}{% now 'Y' %}\u202e\u2066\x1b[31m\x9b1m"
)
RAW = ("<script>alert", "<img src=x", "<svg onload", "\u202e", "\u2066", "\x1b", "\x9b")
# Columns that only our own code fills, from closed sets.
OURS = {"key", "model", "content_type", "rule_id", "idempotency_key", "scope", "host"}
_WRITE = re.compile(r'\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM)\s+"?(\w+)"?', re.IGNORECASE)
READS = {
    "payload.read",
    "agent.exported",
    "list.exported",
    "trail.exported",
    "transcript.read",
}  # events of what was looked at or taken along
READ = sorted({pattern.name for pattern in PATTERNS if pattern.name} - {*WRITES, *OWN_WRITES, "theme"})


@pytest.fixture
def trail(world: None, audit_store: Any) -> None:
    """Give a first entry of the trail, numbered and in the store, for the pages about it."""
    make_refused_task()
    sign_in("ada").get("/tasks/")
    sequencer = Sequencer("one")
    while sequencer.step():
        pass


def show(client: Client, name: str) -> Any:
    """Return what a page about something that exists answers."""
    return client.get(address(name), headers=HEADERS.get(name))


# --- private ----------------------------------------------------------------------------------------------------
def test_every_page_is_kept_out_of_caches_frames_and_guesses(trail: None) -> None:
    client = sign_in("ada")
    for name in READ:
        answer = show(client, name)
        assert answer.status_code in {200, 302, 400, 404}, (name, answer.status_code)
        assert "no-store" in answer["Cache-Control"], name
        assert answer["X-Frame-Options"] == "DENY", name
        assert answer["X-Content-Type-Options"] == "nosniff", name
        assert answer["Referrer-Policy"] == "same-origin", name
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin", name
        policy = answer["Content-Security-Policy"]
        assert "default-src 'none'" in policy, name
        assert "unsafe" not in policy, name
        assert "frame-ancestors 'none'" in policy, name


# --- reading ----------------------------------------------------------------------------------------------------
@contextmanager
def writes_seen() -> Iterator[list[str]]:
    """Give the statements that change state meanwhile."""
    seen: list[str] = []

    def watch(execute: Any, sql: str, *rest: Any) -> Any:
        match = _WRITE.match(sql)
        if match is not None and not is_exempt(match[1].lower(), sql):
            seen.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(watch):
        yield seen


def test_reading_a_page_changes_nothing_but_that_it_is_told(trail: None) -> None:
    client = sign_in("ada")
    for name in READ:
        path = address(name)
        told = LedgerEvent.objects.count()
        with writes_seen() as seen:
            client.get(path, headers=HEADERS.get(name))
        assert seen == [], name
        news = LedgerEvent.objects.order_by("id")[told:].values_list("type", flat=True)
        assert set(news) <= READS, name


# --- inert ------------------------------------------------------------------------------------------------------
def list_free_columns() -> Iterator[tuple[type[Model], list[str]]]:
    """Give every table of ours with its columns that hold words of people, models or sites."""
    for app in ("agents", "toolgate", "orchestrator_site"):
        for model in apps.get_app_config(app).get_models():
            fields = [field for field in model._meta.concrete_fields if isinstance(field, (CharField, TextField))]
            free = [
                field.name
                for field in fields
                if field.name not in OURS and not isinstance(field, JsonText) and (field.max_length or 999) >= 100
            ]
            if free:
                yield model, free


def spoil_all() -> None:
    """Write hostile text into whatever a model, a user or a site that was read can fill."""
    value = {"url": HOSTILE, HOSTILE[:60]: [{HOSTILE: HOSTILE}], "content": HOSTILE}
    task = make_refused_task()
    make_decision(task)
    Artifact.objects.create(task=task, name="a.txt", path="a.txt", size_bytes=1, sha256="0" * 64, created_at=NOW)
    Step.objects.create(id="s1", task=task, fence=1, ordinal=1, kind="skill", state="failed", started_at=NOW)
    for model, columns in list_free_columns():
        model._default_manager.all().update(**dict.fromkeys(columns, HOSTILE[:100]))
    Task.objects.update(input=value, result=value)
    DecisionRecord.objects.update(arguments=value, resource={"hosts": [HOSTILE], "paths": [HOSTILE]})
    Approval.objects.update(arguments=value, asked_arguments=value)
    User.objects.exclude(username="ada").update(first_name=HOSTILE[:100], last_name=HOSTILE[:100])


def test_the_columns_that_people_and_models_fill_are_found() -> None:
    found = {model.__name__: columns for model, columns in list_free_columns()}
    assert {"error_message", "submitted_by"} <= set(found["Task"])
    assert {"note", "submitted_by"} <= set(found["Approval"])
    assert "reason" in found["PolicyVersion"]


def test_what_was_written_into_a_page_is_shown_as_text(trail: None) -> None:
    client = sign_in("ada")
    paths = {name: address(name) for name in READ if name in PAGES or name in READS_OF_THE_STORE}
    spoil_all()
    shown = set()
    for name, path in paths.items():
        page = client.get(path, headers=HEADERS.get(name)).content.decode()
        assert [raw for raw in RAW if raw in page] == [], name
        assert 'href="javascript:' not in page, name
        assert "14{%" not in page, name
        shown |= {name} if "&lt;script&gt;alert(1)" in page else set()
    assert shown >= {"approval", "approval_edit", "agent", "policy_history", "policy_version", "task"}
