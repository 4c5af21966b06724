"""A small provider of OpenID Connect on loopback: discovery, consent without asking, tokens, keys; PKCE or nothing."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "console", "a-secret-between-two-servers"


class Provider:
    """What the server knows; a test says who signs in and what the token claims."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.signing_key = self.key  # another one forges
        self.claims: dict[str, Any] = {"sub": "7f3a", "preferred_username": "olga"}
        self.algorithm = "RS256"
        self.codes: dict[str, dict[str, str]] = {}
        self.issuer = ""

    def describe(self) -> dict[str, Any]:
        ends = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            **{f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in ends.items()},
        }

    def list_keys(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [key | {"kid": "one", "alg": "RS256", "use": "sig"}]}

    def authorise(self, asked: dict[str, str]) -> str:
        """Return where the browser goes back to."""
        if (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) != (CLIENT, "code", "S256"):
            raise ValueError("not a request of this client")
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchange(self, sent: dict[str, str]) -> dict[str, Any]:
        """Return the tokens for a code, once, to who asked for it."""
        asked = self.codes.pop(sent["code"])
        digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
        proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (sent["client_id"], sent["client_secret"], proof) != (CLIENT, SECRET, asked["code_challenge"]):
            raise ValueError("not the client that asked")
        return {"access_token": "unused", "token_type": "Bearer", "id_token": self._sign()}

    def _sign(self) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, **self.claims}
        key: Any = {"none": None, "HS256": SECRET}.get(self.algorithm, self.signing_key)
        return jwt.encode(claims, key, algorithm=self.algorithm, headers={"kid": "one"})


def _make_handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorise(_flatten(parts.query)))
                self.end_headers()
                return
            pages = {"/.well-known/openid-configuration": provider.describe, "/keys": provider.list_keys}
            self._answer(pages[parts.path]())

        def do_POST(self) -> None:
            sent = _flatten(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(provider.exchange(sent))

        def _answer(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    return Handler


def _flatten(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


@contextmanager
def run_provider() -> Iterator[Provider]:
    """Run a provider on a port of its own."""
    provider = Provider()
    with ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(provider)) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
