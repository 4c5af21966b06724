"""Editing agents in the store: drafts, versions, statuses, each with its event in the same transaction."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agents import registry
from agents.editing import drafts as editing
from agents.editing import versions
from agents.editing.configs import read_config, read_file, write_file
from agents.exceptions import ConfigInvalid, DraftNotFound, EditConflict, NothingToChange, VersionNotFound
from agents.models import Agent, AgentDraft, AgentVersion, Task
from agents.skills.base import dump
from agents.switches import changes as switches
from agents.types import AgentConfig, AgentStatus
from audit.models import LedgerEvent
from tests.integration.gate_cast import in_threads
from toolgate.exceptions import ReasonRequired, TextInvalid

pytestmark = pytest.mark.django_db(transaction=True)
AGENT = "qa-verification-agent"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fleet() -> None:
    registry.forget_fleet()
    registry.seed_agents(now=timezone.now())


def document(*, version: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return the configuration in force with some fields changed: `limits__maxSteps=3`."""
    config = registry.get_config(AGENT, version) if version else registry.get_agent(AGENT).config
    made = dump(config)
    for name, value in changes.items():
        *groups, last = name.split("__")
        place = made
        for group in groups:
            place = place[group]
        place[last] = value
    return made


def draft(author: str = "ada", *, base_version: int | None = None, **changes: Any) -> AgentDraft:
    return editing.save_draft(AGENT, document(**changes), author=author, now=NOW, base_version=base_version)


def publish(made: AgentDraft, reason: str = "for a test") -> int:
    return editing.publish_draft(made.id, author=made.author, reason=reason, now=NOW)


def events(prefix: str = "agent.") -> list[tuple[str, str, dict[str, Any]]]:
    """Return type, actor and body of what was done to the agent since the seed."""
    rows = LedgerEvent.objects.filter(agent_id=AGENT, type__startswith=prefix).exclude(actor="system").order_by("id")
    return [(row.type, row.actor, row.body) for row in rows]


# --- drafts -----------------------------------------------------------------------------------------------------
def test_a_draft_changes_nothing_but_is_audited() -> None:
    made = draft(timeoutSeconds=200, limits__maxSteps=7)
    assert registry.get_agent(AGENT).config.timeout_seconds == 300
    body = {"draftId": made.id, "baseVersion": 1, "changed": ["timeoutSeconds", "limits.maxSteps"]}
    assert events() == [("agent.drafted", "user:ada", body)]


def test_a_person_has_one_open_draft_of_an_agent() -> None:
    first, second = draft(timeoutSeconds=200), draft(timeoutSeconds=201)
    assert first.id == second.id
    assert AgentDraft.objects.get(author="ada").config["timeoutSeconds"] == 201
    assert draft("bob").id != first.id


def test_a_draft_that_a_task_tries_out_is_kept_for_it() -> None:
    first = draft(timeoutSeconds=200)
    task = editing.try_draft(first.id, {"target": "x", "suite": "lint"}, author="ada", key="k1", now=timezone.now())
    second = draft(timeoutSeconds=201)
    assert second.id != first.id
    assert AgentDraft.objects.filter(author="ada", closed_at=None).get() == second
    config = registry.find_config(AGENT, 1, draft_id=task.draft_id)
    assert config is not None
    assert config.timeout_seconds == 200


def test_a_draft_is_its_author_s() -> None:
    made = draft(timeoutSeconds=200)
    for act in (
        lambda: editing.publish_draft(made.id, author="bob", reason="mine now", now=NOW),
        lambda: editing.discard_draft(made.id, author="bob", now=NOW),
        lambda: editing.rebase_draft(made.id, author="bob", now=NOW),
        lambda: editing.try_draft(made.id, {}, author="bob", key="k", now=NOW),
    ):
        with pytest.raises(DraftNotFound):
            act()
    assert not Task.objects.exists()
    assert AgentDraft.objects.get().closed_at is None


