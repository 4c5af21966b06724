"""A text being edited that remembers which of its lines are untouched, and the unified diff of it.

The edits are known, so the diff is read off them. Searching for one instead takes minutes on a file made to
make it so.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

CONTEXT_LINES = 3
_NO_NEWLINE = "\\ No newline at end of file"
_MAX_COMPARISONS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Lines of the old text [old_start, old_end) that gave way to lines of the new one."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def split_lines(text: str) -> list[str]:
    """Return lines with their "\\n"; unlike str.splitlines, nothing else ends a line."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


class Draft:
    """A text under edit."""

    def __init__(self, text: str):
        self.text = text
        self.old_lines = split_lines(text)
        self.lines = list(self.old_lines)
        self._origins: list[int | None] = list(range(len(self.lines)))

    def splice(self, start: int, length: int, new: str) -> None:
        """Put `new` in place of `length` characters from `start`."""
        old = self.text[start : start + length]
        first = self.text.count("\n", 0, start)
        last = first + old.count("\n") + 1
        line_start = self.text.rfind("\n", 0, start) + 1
        touched = "".join(self.lines[first:last])
        inside = start - line_start
        fresh = split_lines(touched[:inside] + new + touched[inside + length :])
        self.lines[first:last] = fresh
        self._origins[first:last] = [None] * len(fresh)
        self.text = self.text[:start] + new + self.text[start + length :]

    def list_gaps(self) -> list[Gap]:
        """Return what changed, in order."""
        gaps: list[Gap] = []
        old_start = new_start = 0
        for new_end, origin in enumerate([*self._origins, len(self.old_lines)]):
            if origin is not None:
                gaps += self._refine(old_start, origin, new_start, new_end)
                old_start, new_start = origin + 1, new_end + 1
        return gaps

    def _refine(self, old_start: int, old_end: int, new_start: int, new_end: int) -> Iterator[Gap]:
        """Yield what differs in a touched stretch, which also holds lines that were put back as they were."""
        if old_start == old_end and new_start == new_end:
            return
        old, new = self.old_lines[old_start:old_end], self.lines[new_start:new_end]
        if len(old) * len(new) > _MAX_COMPARISONS:
            yield Gap(old_start=old_start, old_end=old_end, new_start=new_start, new_end=new_end)
            return
        for tag, old_from, old_to, new_from, new_to in difflib.SequenceMatcher(None, old, new).get_opcodes():
            if tag != "equal":
                yield Gap(
                    old_start=old_start + old_from,
                    old_end=old_start + old_to,
                    new_start=new_start + new_from,
                    new_end=new_start + new_to,
                )

    def list_removed(self) -> list[str]:
        """Return the lines that went."""
        return [line for gap in self.list_gaps() for line in self.old_lines[gap.old_start : gap.old_end]]

    def list_added(self) -> list[str]:
        """Return the lines that came."""
        return [line for gap in self.list_gaps() for line in self.lines[gap.new_start : gap.new_end]]

    def render_diff(self, *, path: str, is_new: bool) -> str:
        """Return the unified diff, "" if nothing changed."""
        hunks = [self._render_hunk(group) for group in _group(self.list_gaps())]
        header = f"--- {'/dev/null' if is_new else f'a/{path}'}\n+++ b/{path}\n"
        return header + "".join(hunks) if hunks else ""

    def _render_hunk(self, gaps: list[Gap]) -> str:
        before = min(CONTEXT_LINES, gaps[0].old_start)
        after = min(CONTEXT_LINES, len(self.old_lines) - gaps[-1].old_end)
        old = gaps[0].old_start - before, gaps[-1].old_end + after
        new = gaps[0].new_start - before, gaps[-1].new_end + after
        body: list[str] = []
        place = old[0]
        for gap in gaps:
            body += _mark(" ", self.old_lines[place : gap.old_start])
            body += _mark("-", self.old_lines[gap.old_start : gap.old_end])
            body += _mark("+", self.lines[gap.new_start : gap.new_end])
            place = gap.old_end
        body += _mark(" ", self.old_lines[place : old[1]])
        return f"@@ -{_range(*old)} +{_range(*new)} @@\n{''.join(body)}"


def _group(gaps: list[Gap]) -> list[list[Gap]]:
    """Return gaps in hunks: those whose contexts would touch stand together."""
    groups: list[list[Gap]] = []
    for gap in gaps:
        if groups and gap.old_start - groups[-1][-1].old_end <= 2 * CONTEXT_LINES:
            groups[-1].append(gap)
        else:
            groups.append([gap])
    return groups


def _mark(sign: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n{_NO_NEWLINE}\n"


def _range(start: int, end: int) -> str:
    """Return a hunk's range as `diff -u` writes it: counted from 1, an empty one from the line before it."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
