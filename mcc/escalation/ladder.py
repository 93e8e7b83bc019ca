"""The ladder: who is to be told of what, and when. Pure; time is passed in.

A rung is due so long after the press, and never before operators have had the time to the second
tone since the call was heard here: a call that comes an hour late does not wake everybody in its
first second. An answer takes the alarm off the ladder. The second tone itself is the console's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mcc.settings import EscalationSettings

Rung = Literal["supervisor", "pickets"]
RUNGS: tuple[Rung, ...] = ("supervisor", "pickets")


@dataclass(frozen=True)
class Call:
    """Something that wants to be answered: an alarm, or a fault of the command centre.

    `key` names it for ever. `unit`: whose pickets are told; None: there are none for it.
    """

    key: str
    raised_ms: int
    heard_ms: int
    unit: str | None
    rungs: tuple[Rung, ...] = RUNGS


@dataclass(frozen=True)
class Now:
    """One instant: on a clock that is never stepped (s), and on the wall (Unix ms)."""

    mono_s: float
    wall_ms: int


@dataclass(frozen=True)
class Rise:
    """A rung of a call that has been reached."""

    call: Call
    rung: Rung


class Ladder:
    """Remembers what stands on it. After a restart it is built anew; what was told is on disk."""

    def __init__(self, settings: EscalationSettings) -> None:
        self._after_s = {"supervisor": settings.supervisor_s, "pickets": settings.pickets_s}
        self._grace_s = settings.second_tone_s
        # Call and rung -> when it is due (s, monotonic), None once it was reached.
        self._due_s: dict[tuple[str, Rung], float | None] = {}

    def rises(self, calls: Iterable[Call], now: Now) -> list[Rise]:
        """The rungs that are reached now, each once; `calls` is all that is unanswered."""
        known, self._due_s = self._due_s, {}
        found = []
        for call in calls:
            for rung in call.rungs:
                step = (call.key, rung)
                due_s = known[step] if step in known else self._due(call, rung, now)
                if due_s is not None and now.mono_s >= due_s:
                    found.append(Rise(call, rung))
                    due_s = None
                self._due_s[step] = due_s
        return found

    def _due(self, call: Call, rung: Rung, now: Now) -> float:
        """Wall clocks are compared once, when the call is first seen; a later step moves nothing.

        A press or a first hearing that seems to lie in the future counts as one of just now.
        """
        pressed_ago_s = max(0.0, (now.wall_ms - call.raised_ms) / 1000)
        heard_ago_s = max(0.0, (now.wall_ms - call.heard_ms) / 1000)
        after_s = self._after_s[rung]
        return now.mono_s + max(after_s - pressed_ago_s, min(self._grace_s, after_s) - heard_ago_s)
