"""sourceFetch: fetch one public page over https, from the hosts that the rules allow and nowhere else."""

import codecs
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, StrictBool, StrictInt

from agents.skills.base import Capability, SkillContext, SkillModel, scalar_arguments
from agents.skills.source_fetch.target import FetchPolicy, parse_url
from toolgate.types import Resource

if TYPE_CHECKING:
    from agents.skills.source_fetch.client import Answer

CHARSETS = ("utf-8", "utf-16", "ascii", "iso8859", "cp", "koi8", "shift_jis", "euc", "gb", "big5", "mac", "iso2022")
MARKUP = frozenset({"text/html", "application/xhtml+xml"})


class SourceFetchInput(SkillModel):
    """What to fetch."""

    url: Annotated[str, Field(min_length=1, max_length=2_048)] = Field(description="An https address.")
    timeout_ms: Annotated[StrictInt, Field(ge=100, le=120_000)] = Field(
        default=10_000, description="Wall-clock bound of it all, 100 to 120,000 milliseconds."
    )
    strip_scripts: StrictBool = Field(default=True, description="Leave out what a browser would run.")
    normalize_text: StrictBool = Field(default=True, description="Return a page's text instead of its HTML.")


class SourceFetchOutput(SkillModel):
    """What came back. A status of 400 to 499 is a result; one of 500 and over is an error that is tried again."""

    url: str = Field(description="As it was asked for.")
    final_url: str = Field(description="After redirects.")
    status_code: int
    content_type: str
    content: str
    size_bytes: int = Field(description="Of the body, unpacked.")
    sha256: str = Field(description="Of the body, unpacked.")
    fetched_at: str = Field(description="ISO 8601, UTC.")


class SourceFetch:
    """Fetch a page."""

    id: ClassVar[str] = "sourceFetch"
    version: ClassVar[str] = "1.0.0"
    summary: ClassVar[str] = "Fetch the text of one https address from the hosts that the rules allow."
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.NETWORK})
    input_model: ClassVar[type[SkillModel]] = SourceFetchInput
    output_model: ClassVar[type[SkillModel]] = SourceFetchOutput
    inline: ClassVar[bool] = False

    def __init__(self, policy: FetchPolicy | None = None):
        self._policy = policy or FetchPolicy()

    def is_idempotent(self, arguments: SourceFetchInput) -> bool:
        """Say that it only reads."""
        return True

    def brings_outside_text(self, arguments: SourceFetchInput) -> bool:
        """Say yes: a page says what whoever runs its host wants."""
        return True

    def resource(self, arguments: SourceFetchInput, workspace: Path) -> Resource:
        """Return the host. Raises: SkillRefused `domain_not_allowed` for what is not an https address by name."""
        target = parse_url(arguments.url, port=self._policy.port)
        return Resource(hosts=(target.host,), arguments=scalar_arguments(arguments))

    def run(self, arguments: SourceFetchInput, context: SkillContext) -> SourceFetchOutput:
        """Fetch. Raises: SkillRefused, LimitExceeded, SkillError as `client.fetch` does."""
        from agents.skills.source_fetch.client import fetch  # the HTTP client loads with the first fetch

        timeout_seconds = min(arguments.timeout_ms / 1000, context.timeout_seconds)
        answer = fetch(
            arguments.url,
            domains=context.domains,
            policy=self._policy,
            timeout_seconds=timeout_seconds,
            should_stop=context.should_stop,
        )
        return SourceFetchOutput(
            url=arguments.url,
            final_url=answer.url,
            status_code=answer.status,
            content_type=answer.content_type,
            content=_write_content(answer, arguments, context),
            size_bytes=len(answer.body),
            sha256=hashlib.sha256(answer.body).hexdigest(),
            fetched_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )


def _write_content(answer: "Answer", arguments: SourceFetchInput, context: SkillContext) -> str:
    from agents.skills.source_fetch.text import write_html, write_pdf

    if answer.content_type == "application/pdf":
        return write_pdf(answer.body, timeout_seconds=context.timeout_seconds)
    if answer.content_type in MARKUP and (arguments.strip_scripts or arguments.normalize_text):
        page = _decode(answer) if answer.charset else answer.body
        return write_html(page, strip=arguments.strip_scripts, as_text=arguments.normalize_text)
    return _decode(answer)


def _decode(answer: "Answer") -> str:
    """Return the body as text, by the charset it names if that is one of a page."""
    try:
        charset = codecs.lookup(answer.charset or "utf-8").name
    except LookupError:
        charset = "utf-8"
    if not charset.startswith(CHARSETS):  # Python also knows "rot13", "zip", "unicode_escape", …
        charset = "utf-8"
    return answer.body.decode(charset, errors="replace").replace("\0", "\ufffd")
