"""The one bounded event queue of a process: many producers, one consumer (the main loop).

Never blocks a producer, never raises in one (library callbacks and signal handlers offer here) and
never loses a wake-up. What does not fit is refused and counted, never put in place of another.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue


class EventQueue:
    """Events in the order they were offered, at most `limit` of them.

    The last `reserved` places are for events that must not be dropped (an edge, a commit, the
    link's state): droppable ones are refused when fewer than `reserved` places are left.
    """

    def __init__(self, limit: int, reserved: int) -> None:
        if not 0 <= reserved < limit:
            raise ValueError(f"reserved={reserved} must lie in 0..{limit - 1}")
        self._limit = limit
        self._droppable_limit = limit - reserved
        # SimpleQueue, not Condition: a signal handler that offers between the consumer's check
        # and its wait would notify nobody. Its put() is reentrant and its get() does not poll.
        self._events: SimpleQueue[object] = SimpleQueue()
        # Reentrant, because a signal handler may interrupt an offer of its own thread.
        self._offering = threading.RLock()
        self._dropped = 0

    def offer(self, event: object, *, droppable: bool) -> bool:
        """Put an event at the end; False when there is no place for it (counted in `dropped`)."""
        with self._offering:
            if self._events.qsize() >= (self._droppable_limit if droppable else self._limit):
                self._dropped += 1
                return False
            self._events.put(event)
            return True

    def take(self, timeout_s: float | None) -> object | None:
        """Remove and return the oldest event; None after `timeout_s` seconds without one.

        None as timeout waits for ever. Only the one consumer may call this.
        """
        if timeout_s is not None:
            timeout_s = min(max(timeout_s, 0.0), threading.TIMEOUT_MAX)
        try:
            return self._events.get(timeout=timeout_s)
        except Empty:
            return None

    @property
    def dropped(self) -> int:
        """How many offers were refused since the start."""
        return self._dropped

    @property
    def depth(self) -> int:
        """How many events wait."""
        return self._events.qsize()
