"""`manage.py approvals list|show|approve|refuse|grants|revoke`: the queue of approvals at a terminal."""

from collections.abc import Iterator
from typing import Any, Final

from django.template.defaultfilters import pluralize
from django.utils import timezone

from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.printing import Cell, Item, Table, Toned
from orchestrator_site.terminal.reading import read_object
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb
from toolgate.approvals import MAX_MINUTES, ONCE, SCOPES, decide_approval, list_grants, revoke_grant
from toolgate.inbox.outcomes import describe_outcome
from toolgate.inbox.standing import Person, list_asks, person_of, tell_votes
from toolgate.inbox.wire import approval_to_wire, grant_to_wire
from toolgate.lines import diff_values, dump_plain
from toolgate.models import Approval, Grant
from toolgate.queries import get_approval, list_waiting_approvals

_DECIDE: Final = Permission.APPROVALS_DECIDE


class Command(VerbCommand):
    """Show what waits, answer it as one user, and end what was granted."""

    help = "Show and answer approvals, list and revoke grants. Who answers needs a role that may decide approvals."

    def add_verbs(self, verbs: Any) -> None:
        """Declare what can be done."""
        add_verb(verbs, "list", "what waits for a person, the first to expire first")
        add_verb(verbs, "show", "one approval, with its exact arguments", target="id")
        approve = add_verb(verbs, "approve", "let a call run", target="id", needs=_DECIDE, names_user=True)
        approve.add_argument("--arguments", metavar="FILE|-|JSON", help="a JSON object to run instead")
        approve.add_argument("--scope", choices=SCOPES, default=ONCE, help="what else is approved (once: nothing)")
        approve.add_argument("--minutes", type=int, help=f"1 to {MAX_MINUTES}, with --scope minutes")
        approve.add_argument("--digest", default="", help="of what you looked at: another call is not approved")
        refuse = add_verb(verbs, "refuse", "let it not run", target="id", needs=_DECIDE, names_user=True)
        for answer in (approve, refuse):
            answer.add_argument("--note", default="", help="kept in the audit trail; refused, the agent is told it")
        add_verb(verbs, "grants", "the leaves for further calls that are in force")
        add_verb(verbs, "revoke", "end a grant at once", target="id", needs=_DECIDE, names_user=True)

    def _list(self, options: dict[str, Any]) -> Answer:
        waiting = list_waiting_approvals()
        rows = [_row(approval) for approval in waiting]
        lines = [Table(("APPROVAL", "CALL", "ARGUMENTS", "APPROVED", "EXPIRES (UTC)", ""), rows)]
        wire = {"results": [approval_to_wire(approval) for approval in waiting], "next": None}
        return Answer(wire=wire, lines=lines if waiting else ["Nothing waits for a person."])

    def _show(self, options: dict[str, Any]) -> Answer:
        approval = get_approval(options["id"])
        return Answer(wire=approval_to_wire(approval), lines=_describe(approval))

    def _approve(self, options: dict[str, Any]) -> Answer:
        person = _find_person(options["user"])
        arguments = read_object(options["arguments"]) if options["arguments"] else None
        chosen = {name: options[name] for name in ("scope", "minutes", "digest")}
        return self._decide(options, person, approve=True, arguments=arguments, **chosen)

    def _refuse(self, options: dict[str, Any]) -> Answer:
        return self._decide(options, _find_person(options["user"]), approve=False)

    def _decide(self, options: dict[str, Any], person: Person, **answer: Any) -> Answer:
        about, now = {"user": person.name, "groups": person.groups, "note": options["note"]}, timezone.now()
        approval = decide_approval(options["id"], **about, now=now, **answer)
        return Answer(wire=approval_to_wire(approval), lines=[describe_outcome(approval)])

    def _grants(self, options: dict[str, Any]) -> Answer:
        grants = list_grants(timezone.now())
        lines = [Table(("GRANT", "CALL", "WHERE", "BY", "UNTIL (UTC)", "CALLS"), [_grant_row(one) for one in grants])]
        wire = {"results": [grant_to_wire(grant) for grant in grants]}
        return Answer(wire=wire, lines=lines if grants else ["No grant is in force."])

    def _revoke(self, options: dict[str, Any]) -> Answer:
        person = _find_person(options["user"])
        grant = revoke_grant(options["id"], user=person.name, now=timezone.now())
        done = f"Revoked. From now on each {grant.skill_id} call of {grant.agent_id} asks again."
        return Answer(wire=grant_to_wire(grant), lines=[done])


def _find_person(name: str) -> Person:
    return person_of(find_actor(name, _DECIDE))


# --- what is shown --------------------------------------------------------------------------------------------
def _row(approval: Approval) -> list[Cell]:
    have = " and ".join(f"{ask.have} of {ask.quorum}" for ask in list_asks(approval))
    arguments = dump_plain(approval.arguments)
    cut = arguments if len(arguments) <= 80 else f"{arguments[:79]}…"
    call = f"{approval.agent_id} → {approval.skill_id}"
    state: Cell = Toned("escalated", "warn") if approval.escalated_at else ""
    return [approval.id, call, cut, have, f"{approval.expires_at:%Y-%m-%d %H:%M}", state]


def _describe(approval: Approval) -> Iterator[Item]:
    yield f"{approval.id}  {approval.kind}  {approval.state}"
    yield f"{approval.agent_id} → {approval.skill_id}, task {approval.task_id}, submitted by {approval.submitted_by}"
    yield f"asked {approval.created_at:%Y-%m-%d %H:%M:%S} UTC, expires {approval.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    for ask in list_asks(approval):
        whom = ", ".join(ask.approvers) or "anybody who may decide approvals"
        other = ", other than who submitted the task" if ask.four_eyes else ""
        have = f"{ask.have} of {ask.quorum} approval{pluralize(ask.quorum)}"
        yield f"{ask.rule_id or 'answer'}: {have}, from {whom}{other}"
    for vote in tell_votes(approval):
        said = "approved" if vote.approve else "refused"
        void = "" if vote.counts else ", before the arguments were changed"
        note = f": {vote.note}" if vote.note else ""
        yield f"{vote.user} {said} {vote.at:%Y-%m-%d %H:%M:%S} UTC{void}{note}"
    yield f"policy version {approval.policy_version}, digest {approval.digest}"
    yield from dump_plain(approval.arguments, indent=2).splitlines()
    if approval.asked_arguments is not None:
        yield "changed from what was asked for:"
        changes = diff_values(approval.asked_arguments, approval.arguments)
        yield from (line.text if line.sign == "@" else f"{line.sign} {line.text}" for line in changes)


def _grant_row(grant: Grant) -> list[Cell]:
    where = f"task {grant.task_id}" if grant.task_id else "any task"
    call, until = f"{grant.agent_id} → {grant.skill_id}", f"{grant.expires_at:%Y-%m-%d %H:%M}"
    return [grant.id, call, where, ", ".join(grant.granted_by), until, str(grant.uses)]
