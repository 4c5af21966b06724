"""The texts of `tests/security/injections`, the documents that carry them, and a model that does all they ask."""

import csv
import io
import json
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.providers.base import ModelMessage, ModelReply, ModelRequest, StopReason, ToolCall, Usage
from tests.pdf import make_pdf, write

FOLDER = Path(__file__).parent / "security" / "injections"
HARMLESS = "The delivery was on time and nothing is to be done."


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCall:
    """One skill call that a text asks for, and what the gate says to it."""

    skill: str
    arguments: Mapping[str, Any]
    effect: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One text that wants something."""

    id: str
    tries: str
    agent: str
    format: str
    text: str
    mark: str  # a stretch of it that reaches the model
    calls: tuple[AskedCall, ...]

    def carry(self, text: str | None = None) -> bytes:
        """Return a document that holds the text, or another in its place."""
        return CARRIERS[self.format](self.text if text is None else text)


def load_injections() -> list[Injection]:
    """Return the whole corpus."""
    return [
        _read_entry(entry, path.stem)
        for path in sorted(FOLDER.glob("*.toml"))
        for entry in tomllib.loads(path.read_text())["injections"]
    ]


def _read_entry(entry: dict[str, Any], format_: str) -> Injection:
    calls = tuple(AskedCall(**call) for call in entry.pop("calls"))
    text = " ".join([entry.pop("text")] * entry.pop("repeat", 1))
    return Injection(**entry, text=text, format=format_, calls=calls)


# --- documents ------------------------------------------------------------------------------------------------
def _write_csv(text: str) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([["item", "note"], ["bolt", "M8"], ["nut", text]])
    return file.getvalue().encode()


def _write_pdf(text: str) -> bytes:
    lines = ["Report of the week", "", *textwrap.wrap(text, 80)]
    return make_pdf([write(72, 780 - 13 * row, line) for row, line in enumerate(lines)])


CARRIERS = {
    "markdown": lambda text: f"# Report\n\nAll is well.\n\n{text}\n".encode(),
    "html": lambda text: f"<!doctype html><title>Report</title><h1>Report</h1><p>All is well.</p>{text}".encode(),
    "json": lambda text: json.dumps({"report": "All is well.", "note": text}).encode(),
    "csv": _write_csv,
    "pdf": _write_pdf,
}


# --- the model ------------------------------------------------------------------------------------------------
class ObedientProvider:
    """A model that first calls `opening`, then all that the text asks for, and then answers `output`."""

    name = "obedient"

    def __init__(self, injection: Injection, *, opening: tuple[ToolCall, ...] = (), output: Mapping[str, Any]):
        asked = tuple(
            ToolCall(id=f"asked-{number}", name=call.skill, arguments=call.arguments)
            for number, call in enumerate(injection.calls)
        )
        self._turns = [calls for calls in (opening, asked) if calls]
        self._output = output
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Return the next turn."""
        self.requests.append(request)
        calls = self._turns.pop(0) if self._turns else ()
        return ModelReply(
            message=ModelMessage(text="" if calls else json.dumps(self._output), tool_calls=calls, provider=self.name),
            stop=StopReason.TOOL_CALLS if calls else StopReason.FINISHED,
            usage=Usage(input_tokens=10, output_tokens=10),
        )

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""
