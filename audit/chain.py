"""Canonical bytes, the hash chain over events, and its verdicts. PURE: no Django, no driver."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

GENESIS_HASH: Final = "0" * 64
MAX_DEPTH: Final = 128
MAX_INTEGER: Final = 2**53 - 1  # beyond it RFC 8785, which counts in doubles, cannot tell neighbours apart


class Problem(StrEnum):
    """What can be wrong with a chain; the closed set of `audit_violations_logged_total`."""

    EDITED = "edited"  # the fields do not give the recorded hash
    MISSING = "missing"  # a number is not there
    INSERTED = "inserted"  # an event that the ledger does not know
    ORDER = "order"  # a number twice, or out of order
    LINK = "link"  # sound in itself, but it does not follow from the event before
    HEAD = "head"  # the chain does not end where the ledger says
    REPLACED = "replaced"  # another event under a number that the ledger gave away


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a walk along the chain came to; `bad_seq` and `problem` name the first break, if any."""

    checked: int
    head_seq: int
    head_hash: str
    bad_seq: int | None = None
    problem: Problem | None = None

    @property
    def holds(self) -> bool:
        """Tell whether every event followed from the one before."""
        return self.problem is None


def canonical_bytes(value: Any) -> bytes:
    """Return the RFC 8785 form of a JSON value.

    Raises: ValueError for floats, integers of 2**53 and more, keys that are not ASCII strings, values that
    are not JSON, lone surrogates, and nesting deeper than 128.
    """
    _refuse_ambiguous(value, depth=0)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"not a JSON value: {error}") from error


def _refuse_ambiguous(value: Any, *, depth: int) -> None:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return
    if kind is dict:
        _refuse_keys(value)
        inner = value.values()
    elif kind is list or kind is tuple:
        inner = value
    else:
        _refuse_scalar(value)
        return
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    for item in inner:
        _refuse_ambiguous(item, depth=depth + 1)


def _refuse_keys(mapping: dict[Any, Any]) -> None:
    for key in mapping:
        if type(key) is not str or not key.isascii():
            raise ValueError(f"a key that is not an ASCII string: {key!r:.80}")


def _refuse_scalar(value: Any) -> None:
    if type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise ValueError("an integer of 2**53 or more: write it as a string")
    elif not isinstance(value, str):  # a StrEnum is written as its value
        raise ValueError(f"{type(value).__name__} has no canonical form: write it as a string")


def event_hash(prev_hash: str, fields: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, of an event's canonical bytes together with `prev_hash`.

    `fields` is the wire form without `hash`: seq, id, type, at, actor, taskId, agentId, skillId, decision,
    reason, body. `body` is a mapping of canonical values, or an `orjson.Fragment` of their canonical bytes.
    """
    content = orjson.dumps({**fields, "prevHash": prev_hash}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()


def check_chain(events: Iterable[Mapping[str, Any]], *, after_seq: int = 0, after_hash: str = GENESIS_HASH) -> Verdict:
    """Walk events in the order given and stop at the first that does not follow.

    Each event is the wire form with `hash`; `prevHash`, where present, must agree with the event before.
    The walk starts after event `after_seq`, whose hash was `after_hash`.
    """
    seq, prev_hash, checked = after_seq, after_hash, 0
    for event in events:
        problem = _find_problem(event, expected_seq=seq + 1, prev_hash=prev_hash)
        if problem is not None:
            bad_seq = seq + 1 if problem is Problem.MISSING else event["seq"]
            return Verdict(checked=checked, head_seq=seq, head_hash=prev_hash, bad_seq=bad_seq, problem=problem)
        seq, prev_hash, checked = event["seq"], event["hash"], checked + 1
    return Verdict(checked=checked, head_seq=seq, head_hash=prev_hash)


def _find_problem(event: Mapping[str, Any], *, expected_seq: int, prev_hash: str) -> Problem | None:
    if event["seq"] != expected_seq:
        return Problem.MISSING if event["seq"] > expected_seq else Problem.ORDER
    claimed_prev = event.get("prevHash", prev_hash)
    if not hash_is_right(event, prev_hash=claimed_prev):
        return Problem.EDITED
    return None if claimed_prev == prev_hash else Problem.LINK


def hash_is_right(event: Mapping[str, Any], *, prev_hash: str) -> bool:
    """Tell whether an event's fields give the hash that it carries; what has no canonical bytes does not."""
    fields = {key: value for key, value in event.items() if key not in ("hash", "prevHash")}
    try:
        return bool(event_hash(prev_hash, fields) == event["hash"])
    except (TypeError, ValueError):
        return False
