"""Commands that answer in lines for people or, with --json, as the API does; most have verbs, `manage.py NOUN VERB`."""

import argparse
import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, override

from django.core.management.base import BaseCommand

from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import add_user
from orchestrator_site.terminal.printing import Item, draw
from orchestrator_site.terminal.refusals import refusals
from toolgate.lines import dump_plain

_READ_ENOUGH: Final = 128 + signal.SIGPIPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a verb has to say: `wire` in the API's form, `lines` for people."""

    wire: Any
    lines: Iterable[Item]
    exit_code: int = 0
    is_stream: bool = False  # it ends a stream of JSON objects, one a line


class AnswerCommand(BaseCommand):
    """A command that gives an Answer, in words or, with --json, as JSON."""

    refused: ClassVar[int] = 1  # the exit code where nothing was done

    def answer(self, options: dict[str, Any]) -> Answer:
        """Do what is wanted. What the API would answer with a problem document may be raised."""
        raise NotImplementedError

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with refusals(returncode=self.refused):
                answer = self.answer(options)
            if options.get("json"):
                self.stdout.write(dump_plain(answer.wire, indent=None if answer.is_stream else 2))
            else:
                self.say(answer.lines, options)
            self.stdout.flush()
        except BrokenPipeError:  # whoever reads has read enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_READ_ENOUGH)
        if answer.exit_code:
            sys.exit(answer.exit_code)

    def say(self, items: Iterable[Item], options: dict[str, Any]) -> None:
        """Print lines, in colour where a person looks on and does not object (NO_COLOR, --no-color)."""
        wanted = self.stdout.isatty() and not os.environ.get("NO_COLOR") and not options["no_color"]
        for line in draw(items, coloured=wanted or options["force_color"]):
            self.stdout.write(line)


class VerbCommand(AnswerCommand):
    """A command of verbs: runs the method `_verb`, its dashes as underscores, which takes the options."""

    default_verb: ClassVar[str] = ""  # of a command that may stand alone

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        if self.default_verb:
            parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
        verbs = parser.add_subparsers(dest="verb", required=not self.default_verb, metavar="VERB")
        self.add_verbs(verbs)

    def add_verbs(self, verbs: Any) -> None:
        """Declare the verbs, with `add_verb`."""
        raise NotImplementedError

    @override
    def answer(self, options: dict[str, Any]) -> Answer:
        answer: Answer = getattr(self, f"_{options['verb'] or self.default_verb}".replace("-", "_"))(options)
        return answer


def add_verb(
    verbs: Any, name: str, what: str, *, target: str = "", needs: Permission | None = None, names_user: bool = False
) -> ArgumentParser:
    """Declare one verb; one that `needs` a permission acts in a user's name, who with `names_user` must be given."""
    parser: ArgumentParser = verbs.add_parser(name, help=what, description=what)
    if target:
        parser.add_argument(target)
    if needs is not None:
        add_user(parser, needs, required=names_user)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as the API shows it")
    return parser
