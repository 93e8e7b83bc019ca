"""What makes a post unfit by and by: its supply, heat, disk, clock, place, and restarts. Pure.

Each condition is raised when it has lasted, and cleared when it has stayed away: a `Loop` with its
two times. It never decides what the lamp says, and reads neither clock nor board.
"""

from __future__ import annotations

import math

from hardware.board import SINCE_BOOT_SHIFT, THROTTLED_BITS, UNDER_VOLTAGE_BIT, Readings
from hardware.inputs import Loop
from hardware.nmea import Fix

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
# A Pi slows down from 80 C on and is throttled hard at 85 (Raspberry Pi documentation, "Frequency
# management and thermal control").
HOT_C, COOL_C = 80.0, 75.0
DISK_SMALL_MB, DISK_ROOM_MB = 64, 96
# A mounted box does not move. A fix is implausible that lies further from the survey than this and
# three times what the receiver itself says of its accuracy.
MOVED_M, AT_HOME_M = 100.0, 50.0
ACCURACIES = 3.0
ACCURACY_UNKNOWN_M = 50.0
# Fixes come once a second. A longer gap than this is a time of which nobody knows where it was.
FIX_GAP_US = 1 * MINUTE_US
EARTH_RADIUS_M = 6_371_000.0
STABLE_US = 10 * MINUTE_US  # a process that has run for so long is in no loop of restarts
RESTARTS_OFTEN = 3  # starts without such a run between them

# fault -> after so long it is raised, after so long without it is cleared (us). Readings come once
# a minute.
LASTS_US: dict[str, tuple[int, int]] = {
    "under_voltage": (0, 15 * MINUTE_US),
    "throttled": (1 * MINUTE_US, 10 * MINUTE_US),
    "too_hot": (1 * MINUTE_US, 5 * MINUTE_US),
    "disk_full": (0, 1 * MINUTE_US),
    "clock_unsynchronised": (10 * MINUTE_US, 1 * MINUTE_US),
    "place_implausible": (5 * MINUTE_US, 5 * MINUTE_US),
    "restart_loop": (0, STABLE_US),
}


class Conditions:
    """All of them, at one post that hangs at `lat`, `lon` (WGS 84 degrees)."""

    def __init__(self, at_us: int, lat: float, lon: float) -> None:
        """Everything is well at first."""
        self._loops = {
            fault: Loop(closed=True, at_us=at_us, open_us=raised_us, closed_us=cleared_us)
            for fault, (raised_us, cleared_us) in LASTS_US.items()
        }
        # Time alone says nothing about the place: what has been seen of it, fixes alone decide.
        self._place = self._loops.pop("place_implausible")
        self._fix_us = at_us
        self._lat, self._lon = lat, lon
        self._low_since_boot = False
        self.readings = Readings()
        self._wake_us: int | None = None
        self._changed = False

    @property
    def present(self) -> dict[str, bool]:
        """Each condition by its fault's name."""
        broken = {fault: loop.broken for fault, loop in self._loops.items()}
        return {**broken, "place_implausible": self._place.broken}

    def wake_at_us(self) -> int | None:
        """When time alone would next change something, or None."""
        return self._wake_us

    def measured(self, readings: Readings, at_us: int) -> None:
        """The board has been looked at. What it does not say stays as it was."""
        self.readings = readings
        if readings.throttled is not None:
            bits = readings.throttled
            self._set("under_voltage", self._was_low(bits), at_us)
            self._set("throttled", bool(bits & THROTTLED_BITS), at_us)
        if readings.temperature_c is not None:
            self._between("too_hot", readings.temperature_c, COOL_C, HOT_C, at_us)
        if readings.disk_free_mb is not None:
            self._between("disk_full", -readings.disk_free_mb, -DISK_ROOM_MB, -DISK_SMALL_MB, at_us)

    def restarted(self, starts: int, at_us: int) -> None:
        """So many starts, this one included, without one that has lasted for `STABLE_US`."""
        if starts < RESTARTS_OFTEN:
            return
        loop = self._loops["restart_loop"]
        loop.edge(at_us, False)
        loop.tick(at_us)
        loop.edge(at_us, True)  # over when this one has lasted
        self._changed = True
        self._look_again()

    def clock(self, synchronised: bool, at_us: int) -> None:
        """Whether the wall time can be believed."""
        self._set("clock_unsynchronised", not synchronised, at_us)

    def located(self, fix: Fix) -> None:
        """The receiver has a fix; does it lie where the post hangs?

        Without fixes the last verdict stands, and no new one comes about: a receiver that loses the
        sky often ends with one that is far off.
        """
        at_us, place = fix.uptime_us, self._place
        was_broken = place.broken
        if at_us - self._fix_us > FIX_GAP_US:
            place.at_us = at_us  # what a gap has interrupted begins again
        self._fix_us = at_us
        accuracy_m = ACCURACY_UNKNOWN_M if fix.accuracy_m is None else fix.accuracy_m
        beyond_m = distance_m(self._lat, self._lon, fix.lat, fix.lon) - ACCURACIES * accuracy_m
        if beyond_m >= MOVED_M or beyond_m < AT_HOME_M:
            place.edge(at_us, beyond_m < AT_HOME_M)
        place.tick(at_us)
        self._changed |= place.broken != was_broken

    def tick(self, now_us: int) -> bool:
        """Let time pass; whether something may have changed."""
        if not self._changed and (self._wake_us is None or now_us < self._wake_us):
            return False
        self._changed = False
        for loop in self._loops.values():
            loop.tick(now_us)
        self._look_again()
        return True

    def _was_low(self, bits: int) -> bool:
        """Now, or for a moment since the last look: that bit stays until the next boot."""
        low_since_boot = bool(bits >> SINCE_BOOT_SHIFT >> UNDER_VOLTAGE_BIT & 1)
        is_news = low_since_boot and not self._low_since_boot
        self._low_since_boot = low_since_boot
        return is_news or bool(bits >> UNDER_VOLTAGE_BIT & 1)

    def _between(self, fault: str, value: float, well: float, bad: float, at_us: int) -> None:
        if value >= bad:
            self._set(fault, True, at_us)
        elif value < well:
            self._set(fault, False, at_us)

    def _set(self, fault: str, bad: bool, at_us: int) -> None:
        loop = self._loops[fault]
        if loop.closed == (not bad):
            return
        loop.edge(at_us, not bad)
        self._look_again()

    def _look_again(self) -> None:
        moments = [loop.wake_at_us() for loop in self._loops.values()]
        self._wake_us = min((one for one in moments if one is not None), default=None)


def distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Over the ground, metres; exact enough for what is near."""
    x = math.radians(other_lon - lon) * math.cos(math.radians((lat + other_lat) / 2))
    return math.hypot(x, math.radians(other_lat - lat)) * EARTH_RADIUS_M
