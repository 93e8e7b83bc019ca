"""The buzzer: a click for each press, and sounds that are played once, in turn, to their end.

It never sounds by itself and never loses a `done`: that call is what lets the post write *sounded*.
A buzzer that is not fitted behaves the same, in silence.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from hardware.pins import Pins

# Pairs (on in ms, off in ms), played once.
Sound = tuple[tuple[int, int], ...]

CLICK_MS = 20
SOUND_STEPS_MAX = 64
SOUND_MS_MAX = 60_000
# As many as the alarms a post can hold.
SOUNDS_WAITING_MAX = 16


def check_sound(pattern: Sound) -> Sound:
    """Returns the pattern; raises ValueError when it is empty, has too many steps or over 60 s."""
    if not 1 <= len(pattern) <= SOUND_STEPS_MAX:
        raise ValueError(f"a sound has 1 to {SOUND_STEPS_MAX} steps, not {len(pattern)}")
    if any(on_ms <= 0 or off_ms < 0 for on_ms, off_ms in pattern):
        raise ValueError("a sound's steps are on for more than 0 ms and off for 0 ms or more")
    if sum(on_ms + off_ms for on_ms, off_ms in pattern) > SOUND_MS_MAX:
        raise ValueError(f"a sound takes at most {SOUND_MS_MAX} ms")
    return pattern


class Buzzer:
    """An active buzzer on BCM pin `number` (high sounds); None for either argument: not fitted."""

    def __init__(self, pins: Pins | None, number: int | None) -> None:
        """Begins silent. Raises PinsUnavailable."""
        self.failures = 0  # writes that the pins refused, and calls of `done` that raised
        self._pin: Any = None
        if pins is not None and number is not None:
            self._pin = pins.output(number, "buzzer")
        self._waiting: deque[tuple[Sound, Callable[[], None]]] = deque()
        self._sounding = False
        self._click_until_s: float | None = None
        self._generation = 0  # a new one cuts off what plays
        self._closed = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="buzzer", daemon=True)
        self._thread.start()

    @property
    def sounding(self) -> bool:
        """Whether a sound plays or waits its turn. A click is not a sound."""
        return self._sounding

    def click(self) -> None:
        """20 ms, begun in this thread. During a sound it is swallowed by the sound."""
        with self._change:
            if self._closed or self._sounding:
                return
            self._write(True)
            self._click_until_s = time.monotonic() + CLICK_MS / 1000
            self._change.notify()

    def sound(self, pattern: Sound, done: Callable[[], None]) -> bool:
        """Plays `pattern` once, after those that wait; then calls `done`, which may only enqueue.

        False when 16 already wait, or when closed: then `done` is never called. A sound cut short
        by `stop` or `close` does not call it either. Raises ValueError.
        """
        check_sound(pattern)
        with self._change:
            if self._closed or len(self._waiting) >= SOUNDS_WAITING_MAX:
                return False
            self._waiting.append((pattern, done))
            self._sounding = True
            self._change.notify()
            return True

    def stop(self) -> None:
        """Silence at once; forgets what waits."""
        with self._change:
            self._silence()

    def alive(self) -> bool:
        """Whether sounds can still be played. For the watchdog."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Silence, and the thread is gone. Not to be called from `done`."""
        with self._change:
            self._closed = True
            self._silence()
        self._thread.join()

    def _silence(self) -> None:
        self._generation += 1
        self._waiting.clear()
        self._sounding = False
        self._click_until_s = None
        self._write(False)
        self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                if self._closed:
                    return
                if not self._waiting:
                    self._rest()
                    continue
                pattern, done = self._waiting.popleft()
                self._click_until_s = None
                whole = self._play(pattern)
                if whole and not self._waiting:
                    self._sounding = False
            if whole:
                self._tell(done)

    def _rest(self) -> None:
        """Waits for the end of a click or for something to do; holds the lock but while waiting."""
        if self._click_until_s is None:
            self._change.wait()
            return
        left_s = self._click_until_s - time.monotonic()
        if left_s > 0:
            self._change.wait(left_s)
            return
        self._click_until_s = None
        self._write(False)

    def _play(self, pattern: Sound) -> bool:
        """Whether the sound was played to its end. Releases the lock while it waits."""
        generation = self._generation
        end_s = time.monotonic()
        for on_ms, off_ms in pattern:
            for level, duration_ms in ((True, on_ms), (False, off_ms)):
                self._write(level)
                end_s += duration_ms / 1000
                while (left_s := end_s - time.monotonic()) > 0:
                    self._change.wait(left_s)
                    if self._generation != generation:
                        return False
        return True

    def _write(self, on: bool) -> None:
        if self._pin is None:
            return
        try:
            self._pin.state = on
        except Exception:  # noqa: BLE001  lgpio.error derives from Exception itself
            self.failures += 1

    def _tell(self, done: Callable[[], None]) -> None:
        try:
            done()
        except Exception:  # noqa: BLE001  the thread must live for the next sound
            self.failures += 1
