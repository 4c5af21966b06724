"""Identifiers: time-ordered, so that an index on them grows at one end."""

import secrets
import time


def new_id() -> str:
    """Return 32 hex digits: 48 bits of Unix milliseconds, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
