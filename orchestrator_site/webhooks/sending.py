"""One attempt: a signed POST through the guard that lets nothing but allowed addresses be connected to."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings

from agents.border import find_redactor
from agents.outbound.reach import Reach
from agents.outbound.receivers import parse_receiver
from agents.skills.base import SkillError, SkillRefused, printable

if TYPE_CHECKING:
    import requests

TIMEOUT_SECONDS: Final = 15.0
KEPT_CHARACTERS: Final = 1_024
_READ_BYTES: Final = 4_096  # so that a secret at the end of what is kept is seen whole
_HEADERS: Final = {
    "Content-Type": "application/json",
    "User-Agent": "orchestrator-webhooks/1.0",
    "Accept-Encoding": "identity",
}
ORPHANED: Final = "subscription_deleted"
_OPEN: Final = "WEBHOOK_ALLOWED_NETWORKS opens networks of your own."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of an attempt; without a status nobody answered, and `code` says why."""

    status: int | None = None
    code: str = ""
    note: str = ""  # for people
    body: str = ""  # the start of it, redacted
    retry_after: str = ""  # the header as it came

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more of them."""
        return self.status == 410

    @property
    def is_final(self) -> bool:
        """Whether trying again by itself is of no use."""
        return self.is_gone or self.code in {"address_not_allowed", ORPHANED}


def find_reach() -> Reach:
    """Return where webhooks may go: public addresses, and the networks that the settings open."""
    return Reach(extra_networks=tuple(settings.WEBHOOK_ALLOWED_NETWORKS), plain_http=True)


def post(
    url: str,
    payload: bytes,
    headers: dict[str, str],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """Send one delivery and return what came of it; no redirect is followed.

    Raises: SkillStopped if `should_stop` said so.
    """
    from agents.outbound.calling import Deadline, call_within  # the HTTP client loads with the first delivery
    from agents.outbound.guard import Guard
    from agents.skills.base import SkillStopped

    answers: list[Answer] = []

    def work(guard: Guard, deadline: Deadline) -> Answer:
        _send(guard.session, url, payload, headers, timeout=min(10.0, deadline.get_left_seconds()), answers=answers)
        return answers[-1]

    try:
        return call_within(find_reach(), work, timeout_seconds=timeout_seconds, should_stop=should_stop)
    except SkillStopped:
        raise
    except SkillError as error:
        # A receiver that has answered has it, however long the rest of its answer takes.
        return answers[0] if answers else _explain(error, timeout_seconds)


def _send(
    session: "requests.Session",
    url: str,
    payload: bytes,
    headers: dict[str, str],
    *,
    timeout: float,
    answers: list[Answer],
) -> None:
    from agents.outbound.calling import translate_errors

    target = parse_receiver(url)
    with (
        translate_errors(target.host),
        session.post(
            target.url, payload, headers=_HEADERS | headers, allow_redirects=False, stream=True, timeout=timeout
        ) as response,
    ):
        answers.append(_describe(response, ""))
        with suppress(Exception):  # whatever is wrong with the rest, the status has come
            answers.append(_describe(response, _keep(response.raw.read1(_READ_BYTES, decode_content=False))))


def _keep(start: bytes) -> str:
    return find_redactor().text(printable(start))[:KEPT_CHARACTERS]


def _describe(response: "requests.Response", body: str) -> Answer:
    status = response.status_code
    note = f"It answered {status}."
    if 300 <= status < 400:
        note = f"It answered {status}, a redirect, which is not followed: subscribe to the address itself."
    elif status == 410:
        note = "It answered 410: it wants no more of them."
    return Answer(status=status, note=note, body=body, retry_after=response.headers.get("Retry-After", "")[:64])


def _explain(error: SkillError, timeout_seconds: float) -> Answer:
    note = f"{error.message} {_OPEN}" if isinstance(error, SkillRefused) else error.message
    if error.code == "timeout":
        note = f"It did not answer within {timeout_seconds:g} s. Whether it has it is unknown."
    return Answer(code=error.code, note=note[:300])
