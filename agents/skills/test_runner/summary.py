"""The counts that unittest and pytest print at their end."""

import re

from agents.skills.base import SkillModel


class Summary(SkillModel):
    """How many tests ended how."""

    passed: int
    failed: int
    skipped: int


_UNITTEST = re.compile(
    r"^Ran (\d{1,9}) tests? in [\d.]+s\n+(?:OK|FAILED|NO TESTS RAN)(?: \(([^)\n]{0,200})\))?$", re.MULTILINE
)
_PYTEST = re.compile(r"^=* ?((?:\d{1,9} [a-z]+(?:, )?)+) in [\d.]+s(?: \([\d:]+\))? ?=*$", re.MULTILINE)
_PYTEST_COUNT = re.compile(r"(\d+) ([a-z]+)")


def read_summary(*, stdout: str, stderr: str) -> Summary | None:
    """Return the counts of the last report in the output, None if there is none."""
    return _read_unittest(stderr) or _read_unittest(stdout) or _read_pytest(stdout)


def _read_unittest(text: str) -> Summary | None:
    found = _UNITTEST.findall(text)
    if not found:
        return None
    ran, notes = found[-1]
    counts = {name.strip(): int(count) for name, _, count in (note.partition("=") for note in notes.split(",") if note)}
    failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpected successes"))
    skipped = counts.get("skipped", 0)
    return Summary(passed=max(0, int(ran) - failed - skipped), failed=failed, skipped=skipped)


def _read_pytest(text: str) -> Summary | None:
    found = _PYTEST.findall(text)
    if not found:
        return None
    counts = {name: int(count) for count, name in _PYTEST_COUNT.findall(found[-1])}
    failed = sum(counts.get(name, 0) for name in ("failed", "error", "errors"))
    passed = sum(counts.get(name, 0) for name in ("passed", "xfailed", "xpassed"))
    return Summary(passed=passed, failed=failed, skipped=counts.get("skipped", 0))
