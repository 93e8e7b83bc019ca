"""One alarm as the gateway records it, and every rule by which that record may change. Pure values.

Each function takes a record and returns the changed one, or the very same object when there is
nothing to change. A state only rises, a kind only becomes panic, what is first stays first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from hardware.clock import Now
from protocol.codec import content_of
from protocol.messages import (
    Alarm,
    Circuit,
    Command,
    Health,
    ListedAlarm,
    Location,
    MccAlarm,
    Raised,
    Receipted,
    Refusal,
    Step,
    Steps,
)
from protocol.states import RANK, State, higher, is_answered
from protocol.values import Kind, Outcome, timestamp, wall_ms

# A repeat so soon after the raise is somebody who means it, test window or not.
MEANT_MS = 30_000

# From and to, microseconds of the gateway's uptime: when presses of a post are practice.
Span = tuple[int, int]


class AlarmRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the journal: everything about an alarm that must survive.

    `listed`: it stands in the post's state document. `cleared`: its document at the MCC's broker
    has been cleared. `settled_at`: resolved and receipted since then. `receipted_in` is the
    journal in which the receipt was written down: in another one it is void. `circuit` is there in
    a self-test only.
    """

    post: str
    alarm_id: str
    kind: Kind
    state: State
    raised: Raised
    boot_id: str
    presses_ms: tuple[int, ...]
    location: Location
    reached: Steps
    repeats: int = 0
    last_repeat: Raised | None = None
    answered_repeats: int | None = None
    follows: str | None = None
    cancel_requested_at: str | None = None
    unit: str | None = None
    outcome: Outcome | None = None
    note: str | None = None
    sounded_at: str | None = None
    receipted: Receipted | None = None
    receipted_in: str | None = None
    listed: bool = True
    cleared: bool = False
    settled_at: str | None = None
    circuit: Circuit | None = None

    @property
    def resolved(self) -> bool:
        """It is over."""
        return self.state == "resolved"

    @property
    def answered(self) -> bool:
        """A person has acknowledged it."""
        return is_answered(self.state)

    @property
    def over(self) -> bool:
        """Nothing more is to be said about it, so it leaves the memory."""
        return self.resolved and not self.listed and self.cleared

    @property
    def live(self) -> bool:
        """A start reads it. A self-test that is over leaves no row: one that is there is to go."""
        return not self.over or self.kind == "selftest"


@dataclass(frozen=True)
class NotDone:
    """Why a command changes nothing, and who was first where somebody was."""

    refused: Refusal
    why: str
    first: Step | None = None


# --- offers --------------------------------------------------------------------------------


def new_record(
    alarm: Alarm, now: Now, practice: Span | None, lag_us: int | None = 0
) -> AlarmRecord:
    """The record of an alarm that is offered for the first time.

    `lag_us`: how long the offer was on its way; None when that is not known.
    `practice` is the post's test window while it is open, else None.
    """
    record = AlarmRecord(
        post=alarm.post,
        alarm_id=alarm.alarm_id,
        kind="test" if _is_all_practice(alarm, now, practice, lag_us) else alarm.kind,
        state="received",
        raised=_raised(alarm, alarm.raised_uptime_ms, now, lag_us),
        boot_id=alarm.boot_id,
        presses_ms=alarm.presses_ms,
        location=alarm.location,
        reached=Steps(received=Step(at=timestamp(now.wall_ms))),
        follows=alarm.follows,
        circuit=alarm.circuit if alarm.kind == "selftest" else None,
    )
    return offer_into(record, alarm, now, practice, lag_us)


def offer_into(
    record: AlarmRecord, alarm: Alarm, now: Now, practice: Span | None, lag_us: int | None = 0
) -> AlarmRecord:
    """Merge an offer: more repeats, the first cancel request, and what makes a test a panic.

    `practice` is the post's last test window, open or closed, else None.
    """
    changes: dict[str, Any] = {}
    calls = alarm.repeat_uptimes_ms
    if len(calls) > record.repeats:
        changes["repeats"] = len(calls)
        changes["last_repeat"] = _raised(alarm, calls[-1], now, lag_us)
        new_calls = calls[record.repeats :]
        if record.kind == "test" and any(
            _is_meant(alarm, at, now, practice, lag_us) for at in new_calls
        ):
            changes["kind"] = "panic"
    if record.kind == "selftest" and alarm.kind == "panic":
        changes["kind"] = "panic"
    if record.cancel_requested_at is None and alarm.cancel_requested_at is not None:
        changes["cancel_requested_at"] = alarm.cancel_requested_at
    if not record.listed:
        changes["listed"] = True
    return msgspec.structs.replace(record, **changes) if changes else record


