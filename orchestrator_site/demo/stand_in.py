"""The stand-in for the providers, begun before Django is loaded: the settings read the addresses that it sets."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llmock.testing import LLMockServer

PLACEHOLDER: Final = "demo-stand-in"  # long enough to be redacted, like a real one
BASE_DIR = Path(__file__).resolve().parents[2]

_server: "LLMockServer | None" = None


def begin() -> None:
    """Start the stand-in and point both vendors' SDKs at it; real keys are put aside, so a demo costs nothing."""
    global _server  # noqa: PLW0603  (handed from the process's first lines to the part that scripts it)
    try:
        from llmock.testing import LLMockServer
    except ImportError:
        sys.exit("demo: the stand-in for the providers is not installed: run make demo")
    _server = LLMockServer().start()
    os.environ |= {
        "ORCHESTRATOR_DEMO": "1",
        "OPENAI_API_KEY": PLACEHOLDER,
        "OPENAI_BASE_URL": _server.base_url("openai"),
        "ANTHROPIC_API_KEY": PLACEHOLDER,
        "ANTHROPIC_BASE_URL": _server.base_url("anthropic"),
    }
    os.environ.setdefault("ORCHESTRATOR_VAR", str(BASE_DIR / "var" / "demo"))
    for name in ("OPENAI_API_KEY_FILE", "ANTHROPIC_API_KEY_FILE"):
        os.environ.pop(name, None)


def get_server() -> "LLMockServer":
    """Return the stand-in of this process.

    Raises: RuntimeError if `begin` did not run.
    """
    if _server is None:
        raise RuntimeError("the stand-in was not started: use manage.py demo")
    return _server
