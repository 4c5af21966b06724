"""A fetched page or PDF as text."""

from lxml import html

from agents.skills.base import clean_text
from agents.skills.document_parser.confined import parse_confined
from agents.skills.document_parser.extract import Extract
from agents.skills.document_parser.markup import HIDDEN, collect_blocks, parse_html, strip_scripts
from agents.skills.document_parser.parsing import Format, Options

_RUNNABLE = frozenset({"script", "noscript", "template", "iframe", "object", "embed"})


def write_html(page: bytes | str, *, strip: bool, as_text: bool) -> str:
    """Return a page's text, a blank line between blocks, or else its HTML.

    With `strip`, all that a browser would run is left out. Raises: LimitExceeded.
    """
    tree = parse_html(page)
    if tree is None:
        return ""
    if strip:
        strip_scripts(tree)
    if not as_text:
        written: str = html.tostring(tree, encoding="unicode")
        return clean_text(written)
    extract = Extract(keep_tables=False)
    collect_blocks(tree, extract, hidden=HIDDEN if strip else HIDDEN - _RUNNABLE)
    return "\n\n".join(block.content for block in extract.blocks)


def write_pdf(data: bytes, *, timeout_seconds: float) -> str:
    """Return a PDF's text, read in a locked-in child process. Raises: SkillError `document_invalid`, LimitExceeded."""
    options = Options(format=Format.PDF, tables=False, entities=False)
    parsed = parse_confined(data, options, timeout_seconds=timeout_seconds)
    return "\n\n".join(block["content"] for block in parsed["blocks"])