def _is_all_practice(alarm: Alarm, now: Now, practice: Span | None, lag_us: int | None) -> bool:
    """Whether each press of the raise can be placed, and inside the open test window."""
    if alarm.kind != "panic" or practice is None or lag_us is None:
        return False
    raised_ms = alarm.raised_uptime_ms
    presses_ms = [raised_ms, *(raised_ms + offset_ms for offset_ms in alarm.presses_ms)]
    return all(_is_inside(_placed_us(alarm, at_ms, now, lag_us), practice) for at_ms in presses_ms)


def _is_meant(
    alarm: Alarm, repeat_ms: int | None, now: Now, practice: Span | None, lag_us: int | None
) -> bool:
    """Whether three more presses make a test a panic."""
    if repeat_ms is None or repeat_ms - alarm.raised_uptime_ms <= MEANT_MS:
        return True
    if practice is None or lag_us is None:
        return True
    return not _is_inside(_placed_us(alarm, repeat_ms, now, lag_us), practice)


def _placed_us(alarm: Alarm, at_ms: int | None, now: Now, lag_us: int) -> int | None:
    """A moment of the post's uptime on the gateway's; None when it cannot be placed."""
    sent_ms = alarm.sent_uptime_ms
    if sent_ms is None or at_ms is None or at_ms > sent_ms:
        return None
    return now.uptime_us - lag_us - (sent_ms - at_ms) * 1000


def _is_inside(at_us: int | None, span: Span) -> bool:
    return at_us is not None and span[0] <= at_us <= span[1]


def _raised(alarm: Alarm, at_ms: int | None, now: Now, lag_us: int | None) -> Raised:
    """When a call of the alarm was made, by the best clock there is.

    The same boot: the gateway's clock and the post's uptimes. Otherwise the post's clock when it
    was synchronised. Otherwise before now.
    """
    placed_us = _placed_us(alarm, at_ms, now, lag_us or 0)
    if placed_us is not None:
        at_wall_ms = now.wall_ms - (now.uptime_us - placed_us) // 1000
        return Raised(at=timestamp(at_wall_ms), known="computed")
    if alarm.clock == "synchronised" and at_ms is not None:
        at_wall_ms = wall_ms(alarm.raised_at) + at_ms - alarm.raised_uptime_ms
        return Raised(at=timestamp(at_wall_ms), known="post_clock")
    return Raised(at=timestamp(now.wall_ms), known="before")


# --- commands ------------------------------------------------------------------------------


def command_into(
    record: AlarmRecord, command: Command, console: str, at: str
) -> AlarmRecord | NotDone:
    """Carry out acknowledge, dispatch, resolve or panic; the same command again changes nothing.

    `at` is the time of the step it makes.
    """
    if command.action == "panic":
        return record if record.kind == "panic" else msgspec.structs.replace(record, kind="panic")
    state = _STATE_OF[command.action]
    own_step = getattr(record.reached, state)
    if own_step is not None and own_step.command_id == command.command_id:
        return record
    if RANK[record.state] >= RANK[state]:
        first = own_step or first_answer(record)
        return NotDone("already", _already(record, state, first), first)
    if command.kind is not None and command.kind != "panic" and record.kind == "panic":
        return NotDone("kind_changed", f"this {command.kind} has become a panic alarm")
    step = Step(at=at, operator=command.operator, console=console, command_id=command.command_id)
    changes: dict[str, Any] = {
        "state": state,
        "reached": msgspec.structs.replace(record.reached, **{state: step}),
    }
    if command.kind == "panic":
        changes["kind"] = "panic"
    if record.answered_repeats is None:
        # A dispatch need not say what its operator saw: the unit is on its way for all of it.
        seen = command.repeats if command.repeats is not None else record.repeats
        changes["answered_repeats"] = seen
    if command.action == "dispatch":
        changes["unit"] = command.unit
    if command.action == "resolve":
        changes["outcome"] = command.outcome
        changes["note"] = command.note
    return msgspec.structs.replace(record, **changes)


_STATE_OF: dict[str, State] = {
    "acknowledge": "acknowledged",
    "dispatch": "dispatched",
    "resolve": "resolved",
}


def first_answer(record: AlarmRecord) -> Step | None:
    """The lowest step by which a person answered it."""
    reached = record.reached
    return reached.acknowledged or reached.dispatched or reached.resolved


def _already(record: AlarmRecord, state: State, first: Step | None) -> str:
    who = first.operator if first is not None and first.operator is not None else "somebody"
    if state == "dispatched" and record.unit is not None:
        return f"already dispatched to {record.unit} by {who}"
    return f"already {record.state}; first answered by {who}"


