"""A webhook reaches public addresses and the networks that were opened, and nothing else, whatever it is told."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from agents.skills.base import SkillRefused
from agents.skills.source_fetch import SourceFetch
from agents.skills.source_fetch.target import FetchPolicy
from orchestrator_site.webhooks.sending import post
from tests.integration.webhook_cast import LOOPBACK, Receiver, run_receiver
from tests.security.https_server import NameTable
from tests.security.test_ssrf import run

NAMES = {
    "inside.example": [["10.0.0.7"]],
    "local.example": [[LOOPBACK]],
    "cloud.example": [["169.254.169.254"]],
    "mixed.example": [["93.184.215.14", LOOPBACK]],
    "docs.example.org": [[LOOPBACK]],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> NameTable:
    table = NameTable(NAMES)
    monkeypatch.setattr(socket, "getaddrinfo", table.getaddrinfo)
    return table


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with run_receiver() as running:
        yield running


def try_(url: str) -> Any:
    return post(url, b"{}", {}, timeout_seconds=5)


@pytest.mark.parametrize(
    "host",
    [
        LOOPBACK, "169.254.169.254", "10.1.2.3", "192.168.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[fd00::1]",
        *NAMES,
    ],
)  # fmt: skip
def test_it_refuses_what_is_not_public(host: str, receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    answer = try_(receiver.url(host=host))
    assert (answer.status, answer.code, answer.is_final) == (None, "address_not_allowed", True)
    assert "not a public one. Nothing was sent to it." in answer.note
    assert receiver.seen == []


def test_it_judges_the_open_connection_again(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is made to let everything through; the second check still refuses, on plain http too."""
    from AntiSSRF._ipaddr import IPAddress

    settings.WEBHOOK_ALLOWED_NETWORKS = []
    monkeypatch.setattr("AntiSSRF._antissrf_agent._validate_request_host", lambda policy, host: [IPAddress(LOOPBACK)])
    assert try_(receiver.url(host="hooks.example")).code == "address_not_allowed"
    assert receiver.seen == []


def test_it_reaches_an_opened_network_alone(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [f"{LOOPBACK}/32"]
    assert try_(receiver.url(host="local.example")).status == 200
    assert receiver.seen[0][1]["Host"] == "local.example"
    assert try_(receiver.url(host="inside.example")).code == "address_not_allowed"
    assert try_(receiver.url(host="cloud.example")).code == "address_not_allowed"


def test_it_follows_no_redirect(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [f"{LOOPBACK}/32"]
    for to in ("http://169.254.169.254/latest/", receiver.url("/elsewhere"), "http://[", "//"):
        receiver.answers(307, Location=to)
        answer = try_(receiver.url())
        assert (answer.status, answer.is_taken) == (307, False)
        assert "which is not followed" in answer.note
    assert {path for path, _, _ in receiver.seen} == {"/hook"}


def test_it_takes_no_proxy_and_no_login_from_the_environment(
    receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [f"{LOOPBACK}/32"]
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login canary password canary-pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert try_(receiver.url()).status == 200
    assert "Authorization" not in receiver.seen[0][1]


def test_opened_networks_open_nothing_to_source_fetch(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["0.0.0.0/0", "::/0"]
    with pytest.raises(SkillRefused) as refused:
        run(SourceFetch(), "https://docs.example.org/")
    assert refused.value.code == "address_not_allowed"
    with pytest.raises(SkillRefused):
        run(SourceFetch(FetchPolicy(port=80)), "http://docs.example.org/")
