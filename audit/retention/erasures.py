"""The erasures on record: which events they name, and which of them have not reached everything yet."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from audit.events import EventType
from audit.models import Erasure, LedgerEvent

_RANGE: Final = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?")


def list_unsettled() -> list[Erasure]:
    """Return the erasures that have not reached the store and the archives yet."""
    return list(Erasure.objects.filter(settled=False).order_by("at"))


def read_erased() -> list[range]:
    """Return the numbers that the erasures on record name, as far as the ledger goes back."""
    bodies = LedgerEvent.objects.filter(type=EventType.PERSON_ERASED).values_list("body", flat=True)
    return [named for body in bodies for named in read_ranges(body)]


def read_ranges(body: Any) -> Iterator[range]:
    """Give the numbers that an erasure's event names; whatever else its body may hold is left out."""
    texts = body.get("ranges") if isinstance(body, dict) else None
    for text in texts if isinstance(texts, list) else ():
        if found := _RANGE.fullmatch(str(text)):
            yield range(int(found[1]), int(found[2] or found[1]) + 1)


def is_named(seq: int, named: Iterable[range]) -> bool:
    """Tell whether event `seq` is among these."""
    return any(seq in numbers for numbers in named)


def write_ranges(numbers: Iterable[int]) -> list[str]:
    """Return ascending numbers as "3" and "5-9"."""
    runs = (list(run) for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]))
    ends = ((run[0][1], run[-1][1]) for run in runs)
    return [str(first) if first == last else f"{first}-{last}" for first, last in ends]
