"""`manage.py agents|skills|fleet|budget`: each verb in words and as the API shows it."""

import io
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command

from agents.models import CapChange
from tests.integration.api_cast import AGENT, SKILL, make_token, world
from tests.integration.console_cast import make_task

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_json_is_what_the_api_answers(client: Any) -> None:
    headers = {"Authorization": f"Bearer {make_token('ada')}"}
    pairs = [
        (("agents", "list"), "agents"),
        (("agents", "show", AGENT), f"agents/{AGENT}"),
        (("skills", "list"), "skills"),
        (("fleet", "status"), "fleet"),
        (("budget",), "budget"),
        (("budget", "show"), "budget"),
        (("approvals", "list"), "approvals?status=pending"),
        (("approvals", "grants"), "grants"),
    ]
    for command, path in pairs:
        assert orjson.loads(run(*command, "--json")) == client.get(f"/api/{path}", headers=headers).json(), command
    skills = {skill["skillId"]: skill for skill in client.get("/api/skills", headers=headers).json()["results"]}
    assert orjson.loads(run("skills", "show", SKILL, "--json")) == skills[SKILL]


def test_agents_are_listed_and_shown_with_their_health() -> None:
    for state in ("failed", "succeeded", "queued"):
        make_task(state=state, agent_id=AGENT)
    [line] = [line for line in run("agents", "list").splitlines() if line.startswith(AGENT)]
    assert line.split()[1:7] == ["enabled", "failing", "1", "1", "0", "1"]
    shown = run("agents", "show", AGENT)
    assert "health (24 h)  failing" in shown
    assert f"\n{SKILL} " in shown
    assert "\nprompt:\n  " in shown


def test_skills_are_listed_and_shown() -> None:
    run("skills", "quarantine", SKILL, "--reason", "odd", "--user", "olga")
    assert any(line.startswith(SKILL) and " quarantined " in line for line in run("skills", "list").splitlines())
    assert '"properties": {' in run("skills", "show", SKILL)


def test_the_budget_is_shown_and_a_cap_set_with_a_reason() -> None:
    said = run("budget")
    assert "fleet" in said
    assert "At this pace the month ends at £0.00" in said
    done = run("budget", "cap", AGENT, "2.50", "--reason", "a trial", "--user", "ada")
    assert done == f"The cap of {AGENT} is £2.50 a month and in force. Calls under way are not touched.\n"
    assert CapChange.objects.get().reason == "a trial"
    [line] = [line for line in run("budget").splitlines() if line.startswith(AGENT)]
    assert line.split()[3] == "£2.50"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("budget", "cap", "fleet", "21", "--reason", "x", "--user", "ada"), "cannot be above £20.00"),
        (("budget", "cap", "fleet", "much", "--reason", "x", "--user", "ada"), "A cap is an amount in pounds"),
        (("budget", "cap", "nobody", "1", "--reason", "x", "--user", "ada"), "no agent of this id"),
        (("budget", "cap", "fleet", "1", "--reason", "x", "--user", "olga"), "No role of olga gives budget:write"),
        (("agents", "show", "nobody"), "`manage.py agents list` shows them"),
        (("agents", "disable", AGENT, "--reason", "x", "--user", "vera"), "No role of vera gives fleet:stop"),
        (("skills", "show", "nothing"), "no skill of this id"),
    ],
)
def test_what_is_refused_says_why(command: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*command)
    assert not CapChange.objects.exists()
