"""What the levels of a post's inputs mean: the button's two contacts, the lid, the mains. Pure.

Every contact stands between a line with a pull-up and ground: closed is low. Whatever can be
supervised is wired so that *closed* is well, and a wire that breaks shows. It never decides what
is done about a meaning (`device/core.py`) and reads neither pins nor clocks: microseconds of
uptime are arguments.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

PairMeaning = Literal["rest", "pressed", "cut", "short"]

# (normally open contact closed, normally closed contact closed). Neither `cut` nor `short` is a
# press; a finger passes through one of them for some milliseconds on its way.
PAIR: dict[tuple[bool, bool], PairMeaning] = {
    (False, True): "rest",
    (True, False): "pressed",
    (False, False): "cut",
    (True, True): "short",
}
PAIR_LEVELS = {meaning: levels for levels, meaning in PAIR.items()}

# A finger is through the travel between the contacts in far less, also a slow and weak one.
WIRE_FAULT_US = 2_000_000
# As in device/presses.py: less is bounce, and a gap shorter than this no finger can make.
MOVED_US = 12_000
GAP_US = 30_000
# So many strokes on which the normally open contact stayed open, in this time: its wire is cut.
LOST_STROKES = 3
LOST_STROKES_US = 10_000_000

# A blow that makes the lid rattle is shorter than 100 ms; somebody who opens it is not. A switch
# that chatters while the lid is screwed on again is not shut yet.
TAMPER_OPEN_US = 100_000
TAMPER_SHUT_US = 2_000_000
# The supply and the UPS bridge a dip; a loss that lasts is worth a word.
MAINS_LOST_US = 2_000_000
MAINS_BACK_US = 2_000_000


@dataclass
class _Stroke:
    """What was seen between two rests of the button, us in all; `stood`: no finger is that slow."""

    pressed_us: int = 0
    cut_us: int = 0
    short_us: int = 0
    stood: bool = False


@dataclass
class ButtonPair:
    """A button with a normally open and a normally closed contact on two lines.

    `pressed` is what goes to the debouncing: the table says so, or the normally closed contact is
    known not to open. For supervision must not make a post worse than one without it: after one
    full stroke without the second contact, the first one alone decides until a stroke shows both.
    """

    no_closed: bool
    nc_closed: bool
    at_us: int  # of the present levels
    _stroke: _Stroke | None = None
    _cut_stands: bool = False
    _short_stands: bool = False
    _no_is_dead: bool = False
    _nc_is_dead: bool = False
    _lost_us: deque[int] = field(default_factory=lambda: deque(maxlen=LOST_STROKES))

    @property
    def meaning(self) -> PairMeaning:
        """What the table says of the present levels."""
        return PAIR[self.no_closed, self.nc_closed]

    @property
    def pressed(self) -> bool:
        """Whether a finger is on it, as far as the contacts that live can tell."""
        return self.meaning == "pressed" or (self._nc_is_dead and self.no_closed)

    @property
    def cut(self) -> bool:
        """Both contacts have been open for 2 s, or three strokes did not close the first one."""
        return self._cut_stands or self._no_is_dead

    @property
    def short(self) -> bool:
        """Both contacts have been closed for 2 s, or a whole stroke did not open the second."""
        return self._short_stands or self._nc_is_dead

    def edge(self, contact: Literal["button", "button_nc"], at_us: int, closed: bool) -> None:
        """Take one edge of one contact."""
        at_us = max(at_us, self.at_us)
        self.tick(at_us)
        before, since_us = self.meaning, self.at_us
        if contact == "button":
            self.no_closed = closed
        else:
            self.nc_closed = closed
        if self.meaning == before:
            return
        self.at_us = at_us
        self._stroke = stroke = self._stroke or _Stroke()
        match before:
            case "pressed":
                stroke.pressed_us += at_us - since_us
            case "cut":
                stroke.cut_us += at_us - since_us
            case "short":
                stroke.short_us += at_us - since_us
            case "rest":
                pass

    def tick(self, now_us: int) -> None:
        """Let time pass at unchanged levels."""
        lasts_us = now_us - self.at_us
        stands = lasts_us >= WIRE_FAULT_US
        match self.meaning:
            case "rest":
                if self._stroke is not None and lasts_us >= GAP_US:
                    self._judge(self._stroke)
                    self._stroke = None
                if stands:
                    self._cut_stands = self._short_stands = False
            case "cut" if stands:
                self._cut_stands = True
                self._stands()
            case "short" if stands:
                self._short_stands = True
                self._stands()
            case _:
                pass

    def wake_at_us(self) -> int | None:
        """When `tick` would next change something, or None."""
        stands_us = self.at_us + WIRE_FAULT_US
        match self.meaning:
            case "rest":
                if self._stroke is not None:
                    return self.at_us + GAP_US
                return stands_us if self._cut_stands or self._short_stands else None
            case "cut":
                return None if self._cut_stands else stands_us
            case "short":
                return None if self._short_stands else stands_us
            case "pressed":
                return None

    def _stands(self) -> None:
        self._stroke = self._stroke or _Stroke()
        self._stroke.stood = True

    def _judge(self, stroke: _Stroke) -> None:
        """What a stroke, from rest to rest, says of the two contacts."""
        if stroke.pressed_us >= MOVED_US:
            self._no_is_dead = self._nc_is_dead = False
            self._lost_us.clear()
        elif stroke.stood:
            return
        elif stroke.short_us >= MOVED_US:
            self._nc_is_dead = True
        elif stroke.cut_us >= MOVED_US:
            self._lost_us.append(self.at_us)
            first_us = self.at_us - LOST_STROKES_US
            if len(self._lost_us) == LOST_STROKES and self._lost_us[0] >= first_us:
                self._no_is_dead = True


@dataclass
class Loop:
    """A contact that is closed while all is well: the lid's switch, the mains opto-coupler.

    `broken` once it has been open for `open_us`; well again once closed for `closed_us`.
    """

    closed: bool
    at_us: int  # of the present level
    open_us: int
    closed_us: int
    broken: bool = False

    def edge(self, at_us: int, closed: bool) -> None:
        """Take one edge; one to the level it has already is none."""
        if closed == self.closed:
            return
        at_us = max(at_us, self.at_us)
        self.tick(at_us)
        self.closed, self.at_us = closed, at_us

    def tick(self, now_us: int) -> None:
        """Let time pass at an unchanged level."""
        if self.closed == self.broken and now_us >= self._settled_at_us():
            self.broken = not self.closed

    def wake_at_us(self) -> int | None:
        """When `tick` would next change something, or None."""
        return self._settled_at_us() if self.closed == self.broken else None

    def _settled_at_us(self) -> int:
        return self.at_us + (self.closed_us if self.closed else self.open_us)


def tamper_loop(*, closed: bool, at_us: int) -> Loop:
    """The lid's switch: closed while the lid is shut."""
    return Loop(closed, at_us, TAMPER_OPEN_US, TAMPER_SHUT_US)


def mains_loop(*, closed: bool, at_us: int) -> Loop:
    """The mains: closed (the opto-coupler conducts) while it is there."""
    return Loop(closed, at_us, MAINS_LOST_US, MAINS_BACK_US)
