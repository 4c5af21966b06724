"""`manage.py agents list|show|pause|quarantine|disable|enable`: who there is, how they fare, and who may work."""

from collections.abc import Iterator
from typing import Any, Final, override

from django.utils import timezone

from agents import registry
from agents.fleet_api import agent_to_detail, agent_to_wire
from agents.monitoring import read_fleet_health
from agents.registry import RegisteredAgent
from agents.switches.changes import set_agent_status
from agents.types import AgentStatus
from orchestrator_site.roles import Permission
from orchestrator_site.templatetags.console import NOTHING
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.printing import Cell, Item, Table, Tone, Toned
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb
from toolgate.queries import list_permissions

_SWITCHES: Final = {
    "pause": (AgentStatus.PAUSED, "let it end its step, and start nothing"),
    "quarantine": (AgentStatus.QUARANTINED, "cut off what it runs, and refuse its tasks"),
    "disable": (AgentStatus.DISABLED, "cut off what it runs, and refuse its tasks"),
    "enable": (AgentStatus.ENABLED, "let it work again"),
}
_HEALTH: Final[dict[str, Tone]] = {"healthy": "good", "degraded": "warn", "failing": "bad"}
_HEADINGS: Final = ("AGENT", "STATUS", "HEALTH (24 H)", "SUCCEEDED", "FAILED", "RUNNING", "QUEUED", "TIER", "VERSION")


class Command(VerbCommand):
    """Show agents; stop or start one within a second on every worker."""

    help = "List and show agents with their health; stop or start one within a second on every worker, audited."

    @override
    def add_verbs(self, verbs: Any) -> None:
        add_verb(verbs, "list", "every agent, and how it fared in the last 24 hours")
        add_verb(verbs, "show", "one agent, what it may do, its limits and its prompt", target="agent_id")
        for name, (_, what) in _SWITCHES.items():
            switch = add_verb(verbs, name, what, target="agent_id", needs=Permission.FLEET_STOP)
            switch.add_argument("--reason", required=True, help="why; kept in the audit trail")

    def _list(self, options: dict[str, Any]) -> Answer:
        agents = registry.list_agents()
        health = read_fleet_health(None)
        table = Table(_HEADINGS, [_row(agent, health) for agent in agents])
        return Answer(wire={"results": [agent_to_wire(agent) for agent in agents], "next": None}, lines=[table])

    def _show(self, options: dict[str, Any]) -> Answer:
        agent = registry.get_agent(options["agent_id"])
        return Answer(wire=agent_to_detail(agent), lines=_describe(agent))

    def _turn(self, options: dict[str, Any]) -> Answer:
        author, agent_id = find_actor(options["user"], Permission.FLEET_STOP), options["agent_id"]
        status, _ = _SWITCHES[options["verb"]]
        now = timezone.now()
        set_agent_status(agent_id, status, author=author.get_username(), reason=options["reason"], now=now)
        return Answer(wire=agent_to_wire(registry.get_agent(agent_id)), lines=[f"{agent_id} is {status}."])

    _pause = _quarantine = _disable = _enable = _turn


def _row(agent: RegisteredAgent, health: dict[str, Any]) -> list[Cell]:
    fared, counts = health["agentHealth"][agent.id], health["agents"][agent.id]
    figures = (fared["tasksCompleted"], counts["failed"], counts["running"], counts["queued"])
    version = str(agent.version)
    return [agent.id, _tone(agent.status), _health(fared), *map(str, figures), agent.config.tier.value, version]


def _tone(status: AgentStatus) -> Cell:
    return status.value if status is AgentStatus.ENABLED else Toned(status.value, "warn")


def _health(fared: dict[str, Any]) -> Cell:
    word = fared["status"]
    return Toned(word, _HEALTH[word]) if word in _HEALTH else word


def _describe(agent: RegisteredAgent) -> Iterator[Item]:
    config, health = agent.config, read_fleet_health([agent.id])
    fared, counts = health["agentHealth"][agent.id], health["agents"][agent.id]
    yield Table(
        (),
        [
            ("agent", f"{agent.id}, {config.display_name}"),
            ("status", _tone(agent.status)),
            ("health (24 h)", _health(fared)),
            ("tasks (24 h)", f"{fared['tasksCompleted']} succeeded, {counts['failed']} failed"),
            ("now", f"{counts['running']} running, {counts['queued']} queued, {counts['awaiting_approval']} waiting"),
            ("model", f"tier {config.tier.value}"),
            ("limits", f"{config.timeout_seconds} s, {config.retries} retries, {config.concurrent} at once"),
            ("version", str(agent.version)),
        ],
    )
    skill_ids = [skill.id for skill in registry.list_skills()]
    rows = [_permission_row(permission.to_wire()) for permission in list_permissions(agent.id, skill_ids)]
    yield Table(("SKILL", "EFFECT", "CALLS A TASK", "HOSTS"), rows)
    yield "prompt:"
    yield from (f"  {line}" for line in config.prompt.splitlines())


def _permission_row(permission: dict[str, Any]) -> list[Cell]:
    effect, calls = permission["effect"], permission["callsPerTask"]
    tones: dict[str, Tone] = {"allow": "good", "ask": "warn", "deny": "bad"}
    return [
        permission["skillId"],
        Toned(effect, tones[effect]),
        str(calls or NOTHING),
        ", ".join(permission["domains"]),
    ]
