"""In-process hints: "there is something new". A lost ring costs one poll, never an event."""

import threading
from collections.abc import Callable

Listener = Callable[[], None]


class Bell:
    """A doorbell between threads: one waits for it, any may ring or listen."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._listeners: frozenset[Listener] = frozenset()
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Wake the waiter and call every listener; listeners must neither block nor raise."""
        self._rung.set()
        for listener in self._listeners:
            listener()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a ring since the last wait; tell whether there was one."""
        rung = self._rung.wait(timeout_seconds)
        self._rung.clear()
        return rung

    def listen(self, listener: Listener) -> None:
        """Call `listener` at each ring, from the thread that rings."""
        with self._lock:
            self._listeners |= {listener}

    def unlisten(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        with self._lock:
            self._listeners -= {listener}


recorded = Bell()  # the ledger has new rows: for the sequencer
shipped = Bell()  # the store has new events: for the hub of this process
