"""Connections that can only be to public addresses, and that can be cut off at a deadline from outside.

microsoft-antissrf resolves a name once, judges every address and connects to what it judged. The address of the
open connection is then judged again, by other code, before a byte is sent.
"""

import ipaddress
import socket
import threading
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from AntiSSRF import AntiSSRFPolicy, IPAddressRanges, PolicyConfigOptions
from requests import Response, Session
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from agents.outbound.reach import Reach
from agents.skills.base import SkillError, SkillRefused

_SPECIAL = tuple(ipaddress.ip_network(network) for network in IPAddressRanges.recommended_latest)
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
# The library refuses the ranges known to be special; this adds all that no public address lies in. IPv4 is
# judged by it as mapped into IPv6, so that range stays out.
_NOT_GLOBAL = [
    *(str(part) for part in ipaddress.IPv6Network("::/3").address_exclude(_IPV4_MAPPED)),
    "4000::/2",
    "8000::/1",
]


class Guard:
    """Watches over the connections of one request and of what it is redirected to."""

    def __init__(self, reach: Reach):
        self._extra = tuple(ipaddress.ip_network(network) for network in reach.extra_networks)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._is_cut = False
        self.session = _build_session(reach, self)

    def admit(self, connection: socket.socket) -> None:
        """Take a new connection under guard, or close it. Raises: SkillRefused, SkillError `timeout`."""
        address = connection.getpeername()[0]
        with self._lock:
            if not self._is_cut and self.is_public(address):
                self._open.append(connection.dup())  # TLS takes the socket itself over
                return
        connection.close()
        raise timed_out() if self._is_cut else refuse_address(address)

    def is_public(self, address: str) -> bool:
        """Say whether an address is one of the public internet's, whichever way it is written."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        if any(parsed in network for network in self._extra):
            return True
        if isinstance(parsed, ipaddress.IPv6Address) and parsed not in _GLOBAL_IPV6:
            return False
        is_special = parsed.is_multicast or parsed.is_reserved or any(parsed in network for network in _SPECIAL)
        return parsed.is_global and not is_special

    def cut(self) -> None:
        """End every connection now, whatever it waits for, and admit no more."""
        with self._lock:
            self._is_cut = True
            connections, self._open = self._open, []
        for connection in connections:
            with suppress(OSError):  # the other side ended it first
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.session.close()


def timed_out() -> SkillError:
    """Return the error for a request past its deadline."""
    message = "The source did not answer in time. Nothing was kept."
    return SkillError("timeout", message, retryable=True)


def refuse_address(address: str) -> SkillRefused:
    """Return the refusal of an address that is not public."""
    message = f"The host's address {address} is not a public one. Nothing was sent to it."
    return SkillRefused("address_not_allowed", message)


def _build_session(reach: Reach, guard: Guard) -> Session:
    session: Session = _build_addresses(reach).get_antissrf_session()
    session.trust_env = False  # no proxies, no .netrc, no certificates from the environment
    session.verify = reach.certificates or True
    session.get_redirect_target = _follow_nothing  # type: ignore[method-assign,assignment]
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme, pool in (("https", _guarded_pool(guard)), ("http", _guarded_plain_pool(guard))):
        adapter: Any = session.get_adapter(f"{scheme}://")
        adapter.poolmanager.pool_classes_by_scheme = {scheme: pool}
    return session


def _follow_nothing(response: Response) -> None:
    """Keep the library from so much as parsing where a redirect leads: the caller judges that."""


def _build_addresses(reach: Reach) -> AntiSSRFPolicy:
    addresses = AntiSSRFPolicy(PolicyConfigOptions.EXTERNAL_ONLY_LATEST)
    addresses.add_denied_addresses(_NOT_GLOBAL)
    addresses.add_xff_header = False
    addresses.allow_plain_text_http = reach.plain_http
    if reach.extra_networks:
        addresses.add_allowed_addresses(list(reach.extra_networks))
    return addresses


def _guarded_pool(guard: Guard) -> type[HTTPSConnectionPool]:
    class GuardedConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            guard.admit(connection)
            return connection

    class GuardedPool(HTTPSConnectionPool):
        ConnectionCls = GuardedConnection

    return GuardedPool


def _guarded_plain_pool(guard: Guard) -> type[HTTPConnectionPool]:
    class GuardedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            guard.admit(connection)
            return connection

    class GuardedPool(HTTPConnectionPool):
        ConnectionCls = GuardedConnection

    return GuardedPool
