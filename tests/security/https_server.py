"""A real https server on loopback with a certificate authority of its own, and a name table for the resolver."""

import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ["docs.example.org", "www.example.org", "10.example.org", "mixed.example.org", "rebind.example.org"]
LOOPBACK = "127.0.0.1"


@dataclass(kw_only=True)
class HttpsServer:
    """A running server; `routes` maps a path to what answers it, `seen` holds every request."""

    port: int
    certificates: Path
    routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, host: str = "docs.example.org") -> str:
        return f"https://{host}:{self.port}{path}"

    def answer(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Answer a path with a fixed response."""
        named = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
        named |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        self.routes[path] = lambda handler: send(handler, body, status=status, headers=named)

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        self.answer(path, b"", status=status, location=to)


def send(handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send a header a tenth of a second, for ever: no single read ever takes long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        handler.wfile.write(f"X-{number}: x\r\n".encode())
        handler.wfile.flush()
        time.sleep(0.1)


def pack_bomb(megabytes: int) -> bytes:
    """Return a small gzip body that unpacks to a large one."""
    return gzip.compress(bytes(megabytes << 20), compresslevel=9)


@contextmanager
def run_https_server(folder: Path) -> Iterator[HttpsServer]:
    """Yield a running server."""
    certificates, chain = write_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    httpd = _Httpd((LOOPBACK, 0), _Handler)
    httpd.context = context
    httpd.server = HttpsServer(port=httpd.server_address[1], certificates=certificates)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield httpd.server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    context: ssl.SSLContext
    server: HttpsServer

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except OSError:
            return  # the client went away, as many of these tests make it do


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        server: HttpsServer = self.server.server  # type: ignore[attr-defined]
        server.seen.append((self.headers.get("Host", ""), self.path, dict(self.headers)))
        route = server.routes.get(self.path)
        if route is None:
            send(self, b"not here", status=404, headers={"Content-Type": "text/plain"})
        else:
            route(self)

    def log_message(self, *args: Any) -> None:
        return


def write_certificates(folder: Path) -> tuple[Path, Path]:
    """Write an authority's certificate, and a key with the certificate for `NAMES` that it signed."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _build_certificate("Test authority", authority_key, authority_key, issuer="Test authority", names=[])
    leaf = _build_certificate("Test server", key, authority_key, issuer="Test authority", names=NAMES)
    certificates, chain = folder / "authority.pem", folder / "server.pem"
    certificates.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    return certificates, chain


def _build_certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    names: list[str],
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        listed = [*(x509.DNSName(each) for each in names), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
    else:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, hashes.SHA256())


class NameTable:
    """Stands in for the resolver of the operating system; each name's answers are used up one by one."""

    def __init__(self, answers: dict[str, list[list[str]]]):
        self._answers = answers
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        self.asked.append(host)
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            if host not in self._answers:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
            left = self._answers[host]
            addresses = left.pop(0) if len(left) > 1 else left[0]
        return [self._describe(address, port) for address in addresses]

    @staticmethod
    def _describe(address: str, port: Any) -> Any:
        number = int(port or 0)
        if ":" in address:
            return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, number, 0, 0))
        return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, number))
