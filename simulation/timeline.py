"""Virtual time: what happens when, always in the same order for the same seed.

It must never read a real clock, and never run two things of one instant in an order that anything
but their scheduling decides.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 3600 * SECOND_US
# What is printed around a failure; the hash covers every line.
TRACE_LINES_MAX = 4_000
# So many events without time passing are a process that spins.
SAME_INSTANT_MAX = 20_000


class Violation(AssertionError):
    """A promise was broken; the text says which, where and when."""


class Timeline:
    """The heap of what is to come, and the trace of what was."""

    def __init__(self) -> None:
        """Begin at 0 us."""
        self.now_us = 0
        self.events = 0
        self.lines: deque[str] = deque(maxlen=TRACE_LINES_MAX)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self._hash = hashlib.blake2b(digest_size=8)

    def at(self, at_us: int, act: Callable[..., None], *arguments: Any) -> None:
        """Let `act(*arguments)` happen at this moment (us), or now when that is past."""
        self._scheduled += 1
        if at_us < self.now_us:
            at_us = self.now_us
        heapq.heappush(self._heap, (at_us, self._scheduled, act, arguments))

    def after(self, delay_us: int, act: Callable[..., None], *arguments: Any) -> None:
        """Let `act(*arguments)` happen so much later."""
        self.at(self.now_us + delay_us, act, *arguments)

    def run_until(self, until_us: int) -> None:
        """Let everything happen that is due until then.

        Raises:
            Violation: something spins without time passing, or a promise is broken.
        """
        heap, pop = self._heap, heapq.heappop
        instant_us, here = self.now_us, 0
        while heap and heap[0][0] <= until_us:
            at_us, _, act, arguments = pop(heap)
            if at_us != instant_us:
                instant_us, here = at_us, 0
            here += 1
            if here > SAME_INSTANT_MAX:
                raise Violation(f"{here} events without time passing, the last {act.__qualname__}")
            self.now_us = at_us
            self.events += 1
            act(*arguments)
        self.now_us = until_us

    def note(self, who: str, what: str) -> None:
        """Write one line of the trace; the count of events stands in it, so any drift shows."""
        line = f"{self.now_us / SECOND_US:14.6f} {self.events:7d} {who:12s} {what}"
        self.lines.append(line)
        self._hash.update(line.encode())

    @property
    def trace_hash(self) -> str:
        """Names the whole trace (16 hex digits)."""
        return self._hash.hexdigest()
