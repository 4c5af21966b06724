"""Markdown: CommonMark with tables."""

from collections.abc import Iterator
from itertools import takewhile

from markdown_it import MarkdownIt
from markdown_it.token import Token

from agents.skills.document_parser.extract import BlockType, Extract, decode_text

_PLAIN = frozenset({"text", "code_inline", "html_inline"})
_BREAKS = frozenset({"softbreak", "hardbreak"})


def read_markdown(data: bytes, extract: Extract) -> None:
    """Read a Markdown document. Raises: SkillError `document_invalid`, LimitExceeded."""
    parser = MarkdownIt("commonmark").enable("table")
    tokens = iter(parser.parse(decode_text(data)))
    for token in tokens:
        match token.type:
            case "heading_open":
                extract.add(BlockType.HEADING, _read_inline(_until(tokens, "heading_close")))
            case "paragraph_open":
                extract.add(BlockType.PARAGRAPH, _read_inline(_until(tokens, "paragraph_close")))
            case "bullet_list_open" | "ordered_list_open":
                extract.add(BlockType.LIST, _read_list(token, tokens))
            case "table_open":
                _add_table(_until(tokens, "table_close"), extract)
            case "fence" | "code_block" | "html_block":
                extract.add(BlockType.PARAGRAPH, token.content)


def _until(tokens: Iterator[Token], closing: str) -> list[Token]:
    return list(takewhile(lambda token: token.type != closing, tokens))


def _read_inline(tokens: list[Token]) -> str:
    return " ".join(_write_inline(token) for token in tokens if token.type == "inline")


def _write_inline(token: Token) -> str:
    """Return an inline token's text without its marks; an image is its description."""
    parts = []
    for child in token.children or []:
        if child.type in _PLAIN or child.type == "image":
            parts.append(child.content)
        elif child.type in _BREAKS:
            parts.append(" ")
    return "".join(parts)


def _read_list(opening: Token, tokens: Iterator[Token]) -> str:
    """Return a list's items, one a line, indented by their level."""
    lines: list[str] = []
    level, fresh = 1, False
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            level += 1
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            level -= 1
            if level == 0:
                break
        elif token.type == "list_item_open":
            fresh = True
        elif token.type in ("inline", "fence", "code_block", "html_block"):
            text = _write_inline(token) if token.type == "inline" else token.content.strip()
            lines.append(f"{'  ' * (level - 1)}{'- ' if fresh else '  '}{text}")
            fresh = False
    return "\n".join(lines)


def _add_table(tokens: list[Token], extract: Extract) -> None:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_write_inline(token))
    extract.add_table(rows[0], rows[1:])
