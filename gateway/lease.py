"""How long a gateway may go on speaking after it last proved that the journal is its own. Pure.

Of two gateways at one journal one is active: the one whose session holds the seat (`seat.py`).
The other may take the seat as soon as that session has ended, which the first may not notice:
it was stopped, or its machine was, or the way to the server is gone. So it speaks for `SPEAK_US`
after each proof and no longer, and who takes the seat is silent for `SETTLE_US`, which is longer.
Both count uptime, suspended time included; only the rates of two machines' clocks are compared.
"""

from __future__ import annotations

from collections.abc import Callable

PROVE_EVERY_US = 500_000
SPEAK_US = 2_000_000
SETTLE_US = 2_500_000


class Lease:
    """One for each process; the journal's thread proves, the links' threads ask."""

    def __init__(self, uptime_us: Callable[[], int]) -> None:
        """Begin with nothing proven: nobody may speak."""
        self._uptime_us = uptime_us
        self._from_us = 0
        self._until_us = 0

    def now_us(self) -> int:
        """The uptime to give to `proven`, taken before the server is asked."""
        return self._uptime_us()

    def taken(self) -> None:
        """The seat has just been taken: whoever had it may still believe so for a while."""
        self._from_us = self._uptime_us() + SETTLE_US

    def proven(self, asked_us: int) -> None:
        """The server has confirmed what it was asked at `asked_us`: the seat is ours."""
        self._until_us = max(self._until_us, asked_us + SPEAK_US)

    def due(self) -> bool:
        """Whether a new proof is due."""
        return self._uptime_us() >= self._until_us - SPEAK_US + PROVE_EVERY_US

    def may_speak(self) -> bool:
        """Whether what is said now cannot contradict another gateway. For any thread."""
        return self._from_us <= self._uptime_us() < self._until_us
