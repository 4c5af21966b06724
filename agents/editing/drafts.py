"""Edit an agent: draft, publish, restore. Every change is audited in its own transaction.

 draft      a person's edit of one version; nothing works with it but the tasks that try it out
 publish    the draft becomes the next version, whole and for ever; refused if somebody else published first
 restore    an old version's configuration becomes the next version

A task keeps the version that it started with, so publishing changes no run under way: `agents.switches` does. Whoever
edits an agent holds its row, so that edits come one after another.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from agents import queue, registry
from agents.editing.configs import read_config
from agents.editing.diff import Change, diff_configs, merge_configs
from agents.exceptions import DraftNotFound, EditConflict, NothingToChange, VersionNotFound
from agents.models import Agent, AgentDraft, AgentVersion, Task
from agents.money.caps import follow_caps
from agents.orders import Order
from agents.registry import AgentNotFound
from agents.skills.base import dump
from agents.types import AgentConfig
from audit.context import caused_by, current_cause
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.texts import check_reason


# --- drafts -----------------------------------------------------------------------------------------------------
def save_draft(
    agent_id: str, config: Mapping[str, Any], *, author: str, now: datetime, base_version: int | None = None
) -> AgentDraft:
    """Keep an edit as the person's one open draft of this agent, and return it.

    `config` is whole and under its names on the wire; `base_version` is what the edit was made on, the version in
    force if not given.
    Raises: AgentNotFound, ConfigInvalid, VersionNotFound; EditConflict if the open draft was rebased meanwhile.
    """
    checked = read_config(config, agent_id=agent_id)
    with write_transaction():
        agent = _lock_agent(agent_id)
        base = base_version or agent.current_version
        draft = AgentDraft.objects.filter(agent=agent, author=author, closed_at=None).first()
        if draft is not None:
            if base_version not in (None, draft.base_version):
                raise EditConflict(base_version=base, current_version=draft.base_version)
            base = draft.base_version
        return _write_draft(draft, checked, base_version=base, author=author, now=now)


def rebase_draft(draft_id: str, *, author: str, now: datetime) -> AgentDraft:
    """Lay what a draft changes over the version in force; where both changed a field, the draft's value stands.

    Raises: DraftNotFound; ConfigInvalid if the two do not go together.
    """
    with write_transaction():
        agent, draft = _lock_draft(draft_id, author)
        base, theirs = (_get_config(agent.id, number) for number in (draft.base_version, agent.current_version))
        merge = merge_configs(base, mine=AgentConfig.model_validate(draft.config), theirs=theirs)
        checked = read_config(merge.document, agent_id=agent.id)
        return _write_draft(draft, checked, base_version=agent.current_version, author=author, now=now)


def discard_draft(draft_id: str, *, author: str, now: datetime) -> None:
    """Throw a draft away; tasks that try it out keep it.

    Raises: DraftNotFound.
    """
    with write_transaction():
        agent, draft = _lock_draft(draft_id, author)
        AgentDraft.objects.filter(id=draft.id).update(closed_at=now)
        body = {"draftId": draft.id, "baseVersion": draft.base_version}
        record(_event(EventType.AGENT_DISCARDED, agent.id, author=author, now=now, body=body, cause_id=draft.id))


def try_draft(draft_id: str, input_: Mapping[str, Any], *, author: str, key: str, now: datetime) -> Task:
    """Order a real task that runs with a draft: gate, budget and audit apply as to any other.

    `key` with the same draft and input is one task, however often it is sent.

    Raises: DraftNotFound; TrailBehind.
    """
    with write_transaction():
        agent, draft = _lock_draft(draft_id, author)
        digest = queue.digest_of({"draftId": draft.id, "input": input_})
        order = Order(
            agent_id=agent.id,
            skill_id="",
            input=input_,
            submitted_by=author,
            draft_id=draft.id,
            idempotency_key=f"{key}-{digest[:24]}",
            body_digest=digest,
        )
        with caused_by(draft.id):
            return queue.submit_task(order, now=now).task


def _write_draft(
    draft: AgentDraft | None, config: AgentConfig, *, base_version: int, author: str, now: datetime
) -> AgentDraft:
    """Write over the open draft, or open another where there is none or a task has to keep it."""
    base = _get_config(config.id, base_version)
    is_new = draft is None or _is_tried(draft)
    if draft is None or is_new:
        AgentDraft.objects.filter(id=draft.id if draft else "").update(closed_at=now)
        draft = AgentDraft(id=new_id(), agent_id=config.id, author=author, created_at=now)
    draft.base_version, draft.config = base_version, dump(config)
    draft.save()
    changed = [change.field for change in diff_configs(base, config)]
    body = {"draftId": draft.id, "baseVersion": base_version, "changed": changed}
    event = _event(EventType.AGENT_DRAFTED, config.id, author=author, now=now, body=body, cause_id=draft.id)
    record(replace(event, id=draft.id, cause_id="") if is_new else event)
    return draft


def _is_tried(draft: AgentDraft) -> bool:
    tasks = Task.objects.filter(agent_id=draft.agent_id, created_at__gte=draft.created_at, draft_id=draft.id)
    return tasks.exists()


def _lock_draft(draft_id: str, author: str) -> tuple[Agent, AgentDraft]:
    """Return an open draft of this person with its agent, held until the end of the transaction."""
    mine = AgentDraft.objects.filter(id=draft_id, author=author, closed_at=None)
    agent_id = mine.values_list("agent_id", flat=True).first()
    agent = _lock_agent(agent_id) if agent_id else None
    draft = mine.first()  # again: it may have been closed before the agent was held
    if agent is None or draft is None:
        raise DraftNotFound
    return agent, draft


# --- versions ---------------------------------------------------------------------------------------------------
def publish_draft(draft_id: str, *, author: str, reason: str, now: datetime) -> int:
    """Make a draft the version in force and return its number.

    Raises: DraftNotFound, ReasonRequired, TextInvalid, ConfigInvalid, NothingToChange; EditConflict if another
    version was published since the draft was begun.
    """
    reason = check_reason(reason)
    with write_transaction():
        agent, draft = _lock_draft(draft_id, author)
        if draft.base_version != agent.current_version:
            raise EditConflict(base_version=draft.base_version, current_version=agent.current_version)
        config = read_config(draft.config, agent_id=agent.id)
        AgentDraft.objects.filter(id=draft.id).update(closed_at=now)
        with caused_by(draft.id):
            return _publish(agent, config, author=author, reason=reason, now=now, origin={"draftId": draft.id})


def restore_version(agent_id: str, version: int, *, author: str, reason: str, now: datetime) -> int:
    """Publish an earlier version's configuration as the next version, and return its number.

    Raises: AgentNotFound, VersionNotFound, ReasonRequired, TextInvalid, ConfigInvalid, NothingToChange.
    """
    reason = check_reason(reason)
    with write_transaction():
        agent = _lock_agent(agent_id)
        config = read_config(dump(_get_config(agent_id, version)), agent_id=agent_id)
        return _publish(agent, config, author=author, reason=reason, now=now, origin={"restored": version})


def _publish(
    agent: Agent, config: AgentConfig, *, author: str, reason: str, now: datetime, origin: Mapping[str, Any]
) -> int:
    before = _get_config(agent.id, agent.current_version)
    changes = diff_configs(before, config)
    if not changes:
        raise NothingToChange(f"Version {agent.current_version} is in force and says just this. Nothing was changed.")
    number = agent.current_version + 1
    document = dump(config)
    AgentVersion.objects.create(
        agent=agent, version=number, config=document, author=author, reason=reason, created_at=now
    )
    Agent.objects.filter(id=agent.id).update(current_version=number)
    body = {
        "version": number,
        "reason": reason,
        "digest": queue.digest_of(document),
        "changed": [_change_to_wire(change) for change in changes],
        **origin,
    }
    event = _event(EventType.AGENT_PUBLISHED, agent.id, author=author, now=now, body=body)
    record(event)
    transaction.on_commit(registry.forget_fleet)
    transaction.on_commit(partial(_follow_caps, event))
    return number


def _follow_caps(by: Event) -> None:
    with caused_by(by.id):
        follow_caps(now=by.at, agent_ids=[by.agent_id])


def _change_to_wire(change: Change) -> dict[str, Any]:
    """Return a change for the trail: both values of a short field, how many lines of a long one."""
    if change.is_long:
        return {"field": change.field, "linesAdded": change.added, "linesRemoved": change.removed}
    return {"field": change.field, "old": change.old, "new": change.new}


def record_export(agent_id: str, version: int, *, author: str, now: datetime) -> None:
    """Write down that a person took a version's configuration out."""
    with write_transaction():
        body = {"version": version}
        record(_event(EventType.AGENT_EXPORTED, agent_id, author=author, now=now, body=body))


# --- all of them ------------------------------------------------------------------------------------------------
def _lock_agent(agent_id: str) -> Agent:
    agent = Agent.objects.select_for_update().filter(id=agent_id).first()
    if agent is None:
        raise AgentNotFound(agent_id)
    return agent


def _get_config(agent_id: str, version: int) -> AgentConfig:
    config = registry.find_config(agent_id, version)
    if config is None:
        raise VersionNotFound(agent_id, version)
    return config


def _event(
    type_: EventType, agent_id: str, *, author: str, now: datetime, body: Mapping[str, Any], cause_id: str = ""
) -> Event:
    cause_id = cause_id or current_cause()
    return Event(type=type_, at=now, actor=f"user:{author}", agent_id=agent_id, cause_id=cause_id, body=body)
