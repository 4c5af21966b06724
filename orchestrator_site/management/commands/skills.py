"""`manage.py skills list|show|quarantine|release`: what agents share, and which of it may be called."""

from typing import Any, override

from django.utils import timezone

from agents import registry
from agents.fleet_api import skill_to_wire
from agents.switches.changes import quarantine_skill, release_skill
from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.printing import Cell, Table, Toned
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb
from toolgate.lines import dump_plain


class Command(VerbCommand):
    """Show skills; quarantine or release one within a second on every worker."""

    help = "List and show skills; refuse every call of one within a second, or let it be called again, audited."

    @override
    def add_verbs(self, verbs: Any) -> None:
        add_verb(verbs, "list", "every skill")
        add_verb(verbs, "show", "one skill, with the schema of its input", target="skill_id")
        for name, what in (("quarantine", "refuse every call of it"), ("release", "let it be called again")):
            switch = add_verb(verbs, name, what, target="skill_id", needs=Permission.FLEET_STOP)
            switch.add_argument("--reason", required=True, help="why; kept in the audit trail")

    def _list(self, options: dict[str, Any]) -> Answer:
        wires = [skill_to_wire(skill.id) for skill in registry.list_skills()]
        rows = [(wire["skillId"], wire["version"], _tone(wire), wire["summary"]) for wire in wires]
        table = Table(("SKILL", "VERSION", "STATUS", "WHAT IT DOES"), rows)
        return Answer(wire={"results": wires, "next": None}, lines=[table])

    def _show(self, options: dict[str, Any]) -> Answer:
        wire = skill_to_wire(registry.get_skill(options["skill_id"]).id)
        facts = [("skill", wire["skillId"]), ("version", wire["version"]), ("status", _tone(wire))]
        facts += [("does", wire["summary"]), ("can reach", ", ".join(wire["capabilities"]) or "nothing")]
        schema = dump_plain(wire["inputSchema"], indent=2).splitlines()
        return Answer(wire=wire, lines=[Table((), facts), "input:", *schema])

    def _quarantine(self, options: dict[str, Any]) -> Answer:
        author, skill_id = find_actor(options["user"], Permission.FLEET_STOP).get_username(), options["skill_id"]
        quarantine_skill(skill_id, author=author, reason=options["reason"], now=timezone.now())
        return Answer(wire=skill_to_wire(skill_id), lines=[f"{skill_id} is quarantined."])

    def _release(self, options: dict[str, Any]) -> Answer:
        author, skill_id = find_actor(options["user"], Permission.FLEET_STOP).get_username(), options["skill_id"]
        release_skill(skill_id, author=author, reason=options["reason"], now=timezone.now())
        return Answer(wire=skill_to_wire(skill_id), lines=[f"{skill_id} is released."])


def _tone(wire: dict[str, Any]) -> Cell:
    return wire["status"] if wire["status"] == "enabled" else Toned(wire["status"], "warn")
