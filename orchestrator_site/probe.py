"""`python -I -S probe.py URL`: exit 0 if URL answers 2xx within three seconds, else 1 with a line that says why.

A program of its own, for health checks in an image that has no curl. It is started every few seconds in every
container, so it speaks HTTP by hand: importing `http.client` would take twice as long as all the rest.
"""

import socket
import sys

TIMEOUT_SECONDS = 3.0


def probe(url: str) -> str:
    """Return why `url`, of the form `http://HOST:PORT/PATH`, is not well; empty if it is."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, _, port = place.rpartition(":")
    if scheme != "http" or not host or not port.isdecimal():
        return f"{url}: an address such as http://127.0.0.1:3000/health is needed"
    try:
        status = _ask(host, int(port), f"/{path}")
    except (OSError, OverflowError) as error:
        return f"{url} does not answer: {error}"
    return "" if status.startswith("2") else f"{url} answers {status or 'nothing'}"


def _ask(host: str, port: int, path: str) -> str:
    """Return the status code of the answer, empty if it is none of HTTP.

    Raises: OSError.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: probe\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
        connection.sendall(request.encode())
        with connection.makefile("rb") as answer:
            words = answer.readline(200).split()
    return words[1].decode("latin-1") if len(words) > 1 and words[0].startswith(b"HTTP/1.") else ""


if __name__ == "__main__":
    sys.exit(probe(sys.argv[1]) or 0 if len(sys.argv) == 2 else "usage: python -I -S probe.py http://HOST:PORT/PATH")
