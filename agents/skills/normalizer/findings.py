"""What was noticed about one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An error, which leaves the value as it was, or a warning about a coercion."""

    code: str
    message: str
    is_error: bool


def error(code: str, message: str) -> Finding:
    """Return a finding that leaves the value as it was."""
    return Finding(code=code, message=message, is_error=True)


def coercion(message: str, *, code: str = "coerced") -> Finding:
    """Return a finding that says how the value was changed."""
    return Finding(code=code, message=message, is_error=False)
