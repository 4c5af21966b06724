"""A link to a server that can be made slow, silent, or cut in the midst of a message: a small TCP proxy."""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.servers import find_free_port

_CHUNK = 65_536
_LOOK_SECONDS = 0.02


class Link:
    """Passes what comes on `port` on to `target_port`, as its attributes say at that moment.

    `delay_seconds` holds each message up, on its way there. `is_silent` keeps all bytes back: connections are taken
    and stay open, and nobody is answered. `cut_after` resets the connection once so many bytes of a message that
    holds `command` have been passed on; `lose_reply` lets the server do it all, and resets in place of its answer.
    Both happen once, and count in `cuts`.
    """

    def __init__(self, target_port: int) -> None:
        self.port = find_free_port()
        self.target_port = target_port
        self.command = b"insert"
        self.delay_seconds = 0.0
        self.is_silent = False
        self.cut_after: int | None = None
        self.lose_reply = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def uri(self) -> str:
        """The address for a driver."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def heal(self) -> None:
        """Pass everything on at once from now on."""
        self.delay_seconds, self.is_silent, self.cut_after, self.lose_reply = 0.0, False, None, False

    def close(self) -> None:
        """End the link, and every connection over it."""
        self._closed.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self.target_port)) as far:
            for side in (near, far):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pass_on(near, far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        is_reply_lost = False
        while not self._closed.is_set():
            for side in select.select([near, far], [], [], _LOOK_SECONDS)[0] if not self.is_silent else ():
                data = side.recv(_CHUNK)
                if not data or (side is far and is_reply_lost):
                    _reset(near)
                    return
                if side is near:
                    time.sleep(self.delay_seconds)
                    is_reply_lost = is_reply_lost or self._takes_the_reply(data)
                    if (rest := self._find_cut(data)) is not None:
                        far.sendall(data[:rest])
                        _reset(near)
                        return
                (far if side is near else near).sendall(data)
            if self.is_silent:
                time.sleep(_LOOK_SECONDS)

    def _takes_the_reply(self, data: bytes) -> bool:
        if not self.lose_reply or self.command not in data[:200]:
            return False
        self.lose_reply = False
        self.cuts += 1
        return True

    def _find_cut(self, data: bytes) -> int | None:
        if self.cut_after is None or self.command not in data[:200]:
            return None
        after, self.cut_after = self.cut_after, None
        self.cuts += 1
        return after


def _reset(side: socket.socket) -> None:
    """Close with RST, so that the other end sees an error and not an end."""
    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    side.close()


@contextmanager
def open_link(target_port: int) -> Iterator[Link]:
    """Give a link to a server on this machine."""
    link = Link(target_port)
    try:
        yield link
    finally:
        link.close()
