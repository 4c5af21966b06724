"""The signed checkpoints in the second place, found again by size with 16 bytes of memory for each."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from audit.proof.notes import split_notes

_OFFSET_BITS: Final = 40
_MAX_NOTE_BYTES: Final = 4_096
_SIGNATURE_CHARACTERS: Final = 92  # base64 of a key's id and an Ed25519 signature


@dataclass(slots=True, kw_only=True)
class SecondPlace:
    """The notes of the folder when it was opened, by size; what is torn or states none is in `strange`."""

    files: list[Path] = field(default_factory=list)
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    places: array[int] = field(default_factory=lambda: array("Q"))  # file and offset
    strange: list[tuple[Path, str]] = field(default_factory=list)

    def read(self, *, after: int, to: int) -> Iterator[tuple[int, str, str]]:
        """Give size, note and file name of the notes with `after` < size ≤ `to`, the smallest first."""
        for at in range(bisect_right(self.sizes, after), bisect_right(self.sizes, to)):
            number, offset = self.places[at] >> _OFFSET_BITS, self.places[at] & (1 << _OFFSET_BITS) - 1
            path = self.files[number]
            with path.open("rb") as file:
                file.seek(offset)
                text = file.read(_MAX_NOTE_BYTES).decode(errors="surrogateescape")
            yield self.sizes[at], next(split_notes(text.splitlines(keepends=True)))[1], path.name

    def holds(self, size: int) -> bool:
        """Tell whether there is a note of that size."""
        at = bisect_left(self.sizes, size)
        return at < len(self.sizes) and self.sizes[at] == size

    @property
    def largest(self) -> int:
        """The largest size that is claimed, 0 if nothing is there."""
        return self.sizes[-1] if self.sizes else 0


def open_second_place(folder: Path, *, since: datetime | None) -> SecondPlace:
    """Index the folder's notes, those of the days before `since` left out.

    Raises: OSError if a file cannot be read.
    """
    found = SecondPlace()
    oldest = f"{since:%Y-%m-%d}" if since else ""
    for path in sorted(folder.glob("*.checkpoints")):
        if path.stem >= oldest:
            _index(path, found)
    _sort(found)
    return found


def _index(path: Path, found: SecondPlace) -> None:
    number = len(found.files)
    found.files.append(path)
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for offset, note in split_notes(file):
            size = _read_size(note)
            if size is None or is_torn(note):
                found.strange.append((path, note))
            else:
                found.sizes.append(size)
                found.places.append(number << _OFFSET_BITS | offset)


def _read_size(note: str) -> int | None:
    lines = note.split("\n", 2)
    text = lines[1] if len(lines) > 1 else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _sort(found: SecondPlace) -> None:
    """Bring the notes into the order of sizes; they stand in it already, unless a log was put back to an old copy."""
    if all(found.sizes[at] <= found.sizes[at + 1] for at in range(len(found.sizes) - 1)):
        return
    order = sorted(range(len(found.sizes)), key=found.sizes.__getitem__)
    found.sizes = array("Q", (found.sizes[at] for at in order))
    found.places = array("Q", (found.places[at] for at in order))


def is_torn(note: str) -> bool:
    """Tell whether a note ends before its signature does: a write that a crash or a full disk cut off."""
    last = note.rstrip("\n").rsplit("\n", 1)[-1]
    return not last.startswith("\u2014 ") or len(last.rsplit(" ", 1)[-1]) < _SIGNATURE_CHARACTERS
