"""Whether the command centre itself could answer a call: pure, from who and what is there.

Ages are seconds on a clock that is never stepped; the caller measures them (`Ages`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

FaultName = Literal["nobody_on_shift", "no_console_with_sound"]
NAMES: tuple[FaultName, ...] = ("nobody_on_shift", "no_console_with_sound")


@dataclass(frozen=True)
class ScreenSeen:
    """A console's last word about itself; `may_answer`: somebody sits there who may."""

    age_s: float
    sound: bool
    may_answer: bool


def faults(
    people_on_shift: int, screens: Iterable[ScreenSeen], *, silent_s: float
) -> Mapping[FaultName, str]:
    """What is wrong now, with a detail for people; empty when a call would be heard."""
    found: dict[FaultName, str] = {}
    if people_on_shift == 0:
        found["nobody_on_shift"] = ""
    fresh = [one for one in screens if one.age_s < silent_s and one.may_answer]
    if not any(one.sound for one in fresh):
        found["no_console_with_sound"] = f"{len(fresh)} consoles open" if fresh else ""
    return found


class Ages:
    """How old what others write down is, by when this process saw it change."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, float]] = {}

    def of(
        self, stamps: Mapping[Hashable, int], *, mono_s: float, wall_ms: int
    ) -> dict[Hashable, float]:
        """The age of each (s); what is not among them any more is forgotten.

        At the first look it is the difference of two wall clocks, and no better than they are.
        """
        seen = {}
        for key, stamp_ms in stamps.items():
            known = self._seen.get(key)
            if known is None:
                seen[key] = (stamp_ms, mono_s - max(0.0, (wall_ms - stamp_ms) / 1000))
            else:
                seen[key] = known if known[0] == stamp_ms else (stamp_ms, mono_s)
        self._seen = seen
        return {key: mono_s - since_s for key, (_stamp, since_s) in seen.items()}
