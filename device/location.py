"""Where the post is and how that is known: never nothing, never a lie. Pure.

A fresh fix; else the last fix with its age; else the surveyed location from the settings.
"""

from __future__ import annotations

from hardware.nmea import Fix
from protocol.messages import Location

FRESH_S = 10
# A mounted box does not move: after a day without a fix its survey says more than an old fix.
LAST_KNOWN_S = 86_400


class LocationPolicy:
    """Chooses among fix, last known fix and survey."""

    def __init__(self, lat: float, lon: float) -> None:
        """Take the surveyed location, WGS 84 degrees."""
        self._surveyed = Location(lat=lat, lon=lon, source="surveyed")
        self._fix: Fix | None = None
        self._receiver_has_fix = False

    def located(self, fix: Fix) -> None:
        """The receiver has a fix now."""
        self._fix = fix
        self._receiver_has_fix = True

    def lost(self) -> None:
        """The receiver has no fix any more, or is gone."""
        self._receiver_has_fix = False

    def where(self, now_us: int) -> Location:
        """The location to put into a message at this uptime (us)."""
        fix = self._fix
        if fix is None:
            return self._surveyed
        age_s = max(0, now_us - fix.uptime_us) // 1_000_000
        if age_s > LAST_KNOWN_S:
            return self._surveyed
        fresh = self._receiver_has_fix and age_s <= FRESH_S
        return Location(
            lat=round(fix.lat, 6),
            lon=round(fix.lon, 6),
            source="gps" if fresh else "last_known",
            age_s=age_s,
            accuracy_m=None if fix.accuracy_m is None else round(fix.accuracy_m, 1),
        )
