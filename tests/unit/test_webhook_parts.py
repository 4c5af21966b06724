"""Webhooks without a store: addresses, signatures, waits, and the example of the docs."""

import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

from agents.outbound.receivers import parse_receiver, show_receiver
from orchestrator_site.webhooks.retrying import LONGEST_WAIT, MAX_ATTEMPTS, find_wait, read_retry_after
from orchestrator_site.webhooks.signing import derive_secret, list_secrets, sign
from tests.running import free_port

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://Hooks.Example./a?b=ä", "https://hooks.example/a?b=%C3%A4"),
        ("http://10.1.2.3:8080", "http://10.1.2.3:8080/"),
        ("https://[FD00::1]/x", "https://[fd00::1]/x"),
        ("https://bücher.example:443/", "https://xn--bcher-kva.example/"),
    ],
)
def test_an_address_has_one_form(url: str, form: str) -> None:
    assert parse_receiver(url).url == form


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example", "//hooks.example/", "https://", "https:///x", "file:///etc/passwd", "https://a@b.example/",
        "https://a.example\\@b.example/", "https://a.example%00.b.example/", "https://127.1/", "https://2130706433/",
        "https://0x7f000001/", "https://0177.0.0.1/", "https://a.example:x/", "https://a.example:99999/",
        "https://a .example/", "https://a.example/\n", "https://a.example/#", "https://[fe80::1%25eth0]/",
        "https://a..example/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_receiver(url)


def test_a_page_shows_no_query() -> None:
    assert show_receiver("https://a.example/x?token=y") == "https://a.example/x?…"
    assert show_receiver("https://a.example/x") == "https://a.example/x"


def test_the_waits_grow_to_six_hours_and_end_within_a_day() -> None:
    for draw in (0.0, 0.5, 1.0):
        waits = [find_wait(attempt, draw=draw) for attempt in range(1, MAX_ATTEMPTS)]
        assert all(wait is not None for wait in waits)
        total = sum((wait for wait in waits if wait), timedelta())
        assert timedelta(hours=12) < total < timedelta(hours=24)
    assert find_wait(MAX_ATTEMPTS, draw=0.5) is None
    assert find_wait(1, draw=0.5, asked=timedelta(minutes=5)) == timedelta(minutes=5)
    assert find_wait(1, draw=0.5, asked=timedelta(days=9)) == LONGEST_WAIT
    assert find_wait(5, draw=0.5, asked=timedelta(seconds=1)) == timedelta(seconds=1_280)


def test_a_receiver_that_is_busy_says_when_in_seconds_or_by_a_date() -> None:
    assert read_retry_after(503, "120", now=NOW) == timedelta(seconds=120)
    assert read_retry_after(429, "Thu, 26 Nov 2026 06:10:00 GMT", now=NOW) == timedelta(minutes=10)
    assert read_retry_after(429, "Thu, 26 Nov 2026 05:00:00 GMT", now=NOW) == timedelta()
    for status, header in ((500, "120"), (429, ""), (429, "soon"), (429, "-1"), (429, "9" * 64)):
        assert (read_retry_after(status, header, now=NOW) or timedelta()) <= timedelta(days=20_000)
    for mad in ("Mon, 1 Jan 99999999999999 00:00:00 GMT", "Mon, 1 Jan 2026 99999999999999999999:00:00 GMT",
                "Mon, 1 Jan 2026 00:00:00 +9999999999999999"):  # fmt: skip
        assert read_retry_after(503, mad, now=NOW) is None
    assert read_retry_after(500, "120", now=NOW) is None
    assert read_retry_after(429, "soon", now=NOW) is None


def test_each_receiver_and_each_change_has_a_secret_of_its_own() -> None:
    secrets = [derive_secret(key, who, number) for key in "kl" for who in ("a", "b") for number in (1, 2)]
    assert len(set(secrets)) == 8
    assert list_secrets("k", "a", 1, rotated_at=None, now=NOW) == secrets[:1]
    assert list_secrets("k", "a", 2, rotated_at=NOW, now=NOW) == [secrets[1], secrets[0]]
    assert list_secrets("k", "a", 2, rotated_at=NOW, now=NOW + timedelta(hours=24)) == [secrets[1]]


def test_a_signature_is_the_oracles() -> None:
    secret = derive_secret("k", "a", 1)
    headers = sign("id", b'{"a":1}', [secret], now=NOW)
    assert headers["webhook-signature"] == Webhook(secret).sign("id", NOW, '{"a":1}')


def test_the_receiver_of_the_docs_takes_ours_and_nothing_else(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    found = re.search(r"<!-- test: receiver -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert len(found[1].splitlines()) <= 20
    program, port, secret = tmp_path / "receiver.py", free_port(), derive_secret("k", "a", 1)
    program.write_text(found[1])
    environment = {"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret, "RECEIVER_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-I", program], env=environment, stderr=subprocess.DEVNULL)
    try:
        payload, now = b'{"type":"task.succeeded"}', datetime.now(UTC)
        url, old = f"http://127.0.0.1:{port}/", now - timedelta(minutes=10)
        answers = [
            _post(url, payload, sign("id", payload, [derive_secret("k", "a", 2), secret], now=now)),
            _post(url, payload + b" ", sign("id", payload, [secret], now=now)),
            _post(url, payload, sign("id", payload, [derive_secret("k", "b", 1)], now=now)),
            _post(url, payload, sign("id", payload, [secret], now=old)),
        ]
    finally:
        process.kill()
        process.wait()
    assert answers == [204, 401, 401, 401]


def _post(url: str, payload: bytes, headers: dict[str, str]) -> int:
    give_up_at = time.monotonic() + 20
    while True:
        try:
            return httpx2.post(url, content=payload, headers=headers, timeout=5).status_code
        except httpx2.ConnectError:
            assert time.monotonic() < give_up_at, "it does not listen"
            time.sleep(0.05)
