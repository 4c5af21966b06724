"""`manage.py user VERB`: the people of the console, what they may do, and what opens their accounts.

Passwords are printed alone on stdout, once; everything else that is to be said goes to stderr then.
"""

import sys
from argparse import ArgumentParser
from typing import Any, override

from django.contrib.auth.models import User
from django.utils import timezone

from audit.context import SYSTEM, acting
from audit.wire import format_at
from orchestrator_site.bootstrap import create_user, make_password
from orchestrator_site.people import users
from orchestrator_site.people.listing import Person, describe_people, list_users
from orchestrator_site.roles import Permission, Role
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.printing import Cell, Table, Toned
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb

_ROLES = [role.value for role in Role]


class Command(VerbCommand):
    """Make people, give and take what they may do, and sign them out; each is told in the trail."""

    help = "Show and change the users of the console. Without --user it is the system that acts."

    @override
    def add_verbs(self, verbs: Any) -> None:
        add_verb(verbs, "list", "everybody, by name").add_argument("--role", choices=_ROLES, default="")
        _add_verb(verbs, "show", "one user")
        create = _add_verb(verbs, "create", "make a user; prints the password that is made", reason=None)
        create.add_argument("--role", action="append", required=True, choices=_ROLES, help="may be given several times")
        create.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        roles = _add_verb(verbs, "roles", "give exactly these roles, and take the others", reason=False)
        roles.add_argument("--role", action="append", default=[], choices=_ROLES, help="several times; none takes all")
        _add_verb(verbs, "disable", "let nobody in by this account, nor by its tokens", reason=True)
        _add_verb(verbs, "enable", "take that back", reason=False)
        _add_verb(verbs, "password", "make a new password and print it", reason=True)
        _add_verb(verbs, "end-sessions", "sign a user out of every browser", reason=True)

        _add_verb(verbs, "forget-factors", "remove the second factors of somebody who lost theirs", reason=True)

    @override
    def answer(self, options: dict[str, Any]) -> Answer:
        actor = SYSTEM
        if options.get("user"):
            actor = f"user:{find_actor(options['user'], Permission.USERS_WRITE).get_username()}"
        with acting(actor=actor):
            return super().answer(options)

    def _list(self, options: dict[str, Any]) -> Answer:
        page = list_users(role=options["role"])
        people = page.rows
        while page.next is not None:
            page = list_users(after=page.next, role=options["role"])
            people += page.rows
        return Answer(wire=[to_wire(person) for person in people], lines=[_draw(people)])

    def _show(self, options: dict[str, Any]) -> Answer:
        return _tell(users.get_user(options["name"]))

    def _create(self, options: dict[str, Any]) -> Answer:
        given = sys.stdin.readline().rstrip("\r\n") if options["password_stdin"] else ""
        password, roles = given or make_password(), [Role(role) for role in options["role"]]
        user = create_user(
            options["name"], password=password, roles=roles, now=timezone.now(), created_by=_actor_of(options)
        )
        return self._hand_over(options, user, "" if given else password)

    def _roles(self, options: dict[str, Any]) -> Answer:
        return _tell(users.set_roles(options["name"], options["role"], reason=options["reason"]))

    def _disable(self, options: dict[str, Any]) -> Answer:
        return _tell(users.switch_off(options["name"], reason=options["reason"]))

    def _enable(self, options: dict[str, Any]) -> Answer:
        return _tell(users.switch_on(options["name"], reason=options["reason"]))

    def _password(self, options: dict[str, Any]) -> Answer:
        password = users.renew_password(options["name"], reason=options["reason"])
        return self._hand_over(options, users.get_user(options["name"]), password)

    def _end_sessions(self, options: dict[str, Any]) -> Answer:
        ended = users.end_sessions(options["name"], reason=options["reason"])
        said = f"{ended} sessions ended. Open pages close within 30 s."
        return Answer(wire={"user": options["name"], "sessions": ended}, lines=[said])

    def _forget_factors(self, options: dict[str, Any]) -> Answer:
        gone = users.forget_factors(options["name"], reason=options["reason"])
        return Answer(wire={"user": options["name"], "factors": gone}, lines=[f"{gone} factors removed."])

    def _hand_over(self, options: dict[str, Any], user: User, password: str) -> Answer:
        """Say who it is, and the password if it was made here: this once, and alone on stdout."""
        [person] = describe_people([users.get_user(user.username)])
        if not options.get("json"):
            self.stderr.write(f"{user.username} may sign in as {', '.join(person.roles)}.")
            if password:
                self.stderr.write("The password is shown only now:")
        made = {"password": password} if password else {}
        return Answer(wire=to_wire(person) | made, lines=[password] if password else [])


def _add_verb(verbs: Any, name: str, what: str, *, reason: bool | None = None) -> ArgumentParser:
    parser = add_verb(verbs, name, what, target="name")
    parser.add_argument("--user", default="", help="in whose name; needs the permission users:write")
    if reason is not None:
        parser.add_argument("--reason", required=reason, default="", help="kept in the audit trail")
    return parser


def _actor_of(options: dict[str, Any]) -> str:
    return f"user:{options['user']}" if options["user"] else SYSTEM


def _tell(user: User) -> Answer:
    [person] = describe_people([users.get_user(user.username)])
    return Answer(wire=to_wire(person), lines=[_draw([person])])


def _draw(people: list[Person]) -> Table:
    return Table(("USER", "ROLES", "SIGNED IN (UTC)", ""), [_row(person) for person in people])


def _row(person: Person) -> list[Cell]:
    user = person.user
    seen = f"{user.last_login:%Y-%m-%d %H:%M}" if user.last_login else "never"
    state: Cell = "" if user.is_active else Toned("switched off", "warn")
    return [user.username, ", ".join(person.roles) or "no role", seen, state]


def to_wire(person: Person) -> dict[str, Any]:
    """Return a user as JSON shows them."""
    user = person.user
    return {
        "name": user.username,
        "roles": person.roles,
        "isActive": user.is_active,
        "lastLogin": format_at(user.last_login) if user.last_login else None,
        "hasSecondFactor": person.has_factor,
    }
