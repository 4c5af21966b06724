"""haproxy as docs/deployment.md sets it up, before a real server: what is seen over https, and what http leads to."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets.sync.client

from tests.live_cast import wait_for_port
from tests.running import ROOT, RunningServer, free_port
from tests.security.https_server import write_certificates

HOST = "docs.example.org"  # a name that the certificate has
BLOCK = re.compile(r"```haproxy\n(.*?)```", re.DOTALL)


@contextmanager
def run_haproxy(folder: Path, upstream: int) -> Iterator[tuple[int, int, ssl.SSLContext]]:
    """Run the documented configuration on other ports; give those of http and https, and whom to believe."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is not installed: apt-get install haproxy")
    authority, chain = write_certificates(folder)
    http, https = free_port(), free_port()
    (config,) = BLOCK.findall((ROOT / "docs" / "deployment.md").read_text())
    assert "hdr Host localhost" in config  # without a name it would be the container's address, which is not served
    for name, here in {
        ":80\n": f"127.0.0.1:{http}\n",
        ":443 ": f"127.0.0.1:{https} ",
        "/etc/haproxy/orchestrator.pem": str(chain),
        "127.0.0.1:3000": f"127.0.0.1:{upstream}",
    }.items():
        assert name in config
        config = config.replace(name, here)
    file = folder / "haproxy.cfg"
    file.write_text(config)
    checked = subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert (checked.returncode, "[WARNING]" in checked.stderr) == (0, False), checked.stderr
    process = subprocess.Popen([program, "-db", "-f", str(file)])
    try:
        wait_for_port(https)
        context = ssl.create_default_context(cafile=str(authority))
        context.check_hostname = False  # it is reached by its address here
        yield http, https, context
    finally:
        process.terminate()
        process.wait(10)


def wait_until_up(client: httpx2.Client) -> None:
    """Wait until the proxy has seen that the server is ready."""
    give_up_at = time.monotonic() + 20
    while client.get("/health").status_code == 503:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def test_people_sign_in_over_https_and_are_led_to_it(tmp_path: Path) -> None:
    server = RunningServer(
        tmp_path / "var", HTTPS_ONLY="1", ALLOWED_HOSTS=f"{HOST},localhost,127.0.0.1", FORWARDED_ALLOW_IPS="127.0.0.1"
    )
    try:
        server.start()
        with run_haproxy(tmp_path, server.port) as (http, https, context):
            led = httpx2.get(f"http://127.0.0.1:{http}/tasks/?page=2", headers={"Host": HOST})
            assert (led.status_code, led.headers["Location"]) == (308, f"https://{HOST}/tasks/?page=2")
            named = {"Host": HOST, "Origin": f"https://{HOST}", "Referer": f"https://{HOST}/accounts/login/"}
            with httpx2.Client(base_url=f"https://127.0.0.1:{https}", headers=named, verify=context) as client:
                wait_until_up(client)
                cookie = sign_in(client, server.password_of("admin"))
            # By name, as a browser: a page of another origin may not open the console's socket.
            raw = socket.create_connection(("127.0.0.1", https))
            names: dict[str, Any] = {
                "origin": websockets.Origin(f"https://{HOST}"),
                "additional_headers": {"Cookie": cookie},
            }
            with websockets.sync.client.connect(f"wss://{HOST}/ws/console/", sock=raw, ssl=context, **names) as tab:
                tab.send(json.dumps({"op": "hello", "last": None, "filters": {}}))
                assert json.loads(tab.recv(10))["op"] == "hello"
    finally:
        server.stop()


def sign_in(client: httpx2.Client, password: str) -> str:
    """Sign in as a browser does, and return the session's cookie."""
    page = client.get("/accounts/login/")
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    csrf = page.headers["Set-Cookie"]
    assert token is not None
    assert "Secure" in csrf
    form = {"login": "admin", "password": password, "csrfmiddlewaretoken": token[1]}
    answer = client.post("/accounts/login/", data=form, headers={"Cookie": csrf.partition(";")[0]})
    assert answer.status_code == 302, answer.text[:2000]
    session = next(line for line in answer.headers.get_list("Set-Cookie") if line.startswith("sessionid="))
    assert "Secure" in session
    return session.partition(";")[0]
