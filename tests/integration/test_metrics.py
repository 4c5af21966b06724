"""What a scrape shows: numbers read from the store, and several processes counting as one."""

import asyncio
import os
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from agents.models import ProviderCircuit, Task
from audit.access import Refusal
from audit.ids import new_id
from orchestrator_site.metrics import MetricsApp, render_metrics
from orchestrator_site.middleware import Message
from tests.running import ROOT

COUNT = """
from toolgate.metrics import ALLOWED
ALLOWED.labels(skill="normalizer", agent="normalization-agent").inc(3)
"""
SCRAPE = """
from prometheus_client import generate_latest
from orchestrator_site.metrics import find_registry
print(generate_latest(find_registry()).decode())
"""


def make_task(agent_id: str, state: str) -> None:
    Task.objects.create(
        id=new_id(), agent_id=agent_id, state=state, input={}, created_at=timezone.now(), trace_id="t", submitted_by="o"
    )


@pytest.mark.django_db(transaction=True)
def test_it_reads_active_tasks_from_the_store() -> None:
    from agents.registry import seed_agents
    from toolgate.seed import seed_policy

    seed_agents(now=timezone.now())
    seed_policy(now=timezone.now())
    for state in ("running", "running", "queued", "succeeded"):
        make_task("security-agent", state)
    text = render_metrics().decode()
    assert 'agent_active_tasks{agent="security-agent"} 2.0' in text
    assert 'agent_active_tasks{agent="content-agent"} 0.0' in text
    assert "pending_approvals_count 0.0" in text
    assert 'active_permissions_granted{agent="market-research-agent"} 1.0' in text


@pytest.mark.django_db(transaction=True)
def test_it_reads_the_circuits_of_configured_vendors_from_the_store(settings: Any) -> None:
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = "k"
    ProviderCircuit.objects.create(provider="openai", state="half_open", since=timezone.now())
    text = render_metrics().decode()
    assert 'provider_circuit_state{provider="openai"} 1.0' in text
    assert 'provider_circuit_state{provider="anthropic"} 0.0' in text


def answer_of(app: MetricsApp, method: str = "GET") -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": method, "headers": []}, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_it_is_not_there_when_it_is_switched_off(settings: Any) -> None:
    settings.PROMETHEUS_ENABLED = False
    status, body = answer_of(MetricsApp(lambda _: None))
    assert status == 404
    assert b'"code":"not_found"' in body


def test_it_refuses_whom_it_is_told_to_refuse() -> None:
    refusal = Refusal(status=HTTPStatus.FORBIDDEN, code="forbidden", detail="No.")
    status, body = answer_of(MetricsApp(lambda _: refusal))
    assert status == 403
    assert b'"detail":"No."' in body


def test_processes_of_one_machine_count_together(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    environment = {
        "PATH": os.environ["PATH"],
        "ORCHESTRATOR_VAR": str(tmp_path / "var"),
        "PROMETHEUS_MULTIPROC_DIR": str(shared),
    }

    def run(code: str) -> str:
        command = [sys.executable, "manage.py", "shell", "--no-imports", "-v", "0", "-c", code]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(COUNT)
    run(COUNT)
    assert 'skill_access_allowed_total{agent="normalization-agent",skill="normalizer"} 6.0' in run(SCRAPE)
