"""The button's loop-back: at a word it closes the button's line for a few milliseconds by itself.

What closes the line is an opto-coupler whose LED is fed through a capacitor (docs/hardware.md): it
conducts for 2 to 8 ms after the output goes high, and cannot hold the line closed whatever this
process does. That is less than any press lasts, so it is none and hides none.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from hardware.pins import Pins

# How long the output stays high: until the capacitor is charged (10 time constants of 2.2 ms, and
# as much again), so that the pulse does not depend on a scheduler.
HIGH_S = 0.05


class Loopback:
    """The output `number`; None: not fitted, and a pulse does nothing."""

    def __init__(self, pins: Pins, number: int | None) -> None:
        """Begins low. Raises PinsUnavailable."""
        self.failures = 0  # writes that the pins refused: then the line shows nothing
        self._pin: Any = None if number is None else pins.output(number, "loop-back")
        self._busy = threading.Lock()

    def pulse(self) -> None:
        """Begin one on a thread of its own; at most one at a time."""
        if self._pin is not None and self._busy.acquire(blocking=False):
            threading.Thread(target=self._pulse, name="loop-back", daemon=True).start()

    def _pulse(self) -> None:
        try:
            self._pin.state = 1
            time.sleep(HIGH_S)
            self._pin.state = 0
        except Exception:  # noqa: BLE001  whatever the library raises, the circuit is then not proven
            self.failures += 1
        finally:
            self._busy.release()
