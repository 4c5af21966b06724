"""What the API answers with a problem document, a command says in words: what happened, what was kept, what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.core.management.base import CommandError

from orchestrator_site.errors import describe, is_foreseen
from orchestrator_site.exceptions import SiteError
from orchestrator_site.terminal.printing import make_line

# What the API names to look further is not what a person at a terminal asks.
_ADDRESS: Final = re.compile(r"GET /api/(agents|skills)(?:/([\w.-]+))? (?:lists|shows)")


@contextmanager
def refusals(*, returncode: int = 1) -> Iterator[None]:
    """Turn what may be refused inside into a CommandError; what nobody foresaw keeps its traceback."""
    try:
        yield
    except CommandError as error:
        error.returncode = returncode if error.returncode == 1 else error.returncode
        raise
    except SiteError as error:  # in words for people already
        raise CommandError(make_line(error), returncode=returncode) from error
    except Exception as error:
        if not is_foreseen(error):
            raise
        raise CommandError(explain(error), returncode=returncode) from error


def explain(error: Exception) -> str:
    """Return what the error says, and below it a line for each field that it names."""
    problem = describe(error)
    detail = _ADDRESS.sub(_name_command, problem["detail"])
    fields = (f"  {finding['pointer']}: {finding['detail']}" for finding in problem.get("errors", ()))
    return "\n".join(map(make_line, (detail[:1].upper() + detail[1:], *fields)))


def _name_command(found: re.Match[str]) -> str:
    noun, verb = found[1], "list" if found[0].endswith("lists") else f"show {found[2] or 'ID'}"
    return f"`manage.py {noun} {verb}` shows"
