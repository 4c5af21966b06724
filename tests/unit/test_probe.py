"""The image's health check, as a container engine runs it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.servers import find_free_port

PROBE = Path(__file__).resolve().parents[2] / "orchestrator_site" / "probe.py"


class Answers(BaseHTTPRequestHandler):
    """Answers the status that the path names; nothing at all on `/silence`."""

    def do_GET(self) -> None:
        if self.path == "/silence":
            return
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def probe(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-I", "-S", PROBE, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("status", ["200", "204"])
def test_what_is_well_is_0_and_says_nothing(url: str, status: str) -> None:
    assert probe(f"{url}/{status}") == (0, "")


def test_what_is_not_well_is_1_and_a_line(url: str) -> None:
    assert probe(f"{url}/503") == (1, f"{url}/503 answers 503\n")
    assert probe(f"{url}/silence") == (1, f"{url}/silence answers nothing\n")
    code, line = probe(f"http://127.0.0.1:{find_free_port()}/health")
    assert (code, "does not answer" in line, line.count("\n")) == (1, True, 1)


@pytest.mark.parametrize("wrong", ["https://127.0.0.1:1/", "http://127.0.0.1/health", "http://:1/", "health"])
def test_an_address_it_cannot_ask_is_said_to_be_wrong(wrong: str) -> None:
    assert probe(wrong) == (1, f"{wrong}: an address such as http://127.0.0.1:3000/health is needed\n")


def test_without_an_address_it_says_how_it_is_used() -> None:
    assert probe()[1].startswith("usage: ")
