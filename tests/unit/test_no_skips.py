"""The plugin that turns skips into failures, on tests of its own."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SAMPLE = """
import pytest

@pytest.mark.skip(reason="later")
def test_marked(): pass

def test_by_itself(): pytest.skip("no server")

def test_elsewhere(): pytest.skip("Not run here: no index has the program")

@pytest.mark.xfail(reason="known")
def test_known(): assert False

def test_fine(): pass
"""


@pytest.fixture
def plugin(pytester: pytest.Pytester) -> pytest.Pytester:
    source = Path(__file__).resolve().parents[1] / "no_skips.py"
    pytester.makepyfile(no_skips=source.read_text())
    pytester.syspathinsert()
    return pytester


OPTIONS = ("-p", "no_skips", "-p", "no:django", "-p", "no:asyncio", "-p", "no:cacheprovider", "-p", "no:playwright")


def test_it_fails_what_skips_and_nothing_else(plugin: pytest.Pytester) -> None:
    plugin.makepyfile(test_sample=SAMPLE)
    result = plugin.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(passed=1, failed=1, xfailed=1, errors=1, skipped=1)
    result.stdout.fnmatch_lines(["*skipped, which is not allowed here*no server*"])


def test_it_fails_a_module_that_skips_itself(plugin: pytest.Pytester) -> None:
    plugin.makepyfile(test_sample="import pytest\npytest.importorskip('no_such_package')\ndef test_never(): pass\n")
    result = plugin.runpytest_subprocess(*OPTIONS)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*skipped, which is not allowed here*"])


def test_without_it_a_skip_passes(plugin: pytest.Pytester) -> None:
    plugin.makepyfile(test_sample=SAMPLE)
    result = plugin.runpytest_subprocess(*OPTIONS[2:])
    result.assert_outcomes(passed=1, skipped=3, xfailed=1)
