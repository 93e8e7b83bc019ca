"""Whether a store's thread still answers: the loop's own record of what it asked of the disk.

It never touches a disk. An error is an answer too: what follows from it is the core's. Only
silence is counted here, and how long ago the disk last had to prove itself.
"""

from __future__ import annotations

from collections.abc import Iterable

# A card that dies between two alarms must be found before the next one, and the proof must not be
# what wears it out.
PROBE_EVERY_US = 900_000_000


class Writes:
    """The writes that a store's thread was given and has not answered. Main loop only."""

    def __init__(self, now_us: int) -> None:
        """Begin with nothing asked; `now_us` is the uptime in microseconds, as everywhere here."""
        self._asked_us: dict[int, int] = {}  # oldest first; bounded by what the core lets fly
        self._last_us = now_us
        self._answered = False

    def asked(self, write: int, now_us: int) -> None:
        """The store was given this write."""
        self._asked_us.setdefault(write, now_us)
        self._last_us = now_us

    def answered(self, writes: Iterable[int]) -> None:
        """The store has done these, or has said why it could not."""
        self._answered = True
        for write in writes:
            self._asked_us.pop(write, None)

    def took_us(self, write: int, now_us: int) -> int:
        """How long this write has been asked for, microseconds; 0 for one that was not."""
        return now_us - self._asked_us.get(write, now_us)

    @property
    def has_answered(self) -> bool:
        """Whether the store has ever answered this process."""
        return self._answered

    def silent_us(self, now_us: int) -> int:
        """How long the oldest write has waited for its answer, microseconds."""
        return now_us - next(iter(self._asked_us.values()), now_us)

    def probe_due(self, now_us: int) -> bool:
        """Whether nothing was asked of the disk for so long that it has to prove itself."""
        return not self._asked_us and now_us - self._last_us >= PROBE_EVERY_US
