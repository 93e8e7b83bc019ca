"""From edges on a pin to presses, and from presses to calls. Pure: microseconds in, signals out.

`Contact` decides what is a press of a real, bouncing, worn or stuck contact; `CallCounter` decides
which presses are a call for help. Neither knows of alarms, pins or clocks: all times are
arguments, in microseconds of uptime.

A **closing** shorter than 100 us is a glitch and changes nothing, nor does such an opening.
Closings with gaps under 30 ms between them are one **burst**: a finger cannot be that fast. A burst
is one press as soon as the contact was closed in it for 12 ms in all, or, for contacts so worn
that they hardly conduct, at its third closing if it has lasted longer than 10 ms, which is more
than a knock on the box does. So whatever lasts for 42 ms is a press: with two closings of less
than 12 ms in all, and one gap, it cannot. A burst with a chatter that no sound button has makes
the contact *worn*; it counts all the same, once.

The stamps of the edges decide, not when they are handed over: time alone makes an edge real only
after `LATE_US`, so that the second edge of a glitch may be that late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import msgspec

# Switch bounce is 0.1 to 10 ms when new (Ganssle, "A Guide to Debouncing": 6.2 ms on average).
GLITCH_US = 100
BOUNCE_US = 10_000
# A press is accepted at most 15 ms after its last edge; 3 ms of that are left to the scheduler.
CLOSED_US = 12_000
# How late an edge may be handed over. Below CLOSED_US, so that no press waits for it.
LATE_US = 10_000
CHATTER_CLOSINGS = 3
GAP_US = 30_000
STUCK_US = 30_000_000
# Hammering is one call: presses count again only after a pause of this length without any.
PAUSE_US = 2_000_000

Signal = Literal["pressed", "worn", "held", "released"]


class ContactSignal(msgspec.Struct, frozen=True):
    """What a contact has done, and the uptime (us) of the closing that began it."""

    what: Signal
    at_us: int


@dataclass
class _Burst:
    """Closings that belong together; `counted`, `worn` and `held` once said (or never to be)."""

    start_us: int
    counted: bool
    closings: int = 1
    closed_total_us: int = 0
    closed_longest_us: int = 0
    release_from_us: int | None = None
    worn: bool = False
    held: bool = False


class Contact:
    """One contact: edges in, signals out.

    `pressed` once per burst; `worn` at most once per burst; `held` when a burst has lasted
    `hold_us`; `released` when it is over. A contact that is closed at the start has not been
    pressed: it signals `held` if it stays so, `released` at its end, and nothing else.
    """

    def __init__(self, *, closed: bool, at_us: int, hold_us: int = STUCK_US) -> None:
        """Take the level at the start and how long a closing lasts until it is `held` (us)."""
        self._hold_us = hold_us
        self._closed = closed  # the level after the glitch filter, since _since_us
        self._since_us = at_us
        self._pending_us: int | None = None  # an edge away from it that may still be a glitch
        self._burst = _Burst(at_us, counted=True, worn=True) if closed else None

    @property
    def closed(self) -> bool:
        """Whether the last edge closed the contact."""
        return self._closed if self._pending_us is None else not self._closed

    def edge(self, at_us: int, closed: bool) -> list[ContactSignal]:
        """Take one edge. An edge to the level the contact has already is no edge."""
        if closed == self.closed:
            return []
        at_us = max(at_us, self._since_us, self._pending_us or 0)
        signals: list[ContactSignal] = []
        if self._pending_us is not None:
            if at_us - self._pending_us < GLITCH_US:
                self._pending_us = None  # back again at once: it never happened
                return signals
            self._flip(signals)
        self._advance(at_us, signals)
        self._pending_us = at_us
        return signals

    def tick(self, now_us: int) -> list[ContactSignal]:
        """Let time pass up to `now_us`, all edges until then having been taken."""
        signals: list[ContactSignal] = []
        if self._pending_us is not None:
            if now_us - self._pending_us < LATE_US:
                return signals
            self._flip(signals)
        self._advance(now_us, signals)
        return signals

    def wake_at_us(self) -> int | None:
        """When `tick` would next have something to say, or None."""
        if self._pending_us is not None:
            return self._pending_us + LATE_US
        if self._burst is None:
            return None
        if not self._closed:
            return self._since_us + GAP_US
        moments = []
        if not self._burst.counted:
            moments.append(self._since_us + CLOSED_US - self._burst.closed_total_us)
        if not self._burst.held:
            moments.append(self._burst.start_us + self._hold_us)
        return min(moments, default=None)

    def _flip(self, signals: list[ContactSignal]) -> None:
        """The pending edge has lasted: it is real."""
        assert self._pending_us is not None
        at_us, self._pending_us = self._pending_us, None
        self._advance(at_us, signals)
        self._closed, since_us, self._since_us = not self._closed, self._since_us, at_us
        burst = self._burst
        if not self._closed:
            assert burst is not None, "a closed contact is in a burst"
            burst.closed_total_us += at_us - since_us
            burst.closed_longest_us = max(burst.closed_longest_us, at_us - since_us)
            if burst.release_from_us is None and at_us > burst.start_us + BOUNCE_US:
                burst.release_from_us = at_us
        elif burst is None:
            self._burst = _Burst(at_us, counted=False)
        else:
            burst.closings += 1
            if burst.release_from_us is not None and at_us > burst.release_from_us + BOUNCE_US:
                self._wear(burst, signals)
            if burst.closings >= CHATTER_CLOSINGS and at_us - burst.start_us > BOUNCE_US:
                self._count(burst, signals)

    def _advance(self, to_us: int, signals: list[ContactSignal]) -> None:
        """Time passes at an unchanged level."""
        burst = self._burst
        if burst is None:
            return
        if self._closed:
            if burst.closed_total_us + to_us - self._since_us >= CLOSED_US:
                self._count(burst, signals)
            if not burst.held and to_us - burst.start_us >= self._hold_us:
                burst.held = True
                signals.append(ContactSignal("held", burst.start_us))
        elif to_us - self._since_us >= GAP_US:
            if burst.counted and 0 < burst.closed_longest_us < BOUNCE_US:
                self._wear(burst, signals)
            self._burst = None
            signals.append(ContactSignal("released", burst.start_us))

    def _count(self, burst: _Burst, signals: list[ContactSignal]) -> None:
        if not burst.counted:
            burst.counted = True
            signals.append(ContactSignal("pressed", burst.start_us))

    def _wear(self, burst: _Burst, signals: list[ContactSignal]) -> None:
        if not burst.worn:
            burst.worn = True
            signals.append(ContactSignal("worn", burst.start_us))


class CallCounter:
    """The sliding window: which press completes a call for help.

    After a call, presses without a pause of 2 s between them belong to that call still.
    """

    def __init__(self, presses: int, window_us: int) -> None:
        """`presses` within `window_us` are a call (3 in 5 s by default)."""
        self._presses = presses
        self._window_us = window_us
        self._recent_us: deque[int] = deque(maxlen=presses)
        self._last_us: int | None = None
        self._hammering = False

    def call_over(self) -> None:
        """What the presses called for is over: from now on they are a call of their own.

        Those that had begun another call still count for it.
        """
        self._hammering = False

    def press(self, at_us: int) -> tuple[int, ...] | None:
        """Count one press; the times (us) of the presses that make a call, or None."""
        paused = self._last_us is None or at_us - self._last_us >= PAUSE_US
        self._last_us = at_us
        if self._hammering and not paused:
            return None
        self._hammering = False
        self._recent_us.append(at_us)
        call = tuple(self._recent_us)
        if len(call) < self._presses or call[-1] - call[0] > self._window_us:
            return None
        self._recent_us.clear()
        self._hammering = True
        return call
