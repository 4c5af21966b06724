"""Take secrets out of text and JSON: well-known shapes, exact values, and an operator's own patterns. PURE.

What is taken out leaves a marker, `[redacted: NAME abcd…]`, with at most the first four characters. Redacting again
changes nothing. All matching is google-re2's, so the time is linear in the text whatever the patterns are.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

MIN_SECRET_LENGTH: Final = 8  # a shorter exact value would be found inside ordinary words
_SHOWN: Final = 4
_MAX_PASSES: Final = 8  # a secret may stand against another one that has to go first; an odd pattern may never end
_MARKER: Final = re.compile(r"(\[redacted: [a-z][a-z ]{0,23}(?: [A-Za-z0-9_-]{1,4}…?)?\])")


# --- what is a secret -----------------------------------------------------------------------------------------
def _always(secret: str, after: str) -> bool:
    return True


def _has_digit(secret: str, after: str) -> bool:
    """Random keys hold digits; prose and style names of the same shape seldom do."""
    return any(character.isdigit() for character in secret)


_PLACEHOLDER: Final = re.compile(
    r"[*.xX_-]+|<.*|\$.*|%.*|\{.*|.*\{\{.*|change.?me.*|your[-_ ].*|example.*|none|null|true|false|undefined|"
    r"(?:my|the|some|a|db|user)?[-_]?(?:password|passwd|secret|passphrase|token|api[-_]?key)\d?",
    re.IGNORECASE | re.DOTALL,
)
_CODE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|::|->)[A-Za-z_][A-Za-z0-9_]*)+[;,)]*")


def _is_value(secret: str, after: str) -> bool:
    """Say whether what is assigned is a secret and not a variable, a call or something to be filled in."""
    return not (_PLACEHOLDER.fullmatch(secret) or _CODE.fullmatch(secret) or after[:1] in {"(", "["})


def _is_bare_value(secret: str, after: str) -> bool:
    """Without quotes a word may be the name of a variable, so it takes a digit too."""
    return _has_digit(secret, after) and _is_value(secret, after)


def _is_credential(secret: str, after: str) -> bool:
    """After "Authorization: Bearer" anything long is one; a short word may be prose."""
    mixed = secret != secret.lower() and secret[1:] != secret[1:].lower()
    return _is_value(secret, after) and (len(secret) >= 16 or mixed or _has_digit(secret, after))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """One kind of secret. Where the pattern has a group, only the group is the secret."""

    name: str
    pattern: str
    holds: Callable[[str, str], bool] = _always  # takes what was found, and the character that follows


# What a password, key or secret is called when one is assigned to it: DB_PASSWORD, client-secret, "apiKey".
_NAMED: Final = (
    r"(?i:[a-z0-9_.-]{0,40}(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|secret[_-]?key"
    r"|private[_-]?key|access[_-]?token|auth[_-]?token|refresh[_-]?token|bearer[_-]?token))"
)
_IS_NAMED: Final = re.compile(_NAMED)
_SHAPES: Final = (
    _Shape(
        name="private key",
        pattern=r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[A-Za-z0-9+/=\s\\:,.()-]*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:(?:\s|\\[nr])+[A-Za-z0-9+/=]{16,})+)",  # one that was cut off
    ),
    _Shape(name="anthropic key", pattern=r"\bsk-ant-[A-Za-z0-9_-]{16,}"),
    _Shape(name="openai key", pattern=r"\bsk-[A-Za-z0-9_-]*[A-Za-z0-9]{16}[A-Za-z0-9_-]*", holds=_has_digit),
    _Shape(name="api token", pattern=r"\borc_[A-Za-z0-9_-]{43}"),
    _Shape(name="webhook secret", pattern=r"\bwhsec_[A-Za-z0-9+/=_-]{24,}"),
    _Shape(name="github token", pattern=r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{50,255})"),
    _Shape(name="gitlab token", pattern=r"\bglpat-[A-Za-z0-9_-]{20,}"),
    _Shape(name="aws key id", pattern=r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    _Shape(name="slack token", pattern=r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}"),
    _Shape(name="slack webhook", pattern=r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,})"),
    _Shape(name="google key", pattern=r"\bAIza[A-Za-z0-9_-]{35}\b"),
    _Shape(name="google token", pattern=r"\bya29\.[A-Za-z0-9_-]{20,}"),
    _Shape(name="stripe key", pattern=r"\b[rs]k_live_[A-Za-z0-9]{16,}"),
    _Shape(name="hugging face token", pattern=r"\bhf_[A-Za-z0-9]{30,}"),
    _Shape(name="jwt", pattern=r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    _Shape(
        name="credentials",
        pattern=r"(?i:authorization)[\"']?\s*[:=]\s*[\"']?(?:(?i:bearer|basic|token|apikey|digest)\s+)"
        r"([A-Za-z0-9._~+/=:-]{6,})",
        holds=_is_credential,
    ),
    _Shape(name="bearer token", pattern=r"\b(?i:bearer)\s+([A-Za-z0-9._~+/=-]{16,})", holds=_has_digit),
    _Shape(name="password", pattern=r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}:([^\s/@\"'<>]{3,200})@",
           holds=_is_value),
    _Shape(name="password", pattern=_NAMED + r"\\?[\"']?\s*(?:=>|:=|=|:)\s*\\?\"([^\"\\\s]{6,500})", holds=_is_value),
    _Shape(name="password", pattern=_NAMED + r"\\?[\"']?\s*(?:=>|:=|=|:)\s*'([^'\\\s]{6,500})", holds=_is_value),
    _Shape(name="password", pattern=r"\b(?i:pwd)\s*=\s*([^\s\"';/~.][^\s\"';]{5,200})", holds=_is_bare_value),
    _Shape(name="password", pattern=_NAMED + r"\s*[=:]\s*([^\s\"'`,;<>()\[\]{}&\\]{8,500})", holds=_is_bare_value),
)  # fmt: skip


# --- the redactor ---------------------------------------------------------------------------------------------
class Redactor:
    """Redacts by the built-in shapes, by `patterns` (google-re2), and the exact `secrets` of 8 characters or more.

    Raises: ValueError for a pattern that is none.
    """

    def __init__(self, patterns: Sequence[str] = (), secrets: Sequence[str] = ()) -> None:
        for pattern in patterns:
            if problem := find_problem(pattern):
                raise ValueError(f"{pattern!r} is no google-re2 pattern: {problem}")
        exact = sorted({form for secret in secrets for form in _write_forms(secret)}, key=len, reverse=True)
        own = [_Shape(name="pattern", pattern=pattern) for pattern in patterns]
        known = [_Shape(name="secret", pattern=_escape(exact))] if exact else []
        shapes = [*known, *own, *_SHAPES]
        self._shapes = dict(_number(shapes))
        self._find = _compile("|".join(f"({shape.pattern})" for shape in shapes))

    def text(self, text: str) -> str:
        """Return `text` with markers in the place of secrets; lone surrogates become question marks."""
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode(errors="replace").decode()
        for _ in range(_MAX_PASSES):
            found = self._pass(text)
            if found == text:
                break
            text = found
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value with its texts redacted, keys too; under a name like "password" a whole word goes."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self._key(key): self._under(key, inner) for key, inner in value.items()}
            case list() | tuple():
                return [self.value(inner) for inner in value]
        return value

    def _key(self, key: Any) -> Any:
        # Keys of an audit event's body are ASCII.
        return self.text(key).replace("…]", "]") if isinstance(key, str) and len(key) >= MIN_SECRET_LENGTH else key

    def _under(self, key: Any, value: Any) -> Any:
        if isinstance(value, str) and isinstance(key, str) and _IS_NAMED.fullmatch(key):
            text = self.text(value)
            named = text == value and len(text) >= 6 and not re.search(r"\s", text) and _is_value(text, "")
            return _mark("password", text) if named and not _MARKER.fullmatch(text) else text
        return self.value(value)

    def _pass(self, text: str) -> str:
        """Redact between the markers that are there already."""
        parts = _MARKER.split(text)
        parts[::2] = ["".join(self._redact(part)) for part in parts[::2]]
        return "".join(parts)

    def _redact(self, text: str) -> Iterator[str]:
        at = 0
        for match in self._find.finditer(text):
            index = next(index for index in self._shapes if match.start(index) >= 0)
            shape, is_grouped = self._shapes[index]
            start, end = match.span(index + 1 if is_grouped and match.start(index + 1) >= 0 else index)
            yield text[at : match.start()]
            if start > match.start():
                yield from self._redact(text[match.start() : start])  # what led to it may hold one of another shape
            secret, at = text[start:end], end
            if shape.holds(secret, text[end : end + 1]):
                yield _mark(shape.name, secret)
            elif is_grouped:
                yield from self._redact(secret)
            else:
                yield secret
        yield text[at:]


def find_problem(pattern: str) -> str:
    """Return why `pattern` cannot be used, empty if it can. It is google-re2, unnamed, and matches no empty text."""
    import re2

    try:
        compiled = _compile(f"({pattern})")  # as it stands among the others
    except re2.error as error:
        return _say(error)
    if compiled.groupindex:
        return "its groups may have no names"
    return "it matches an empty text" if compiled.search("") else ""


def _say(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _compile(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False  # it would write to stderr by itself
    options.max_mem = 64 << 20
    return re2.compile(pattern, options)


def _number(shapes: Sequence[_Shape]) -> Iterator[tuple[int, tuple[_Shape, bool]]]:
    """Give each shape with the index of its group in the one expression, and whether it has groups of its own."""
    index = 1
    for shape in shapes:
        groups = _compile(shape.pattern).groups
        yield index, (shape, groups > 0)
        index += 1 + groups


def _write_forms(secret: str) -> Iterator[str]:
    """Give an exact secret as it is, and as an address or a JSON text writes it."""
    if len(secret) >= MIN_SECRET_LENGTH:
        yield secret
        yield quote(secret, safe="")
        yield secret.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escape(exact: Sequence[str]) -> str:
    import re2

    return "|".join(re2.escape(secret) for secret in exact)


def _mark(name: str, secret: str) -> str:
    """Return the marker: a quarter of the secret is shown, four characters at most, none of them odd."""
    shown = secret[: min(_SHOWN, len(secret) // 4)]
    plain = re.match(r"[A-Za-z0-9_-]*", shown, re.ASCII)
    start = plain[0] if plain else ""
    return f"[redacted: {name} {start}…]" if start else f"[redacted: {name}]"
