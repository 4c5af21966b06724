"""sourceFetch reaches the public hosts that the rules allow, and nothing else, whatever it is told."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.outbound.guard import Guard
from agents.skills.base import LimitExceeded, SkillContext, SkillError, SkillRefused, SkillStopped
from agents.skills.source_fetch import SourceFetch, SourceFetchInput, SourceFetchOutput
from agents.skills.source_fetch.target import FetchPolicy, is_allowed_host, parse_url
from tests.security.https_server import LOOPBACK, HttpsServer, NameTable, drip, pack_bomb, run_https_server, send

DOMAINS = ("docs.example.org", "*.example.org")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    with run_https_server(tmp_path_factory.mktemp("https")) as server:
        yield server


@pytest.fixture
def server(running: HttpsServer) -> HttpsServer:
    running.routes.clear()
    running.seen.clear()
    return running


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> NameTable:
    table = NameTable(
        {
            "docs.example.org": [[LOOPBACK]],
            "www.example.org": [[LOOPBACK]],
            "10.example.org": [["10.0.0.7"]],
            "mixed.example.org": [[LOOPBACK, "169.254.169.254"]],
            "rebind.example.org": [[LOOPBACK], ["10.0.0.7"]],
        }
    )
    monkeypatch.setattr(socket, "getaddrinfo", table.getaddrinfo)
    return table


@pytest.fixture
def skill(server: HttpsServer) -> SourceFetch:
    """Give the skill with loopback as its public internet."""
    policy = FetchPolicy(port=server.port, certificates=str(server.certificates), extra_networks=(f"{LOOPBACK}/32",))
    return SourceFetch(policy)


def run(skill: SourceFetch, url: str, *, domains: tuple[str, ...] = DOMAINS, **arguments: object) -> SourceFetchOutput:
    context = SkillContext(workspace=Path("/nowhere"), task_id="t", timeout_seconds=30, domains=domains)
    return skill.run(SourceFetchInput.model_validate({"url": url, **arguments}), context)


class TestAddressesThatAreNotFetched:
    @pytest.mark.parametrize(
        "url",
        [
            "http://docs.example.org/",
            "ftp://docs.example.org/",
            "file:///etc/passwd",
            "gopher://docs.example.org/",
            "//docs.example.org/",
            "docs.example.org",
            "https://",
            "https:///path",
            "https://docs.example.org:8443/",
            "https://docs.example.org:0/",
            "https://docs.example.org:99999/",
            "https://docs.example.org:x/",
            "https://user@docs.example.org/",
            "https://user:pw@docs.example.org/",
            "https://docs.example.org@127.0.0.1/",
            "https://docs.example.org\\@127.0.0.1/",
            "https://docs.example.org%2f@127.0.0.1/",
            "https://docs.example.org%00.evil.org/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fe80::1%25eth0]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://①②⑦.⓪.⓪.①/",
            "https://docs.example.org\t.evil.org/",
            "https://docs.example.org\n/",
            "https://docs.example.org\u200b/",
            "https://docs.example.org /",
            " https://docs.example.org/",
            "https://-docs.example.org/",
            "https://docs..example.org/",
            "https://" + "a" * 64 + ".example.org/",
            "https://docs.example.org/" + "a" * 2_048,
            "HTTPS://docs.example.org:80/",
        ],
    )
    def test_it_refuses_what_is_not_an_https_address_by_name(self, url: str) -> None:
        with pytest.raises(SkillRefused) as refused:
            parse_url(url)
        assert refused.value.code == "domain_not_allowed"

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://Docs.Example.ORG/a", "docs.example.org"),
            ("HTTPS://docs.example.org.:443/a", "docs.example.org"),
            ("https://bücher.example/a", "xn--bcher-kva.example"),
            ("https://\uff44ocs.example.org/a", "docs.example.org"),
        ],
    )
    def test_it_names_hosts_in_one_form(self, url: str, host: str) -> None:
        target = parse_url(url)
        assert target.host == host
        assert target.url == f"https://{host}/a"

    def test_it_keeps_path_and_query_and_drops_the_fragment(self) -> None:
        assert parse_url("https://a.org/x y/ü?q=1&r=ä#frag".replace(" ", "%20")).path == "/x%20y/%C3%BC?q=1&r=%C3%A4"

    def test_it_tells_its_host_to_the_gate(self) -> None:
        arguments = SourceFetchInput(url="https://Docs.example.org/x")
        resource = SourceFetch().resource(arguments, Path("/nowhere"))
        assert resource.hosts == ("docs.example.org",)
        assert resource.arguments["timeoutMs"] == 10_000
        assert not any(isinstance(value, float) for value in resource.arguments.values())

    @pytest.mark.parametrize(
        ("host", "allowed"),
        [
            ("docs.example.org", True),
            ("a.b.example.net", True),
            ("example.net", False),
            ("evildocs.example.org", False),
            ("docs.example.org.evil.com", False),
            ("badexample.net", False),
        ],
    )
    def test_it_matches_whole_names(self, host: str, *, allowed: bool) -> None:
        assert is_allowed_host(host, ("docs.example.org", "*.example.net")) is allowed


class TestAddressesThatAreNotConnectedTo:
    @pytest.mark.parametrize(
        "address",
        [
            "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
            "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
            "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
            "2002:7f00:1::1", "2002:a00:1::1", "3fff::1", "4000::1", "fc00::1", "fd12:3456::1", "fe80::1",
            "fec0::1", "ff02::1", "8000::1", "5f00::1",
        ],
    )  # fmt: skip
    def test_it_refuses_every_address_that_is_not_public(self, address: str, names: NameTable) -> None:
        names._answers["docs.example.org"] = [[address]]
        with pytest.raises(SkillRefused) as refused:
            run(SourceFetch(), "https://docs.example.org/")
        assert refused.value.code == "address_not_allowed"
        assert not Guard(FetchPolicy()).is_public(address), "the check of the open connection has to agree"

    @pytest.mark.parametrize("address", ["8.8.8.8", "140.82.121.4", "2606:4700::6810:84e5", "::ffff:8.8.8.8"])
    def test_it_takes_public_addresses_for_public(self, address: str) -> None:
        assert Guard(FetchPolicy()).is_public(address)

    def test_it_refuses_a_name_with_one_bad_address_among_good_ones(
        self, skill: SourceFetch, server: HttpsServer
    ) -> None:
        with pytest.raises(SkillRefused) as refused:
            run(skill, server.url("/", "mixed.example.org"))
        assert refused.value.code == "address_not_allowed"
        assert server.seen == []

    def test_it_connects_to_what_it_resolved_once(
        self, skill: SourceFetch, server: HttpsServer, names: NameTable
    ) -> None:
        server.answer("/", b"first answer")
        assert run(skill, server.url("/", "rebind.example.org")).content == "first answer"
        assert names.asked.count("rebind.example.org") == 1
        with pytest.raises(SkillRefused):
            run(skill, server.url("/", "rebind.example.org"))

    def test_it_judges_the_open_connection_again(self, server: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """The library is made to let everything through; the second check still refuses."""
        monkeypatch.setattr("AntiSSRF._antissrf_agent._validate_request_host", _let_through)
        policy = FetchPolicy(port=server.port, certificates=str(server.certificates))
        with pytest.raises(SkillRefused) as refused:
            run(SourceFetch(policy), server.url("/"))
        assert refused.value.code == "address_not_allowed"
        assert server.seen == []

    def test_it_has_no_way_to_loopback_by_default(self, server: HttpsServer) -> None:
        with pytest.raises(SkillRefused):
            run(SourceFetch(FetchPolicy(port=server.port)), server.url("/"))
        assert server.seen == []


def _let_through(policy: object, host: str) -> list[object]:
    from AntiSSRF._ipaddr import IPAddress

    return [IPAddress(LOOPBACK)]


class TestRedirects:
    def test_it_follows_three(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.redirect("/1", "/2", 301)
        server.redirect("/2", server.url("/3", "www.example.org"), 307)
        server.redirect("/3", "4?x=1", 308)
        server.answer("/4?x=1", b"arrived")
        output = run(skill, server.url("/1"))
        assert output.content == "arrived"
        assert output.final_url == server.url("/4?x=1", "www.example.org")

    def test_it_stops_at_the_fourth(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.redirect("/loop", "/loop")
        with pytest.raises(LimitExceeded) as reached:
            run(skill, server.url("/loop"))
        assert reached.value.limit == "redirects"
        assert len(server.seen) == 4

    @pytest.mark.parametrize(
        ("to", "code"),
        [
            ("https://evil.org/", "domain_not_allowed"),
            ("http://docs.example.org/", "domain_not_allowed"),
            ("https://169.254.169.254/", "domain_not_allowed"),
            ("https://127.0.0.1/", "domain_not_allowed"),
            ("//evil.org/", "domain_not_allowed"),
            ("file:///etc/passwd", "domain_not_allowed"),
            ("https://docs.example.org@evil.org/", "domain_not_allowed"),
            ("https://10.example.org:{port}/", "address_not_allowed"),
            ("https://[::1/", "bad_response"),
        ],
    )
    def test_it_judges_each_one_anew(self, skill: SourceFetch, server: HttpsServer, to: str, code: str) -> None:
        server.redirect("/", to.format(port=server.port))
        with pytest.raises(SkillError) as refused:
            run(skill, server.url("/"))
        assert refused.value.code == code
        assert not refused.value.retryable
        assert len(server.seen) == 1

    def test_it_carries_no_cookies_along(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/", b"", status=302, location="/next", set_cookie="id=1; Path=/")
        server.answer("/next", b"ok")
        run(skill, server.url("/"))
        assert "Cookie" not in server.seen[1][2]


class TestBounds:
    def test_it_never_unpacks_a_bomb(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/bomb", pack_bomb(64), content_encoding="gzip")
        with pytest.raises(LimitExceeded) as reached:
            run(skill, server.url("/bomb"))
        assert reached.value.limit == "bytes"

    def test_it_stops_reading_what_is_too_large(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/large", b"x" * 5_000_001)
        with pytest.raises(LimitExceeded):
            run(skill, server.url("/large"))
        server.answer("/fits", b"x" * 5_000_000)
        assert run(skill, server.url("/fits")).size_bytes == 5_000_000

    @pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
    def test_it_refuses_packings_that_it_did_not_ask_for(
        self, skill: SourceFetch, server: HttpsServer, encoding: str
    ) -> None:
        server.answer("/", b"x", content_encoding=encoding)
        with pytest.raises(SkillError) as refused:
            run(skill, server.url("/"))
        assert refused.value.code == "bad_response"

    def test_it_says_when_a_packed_body_is_broken(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/", b"not gzip at all", content_encoding="gzip")
        with pytest.raises(SkillError) as refused:
            run(skill, server.url("/"))
        assert refused.value.code == "bad_response"

    @pytest.mark.parametrize("type_", ["image/png", "application/octet-stream", "application/zip", ""])
    def test_it_reads_texts_only(self, skill: SourceFetch, server: HttpsServer, type_: str) -> None:
        server.answer("/", b"x", content_type=type_)
        with pytest.raises(SkillError) as refused:
            run(skill, server.url("/"))
        assert refused.value.code == "content_type_not_allowed"

    def test_it_ends_at_its_deadline_though_every_read_is_short(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.routes["/drip"] = drip
        started = time.monotonic()
        with pytest.raises(SkillError) as late:
            run(skill, server.url("/drip"), timeoutMs=500)
        assert (late.value.code, late.value.retryable) == ("timeout", True)
        assert time.monotonic() - started < 2
        _wait_until_no_fetch_runs()

    def test_it_ends_at_its_deadline_while_a_name_is_resolved(
        self, skill: SourceFetch, server: HttpsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = threading.Event()

        def resolve_slowly(*args: object, **kwargs: object) -> list[object]:
            released.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")

        monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
        with pytest.raises(SkillError) as late:
            run(skill, server.url("/"), timeoutMs=200)
        assert late.value.code == "timeout"
        released.set()
        _wait_until_no_fetch_runs()

    def test_it_ends_when_told_to(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.routes["/drip"] = drip
        told = threading.Event()
        threading.Timer(0.3, told.set).start()
        context = SkillContext(
            workspace=Path("/nowhere"), task_id="t", timeout_seconds=30, domains=DOMAINS, should_stop=told.is_set
        )
        started = time.monotonic()
        with pytest.raises(SkillStopped):
            skill.run(SourceFetchInput(url=server.url("/drip")), context)
        assert time.monotonic() - started < 2
        _wait_until_no_fetch_runs()


def _wait_until_no_fetch_runs() -> None:
    """Fail if the thread of a fetch that is over goes on."""
    until = time.monotonic() + 3
    while any(thread.name == "source-fetch" for thread in threading.enumerate()):
        assert time.monotonic() < until, "a fetch went on after its deadline"
        time.sleep(0.02)


class TestFaults:
    def test_it_retries_names_that_do_not_resolve(self, skill: SourceFetch, server: HttpsServer) -> None:
        with pytest.raises(SkillError) as failed:
            run(skill, server.url("/", "gone.example.org"))
        assert (failed.value.code, failed.value.retryable) == ("dns_failed", True)

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_it_retries_errors_of_the_server(self, skill: SourceFetch, server: HttpsServer, status: int) -> None:
        server.answer("/", b"oops", status=status, retry_after="7")
        with pytest.raises(SkillError) as failed:
            run(skill, server.url("/"))
        assert (failed.value.code, failed.value.retryable) == ("server_error", True)
        assert failed.value.retry_after_seconds == 7

    def test_it_bounds_how_long_a_source_may_make_it_wait(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/", b"", status=429, retry_after="99999999")
        with pytest.raises(SkillError) as failed:
            run(skill, server.url("/"))
        assert failed.value.retry_after_seconds == 3_600

    def test_it_gives_a_missing_page_as_a_result(self, skill: SourceFetch, server: HttpsServer) -> None:
        output = run(skill, server.url("/missing"))
        assert (output.status_code, output.content) == (404, "not here")

    def test_it_retries_a_body_that_ends_early(self, skill: SourceFetch, server: HttpsServer) -> None:
        headers = {"Content-Type": "text/plain", "Content-Length": "100"}
        server.routes["/"] = lambda handler: send(handler, b"half", headers=headers)
        with pytest.raises(SkillError) as failed:
            run(skill, server.url("/"))
        assert (failed.value.code, failed.value.retryable) == ("connection_failed", True)

    def test_it_retries_a_refused_connection(self, skill: SourceFetch, server: HttpsServer) -> None:
        with socket.socket() as unused:
            unused.bind((LOOPBACK, 0))
            port = unused.getsockname()[1]
            policy = FetchPolicy(port=port, extra_networks=(f"{LOOPBACK}/32",))
            with pytest.raises(SkillError) as failed:
                run(SourceFetch(policy), f"https://docs.example.org:{port}/")
        assert (failed.value.code, failed.value.retryable) == ("connection_failed", True)

    def test_it_does_not_trust_a_stranger(self, server: HttpsServer) -> None:
        policy = FetchPolicy(port=server.port, extra_networks=(f"{LOOPBACK}/32",))
        with pytest.raises(SkillError) as failed:
            run(SourceFetch(policy), server.url("/"))
        assert (failed.value.code, failed.value.retryable) == ("tls_failed", False)
        assert server.seen == []

    def test_it_wants_the_certificate_of_the_name(
        self, skill: SourceFetch, server: HttpsServer, names: NameTable
    ) -> None:
        names._answers["other.example.org"] = [[LOOPBACK]]
        with pytest.raises(SkillError) as failed:
            run(skill, server.url("/", "other.example.org"))
        assert failed.value.code == "tls_failed"

    def test_it_takes_no_proxy_from_the_environment(
        self, skill: SourceFetch, server: HttpsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
        server.answer("/", b"direct")
        assert run(skill, server.url("/")).content == "direct"

    def test_it_asks_no_host_that_the_rules_do_not_name(self, skill: SourceFetch, server: HttpsServer) -> None:
        for domains in ((), ("www.example.org",)):
            with pytest.raises(SkillRefused) as refused:
                run(skill, server.url("/"), domains=domains)
            assert refused.value.code == "domain_not_allowed"
        assert server.seen == []


class TestContent:
    PAGE = (
        "<html><head><title>T</title><style>p{}</style></head><body onload='x()'><h1>Prices</h1><script>evil()</script>"
        "<p>Caf\u00e9 <a href='javascript:x()'>menu</a></p><ul><li>one</li><li>two</li></ul></body></html>"
    )

    def test_it_gives_a_page_as_text(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/", self.PAGE.encode("latin-1"), content_type="text/html; charset=ISO-8859-1")
        output = run(skill, server.url("/"))
        assert output.content == "Prices\n\nCaf\u00e9 menu\n\n- one\n- two"
        assert output.content_type == "text/html"
        assert output.size_bytes == len(self.PAGE)
        assert output.fetched_at.endswith("Z")

    def test_it_gives_html_without_what_would_run(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/", self.PAGE.encode(), content_type="text/html; charset=utf-8")
        content = run(skill, server.url("/"), normalizeText=False).content
        assert "<h1>Prices</h1>" in content
        assert not any(word in content for word in ("evil", "javascript", "onload"))

    def test_it_gives_all_of_it_when_asked(self, skill: SourceFetch, server: HttpsServer) -> None:
        server.answer("/", self.PAGE.encode(), content_type="text/html")
        assert run(skill, server.url("/"), normalizeText=False, stripScripts=False).content == self.PAGE

    def test_it_reads_a_pdf_as_text(self, skill: SourceFetch, server: HttpsServer) -> None:
        report = Path(__file__).parents[2] / "examples" / "inspection-report.pdf"
        server.answer("/", report.read_bytes(), content_type="application/pdf")
        assert run(skill, server.url("/")).content.startswith("Inspection report\n\nKestrel Robotics, Bremen.")

    def test_it_reads_packed_json_as_it_is(self, skill: SourceFetch, server: HttpsServer) -> None:
        import gzip

        server.answer("/", gzip.compress(b'{"a": 1}'), content_type="application/json", content_encoding="gzip")
        assert run(skill, server.url("/")).content == '{"a": 1}'

    @pytest.mark.parametrize("charset", ["no-such", "unicode_escape", "zip", "idna", "utf-7"])
    def test_it_falls_back_to_utf8(self, skill: SourceFetch, server: HttpsServer, charset: str) -> None:
        server.answer("/", "é\0".encode(), content_type=f"text/plain; charset={charset}")
        assert run(skill, server.url("/")).content == "é\ufffd"
