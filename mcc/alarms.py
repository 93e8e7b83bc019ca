"""An alarm as the command centre holds it: merging, judging and repairing, as pure functions.

States only rise, each step is kept once it is reached, first words win. Nothing here knows a
clock, a link or a store, and nothing here may lower what was once held.
"""

from __future__ import annotations

import uuid
from typing import Literal

import msgspec

from protocol.messages import (
    Action,
    Command,
    Location,
    MccAlarm,
    MccPost,
    Part,
    Presses,
    Raised,
    Refusal,
    Step,
    Steps,
)
from protocol.states import RANK, State, higher, is_answered, is_open
from protocol.values import (
    GatewayId,
    Kind,
    Label,
    Note,
    Outcome,
    PostId,
    Repeats,
    Timestamp,
    Uuid,
)

# What an operator's action makes of an alarm; the other actions reach no state.
StepName = Literal["acknowledged", "dispatched", "resolved"]
STEP_OF: dict[str, StepName] = {
    "acknowledge": "acknowledged",
    "dispatch": "dispatched",
    "resolve": "resolved",
}
ANSWERS: tuple[tuple[Action, StepName], ...] = (
    ("acknowledge", "acknowledged"),
    ("dispatch", "dispatched"),
    ("resolve", "resolved"),
)
_RAISED_RANK = {"before": 0, "post_clock": 1, "computed": 2}
# Who answers self-tests: no person, and nobody's account.
RESPONDER = "self-test responder"
# Names the repair of an alarm for which no command id is known; the same one at every attempt.
_REPAIRS = uuid.UUID("8f0f5b0e-35a5-4a35-9d5e-6b1f4d1c7a11")


class AlarmRecord(Part, frozen=True):
    """All that any document has ever said about one alarm, merged.

    `closed_here`: when this command centre closed it because no gateway knows it any more.
    `gateway` is the one that last spoke of it.
    """

    post: PostId
    alarm_id: Uuid
    gateway: GatewayId
    kind: Kind
    state: State
    raised: Raised
    reached: Steps
    presses_ms: Presses
    location: Location
    repeats: Repeats = 0
    last_repeat: Raised | None = None
    answered_repeats: Repeats | None = None
    follows: Uuid | None = None
    cancel_requested_at: Timestamp | None = None
    unit: Label | None = None
    outcome: Outcome | None = None
    note: Note | None = None
    sounded_at: Timestamp | None = None
    closed_here: Timestamp | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still wants something from an operator."""
        return is_open(self.state) and self.closed_here is None

    @property
    def is_answered(self) -> bool:
        """Whether an operator has seen it (or nobody can any more)."""
        return is_answered(self.state) or self.closed_here is not None


class Verdict(Part, frozen=True):
    """What became of a command: shown by a document, or refused (`refused` says why)."""

    refused: Refusal | None = None
    why: Note = ""
    first_operator: Label | None = None
    first_at: Timestamp | None = None


DONE = Verdict()

_COPIED = tuple(
    name for name in AlarmRecord.__struct_fields__ if name not in ("closed_here", "reached")
)


def record_of(document: MccAlarm) -> AlarmRecord:
    """What one document says, as a record."""
    return AlarmRecord(
        reached=document.reached, **{name: getattr(document, name) for name in _COPIED}
    )


def merge(held: AlarmRecord, heard: AlarmRecord) -> AlarmRecord:
    """Add what was heard to what is held; order and repetition change nothing that matters.

    The same alarm of the same post is the caller's care.
    """
    louder = heard if heard.repeats > held.repeats else held
    better = _RAISED_RANK[heard.raised.known] > _RAISED_RANK[held.raised.known]
    return AlarmRecord(
        post=held.post,
        alarm_id=held.alarm_id,
        gateway=heard.gateway,
        kind="panic" if "panic" in (held.kind, heard.kind) else held.kind,
        state=higher(held.state, heard.state),
        raised=heard.raised if better else held.raised,
        reached=Steps(
            received=held.reached.received,
            delivered=held.reached.delivered or heard.reached.delivered,
            acknowledged=held.reached.acknowledged or heard.reached.acknowledged,
            dispatched=held.reached.dispatched or heard.reached.dispatched,
            resolved=held.reached.resolved or heard.reached.resolved,
        ),
        presses_ms=held.presses_ms,
        location=held.location,
        repeats=louder.repeats,
        last_repeat=louder.last_repeat or held.last_repeat or heard.last_repeat,
        answered_repeats=(
            heard.answered_repeats if held.answered_repeats is None else held.answered_repeats
        ),
        follows=held.follows or heard.follows,
        cancel_requested_at=held.cancel_requested_at or heard.cancel_requested_at,
        unit=held.unit or heard.unit,
        outcome=held.outcome or heard.outcome,
        # The note belongs to the outcome that won, not to whichever document carries one.
        note=held.note if held.outcome else heard.note,
        sounded_at=held.sounded_at or heard.sounded_at,
        closed_here=heard.closed_here,
    )


def unanswered_repeats(alarm: AlarmRecord, followed: bool) -> int:
    """How many calls came too late for the answer and live on in no other alarm.

    `followed`: another alarm names this one as the one it follows, so the cry rings there.
    """
    if followed or alarm.answered_repeats is None:
        return 0
    return max(0, alarm.repeats - alarm.answered_repeats)


def calls_again(before: AlarmRecord | None, alarm: AlarmRecord, followed: bool) -> bool:
    """Whether an alarm calls for attention, with sound, to whoever has seen it as `before` only.

    Only a call for help makes a sound: practising is harmless. `followed` as in
    `unanswered_repeats`.
    """
    if alarm.kind != "panic":
        return False
    if before is None:
        return not alarm.is_answered
    louder = alarm.repeats > before.repeats
    opened = alarm.kind != before.kind or (before.closed_here is not None and alarm.is_open)
    if (louder or opened) and not alarm.is_answered:
        return True
    return louder and unanswered_repeats(alarm, followed) > 0


def judge_on_alarm(command: Command, shown: AlarmRecord | MccAlarm) -> Verdict | None:
    """What a document (or what is held) says about a command: done, lost, or nothing yet."""
    if command.action == "panic":
        return DONE if shown.kind == "panic" else None
    target = STEP_OF.get(command.action)
    if target is None or RANK[shown.state] < RANK[target]:
        return None
    step: Step | None = getattr(shown.reached, target)
    if step is not None and step.command_id == command.command_id:
        return DONE
    name, first = (target, step) if step is not None else _highest_answer(shown)
    return Verdict(
        refused="already",
        why=_already(name, first, shown),
        first_operator=first.operator if first else None,
        first_at=first.at if first else None,
    )


def _highest_answer(shown: AlarmRecord | MccAlarm) -> tuple[str, Step | None]:
    for _action, name in reversed(ANSWERS):
        step: Step | None = getattr(shown.reached, name)
        if step is not None:
            return name, step
    return shown.state, None


def _already(name: str, first: Step | None, shown: AlarmRecord | MccAlarm) -> str:
    detail = ""
    if name == "resolved" and shown.outcome:
        detail = f" as {shown.outcome}"
    elif name == "dispatched" and shown.unit:
        detail = f" to {shown.unit}"
    if first is None:
        return f"already {name}{detail}"
    return f"already {name}{detail} by {first.operator or 'somebody'} at {first.at}"


def judge_on_post(command: Command, shown: MccPost) -> Verdict | None:
    """What a post's document says about an `open_test`: done, or nothing yet."""
    window = shown.test_window
    if command.action == "open_test" and window and window.command_id == command.command_id:
        return DONE
    return None


