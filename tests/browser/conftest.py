"""A real server, a real browser, and an eye on everything the browser complains about."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.no_skips import find_chromium
from tests.running import ROOT, RunningServer

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

# Kept where a test can ask for it, because a page that reloads forgets.
WATCH_CSP = """
document.addEventListener("securitypolicyviolation", (event) =>
  window.report_violation(event.violatedDirective + " " + event.blockedURI + " " + event.sample));
"""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Start Debian's Chromium; as root it has no sandbox."""
    args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    return {**browser_type_launch_args, "executable_path": find_chromium(), "args": args}


@pytest.fixture(scope="session", autouse=True)
def static_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Collect the static files as they are now, for every server; several processes at once leave that to make."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    environment = {"SECRET_KEY": "static", "ORCHESTRATOR_VAR": str(tmp_path_factory.mktemp("static"))}
    subprocess.run(collect, cwd=ROOT, check=True, env=environment)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run the product as `make run` does, on a state of its own."""
    running = RunningServer(tmp_path_factory.mktemp("browser") / "var").start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def signed_in(browser: Browser, server: RunningServer) -> Callable[[str], Any]:
    """Give the storage state of a user, signed in once a session."""
    states: dict[str, Any] = {}

    def _sign_in(user: str) -> Any:
        if user not in states:
            context = browser.new_context(base_url=server.url)
            page = context.new_page()
            page.goto("/")
            page.get_by_label("User name").fill(user)
            page.get_by_label("Password").fill(server.password_of(user))
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("/")
            states[user] = context.storage_state()
            context.close()
        return states[user]

    return _sign_in


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """Collect what the browser complains about; any complaint fails the test."""
    heard: list[str] = []
    yield heard
    assert heard == []


@pytest.fixture
def open_page(
    browser: Browser, server: RunningServer, signed_in: Callable[[str], Any], complaints: list[str]
) -> Iterator[OpenPage]:
    """Give a function that opens a page as a user, in a context of its own."""
    contexts: list[BrowserContext] = []

    def _open(path: str = "/", *, user: str = "admin", narrow: bool = False, **options: Any) -> Page:
        state = signed_in(user) if user else None
        size: Any = NARROW if narrow else WIDE
        context = browser.new_context(base_url=server.url, storage_state=state, viewport=size, **options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        watch(page, complaints)
        page.goto(path)
        return page

    yield _open
    for context in contexts:
        context.close()


def watch(page: Page, complaints: list[str]) -> None:
    """Write down console errors, uncaught exceptions and what the content security policy blocked."""
    page.expose_function("report_violation", lambda text: complaints.append(f"blocked: {text}"))
    page.add_init_script(WATCH_CSP)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("console", lambda said: complaints.append(f"{page.url}: {said.text}") if said.type == "error" else None)


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Give a function that keeps a picture of a page, where `--output` says."""
    folder = Path(request.config.getoption("--output")) / "pictures"

    def _shoot(page: Page, name: str) -> None:
        # Hiding the caret would write style attributes, which htmx takes along when it swaps, and our policy blocks.
        page.screenshot(path=folder / f"{name}.png", full_page=True, caret="initial")

    return _shoot
