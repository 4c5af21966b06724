"""When a failed attempt is made again. PURE."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

BASE_SECONDS = 1.0
CEILING_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of the error that ended an attempt."""

    retryable: bool
    retry_after_seconds: float | None = None  # what the other side asked for


def decide_retry(
    failure: Failure, *, attempt: int, max_attempts: int, now: datetime, draw: Callable[[], float]
) -> datetime | None:
    """Return when to try again, or None if this was the last attempt or must not be repeated.

    Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), at least what
    the other side asked for and at least a tenth of the ceiling of this attempt. `attempt` counts from 1;
    `draw` returns a number in [0, 1).
    """
    if not failure.retryable or attempt >= max_attempts:
        return None
    ceiling = min(CEILING_SECONDS, BASE_SECONDS * 2 ** (attempt - 1))
    delay = max(ceiling * (0.1 + 0.9 * draw()), failure.retry_after_seconds or 0.0)
    return now + timedelta(seconds=delay)
