"""One request on a thread of its own, so that its caller goes on in time whatever the other side does."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import requests
import urllib3
from AntiSSRF import AntiSSRFError

from agents.outbound.guard import Guard, timed_out
from agents.outbound.reach import Reach
from agents.skills.base import SkillError, SkillRefused, SkillStopped

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment by the monotonic clock."""

    at: float

    def get_left_seconds(self) -> float:
        """Return the seconds left. Raises: SkillError `timeout` when there are none."""
        left = self.at - monotonic()
        if left <= 0:
            raise timed_out()
        return left


def call_within[T](
    reach: Reach,
    work: Callable[[Guard, Deadline], T],
    *,
    timeout_seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> T:
    """Return what `work` comes to within the time; whatever happens, its connections are cut at the end.

    Raises: SkillStopped; SkillError `timeout`; what `work` raises.
    """
    guard = Guard(reach)
    deadline = Deadline(at=monotonic() + timeout_seconds)
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work(guard, deadline))
        except BaseException as error:  # handed to the caller, who waits for it
            outcome.set_exception(error)

    # A thread of its own, because nothing can interrupt a name resolution or a read that drips.
    threading.Thread(target=run, name="outbound", daemon=True).start()
    try:
        while not outcome.done():
            wait([outcome], timeout=min(deadline.get_left_seconds(), LOOK_SECONDS))
            if should_stop():
                raise SkillStopped
        return outcome.result()
    finally:
        guard.cut()


@contextmanager
def translate_errors(host: str) -> Iterator[None]:
    """Say what went wrong with a request to `host`.

    Raises: SkillRefused `address_not_allowed`; SkillError `dns_failed`, `timeout`, `tls_failed`, `bad_response`,
    `connection_failed`.
    """
    try:
        yield
    except AntiSSRFError:
        message = f"{host} resolves to an address that is not a public one. Nothing was sent to it."
        raise SkillRefused("address_not_allowed", message) from None
    except socket.gaierror:
        raise SkillError("dns_failed", f"{host} could not be resolved.", retryable=True) from None
    except requests.Timeout:
        raise timed_out() from None
    except requests.exceptions.SSLError:
        message = f"{host} did not prove who it is: its certificate or its TLS is not valid. Nothing was sent."
        raise SkillError("tls_failed", message) from None
    except requests.exceptions.ContentDecodingError:
        raise SkillError("bad_response", f"{host} sent an answer that cannot be unpacked.") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        message = f"The connection to {host} failed."
        raise SkillError("connection_failed", message, retryable=True) from None
