"""Check what people write, before a store or a log has to hold it. PURE."""

import re

from toolgate.exceptions import ReasonRequired, TextInvalid

MAX_REASON_LENGTH = 2000
_UNKEEPABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def check_text(text: str, *, name: str, limit: int) -> str:
    """Return `text` stripped. Raises: TextInvalid if it is over `limit` characters or holds control characters."""
    if len(text) > limit:
        raise TextInvalid(f"The {name} is {len(text)} characters long, {limit} fit. Nothing was changed: shorten it.")
    if _UNKEEPABLE.search(text):
        raise TextInvalid(f"The {name} holds control characters. Nothing was changed: write it as plain text.")
    return text.strip()


def check_reason(reason: str) -> str:
    """Return the reason of a change, stripped. Raises: ReasonRequired if there is none; TextInvalid."""
    reason = check_text(reason, name="reason", limit=MAX_REASON_LENGTH)
    if not reason:
        raise ReasonRequired
    return reason
