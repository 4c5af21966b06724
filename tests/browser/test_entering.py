"""A passkey in a real browser: added, asked for, and enough by itself; each page on the way under the policy."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import NARROW, watch
from tests.running import RunningServer

pytestmark = pytest.mark.browser


def hold_passkeys(page: Page) -> None:
    """Give the browser a device that holds passkeys and verifies its owner."""
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    kind = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options = kind | {"isUserVerified": True, "automaticPresenceSimulation": True}
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def look(page: Page, shots: Callable[[Page, str], None], name: str) -> None:
    """Have axe look at the page; the small ones of the entrance look alike in every width and light."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} sticks out"
    shots(page, f"entering-{name}")


def test_a_passkey_is_added_and_opens_the_console_alone(
    browser: Browser, server: RunningServer, complaints: list[str], shots: Callable[[Page, str], None]
) -> None:
    context = browser.new_context(base_url=f"http://localhost:{server.port}", viewport=NARROW, color_scheme="dark")
    context.set_default_timeout(10_000)
    page = context.new_page()
    watch(page, complaints)
    hold_passkeys(page)
    page.goto("/settings/security/")
    look(page, shots, "login")
    page.get_by_label("User name").fill("approver")
    page.get_by_label("Password").fill(server.password_of("approver"))
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="Add passkey").click()
    look(page, shots, "confirm")
    page.get_by_label("Password").fill(server.password_of("approver"))
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("Laptop")
    page.get_by_label("Sign in with it alone").check()
    look(page, shots, "add")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Recovery codes")).to_be_visible()
    look(page, shots, "codes")
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_role("row", name="Laptop")).to_contain_text("Passkey")
    look(page, shots, "security")
    page.get_by_role("link", name="Sessions", exact=True).click()
    look(page, shots, "sessions")
    page.goto("/accounts/2fa/totp/activate/")
    look(page, shots, "app")
    _sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("/")
    _sign_out(page)
    page.get_by_label("User name").fill("approver")
    page.get_by_label("Password").fill(server.password_of("approver"))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    look(page, shots, "second")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("/")
    context.close()


def _sign_out(page: Page) -> None:
    page.goto("/accounts/logout/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/**")


def test_raw_data_is_read_under_the_policy(open_page: Callable[..., Page], shots: Callable[[Page, str], None]) -> None:
    page = open_page("/admin/")
    expect(page.get_by_role("heading", name="Tables")).to_be_visible()
    page.get_by_role("link", name="Users", exact=True).first.click()
    shots(page, "raw-list")
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_text("is superuser", exact=False).or_(page.get_by_text("Superuser status"))).to_be_visible()
    shots(page, "raw-row")
