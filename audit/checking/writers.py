"""Each connection counts what it writes: a number that never arrives is an event that was lost."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from audit.checking.report import Place, Report
from audit.models import LedgerEvent
from audit.problems import Problem

_REMEMBERED: Final = 10_000  # writers; one that is forgotten is looked up in the ledger
_LIFE: Final = timedelta(hours=7)  # a writer takes another name after six


class WriterCounts:
    """Follows the counts of all writers along the log.

    `excused_until`: a writer that is first seen before this time may have begun among what was archived.
    """

    def __init__(self, report: Report, *, excused_until: datetime | None) -> None:
        self._report = report
        self._excused_until = excused_until
        self._next: OrderedDict[str, int] = OrderedDict()
        self._late: set[tuple[str, int]] = set()  # numbered after those that follow them

    def see(self, writer: str, number: int, *, seq: int, at: datetime) -> None:
        """Take the next event of the log, `number` in its writer's count."""
        expected = self._next.pop(writer, 0)
        if not expected:
            expected = number if self._went_before(writer, number, seq=seq, at=at) else 1
        if number > expected:
            self._look_for(writer, expected, number, seq=seq)
        elif number < expected and (writer, number) not in self._late:
            detail = f"its writer {writer} has given number {number} to two events"
            self._report.add(Place.LEDGER, Problem.ORDER, seq, seq, detail)
        self._late.discard((writer, number))
        self._next[writer] = max(expected, number + 1)
        if len(self._next) > _REMEMBERED:
            self._next.popitem(last=False)

    def _went_before(self, writer: str, number: int, *, seq: int, at: datetime) -> bool:
        """Tell whether its writer's event before stands before it in the log, outside of what is remembered."""
        if number == 1:
            return True
        if self._excused_until and at < self._excused_until:
            return True
        return LedgerEvent.objects.filter(writer=writer, writer_seq=number - 1, seq__lt=seq).exists()

    def _look_for(self, writer: str, expected: int, number: int, *, seq: int) -> None:
        """Note the numbers from `expected` to below `number` that the ledger does not hold."""
        numbers = LedgerEvent.objects.filter(writer=writer, writer_seq__gte=expected, writer_seq__lt=number)
        found = {late for late in numbers.values_list("writer_seq", flat=True) if late is not None}
        self._late |= {(writer, late) for late in found}  # numbered after it
        lost = number - expected - len(found)
        if lost:
            count = "one event" if lost == 1 else f"{lost} events"
            detail = f"{count} of its writer {writer} before it never came into the log"
            self._report.add(Place.LEDGER, Problem.LOST, seq, seq, detail)


def excuse_archived(first_at: datetime | None, *, archived: int) -> datetime | None:
    """Return until when a writer may have begun among what was archived, None if nothing was."""
    return first_at + _LIFE if archived and first_at else None
