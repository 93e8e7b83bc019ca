"""An alarm as the post holds it, from the third press until it is over. Pure values.

How an alarm changes is decided here: a repeat, a cancel request, what the gateway's state document
says of it, and which calls in it nobody has answered.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Literal

import msgspec

from protocol.messages import Alarm, HeldAlarm, ListedAlarm
from protocol.states import State, higher, is_answered
from protocol.values import REPEATS_MAX, timestamp, wall_ms

Sound = Literal["none", "due", "sounded"]


class Held(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alarm with everything that must survive a power cut. It is one row of the outbox.

    `sound` belongs to the same write as the state that makes it due. `carried`: so many
    of its repeats were answered or have become alarms of their own.
    """

    alarm: Alarm
    state: State = "raised"
    answered_repeats: int | None = None
    sound: Sound = "none"
    carried: int = 0

    @property
    def alarm_id(self) -> str:
        """The id from the press to the report."""
        return self.alarm.alarm_id

    @property
    def is_call(self) -> bool:
        """Somebody pressed; a self-test is no call, and never looks or sounds like one."""
        return self.alarm.kind == "panic"

    @property
    def repeats(self) -> int:
        """How often three more presses have come."""
        return len(self.alarm.repeat_uptimes_ms)

    @property
    def answered(self) -> bool:
        """A person has acknowledged it."""
        return is_answered(self.state)

    @property
    def over(self) -> bool:
        """It is resolved."""
        return self.state == "resolved"

    @property
    def excess(self) -> int:
        """How many repeats came too late to be seen by the operator who answered."""
        answered = self.answered_repeats
        if answered is None:
            return 0
        repeats = len(self.alarm.repeat_uptimes_ms)
        if repeats <= answered or repeats <= self.carried:
            return 0
        return repeats - max(answered, self.carried)


def repeat(held: Held, uptime_ms: int | None) -> Held:
    """Three more presses. `uptime_ms` is None where the alarm belongs to an earlier boot.

    At the bound of 64 repeats the alarm stays as it is: it is ringing, and has rung 64 times.
    """
    uptimes_ms = held.alarm.repeat_uptimes_ms
    if len(uptimes_ms) >= REPEATS_MAX:
        return held
    alarm = msgspec.structs.replace(held.alarm, repeat_uptimes_ms=(*uptimes_ms, uptime_ms))
    return msgspec.structs.replace(held, alarm=alarm)


def request_cancel(held: Held, at: str) -> Held:
    """The cancel key was held; the first request stands."""
    if held.alarm.cancel_requested_at is not None:
        return held
    return msgspec.structs.replace(
        held, alarm=msgspec.structs.replace(held.alarm, cancel_requested_at=at)
    )


def learn(held: Held, listed: ListedAlarm) -> Held:
    """Merge what a state document says: the state only rises, the first answer stands.

    The sound becomes due in the same value, and so in the same write, as the answer. Repeats that
    are listed and not held were made before this disk failed or was put in place of a newer one:
    they are taken back while nobody has answered, so that the next one counts as one more.
    """
    state = higher(held.state, listed.state)
    answered_repeats = held.answered_repeats
    if answered_repeats is None and is_answered(state):
        answered_repeats = (
            listed.answered_repeats if listed.answered_repeats is not None else listed.repeats
        )
    sounds = held.is_call and is_answered(state) and not held.answered
    sound: Sound = "due" if sounds else held.sound
    alarm = held.alarm
    if not is_answered(state) and listed.repeats > held.repeats:
        lost: tuple[int | None, ...] = (None,) * (listed.repeats - held.repeats)
        repeat_uptimes_ms = (*alarm.repeat_uptimes_ms, *lost)
        alarm = msgspec.structs.replace(alarm, repeat_uptimes_ms=repeat_uptimes_ms)
    if (alarm, state, answered_repeats, sound) == (
        held.alarm,
        held.state,
        held.answered_repeats,
        held.sound,
    ):
        return held
    return msgspec.structs.replace(
        held, alarm=alarm, state=state, answered_repeats=answered_repeats, sound=sound
    )


def lists_all_of(listed: ListedAlarm, held: Held) -> bool:
    """Whether a listing is the receipt for everything that this alarm says."""
    return listed.repeats >= held.repeats and (
        held.alarm.cancel_requested_at is None or listed.cancel_requested_at is not None
    )


def excess_id(held: Held, new_id: Callable[[], str]) -> str:
    """The id of the alarm that the unanswered repeats become: the same whenever it is made.

    An older copy of a card knows of these calls, and not that they have rung already. A repeat
    from a later boot than the alarm's has nothing to be told by: then it is `new_id`, and they may
    ring again.
    """
    first_ms = held.alarm.repeat_uptimes_ms[-held.excess]
    if first_ms is None:
        return new_id()
    return str(uuid.uuid5(uuid.UUID(held.alarm_id), f"repeat {first_ms}"))


def excess_alarm(held: Held, alarm_id: str, now_wall_ms: int) -> Alarm:
    """The alarm that the unanswered repeats become; it names the first in `follows`.

    A repeat from a later boot than the alarm's cannot be placed: then the time is `now_wall_ms`
    and unsynchronised, which every screen shows as "before".
    """
    assert held.excess > 0
    first, *later = held.alarm.repeat_uptimes_ms[-held.excess :]
    alarm = msgspec.structs.replace(
        held.alarm,
        alarm_id=alarm_id,
        follows=held.alarm_id,
        presses_ms=(),
        repeat_uptimes_ms=tuple(later),
        sent_uptime_ms=None,
        cancel_requested_at=None,
    )
    if first is None:
        return msgspec.structs.replace(
            alarm, raised_at=timestamp(now_wall_ms), clock="unsynchronised"
        )
    raised_ms = wall_ms(held.alarm.raised_at) + first - held.alarm.raised_uptime_ms
    return msgspec.structs.replace(alarm, raised_at=timestamp(raised_ms), raised_uptime_ms=first)


def carry_excess(held: Held) -> Held:
    """Note, in the write that holds the new alarm, that its calls are taken care of."""
    return msgspec.structs.replace(held, carried=held.repeats)


def in_heartbeat(held: Held) -> HeldAlarm:
    """What a heartbeat says of it."""
    return HeldAlarm(
        alarm_id=held.alarm_id,
        state=held.state,
        repeats=held.repeats,
        cancel_requested=held.alarm.cancel_requested_at is not None,
        answered_repeats=held.answered_repeats,
    )


def read(listed: ListedAlarm) -> HeldAlarm:
    """What a heartbeat says of an alarm that is listed and that this post does not hold."""
    return HeldAlarm(
        alarm_id=listed.alarm_id,
        state=listed.state,
        repeats=listed.repeats,
        cancel_requested=listed.cancel_requested_at is not None,
        answered_repeats=listed.answered_repeats,
    )
