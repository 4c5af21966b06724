"""testrunner.toml: the file in a target that says which command each name stands for.

    [commands]
    unit-tests = ["python3", "-m", "unittest", "discover", "-v"]

Each command is an argument list and never passes through a shell. `python3` is the interpreter that runs the
server.
"""

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.skills.base import SkillError
from agents.skills.sandbox import program_path
from agents.skills.workspace import find_beneath, open_folder

MAPPING_NAME = "testrunner.toml"
MAX_MAPPING_BYTES = 64_000

Word = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]*$")]


class Mapping(BaseModel):
    """The content of testrunner.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    commands: dict[str, Annotated[list[Word], Field(min_length=1, max_length=100)]]


def read_mapping(workspace: Path, target: str, command: str) -> list[str]:
    """Return the argument list that a target maps a command's name to.

    Raises: SkillError `mapping_missing`, `mapping_invalid`, `command_not_configured`.
    """
    with open_folder(workspace, target) as folder:
        content = find_beneath(folder, MAPPING_NAME, max_bytes=MAX_MAPPING_BYTES)
    if content is None:
        message = f"{target!r} holds no {MAPPING_NAME}, so nothing was run. Add one that maps {command!r} to a command."
        raise SkillError("mapping_missing", message)
    commands = _parse_mapping(content).commands
    if command not in commands:
        known = ", ".join(sorted(commands)) or "none"
        message = f"{MAPPING_NAME} does not map {command!r}, so nothing was run. It maps: {known}."
        raise SkillError("command_not_configured", message)
    return commands[command]


def _parse_mapping(content: bytes) -> Mapping:
    try:
        return Mapping.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SkillError("mapping_invalid", f"{MAPPING_NAME} is not TOML, so nothing was run: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = f"{MAPPING_NAME} is wrong at {place!r}, so nothing was run: {first['msg']}."
        raise SkillError("mapping_invalid", message) from None


def find_program(name: str, folder: Path) -> str:
    """Return the absolute path of the program that a command starts with. Raises: SkillError `command_not_found`."""
    if name in ("python", "python3"):
        return sys.executable
    found = str(folder / name) if "/" in name else shutil.which(name, path=program_path())
    if found is None:
        raise SkillError("command_not_found", f"There is no program {name!r} here, so nothing was run.")
    return found
