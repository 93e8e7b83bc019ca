"""A push button or key switch between a pin and ground: every edge, with its time, to one function.

It never debounces and never counts presses; that is `device/presses.py`. Its callback cannot raise:
one exception on lgpio's thread would make every button of the process deaf without a word.
"""

from __future__ import annotations

from collections.abc import Callable

from hardware.pins import Pins

OnEdge = Callable[[int, bool], None]


class Button:
    """A contact on BCM pin `number`: pull-up, closed is low.

    `on_edge(uptime_us, closed)` is called for each edge on a thread of the pin library; it may only
    enqueue. The time is CLOCK_BOOTTIME in microseconds, taken by the kernel at the edge (lgpio).
    RPi.GPIO reads the level after the edge, so two edges in a row can name the same level.
    """

    def __init__(self, pins: Pins, number: int, on_edge: OnEdge, role: str = "button") -> None:
        """Raises PinsUnavailable."""
        self.number = number
        self.failures = 0  # calls of on_edge that raised: must stay 0
        self._on_edge = on_edge
        self._times = pins.edge_times
        self._pin = pins.input(number, role, self)
        self._pin.when_changed = self._changed

    @property
    def closed(self) -> bool:
        """The level now. To be read once at the start: a contact already closed fires no edge."""
        return not self._pin.state

    def _changed(self, tick_s: float, state: int) -> None:
        try:
            self._on_edge(self._times.uptime_us(tick_s), not state)
        except Exception:  # noqa: BLE001  whatever it is, the thread it came from must live
            self.failures += 1
