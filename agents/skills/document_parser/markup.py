"""HTML: headings, paragraphs, lists and tables of a page, by libxml2. Nothing is loaded and no script is run."""

import re
from collections.abc import Iterator

from lxml import etree, html

from agents.skills.base import LimitExceeded
from agents.skills.document_parser.extract import MAX_CELLS, MAX_COLUMNS, BlockType, Extract, check_limit

MAX_TAGS = 300_000
MAX_SPAN = 1_000

HIDDEN = frozenset({"script", "style", "noscript", "template", "iframe", "object", "embed", "svg", "math", "head"})
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
LISTS = frozenset({"ul", "ol"})
BLOCKS = frozenset(
    {"p", "div", "section", "article", "aside", "main", "header", "footer", "nav", "body", "blockquote", "pre", "form"}
    | {"dl", "dt", "dd", "figure", "figcaption", "address", "fieldset", "legend", "details", "summary", "hr", "center"}
    | {"li", "tr", "td", "th", "caption", "title", "option"}
)
_SPACE = re.compile(r"\s+")
_RUNNING_ATTRIBUTE = re.compile(r"on[a-z]+")
_RUNNING_ADDRESS = re.compile(r"[\s\x00-\x1f]*(?:javascript|vbscript|data)[\s\x00-\x1f]*:", re.IGNORECASE)


def parse_html(data: bytes | str) -> html.HtmlElement | None:
    """Return the tree of a page, None for an empty one.

    Raises: LimitExceeded `tags`, `depth` (256 levels) or `text` (10 MB in one place).
    """
    encoding = "utf-8" if isinstance(data, str) or _is_utf8(data) else None  # None: as the page itself says
    raw = data.encode("utf-8", errors="replace") if isinstance(data, str) else data
    check_limit("tags", raw.count(b"<"), MAX_TAGS)
    parser = html.HTMLParser(encoding=encoding, remove_comments=True, remove_pis=True, no_network=True)
    try:
        tree = html.document_fromstring(raw, parser=parser)
    except etree.ParserError:
        return None
    _check_complete(parser)
    return tree


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_complete(parser: html.HTMLParser) -> None:
    """Refuse a tree that libxml2 cut short at one of its own bounds."""
    for entry in parser.error_log:
        if entry.type_name == "ERR_RESOURCE_LIMIT":
            limit = "depth" if "depth" in entry.message else "text"
            raise LimitExceeded(limit, f"The page is past a bound of the parser: {entry.message}. Nothing was kept.")


def read_html(data: bytes, extract: Extract) -> None:
    """Read an HTML document. Raises: LimitExceeded."""
    tree = parse_html(data)
    if tree is not None:
        collect_blocks(tree, extract)


def collect_blocks(tree: html.HtmlElement, extract: Extract, *, hidden: frozenset[str] = HIDDEN) -> None:
    """Add a tree's blocks in reading order."""
    waiting: list[str] = []

    def flush(kind: BlockType = BlockType.PARAGRAPH) -> None:
        extract.add(kind, squeeze("".join(waiting)))
        waiting.clear()

    walk = etree.iterwalk(tree, events=("start", "end"))
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "end":
            if tag in HEADINGS or tag in BLOCKS:
                flush(BlockType.HEADING if tag in HEADINGS else BlockType.PARAGRAPH)
            waiting.append(element.tail or "")
            continue
        if tag in hidden or tag in LISTS or tag == "table":
            walk.skip_subtree()
        if tag in HEADINGS or tag in BLOCKS or tag in LISTS or tag == "table":
            flush()
        if tag in LISTS:
            extract.add(BlockType.LIST, "\n".join(_list_items(element)))
        elif tag == "table":
            _add_table(element, extract)
        elif tag not in hidden:
            waiting.append(" " if tag == "br" else element.text or "")
    flush()


def squeeze(text: str) -> str:
    """Return a text on one line, with single spaces."""
    return _SPACE.sub(" ", text).strip()


def collect_text(element: html.HtmlElement, *, leave_out: frozenset[str] = HIDDEN) -> str:
    """Return an element's text on one line, without what lies in the tags to leave out."""
    parts = []
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, inner in walk:
        is_out = inner is not element and inner.tag in leave_out
        if event == "end":
            parts.append(inner.tail or "" if inner is not element else "")
            continue
        if is_out:
            walk.skip_subtree()
        else:
            parts.append(f"{' ' if inner.tag in BLOCKS or inner.tag == 'br' else ''}{inner.text or ''}")
    return squeeze("".join(parts))


def _list_items(top: html.HtmlElement) -> Iterator[str]:
    for item in top.iter("li"):
        levels = sum(1 for above in item.iterancestors("ul", "ol") if above is top or top in above.iterancestors())
        text = collect_text(item, leave_out=HIDDEN | LISTS)
        if text:
            yield f"{'  ' * (levels - 1)}- {text}"


def _add_table(table: html.HtmlElement, extract: Extract) -> None:
    own = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
    grid = _lay_out(own)
    has_header = bool(own) and all(cell.tag == "th" for cell in _cells(own[0])) and bool(_cells(own[0]))
    caption = next((collect_text(found) for found in table.iterchildren("caption")), "")
    if has_header:
        extract.add_table(grid[0], grid[1:], caption=caption)
    else:
        extract.add_table([], grid, caption=caption)


def _cells(row: html.HtmlElement) -> list[html.HtmlElement]:
    return [cell for cell in row if cell.tag in ("td", "th")]


def _lay_out(rows: list[html.HtmlElement]) -> list[list[str]]:
    """Return the cells' texts in columns: a cell over several rows or columns stands in the first, "" in others."""
    grid: list[list[str]] = []
    cells = 0
    taken: dict[int, int] = {}  # column → rows below that it still covers
    for row in rows:
        line: list[str] = []
        below: dict[int, int] = {column: left - 1 for column, left in taken.items() if left > 1}
        for cell in _cells(row):
            while taken.get(len(line), 0):
                line.append("")
            height, width = _read_span(cell, "rowspan"), _read_span(cell, "colspan")
            for column in range(len(line), len(line) + width):
                below[column] = max(below.get(column, 0), height - 1)
            line += [collect_text(cell), *[""] * (width - 1)]
            check_limit("columns", len(line), MAX_COLUMNS)
        taken = {column: left for column, left in below.items() if left}
        cells += len(line)
        check_limit("cells", cells, MAX_CELLS)
        if line:
            grid.append(line)
    return grid


def _read_span(cell: html.HtmlElement, name: str) -> int:
    written = (cell.get(name) or "1").strip()
    return min(max(int(written), 1), MAX_SPAN) if written.isascii() and written.isdigit() and len(written) < 9 else 1


def strip_scripts(tree: html.HtmlElement) -> None:
    """Take everything out of a tree that a browser would run or load in a frame."""
    for element in list(tree.iter("script", "noscript", "template", "iframe", "object", "embed", "applet")):
        if element.getparent() is not None:
            element.drop_tree()
    for element in tree.iter(etree.Element):
        for name, value in list(element.attrib.items()):
            if _RUNNING_ATTRIBUTE.fullmatch(name.lower()) or _RUNNING_ADDRESS.match(value):
                del element.attrib[name]
