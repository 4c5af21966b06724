"""What the measurements of agent runs share: orders, what the models say to them, and a server with raised limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import orjson

from tests.bench.provider import Provider, run_provider
from tests.running import RunningServer, free_port

NORMALIZER_CALL: dict[str, Any] = {
    "data": [{"issued": "3/2/2026", "amount": "£1,204.00", "contact": "Accounts@Northwind.example"}],
    "schema": {"issued": {"type": "date"}, "amount": {"type": "currency"}, "contact": {"type": "email"}},
}
NORMALISE: dict[str, Any] = {
    "agentId": "normalization-agent",
    "input": {"input": NORMALIZER_CALL["data"], "schema": NORMALIZER_CALL["schema"]},
}
NORMALISED = orjson.dumps(
    {"normalized": [], "errors": [], "metrics": {"inputRecords": 0, "outputRecords": 0, "errorRate": 0}}
).decode()

SUMMARISE: dict[str, Any] = {
    "agentId": "summarization-agent",
    "input": {
        "source": {"type": "text", "content": "The board met in Leeds and agreed to buy the press. " * 12},
        "format": "executive_summary",
    },
}
SUMMARY = orjson.dumps(
    {
        "summary": "The board agreed to buy the press.",
        "format": "executive_summary",
        "metrics": {"compression": 0, "readTime": 0, "sources": 0},
        "warnings": [],
    }
).decode()

LIMITS = {"COST_BUDGET_CAP": "100000", "MAX_TASKS_PER_SECOND": "1000000", "RESERVED_SLOTS": "0"}
_PUBLISH = """
from django.utils import timezone
from agents import registry
from agents.editing import drafts as editing
from agents.skills.base import dump
config = dump(registry.get_agent({agent_id!r}).config) | {changes!r}
draft = editing.save_draft({agent_id!r}, config, author="bench", now=timezone.now())
editing.publish_draft(draft.id, author="bench", reason="limits for a measurement", now=timezone.now())
"""
_SET_STATUS = """
from django.utils import timezone
from agents.switches import changes
from agents.types import AgentStatus
told = {{"author": "bench", "reason": "a measurement", "now": timezone.now()}}
changes.set_agent_status({agent_id!r}, AgentStatus({status!r}), **told)
"""


class Installation(Protocol):
    """What runs a `manage.py` command on its own state."""

    def manage(self, *arguments: str) -> str: ...


@contextmanager
def run_against_standin(**environment: str) -> Iterator[tuple[RunningServer, Provider]]:
    """Run a server whose models are a stand-in."""
    with TemporaryDirectory(prefix="bench-") as folder, run_provider(free_port()) as provider:
        models = {"OPENAI_BASE_URL": provider.base_url, "MODEL_TIER_CHEAP_FALLBACK": "", "LOG_LEVEL": "WARNING"}
        server = RunningServer(Path(folder, "var"), **(models | LIMITS | environment)).start()
        try:
            yield server, provider
        finally:
            server.stop()


def publish_config(server: Installation, agent_id: str, **changes: Any) -> None:
    """Publish a version of an agent with other values, under their names on the wire."""
    server.manage("shell", "--verbosity", "0", "--command", _PUBLISH.format(agent_id=agent_id, changes=changes))


def set_status(server: Installation, agent_id: str, status: str) -> None:
    """Pause an agent, or let it go on."""
    server.manage("shell", "--verbosity", "0", "--command", _SET_STATUS.format(agent_id=agent_id, status=status))


def read_rss(pid: int) -> float:
    """Return the resident memory of a process in MB, as /proc has it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000