def test_a_discarded_draft_is_closed_for_good() -> None:
    made = draft(timeoutSeconds=200)
    editing.discard_draft(made.id, author="ada", now=NOW)
    assert versions.find_open_draft(AGENT, "ada") is None
    assert [event[0] for event in events()] == ["agent.drafted", "agent.discarded"]
    with pytest.raises(DraftNotFound):
        publish(made)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"id": "another-agent"}, "#/id"),
        ({"timeoutSeconds": 0}, "#/timeoutSeconds"),
        ({"limits__maxSteps": 10_000}, "#/limits/maxSteps"),
        ({"limits__maxCostGbp": "-1"}, "#/limits/maxCostGbp"),
        ({"limits__monthlyCapGbp": "0.10"}, "#/limits/monthlyCapGbp"),
        ({"prompt": "short"}, "#/prompt"),
        ({"tier": "dearest"}, "#/tier"),
        ({"surprise": 1}, "#/surprise"),
        ({"inputSchema": {"type": "array"}}, "#/inputSchema"),
        (
            {"outputSchema": {"type": "object", "properties": {"a": {"type": "what"}}}},
            "#/outputSchema",
        ),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_kept(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        draft(**changes)
    assert pointer in {problem.pointer for problem in caught.value.problems}
    assert not AgentDraft.objects.exists()
    assert events() == []


# --- publish ----------------------------------------------------------------------------------------------------
def test_a_published_draft_is_the_next_version_and_in_force_at_once() -> None:
    made = draft(timeoutSeconds=200, prompt="You verify what others have made, and nothing else.\n")
    assert publish(made, " faster ") == 2
    agent = registry.get_agent(AGENT)
    assert (agent.version, agent.config.timeout_seconds) == (2, 200)
    kind, actor, body = events("agent.published")[0]
    assert (kind, actor) == ("agent.published", "user:ada")
    assert (body["version"], body["reason"], body["draftId"]) == (2, "faster", made.id)
    assert body["changed"][0] == {"field": "timeoutSeconds", "old": "300", "new": "200"}
    assert body["changed"][1]["field"] == "prompt"
    assert versions.find_open_draft(AGENT, "ada") is None


@pytest.mark.parametrize(("reason", "error"), [("", ReasonRequired), ("  ", ReasonRequired), ("a\x00", TextInvalid)])
def test_publishing_needs_a_reason(reason: str, error: type[Exception]) -> None:
    made = draft(timeoutSeconds=200)
    with pytest.raises(error):
        publish(made, reason)
    assert registry.get_agent(AGENT).version == 1


def test_a_version_never_changes() -> None:
    before = AgentVersion.objects.get(agent_id=AGENT, version=1).config
    publish(draft(timeoutSeconds=200))
    publish(draft(timeoutSeconds=100))
    assert AgentVersion.objects.get(agent_id=AGENT, version=1).config == before
    assert [row.config["timeoutSeconds"] for row in AgentVersion.objects.filter(agent_id=AGENT)] == [300, 200, 100]


def test_a_draft_that_changes_nothing_is_not_published() -> None:
    made = draft()
    with pytest.raises(NothingToChange):
        publish(made)
    assert AgentDraft.objects.get(id=made.id).closed_at is None


def test_the_second_to_publish_is_told_and_may_rebase() -> None:
    first, second = draft("ada", timeoutSeconds=200, retries=0), draft("bob", timeoutSeconds=100, concurrent=9)
    publish(first)
    with pytest.raises(EditConflict) as caught:
        publish(second)
    assert (caught.value.base_version, caught.value.current_version) == (1, 2)
    assert registry.get_agent(AGENT).version == 2
    rebased = editing.rebase_draft(second.id, author="bob", now=NOW)
    assert publish(rebased) == 3
    config = registry.get_agent(AGENT).config
    assert (config.timeout_seconds, config.retries, config.concurrent) == (100, 0, 9)


def test_an_edit_begun_on_an_old_version_is_a_conflict_even_if_saved_later() -> None:
    opened_at_one = document(timeoutSeconds=100)
    publish(draft("ada", retries=0))
    made = editing.save_draft(AGENT, opened_at_one, author="bob", now=NOW, base_version=1)
    with pytest.raises(EditConflict):
        publish(made)


def test_a_form_opened_before_a_rebase_cannot_undo_it() -> None:
    made = draft("bob", timeoutSeconds=100)
    publish(draft("ada", retries=0))
    editing.rebase_draft(made.id, author="bob", now=NOW)
    with pytest.raises(EditConflict):
        editing.save_draft(AGENT, document(version=1), author="bob", now=NOW, base_version=1)


def test_a_base_that_never_was_is_refused() -> None:
    with pytest.raises(VersionNotFound):
        draft(base_version=7)


def test_of_many_who_publish_at_once_one_wins() -> None:
    made = [draft(f"user{number}", timeoutSeconds=100 + number) for number in range(6)]

    def try_it(number: int) -> int | None:
        try:
            return publish(made[number])
        except EditConflict:
            return None

    assert [number for number in in_threads(6, try_it) if number] == [2]
    assert len(events("agent.published")) == 1


def test_what_is_rolled_back_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    made = draft(timeoutSeconds=200)
    monkeypatch.setattr(editing, "record", lambda event: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(made)
    assert registry.get_agent(AGENT).version == 1
    assert AgentDraft.objects.get(id=made.id).closed_at is None
    assert AgentVersion.objects.filter(agent_id=AGENT).count() == 1
    assert connection.get_autocommit()


# --- restore ----------------------------------------------------------------------------------------------------
def test_a_restored_version_is_a_new_one() -> None:
    publish(draft(timeoutSeconds=200))
    number = editing.restore_version(AGENT, 1, author="ada", reason="slower again", now=NOW)
    assert number == 3
    assert registry.get_agent(AGENT).config == registry.get_config(AGENT, 1)
    body = events("agent.published")[-1][2]
    assert (body["restored"], body["version"]) == (1, 3)


def test_restoring_what_is_in_force_or_never_was_is_refused() -> None:
    with pytest.raises(NothingToChange):
        editing.restore_version(AGENT, 1, author="ada", reason="why not", now=NOW)
    with pytest.raises(VersionNotFound):
        editing.restore_version(AGENT, 9, author="ada", reason="why not", now=NOW)
    with pytest.raises(registry.AgentNotFound):
        editing.restore_version("nobody", 1, author="ada", reason="why not", now=NOW)


# --- status -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "event"),
    [
        (AgentStatus.PAUSED, "agent.paused"),
        (AgentStatus.QUARANTINED, "agent.quarantined"),
        (AgentStatus.DISABLED, "agent.disabled"),
    ],
)
def test_a_status_is_set_and_taken_back_with_reasons(status: AgentStatus, event: str) -> None:
    switches.set_agent_status(AGENT, status, author="ada", reason="an incident", now=NOW)
    assert registry.get_agent(AGENT).status == status
    switches.set_agent_status(AGENT, AgentStatus.ENABLED, author="ada", reason="it is over", now=NOW)
    assert registry.get_agent(AGENT).status == AgentStatus.ENABLED
    assert events() == [
        (event, "user:ada", {"from": "enabled", "to": status, "reason": "an incident"}),
        ("agent.resumed", "user:ada", {"from": status, "to": "enabled", "reason": "it is over"}),
    ]


def test_a_status_needs_a_reason_and_a_change() -> None:
    with pytest.raises(ReasonRequired):
        switches.set_agent_status(AGENT, AgentStatus.PAUSED, author="ada", reason=" ", now=NOW)
    with pytest.raises(NothingToChange):
        switches.set_agent_status(AGENT, AgentStatus.ENABLED, author="ada", reason="again", now=NOW)
    assert Agent.objects.get(id=AGENT).status == "enabled"
    assert events() == []


# --- files ------------------------------------------------------------------------------------------------------
def test_each_agent_goes_out_and_comes_back_the_same() -> None:
    for agent in registry.list_agents():
        back = read_config(read_file(write_file(agent.config)), agent_id=agent.id)
        assert back == agent.config


def test_the_fleet_s_own_files_can_be_imported(settings: Any) -> None:
    for path in sorted(settings.FLEET_DIR.glob("*.toml")):
        agent = registry.get_agent(path.stem)
        assert read_config(read_file(path.read_bytes()), agent_id=agent.id) == agent.config


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"x" * 300_000,
        b'{"prompt": "a\\u0000b"}',
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b"a = nan",
        b"a = 1979-05-27",
    ],
)
def test_a_file_that_is_no_configuration_is_told_so(content: bytes) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read_config(read_file(content), agent_id=AGENT)
    assert caught.value.problems


def test_the_stored_configuration_is_the_schema_s() -> None:
    made = draft(limits__maxCostGbp="0.25")
    assert AgentConfig.model_validate(made.config).limits.max_cost_gbp.as_tuple().digits == (2, 5)
