"""The status lamp: an RGB or two LEDs playing a pattern, and a flash over it for each press.

What a pattern means is decided by `device/feedback.py`; here it is only light. A steady pattern
costs no wake-ups, and a pin that fails darkens the lamp, never the post.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from hardware.pins import Pins

# Steps (red, green, duration in ms), played round and round. A step of 0 ms is held for ever.
Pattern = tuple[tuple[bool, bool, int], ...]

OFF: Pattern = ((False, False, 0),)
FLASH_MS = 80
STEPS_MAX = 16
STEP_MS_MIN = 20
STEP_MS_MAX = 60_000


def check_pattern(pattern: Pattern) -> Pattern:
    """Returns the pattern; raises ValueError when it is empty, too long or too quick to see."""
    if not 1 <= len(pattern) <= STEPS_MAX:
        raise ValueError(f"a lamp pattern has 1 to {STEPS_MAX} steps, not {len(pattern)}")
    for _, _, duration_ms in pattern:
        if duration_ms and not STEP_MS_MIN <= duration_ms <= STEP_MS_MAX:
            raise ValueError(f"a lamp step takes 0 or {STEP_MS_MIN}-{STEP_MS_MAX} ms")
    return pattern


def step_at(pattern: Pattern, elapsed_ms: int) -> tuple[bool, bool, int | None]:
    """What is lit `elapsed_ms` after the pattern began, and how many ms more (None: for ever)."""
    if len(pattern) == 1:
        return pattern[0][0], pattern[0][1], None
    if all(duration_ms for _, _, duration_ms in pattern):
        elapsed_ms %= sum(duration_ms for _, _, duration_ms in pattern)
    for red, green, duration_ms in pattern:
        if not duration_ms:
            return red, green, None
        if elapsed_ms < duration_ms:
            return red, green, duration_ms - elapsed_ms
        elapsed_ms -= duration_ms
    raise AssertionError("a pattern without a held step repeats")


class Lamp:
    """Red and green LED on two BCM pins, blue on a third when the lamp is an RGB."""

    def __init__(self, pins: Pins, red: int, green: int, blue: int | None = None) -> None:
        """Begins dark. Raises PinsUnavailable."""
        self.failures = 0  # writes that the pins refused
        colours = [(red, "red lamp"), (green, "green lamp")]
        if blue is not None:
            colours.append((blue, "blue lamp"))
        self._pins: list[Any] = [pins.output(number, role) for number, role in colours]
        self._lit = [False] * len(self._pins)
        self._pattern = OFF
        self._began_ms = 0
        self._flash_until_ms: int | None = None
        self._closed = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._play, name="lamp", daemon=True)
        self._thread.start()

    def show(self, pattern: Pattern) -> None:
        """Plays `pattern` from its first step, at once; the same one again goes on undisturbed.

        Raises ValueError.
        """
        check_pattern(pattern)
        with self._change:
            if self._closed or pattern == self._pattern:
                return
            self._pattern = pattern
            self._began_ms = _now_ms()
            self._light()
            self._change.notify()

    def flash(self) -> None:
        """All LEDs for 80 ms over the pattern; all dark where all are lit. Lit in this thread."""
        with self._change:
            if self._closed:
                return
            if self._flash_until_ms is None:
                self._write([not all(self._lit)] * len(self._pins))
            self._flash_until_ms = _now_ms() + FLASH_MS
            self._change.notify()

    def alive(self) -> bool:
        """Whether the pattern still plays. For the watchdog."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Dark, and the thread is gone."""
        with self._change:
            self._closed = True
            self._write([False] * len(self._pins))
            self._change.notify()
        self._thread.join()

    def _play(self) -> None:
        with self._change:
            while not self._closed:
                wait_ms = self._light()
                self._change.wait(None if wait_ms is None else wait_ms / 1000)

    def _light(self) -> int | None:
        now_ms = _now_ms()
        if self._flash_until_ms is not None:
            if now_ms < self._flash_until_ms:
                return self._flash_until_ms - now_ms
            self._flash_until_ms = None
        red, green, left_ms = step_at(self._pattern, now_ms - self._began_ms)
        self._write([red, green, False])
        return left_ms

    def _write(self, lit: list[bool]) -> None:
        for place, pin in enumerate(self._pins):
            if self._lit[place] == lit[place]:
                continue
            try:
                pin.state = lit[place]
            except Exception:  # noqa: BLE001  lgpio.error derives from Exception itself
                self.failures += 1
            else:
                self._lit[place] = lit[place]


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
