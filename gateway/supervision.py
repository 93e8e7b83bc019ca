"""Who has not been heard for too long: names and moments in, names out. Pure.

Every post has the same window, so the map of windows stays in the order in which they end: a
heartbeat costs two dictionary operations, however many posts there are. It runs on the time in
which this gateway could hear: while it is deaf or did not run, no window ends, because what we
could not hear is our fault and no post's. It never says that somebody is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

SECOND_US = 1_000_000
SILENT_AFTER_S = 90  # at the command centre; EN 50131 grade 3 and UL allow 180 and 200 s
# Of that, what commit, brokers and the command centre may take to show it.
WAY_US = SECOND_US // 2
# What waited in the sockets of a gateway that did not run is read within this.
READ_US = SECOND_US // 2
# After a will a post has time to come back by itself: so long, and half a strict window at most.
WILL_US = 20 * SECOND_US


class Supervision:
    """The windows of all posts. `silent_after_s`: when the command centre is to show a silence."""

    def __init__(self, silent_after_s: int = SILENT_AFTER_S) -> None:
        """Begin deaf, with nobody to listen for."""
        self.window_us = silent_after_s * SECOND_US - WAY_US
        self.will_us = min(WILL_US, self.window_us // 2)
        self._windows: OrderedDict[str, int] = OrderedDict()
        self._wills: OrderedDict[str, int] = OrderedDict()
        self._lost_us = 0  # of the uptime, what this gateway did not run
        self._hears = False

    def __contains__(self, name: str) -> bool:
        """Whether this name has a window that has not ended."""
        return name in self._windows

    def __len__(self) -> int:
        """How many windows are open."""
        return len(self._windows)

    def watch(self, name: str, now_us: int) -> None:
        """Listen for a name from now on; one that is listened for already keeps its window."""
        if name not in self._windows:
            self._windows[name] = now_us - self._lost_us + self.window_us

    def heard(self, name: str, now_us: int) -> None:
        """It is there: its window begins anew, and no will counts any more."""
        self._windows[name] = now_us - self._lost_us + self.window_us
        self._windows.move_to_end(name)
        if self._wills:
            self._wills.pop(name, None)

    def left(self, name: str, now_us: int) -> None:
        """Its connection is gone. That is no silence yet: it shortens the window."""
        will_us = now_us - self._lost_us + self.will_us
        ends_us = self._windows.get(name)
        if ends_us is not None and will_us < ends_us:
            self._wills.setdefault(name, will_us)

    def forget(self, name: str) -> None:
        """Listen for it no more."""
        self._windows.pop(name, None)
        self._wills.pop(name, None)

    def deaf(self) -> None:
        """Nobody can be heard from now on, and nobody's window ends."""
        self._hears = False

    def hears(self, names: Iterable[str], now_us: int) -> None:
        """Everybody can be heard again: each of these has a whole window to come back."""
        self._hears = True
        self._wills.clear()
        ends_us = now_us - self._lost_us + self.window_us
        self._windows = OrderedDict.fromkeys(names, ends_us)

    def stalled(self, for_us: int) -> None:
        """This gateway did not run for so long: nobody's window went on meanwhile.

        Nor before what has come meanwhile is read; and a will from before counts no more, since who
        left it may be back.
        """
        self._lost_us += for_us + READ_US
        self._wills.clear()

    def next_us(self) -> int | None:
        """When the first window ends (us of uptime); None: none does."""
        if not self._hears or not self._windows:
            return None
        first_us = next(iter(self._windows.values()))
        if self._wills:
            first_us = min(first_us, next(iter(self._wills.values())))
        return first_us + self._lost_us

    def due(self, now_us: int) -> list[str]:
        """Take out who has not been heard in time."""
        next_us = self.next_us()
        if next_us is None or next_us > now_us:
            return []
        silent = []
        for ends in (self._wills, self._windows):
            while ends:
                name, ends_us = next(iter(ends.items()))
                if ends_us + self._lost_us > now_us:
                    break
                self.forget(name)
                silent.append(name)
        return silent
