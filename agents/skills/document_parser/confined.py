"""Parse a document in a child process, so that a file made to hang or to burst a parser harms that child only."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agents
import toolgate
from agents.skills.base import LimitExceeded, SkillError
from agents.skills.document_parser.extract import invalid
from agents.skills.document_parser.parsing import Options
from agents.skills.sandbox import Command, Outcome, run_confined, scratch_folder
from agents.skills.sandbox.watch import Bounds

CHILD = Path(__file__).with_name("child.py")
MAX_OUTPUT_BYTES = 64 << 20
PACKAGES = tuple(Path(package.__path__[0]) for package in (agents, toolgate))


def parse_confined(
    data: bytes, options: Options, *, timeout_seconds: float, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Return what `parse_document` does, from a child that is locked in where the kernel can.

    Raises: SkillError `document_invalid` and others, SkillStopped, LimitExceeded `time`, `memory`, `output` and others.
    """
    with scratch_folder() as folder:
        (folder / "document").write_bytes(data)
        for package in PACKAGES:
            (folder / package.name).symlink_to(package)
        arguments = (options.format.value, str(int(options.tables)), str(int(options.entities)))
        command = Command(
            argv=(sys.executable, "-I", str(CHILD), *arguments),
            folder=folder,
            timeout_seconds=timeout_seconds,
            readable=tuple(str(package) for package in PACKAGES),
            output_bytes=MAX_OUTPUT_BYTES,
            bounds=Bounds(processes=32, files=100),
            should_stop=should_stop,
            strict=False,
        )
        return _read_answer(run_confined(command))


def _read_answer(outcome: Outcome) -> dict[str, Any]:
    if outcome.stdout_cut:
        raise LimitExceeded("output", f"The document's text is over {MAX_OUTPUT_BYTES >> 20} MB. Split it up.")
    if outcome.exit_code != 0:
        raise invalid(f"the parser stopped with exit code {outcome.exit_code}, most likely out of memory")
    answer: dict[str, dict[str, Any]] = json.loads(outcome.stdout)
    if "limit" in answer:
        raise LimitExceeded(answer["limit"]["limit"], answer["limit"]["message"])
    if "error" in answer:
        raise SkillError(answer["error"]["code"], answer["error"]["message"])
    return answer["parsed"]
