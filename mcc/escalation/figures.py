"""How soon calls for help were answered, held against the targets: pure, and each figure traceable.

A call counts for a target once it was answered, or once the target's time is over. A call whose
moment of pressing nobody knows is counted apart, a practice call not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcc.alarms import AlarmRecord
from mcc.settings import TargetSettings
from protocol.values import wall_ms


@dataclass(frozen=True)
class Answer:
    """One call: when it was pressed (None: nobody knows), answered, and a unit sent (Unix ms)."""

    alarm_id: str
    post: str
    pressed_ms: int | None
    answered_ms: int | None
    sent_ms: int | None
    is_over: bool

    @property
    def answered_after_s(self) -> float | None:
        """Seconds from the press to the answer; clocks that disagree count as none."""
        if self.pressed_ms is None or self.answered_ms is None:
            return None
        return max(0.0, (self.answered_ms - self.pressed_ms) / 1000)

    @property
    def sent_after_s(self) -> float | None:
        """Seconds from the answer to the sending of a unit."""
        if self.answered_ms is None or self.sent_ms is None:
            return None
        return max(0.0, (self.sent_ms - self.answered_ms) / 1000)


@dataclass(frozen=True)
class Figure:
    """One target: so many of `counted` calls within `seconds`."""

    seconds: int
    within: int
    counted: int
    target_percent: float | None

    @property
    def percent(self) -> float | None:
        """None without calls."""
        return None if self.counted == 0 else round(100 * self.within / self.counted, 1)

    @property
    def is_missed(self) -> bool:
        """Whether it is below its target."""
        known = self.percent is not None and self.target_percent is not None
        return known and self.percent < self.target_percent  # type: ignore[operator]


@dataclass(frozen=True)
class Figures:
    """All of them. `unknown`: calls that cannot be counted from the press."""

    acknowledged: Figure
    acknowledged_late: Figure
    dispatched: Figure
    unknown: int


def answer_of(alarm: AlarmRecord) -> Answer:
    """What of an alarm counts here. Whoever sends a unit or closes has answered too."""
    reached = alarm.reached
    steps = (reached.acknowledged, reached.dispatched, reached.resolved)
    answered = next((step for step in steps if step is not None), None)
    return Answer(
        alarm_id=alarm.alarm_id,
        post=alarm.post,
        pressed_ms=None if alarm.raised.known == "before" else wall_ms(alarm.raised.at),
        answered_ms=wall_ms(answered.at) if answered else None,
        sent_ms=wall_ms(reached.dispatched.at) if reached.dispatched else None,
        is_over=not alarm.is_open,
    )


def figures(answers: Sequence[Answer], targets: TargetSettings, now_ms: int) -> Figures:
    """The figures of these calls as they stand at this moment."""
    known = [one for one in answers if one.pressed_ms is not None]
    return Figures(
        acknowledged=_acknowledged(
            known, targets.acknowledge_s, targets.acknowledge_percent, now_ms
        ),
        acknowledged_late=_acknowledged(
            known, targets.acknowledge_late_s, targets.acknowledge_late_percent, now_ms
        ),
        dispatched=_dispatched(answers, targets.dispatch_s, now_ms),
        unknown=len(answers) - len(known),
    )


def _acknowledged(answers: Iterable[Answer], seconds: int, percent: float, now_ms: int) -> Figure:
    within = counted = 0
    for one in answers:
        after_s = one.answered_after_s
        waited_s = (now_ms - (one.pressed_ms or 0)) / 1000
        if after_s is not None or waited_s > seconds:
            counted += 1
            within += after_s is not None and after_s <= seconds
    return Figure(seconds, within, counted, percent)


def _dispatched(answers: Iterable[Answer], seconds: int, now_ms: int) -> Figure:
    """A call that was closed without a unit needed none."""
    within = counted = 0
    for one in answers:
        if one.answered_ms is None or (one.sent_ms is None and one.is_over):
            continue
        after_s = one.sent_after_s
        if after_s is not None or (now_ms - one.answered_ms) / 1000 > seconds:
            counted += 1
            within += after_s is not None and after_s <= seconds
    return Figure(seconds, within, counted, None)
