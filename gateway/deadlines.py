"""Moments at which time alone changes something, in memory, on uptime.

Putting a deadline off (a heartbeat does it) costs one dictionary write: the heap learns of it
only when the old moment comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

Key = tuple[str, ...]


class Deadlines:
    """One deadline per key; `set` again moves it."""

    def __init__(self) -> None:
        self._at_us: dict[Key, int] = {}
        self._queued_us: dict[Key, int] = {}  # where the heap's valid entry of a key stands
        self._heap: list[tuple[int, Key]] = []

    def __len__(self) -> int:
        return len(self._at_us)

    def set(self, key: Key, at_us: int) -> None:
        """Let `key` be due at this uptime (us)."""
        self._at_us[key] = at_us
        queued_us = self._queued_us.get(key)
        if queued_us is None or at_us < queued_us:
            self._queue(key, at_us)
            if len(self._heap) > 2 * len(self._at_us) + 1000:
                self._rebuild()

    def cancel(self, key: Key) -> None:
        """Forget `key`, if it is there."""
        self._at_us.pop(key, None)

    def get(self, key: Key) -> int | None:
        """When `key` is due (us of uptime), or None."""
        return self._at_us.get(key)

    def next_us(self) -> int | None:
        """An uptime (us) not later than the first deadline, or None when there is none."""
        while self._heap:
            queued_us, key = self._heap[0]
            if self._queued_us.get(key) == queued_us and key in self._at_us:
                return queued_us
            heapq.heappop(self._heap)
            if self._queued_us.get(key) == queued_us:
                del self._queued_us[key]
        return None

    def due(self, now_us: int) -> Iterator[Key]:
        """Take out every key that is due, the earliest first."""
        while self._heap and self._heap[0][0] <= now_us:
            queued_us, key = heapq.heappop(self._heap)
            if self._queued_us.get(key) != queued_us:
                continue
            del self._queued_us[key]
            at_us = self._at_us.get(key)
            if at_us is None:
                continue
            if at_us > now_us:
                self._queue(key, at_us)
                continue
            del self._at_us[key]
            yield key

    def _queue(self, key: Key, at_us: int) -> None:
        self._queued_us[key] = at_us
        heapq.heappush(self._heap, (at_us, key))

    def _rebuild(self) -> None:
        self._queued_us = dict(self._at_us)
        self._heap = [(at_us, key) for key, at_us in self._at_us.items()]
        heapq.heapify(self._heap)
