"""`manage.py approvals list|show|approve|refuse|grants|revoke`: the queue of approvals at a terminal.

What agents wrote is shown with its control characters escaped, so that it cannot act on the terminal.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import pluralize
from django.utils import timezone

from orchestrator_site.roles import Permission, has_permission
from toolgate.approvals import MAX_MINUTES, ONCE, SCOPES, decide_approval, list_grants, revoke_grant
from toolgate.exceptions import GateError
from toolgate.inbox.outcomes import describe_outcome
from toolgate.inbox.standing import Person, list_asks, person_of, tell_votes
from toolgate.inbox.wire import approval_to_wire, grant_to_wire
from toolgate.lines import diff_values, dump_plain
from toolgate.models import Approval, Grant
from toolgate.queries import get_approval, list_waiting_approvals


class Command(BaseCommand):
    """Show what waits, answer it as one user, and end what was granted."""

    help = "Show and answer approvals, list and revoke grants. Who answers needs a role that may decide approvals."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        _add_verb(verbs, "list", "what waits for a person, the first to expire first")
        _add_verb(verbs, "show", "one approval, with its exact arguments", target="id")
        approve = _add_verb(verbs, "approve", "let a call run", target="id", acts=True)
        approve.add_argument("--arguments", metavar="FILE", help="a JSON object to run instead; - reads it from stdin")
        approve.add_argument("--scope", choices=SCOPES, default=ONCE, help="what else is approved (once: nothing)")
        approve.add_argument("--minutes", type=int, help=f"1 to {MAX_MINUTES}, with --scope minutes")
        approve.add_argument("--digest", default="", help="of what you looked at: another call is not approved")
        refuse = _add_verb(verbs, "refuse", "let it not run", target="id", acts=True)
        for answer in (approve, refuse):
            answer.add_argument("--note", default="", help="kept in the audit trail; refused, the agent is told it")
        _add_verb(verbs, "grants", "the leaves for further calls that are in force")
        _add_verb(verbs, "revoke", "end a grant at once", target="id", acts=True)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            wire, lines = getattr(self, f"_{options['verb']}")(options)
        except GateError as error:
            raise CommandError(dump_plain(str(error))[1:-1]) from error
        if options["json"]:
            self.stdout.write(orjson.dumps(wire, option=orjson.OPT_INDENT_2).decode())
        else:
            self.stdout.write("\n".join(lines))

    def _list(self, options: dict[str, Any]) -> tuple[Any, list[str]]:
        waiting = list_waiting_approvals()
        lines = [_describe_line(approval) for approval in waiting] or ["Nothing waits for a person."]
        return [approval_to_wire(approval) for approval in waiting], lines

    def _show(self, options: dict[str, Any]) -> tuple[Any, list[str]]:
        approval = get_approval(options["id"])
        return approval_to_wire(approval), list(_describe(approval))

    def _approve(self, options: dict[str, Any]) -> tuple[Any, list[str]]:
        person = _find_person(options["user"])
        arguments = _read_arguments(options["arguments"]) if options["arguments"] else None
        chosen = {name: options[name] for name in ("scope", "minutes", "digest")}
        return self._decide(options, person, approve=True, arguments=arguments, **chosen)

    def _refuse(self, options: dict[str, Any]) -> tuple[Any, list[str]]:
        return self._decide(options, _find_person(options["user"]), approve=False)

    def _decide(self, options: dict[str, Any], person: Person, **answer: Any) -> tuple[Any, list[str]]:
        approval = decide_approval(
            options["id"],
            user=person.name,
            groups=person.groups,
            note=options["note"],
            now=timezone.now(),
            **answer,
        )
        return approval_to_wire(approval), [describe_outcome(approval)]

    def _grants(self, options: dict[str, Any]) -> tuple[Any, list[str]]:
        grants = list_grants(timezone.now())
        lines = [_describe_grant(grant) for grant in grants] or ["No grant is in force."]
        return [grant_to_wire(grant) for grant in grants], lines

    def _revoke(self, options: dict[str, Any]) -> tuple[Any, list[str]]:
        person = _find_person(options["user"])
        grant = revoke_grant(options["id"], user=person.name, now=timezone.now())
        done = f"Revoked. From now on each {grant.skill_id} call of {grant.agent_id} asks again."
        return grant_to_wire(grant), [done]


def _add_verb(verbs: Any, name: str, what: str, *, target: str = "", acts: bool = False) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=what)
    if target:
        parser.add_argument(target, help="as the list shows it")
    if acts:
        parser.add_argument("--user", required=True, help="in whose name; kept in the audit trail")
    parser.add_argument("--json", action="store_true", help="as the API shows it")
    return parser


# --- what is given --------------------------------------------------------------------------------------------
def _find_person(name: str) -> Person:
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        raise CommandError(f"There is no active user {ascii(name)[1:-1]}. Nothing was decided.")
    if not has_permission(user, Permission.APPROVALS_DECIDE):
        raise CommandError(f"No role of {name} gives {Permission.APPROVALS_DECIDE}. Nothing was decided.")
    return person_of(user)


def _read_arguments(name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}. Nothing was decided.") from error
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CommandError(f"{name} is not JSON: {error.msg} at {where}. Nothing was decided.") from error
    if not isinstance(value, dict):
        raise CommandError(f"{name} is not a JSON object. Nothing was decided.")
    return value


# --- what is shown --------------------------------------------------------------------------------------------
def _describe_line(approval: Approval) -> str:
    have = " and ".join(f"{ask.have} of {ask.quorum}" for ask in list_asks(approval))
    until = f"expires {approval.expires_at:%Y-%m-%d %H:%M} UTC"
    state = "escalated" if approval.escalated_at else ""
    arguments = dump_plain(approval.arguments)
    cut = arguments if len(arguments) <= 80 else f"{arguments[:79]}…"
    call = f"{approval.agent_id} → {approval.skill_id}"
    return "  ".join(filter(None, (approval.id, call, cut, f"{have} approved", until, state)))


def _describe(approval: Approval) -> Iterator[str]:
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
        note = f": {dump_plain(vote.note)}" if vote.note else ""
        yield f"{vote.user} {said} {vote.at:%Y-%m-%d %H:%M:%S} UTC{void}{note}"
    yield f"policy version {approval.policy_version}, digest {approval.digest}"
    yield dump_plain(approval.arguments, indent=2)
    if approval.asked_arguments is not None:
        yield "changed from what was asked for:"
        changes = diff_values(approval.asked_arguments, approval.arguments)
        yield from (line.text if line.sign == "@" else f"{line.sign} {line.text}" for line in changes)


def _describe_grant(grant: Grant) -> str:
    where = f"task {grant.task_id}" if grant.task_id else "any task"
    until = f"until {grant.expires_at:%Y-%m-%d %H:%M} UTC"
    call, by = f"{grant.agent_id} → {grant.skill_id}", f"by {', '.join(grant.granted_by)}"
    return "  ".join((grant.id, call, where, by, until, f"{grant.uses} calls"))