def repairs(held: AlarmRecord, shown: MccAlarm, store_id: str, console: str) -> list[Command]:
    """The commands that bring a gateway up to what is held, where its document is below that.

    They carry the ids they had, so that a gateway that has them applies nothing twice.
    """
    if held.closed_here is not None:
        return []
    commands: list[Command] = []
    if held.kind == "panic" and shown.kind == "test":
        commands.append(
            Command(
                command_id=_repair_id(held, "panic"),
                action="panic",
                store_id=store_id,
                at=held.raised.at,
                alarm_id=held.alarm_id,
                operator=console,
            )
        )
    if RANK[shown.state] >= RANK[held.state]:
        return commands
    for action, name in ANSWERS:
        step: Step | None = getattr(held.reached, name)
        missing = step is not None and getattr(shown.reached, name) is None
        if step is None or not missing or RANK[name] <= RANK[shown.state]:
            continue
        if (action == "dispatch" and not held.unit) or (action == "resolve" and not held.outcome):
            continue
        commands.append(_again(held, action, step, store_id, console))
    return commands


def _again(held: AlarmRecord, action: Action, step: Step, store_id: str, console: str) -> Command:
    # With no frozen number known, 0 is the safe one: calls beyond it ring as a new alarm.
    answered = held.answered_repeats or 0
    closing = action == "resolve"
    return Command(
        command_id=step.command_id or _repair_id(held, action),
        action=action,
        store_id=store_id,
        at=step.at,
        alarm_id=held.alarm_id,
        operator=step.operator or console,
        repeats=answered,
        kind=held.kind,
        unit=held.unit if action == "dispatch" else None,
        outcome=held.outcome if closing else None,
        note=held.note if closing else None,
    )


def _repair_id(held: AlarmRecord, action: str) -> str:
    return str(uuid.uuid5(_REPAIRS, f"{held.post}/{held.alarm_id}/{action}"))


def answered_test(alarm: AlarmRecord, at: str) -> AlarmRecord:
    """A self-test as the responder answers it: over, at `at`. What is answered stays as it is."""
    if alarm.reached.resolved is not None:
        return alarm
    step = Step(at=at, operator=RESPONDER)
    return msgspec.structs.replace(
        alarm,
        state="resolved",
        reached=msgspec.structs.replace(alarm.reached, resolved=step),
        outcome="test",
        answered_repeats=alarm.repeats,
    )


def closed_here(alarm: AlarmRecord, at: str) -> AlarmRecord:
    """The alarm as one that no gateway knows any more; a live document opens it again."""
    return msgspec.structs.replace(alarm, closed_here=at)


__all__ = [
    "ANSWERS",
    "DONE",
    "RESPONDER",
    "STEP_OF",
    "AlarmRecord",
    "Verdict",
    "answered_test",
    "calls_again",
    "closed_here",
    "judge_on_alarm",
    "judge_on_post",
    "merge",
    "record_of",
    "repairs",
    "unanswered_repeats",
]
