"""What a command is given: a JSON object in a file, on standard input, or as it stands."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from orchestrator_site.exceptions import BodyRefused
from orchestrator_site.parsers import read_json

STDIN = "-"


def read_object(source: str) -> dict[str, Any]:
    """Return the JSON object that `source` is, if it begins with a brace, or that the file of this name holds.

    It is read as strictly as a body of the API. Raises: CommandError.
    """
    name = "The input" if source.lstrip().startswith("{") else source
    try:
        value = read_json(_read_bytes(source))
    except OSError as error:
        raise CommandError(f"{source} cannot be read: {error.strerror}. Nothing was done.") from error
    except BodyRefused as error:
        raise CommandError(str(error).replace("The body", name, 1)) from error
    if not isinstance(value, dict):
        raise CommandError(f"{name} is not a JSON object. Nothing was done.")
    return value


def _read_bytes(source: str) -> bytes:
    if source.lstrip().startswith("{"):
        return source.encode(errors="surrogateescape")
    return sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