def receipt_into(
    record: AlarmRecord, command: Command, console: str, at: str, *, content: str, journal_id: str
) -> AlarmRecord:
    """Take the MCC's receipt. `content` is what the gateway's document says now.

    A receipt for older content proves that the MCC has the alarm, not that it has all of it.
    """
    changes: dict[str, Any] = {}
    if record.reached.delivered is None:
        step = Step(at=at, console=console, command_id=command.command_id)
        changes["reached"] = msgspec.structs.replace(record.reached, delivered=step)
        changes["state"] = higher(record.state, "delivered")
    receipted = Receipted(store_id=command.store_id, content=content)
    if command.content == content and (record.receipted, record.receipted_in) != (
        receipted,
        journal_id,
    ):
        changes["receipted"] = receipted
        changes["receipted_in"] = journal_id
    return msgspec.structs.replace(record, **changes) if changes else record


# --- heartbeats ----------------------------------------------------------------------------


def heartbeat_into(
    record: AlarmRecord, health: Health, now: Now, lag_us: int | None = 0
) -> AlarmRecord:
    """Take what a heartbeat of the alarm's post says: it was heard there, it is over there.

    `lag_us`: how long the heartbeat was on its way; None when that is not known.
    """
    changes: dict[str, Any] = {}
    sounded = health.sounded
    if (
        record.sounded_at is None
        and record.answered
        and sounded is not None
        and sounded.alarm_id == record.alarm_id
        and sounded.uptime_ms <= health.uptime_ms
    ):
        ago_ms = health.uptime_ms - sounded.uptime_ms + (lag_us or 0) // 1000
        changes["sounded_at"] = timestamp(now.wall_ms - ago_ms)
    held = {one.alarm_id: one.state for one in health.alarms}
    if record.resolved and record.listed and held.get(record.alarm_id, "resolved") == "resolved":
        changes["listed"] = False
    return msgspec.structs.replace(record, **changes) if changes else record


# --- what is said of it --------------------------------------------------------------------


def document(record: AlarmRecord, gateway: str, journal_id: str) -> MccAlarm:
    """The record as the MCC reads it, with the digest of its content."""
    alarm = MccAlarm(
        post=record.post,
        alarm_id=record.alarm_id,
        gateway=gateway,
        journal_id=journal_id,
        kind=record.kind,
        state=record.state,
        raised=record.raised,
        reached=record.reached,
        presses_ms=record.presses_ms,
        location=record.location,
        content="0" * 16,
        repeats=record.repeats,
        last_repeat=record.last_repeat,
        answered_repeats=record.answered_repeats,
        follows=record.follows,
        cancel_requested_at=record.cancel_requested_at,
        unit=record.unit,
        outcome=record.outcome,
        note=record.note,
        sounded_at=record.sounded_at,
        receipted=record.receipted if record.receipted_in == journal_id else None,
    )
    return msgspec.structs.replace(alarm, content=content_of(alarm))


def listing(record: AlarmRecord) -> ListedAlarm:
    """The record as its post reads it. Being listed is the post's receipt."""
    step: Step | None = getattr(record.reached, record.state)
    assert step is not None
    return ListedAlarm(
        alarm_id=record.alarm_id,
        kind=record.kind,
        state=record.state,
        at=step.at,
        by=step.operator,
        repeats=record.repeats,
        cancel_requested_at=record.cancel_requested_at,
        answered_repeats=record.answered_repeats,
    )


@dataclass(frozen=True)
class HistoryRow:
    """One transition of an alarm, as the journal keeps it for ever."""

    alarm_id: str
    at: str
    what: str
    by: str | None = None


def history(before: AlarmRecord | None, after: AlarmRecord, at: str) -> tuple[HistoryRow, ...]:
    """The transitions between two records, `before` None for a new one; `at` is now.

    A call more stands at its press, as far as that is known; what it came with may be hours late.
    """
    rows: list[tuple[str, str, str | None]] = []
    for state in ("received", "delivered", "acknowledged", "dispatched", "resolved"):
        step: Step | None = getattr(after.reached, state)
        if step is not None and (before is None or getattr(before.reached, state) is None):
            rows.append((step.at, state, step.operator or step.console))
    known_repeats = 0 if before is None else before.repeats
    if after.repeats > known_repeats:
        pressed_at = at if after.last_repeat is None else after.last_repeat.at
        rows.append((pressed_at, f"repeats {after.repeats}", None))
    if after.cancel_requested_at and (before is None or not before.cancel_requested_at):
        rows.append((at, "cancel_requested", None))
    if before is not None:
        if after.sounded_at and not before.sounded_at:
            rows.append((after.sounded_at, "sounded", None))
        if after.kind != before.kind:
            rows.append((at, f"kind {after.kind}", None))
        if after.receipted != before.receipted and after.receipted is not None:
            rows.append((at, f"receipted {after.receipted.content}", after.receipted.store_id))
        if after.listed != before.listed:
            rows.append((at, "listed" if after.listed else "unlisted", None))
        if after.cleared != before.cleared:
            rows.append((at, "cleared" if after.cleared else "shown again", None))
    return tuple(HistoryRow(after.alarm_id, *row) for row in rows)
