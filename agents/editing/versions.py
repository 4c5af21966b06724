"""What the console reads about an agent's versions and drafts."""

from dataclasses import dataclass
from datetime import datetime

from agents.editing.diff import Change, diff_configs
from agents.exceptions import VersionNotFound
from agents.models import AgentDraft, AgentVersion, Task
from agents.types import AgentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One version of an agent, with what it changed of the one before."""

    version: int
    author: str
    reason: str
    created_at: datetime
    config: AgentConfig
    changes: tuple[Change, ...]  # empty for the first


def list_editions(agent_id: str, *, limit: int) -> list[Edition]:
    """Return the newest versions of an agent, newest first."""
    rows = list(AgentVersion.objects.filter(agent_id=agent_id).order_by("-version")[: limit + 1])
    return [_make_edition(row, before) for row, before in zip(rows[:limit], [*rows[1:], None], strict=False)]


def get_edition(agent_id: str, version: int) -> Edition:
    """Return one version of an agent.

    Raises: VersionNotFound.
    """
    rows = list(AgentVersion.objects.filter(agent_id=agent_id, version__lte=version).order_by("-version")[:2])
    if not rows or rows[0].version != version:
        raise VersionNotFound(agent_id, version)
    return _make_edition(rows[0], rows[1] if len(rows) > 1 else None)


def _make_edition(row: AgentVersion, older: AgentVersion | None) -> Edition:
    config = AgentConfig.model_validate(row.config)
    before = AgentConfig.model_validate(older.config) if older else None
    return Edition(
        version=row.version,
        author=row.author,
        reason=row.reason,
        created_at=row.created_at,
        config=config,
        changes=tuple(diff_configs(before, config)) if before else (),
    )


def list_versions(agent_id: str) -> list[int]:
    """Return the numbers of all versions of an agent, newest first."""
    return list(AgentVersion.objects.filter(agent_id=agent_id).order_by("-version").values_list("version", flat=True))


def find_open_draft(agent_id: str, author: str) -> AgentDraft | None:
    """Return the draft that a person has open of an agent, or None."""
    return AgentDraft.objects.filter(agent_id=agent_id, author=author, closed_at=None).first()


def find_draft(agent_id: str, draft_id: str) -> AgentDraft | None:
    """Return a draft of an agent, open or closed, or None."""
    return AgentDraft.objects.filter(agent_id=agent_id, id=draft_id).first()


def list_try_outs(draft: AgentDraft, *, limit: int = 20) -> list[Task]:
    """Return the newest tasks that a draft was tried out with."""
    tasks = Task.objects.filter(agent_id=draft.agent_id, created_at__gte=draft.created_at, draft_id=draft.id)
    return list(tasks.order_by("-created_at", "-id")[:limit])


def find_newest_run(agent_id: str) -> Task | None:
    """Return the newest task that was the agent's own run, or None."""
    return Task.objects.filter(agent_id=agent_id, skill_id="").order_by("-created_at", "-id").first()
