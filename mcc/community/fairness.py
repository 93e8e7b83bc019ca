"""How often a post cried wolf, and what a person decided about it. Pure; nothing makes a post deaf.

A case is one closed call of the red button. *False* and *prank* count as false alarms, *test* does
not: practice is welcome. False alarms of which each comes within `CLUSTER_MS` of the one before are
one cluster: one evening of a broken button or of children is another thing than twelve months.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from zoneinfo import ZoneInfo

Outcome = Literal["real", "false", "test", "prank"]
Step = Literal["talk", "poster", "practice", "cover"]
# From the mildest on. A covered button still calls for help.
LADDER: tuple[Step, ...] = get_args(Step)
CLUSTER_MS = 3_600_000
# Below so many counted cases a percentage says more than is known.
RATE_FROM_CASES = 5
# The hours at which each part of the day begins.
PARTS_OF_DAY = (0, 6, 12, 18)
_FALSE = ("false", "prank")
_CITY = ZoneInfo("Asia/Jakarta")


@dataclass(frozen=True)
class Case:
    """One closed call: when it was raised and closed (Unix ms), what it was."""

    alarm_id: str
    raised_ms: int
    closed_ms: int
    outcome: str


@dataclass(frozen=True)
class Decision:
    """What a person decided: a step of the ladder, or `none`."""

    at_ms: int
    step: str
    operator: str
    why: str


@dataclass(frozen=True)
class Review:
    """A post's cases of the months that count.

    `percent`: false ones among real and false; None when there are too few to say. `by_part`: false
    ones by part of the day, from midnight on. `is_due`: as many false ones as the setting names
    were closed since somebody last decided: what was open then nobody could count. `next_step`: the
    mildest that was not taken yet.
    """

    real: int
    false: int
    prank: int
    test: int
    percent: int | None
    by_part: tuple[int, ...]
    clusters: int
    since_decision: int
    is_due: bool
    next_step: Step | None

    @property
    def alarms(self) -> int:
        """False alarms of both kinds."""
        return self.false + self.prank


def review(cases: Sequence[Case], decisions: Sequence[Decision], *, due_after: int) -> Review:
    """Count what one post did; cases and decisions are those of the months that count."""
    counted = {name: sum(one.outcome == name for one in cases) for name in get_args(Outcome)}
    wolves = sorted(one.raised_ms for one in cases if one.outcome in _FALSE)
    known = counted["real"] + len(wolves)
    last_ms = max((one.at_ms for one in decisions), default=-1)
    since = sum(one.closed_ms > last_ms for one in cases if one.outcome in _FALSE)
    taken = {one.step for one in decisions}
    return Review(
        real=counted["real"],
        false=counted["false"],
        prank=counted["prank"],
        test=counted["test"],
        percent=round(100 * len(wolves) / known) if known >= RATE_FROM_CASES else None,
        by_part=_by_part(wolves),
        clusters=_clusters(wolves),
        since_decision=since,
        is_due=since >= due_after,
        next_step=next((step for step in LADDER if step not in taken), None),
    )


def _by_part(raised_ms: Sequence[int]) -> tuple[int, ...]:
    hours = [dt.datetime.fromtimestamp(at_ms / 1000, _CITY).hour for at_ms in raised_ms]
    ends = (*PARTS_OF_DAY[1:], 24)
    return tuple(
        sum(begin <= hour < end for hour in hours)
        for begin, end in zip(PARTS_OF_DAY, ends, strict=True)
    )


def _clusters(raised_ms: Sequence[int]) -> int:
    pairs = itertools.pairwise(raised_ms)
    return bool(raised_ms) + sum(after - before > CLUSTER_MS for before, after in pairs)
