"""What people write to name many texts at once, compiled by RE2, which takes linear time whatever it is given. PURE.

A *glob* names paths: `*` and `?` stand for characters within a name, `**` for whole names, any number of them or none.
So `a/*.csv` is `a/b.csv` but not `a/b/c.csv`, and `a/**` is the folder `a` with all below it.
"""

from collections.abc import Callable
from dataclasses import dataclass

MAX_PATTERN_MEMORY = 1 << 20  # bytes of one compiled pattern
_BELOW = "(?:[^/]+/)*"

Test = Callable[[str], bool]


def compile_pattern(text: str, *, spans_lines: bool = False) -> Test:
    """Return the test whether a text as a whole matches a pattern in RE2 syntax.

    With `spans_lines` a `.` stands for a line break too.
    Raises: ValueError for what is no pattern, or takes more than a megabyte.
    """
    import re2  # on first use: most policies have none

    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = MAX_PATTERN_MEMORY, False, True
    options.dot_nl = spans_lines
    try:
        fullmatch = re2.compile(text, options).fullmatch
    except re2.error as error:
        raise ValueError(f"is no RE2 pattern: {error}") from None
    return lambda subject: fullmatch(subject.encode()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Glob:
    """The questions that can be asked about one glob and a path."""

    matches: Test
    matches_around: Test  # … the path or a folder that it lies in
    may_match_below: Test  # … something in the path, were that a folder


def compile_glob(glob: str) -> Glob:
    """Return `glob`, compiled.

    Raises: ValueError for one that takes more than a megabyte.
    """
    parts = glob.split("/")
    head = parts[: parts.index("**")] if "**" in parts else parts[:-1]
    whole = "".join(map(_translate, parts))
    return Glob(
        matches=_compile(whole),
        matches_around=_compile(whole + _BELOW),
        may_match_below=_compile(_translate_prefixes(head, end=_BELOW if "**" in parts else "")),
    )


def is_glob(place: str) -> bool:
    """Say whether a place in a rule is a glob and no folder."""
    return "*" in place or "?" in place


def base_of(place: str) -> str:
    """Return the folder that all lies in which `place`, a folder or a glob, can name."""
    parts = place.split("/")
    names = [number for number, part in enumerate(parts) if is_glob(part)]
    return "/".join(parts[: names[0]]) if names else place


def _compile(regex: str) -> Test:
    test = compile_pattern(regex)
    return lambda path: test(f"{path}/" if path else "")  # each name with its slash; the workspace has no name


def _translate(part: str) -> str:
    import re2

    if part == "**":
        return _BELOW
    literal: str = re2.escape(part)
    return literal.replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "/"


def _translate_prefixes(parts: list[str], *, end: str) -> str:
    """Return what matches the first few of `parts`, none included, and after all of them what `end` matches."""
    regex = end
    for part in reversed(parts):
        regex = f"(?:{_translate(part)}{regex})?"
    return regex
