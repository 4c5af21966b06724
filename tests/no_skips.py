"""A pytest plugin that turns every skip into a failure: a test that did not run proves nothing.

Loaded with `-p tests.no_skips` by make; a plain `pytest` may still skip. What no set-up of a build machine can bring,
a program that no package index has, skips with a reason that begins with "Not run here", and is listed at the end.
"""

import shutil
import sys
from collections.abc import Generator

import pytest

NOT_RUN = "Skipped: Not run here"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skipped itself; one that is expected to fail stays what it is."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and NOT_RUN not in str(report.longrepr):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skipped itself when it was imported."""
    report = yield
    if report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped, which is not allowed here: {report.longrepr}"


def find_chromium() -> str:
    """Return the path of Chromium, or end the process with one line that says how to get it."""
    for name in CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    sys.exit("The browser tests need Chromium, which is not on the PATH: apt-get install chromium")
