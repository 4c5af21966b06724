"""What the API reads and writes: strict JSON in, JSON out, whatever was asked for.

Two parsers read each body. orjson, which is fast and stops at 1,024 levels, judges whether it is JSON at all;
the standard library's, which calls back for each object and each whole number, finds what orjson lets pass:
a name given twice, and a number that would silently become another one. Together 8 µs for a small order.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NoReturn

import orjson
from django.conf import settings
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from orchestrator_site.exceptions import BodyRefused

MAX_DEPTH: Final = 100
_BOM: Final = b"\xef\xbb\xbf"
_MAX_DIGITS: Final = 20
# In a text that is known to be JSON a backslash is always inside a string.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_WHOLE_NUMBER: Final = re.compile(r"-?\d+(?![\d.eE])")
_NOT_A_NUMBER: Final = re.compile(r"-?(NaN|Infinity)")


def read_json(body: bytes) -> Any:
    """Return the JSON value that `body` holds.

    Raises: BodyRefused, 400, for a BOM, bytes that are not UTF-8, text that is not JSON, NaN and infinities,
    whole numbers beyond 64 bits, lone surrogates, NUL, names given twice, and more than 100 levels.
    """
    if body.startswith(_BOM):
        _refuse("json_bom", "The body begins with a byte order mark. Send plain UTF-8.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _refuse("json_not_utf8", f"The body is not UTF-8: byte {error.start} is not.")
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(error, text)
    if _ESCAPED_NUL.search(text):
        _refuse("json_nul", "A text in the body holds the character NUL. Remove it.")
    value = _DECODER.decode(text)
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        _refuse_depth()
    return value


def is_deeper(value: Any, limit: int) -> bool:
    """Say whether containers are nested more than `limit` deep; without recursion."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limit):
        inner = (container.values() if isinstance(container, dict) else container for container in level)
        level = [child for children in inner for child in children if isinstance(child, (dict, list))]
        if not level:
            return False
    return bool(level)


def _explain(error: orjson.JSONDecodeError, text: str) -> NoReturn:
    where = f"line {error.lineno}, column {error.colno}"
    if "depth" in error.msg:
        _refuse_depth()
    if "surrogate" in error.msg:
        _refuse("json_lone_surrogate", f"A text holds half of a surrogate pair, in the text at {where}.")
    if "infinity" in error.msg and _WHOLE_NUMBER.match(text, error.pos):
        _refuse_range()
    if "infinity" in error.msg or _NOT_A_NUMBER.match(text, error.pos):
        _refuse("json_not_finite", f"A number is not finite, at {where}. JSON has no NaN and no infinity.")
    _refuse("json_malformed", f"The body is not JSON: {error.msg} at {where}.")


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        _refuse("json_duplicate_key", f"The name {twice[:60]!a} is given twice in one object.")
    return value


def _read_whole_number(text: str) -> int:
    if len(text) > _MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
        _refuse_range()
    return int(text)


def _refuse_depth() -> NoReturn:
    _refuse("json_too_deep", f"The body is nested deeper than {MAX_DEPTH} levels.")


def _refuse_range() -> NoReturn:
    _refuse("json_integer_range", "A whole number is beyond 64 bits. Send it as text.")


def _refuse(code: str, detail: str) -> NoReturn:
    raise BodyRefused(HTTPStatus.BAD_REQUEST, code, f"{detail} Nothing was done.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_read_object, parse_int=_read_whole_number)


class StrictJsonParser(BaseParser):
    """DRF: read a body of at most `MAX_BODY_BYTES` by `read_json`."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the value.

        Raises: BodyRefused, 413 or 400.
        """
        limit: int = settings.MAX_BODY_BYTES
        body = stream.read(limit + 1)
        if len(body) > limit:
            detail = f"The body is larger than {limit:,} bytes; nothing was done. Send documents to /api/files."
            raise BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail)
        return read_json(body)


class OrjsonRenderer(BaseRenderer):
    """DRF: write JSON."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return `data` as JSON; None is an empty body."""
        return b"" if data is None else orjson.dumps(data)


class JsonOnlyNegotiation(BaseContentNegotiation):
    """DRF: answer with the view's first renderer whatever is asked for; read only plain bodies of the view's types."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Return the parser of the request's media type.

        Raises: BodyRefused, 415, for another type, another charset than UTF-8, or any content coding.
        """
        coding = request.META.get("HTTP_CONTENT_ENCODING", "")
        if coding and coding.strip().lower() != "identity":
            _refuse_type("encoding_unsupported", "A compressed or otherwise encoded body is not read. Send it plain.")
        kind, _, rest = (request.content_type or "").partition(";")
        parser = next((parser for parser in parsers if parser.media_type == kind.strip().lower()), None)
        if parser is None:
            types = " or ".join(parser.media_type or "" for parser in parsers)
            _refuse_type("media_type_unsupported", f"Send the body with Content-Type: {types}.")
        charset = re.search(r'charset\s*=\s*"?([^\s";]*)', rest, re.IGNORECASE)
        if charset and charset[1].lower() not in {"utf-8", "utf8"}:
            _refuse_type("charset_unsupported", "Send the body as UTF-8.")
        return parser

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""


def _refuse_type(code: str, detail: str) -> NoReturn:
    raise BodyRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code, f"{detail} Nothing was done.")
