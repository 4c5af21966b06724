"""What a browser calls itself, in two words for people. PURE."""

from typing import Final

# In this order: many name others, to be served as those are.
_BROWSERS: Final = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "Chrome/": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
}
_SYSTEMS: Final = {
    "Windows": "Windows",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "CrOS": "ChromeOS",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
UNKNOWN: Final = "an unknown browser"


def describe_browser(agent: str) -> str:
    """Return such as "Firefox on Linux" for the text of a User-Agent header, which proves nothing."""
    browser = _find(_BROWSERS, agent)
    system = _find(_SYSTEMS, agent)
    return f"{browser or 'A browser'} on {system}" if system else browser or UNKNOWN


def _find(words: dict[str, str], agent: str) -> str:
    return next((word for part, word in words.items() if part in agent), "")
