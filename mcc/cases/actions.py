"""The one door for what people do: role, area and the present state checked, and written down.

One transaction writes the line of the record, the command for the gateway (which the ingest sends
until a document shows it) and the change that screens read. Of two people who answer at once, one
does; the other is told who. Nothing here lowers or reopens an alarm.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from mcc.alarms import STEP_OF, AlarmRecord
from mcc.cases import faults
from mcc.cases.changes import Changes, changes
from mcc.cases.lives import SHELF_HOURS_MAX, Life
from mcc.cases.models import Alarm, Command, Entry, FaultLife, PostDocument
from mcc.cases.neighbours import is_asked, neighbouring_posts
from mcc.core import COMMANDS_MAX
from mcc.people.models import User
from mcc.people.roles import OWN_AREA_ONLY, Action, OnFault, Order, Window
from mcc.registers.area import is_in_area, unit_of
from mcc.registers.models import Unit
from mcc.visits.access import posts_of
from process.core import Log
from process.log import write_line
from protocol import messages
from protocol.codec import Refused as BadMessage
from protocol.codec import decode, encode
from protocol.states import RANK
from protocol.values import NOTE_CHARS_MAX, OUTCOMES, new_id, timestamp, wall_ms

Code = Literal["not_allowed", "unknown", "already", "kind_changed", "wrong", "full"]

_ORDERS = frozenset(get_args(Order))
_WINDOWS = frozenset(get_args(Window))
_ON_FAULTS = frozenset(get_args(OnFault))
# What says nothing without an alarm, and what says nothing without words.
_ON_ALARMS = _ORDERS | {
    "on_the_way",
    "on_scene",
    "correction",
    "message",
    "ask_assist",
    "confirm_by_phone",
}
_WITH_WORDS = frozenset(("correction", "note", "message", "measure"))
# What may be said with an action as its `result`. A call back that found nobody, or a voice that
# says *no*, lowers nothing and holds up nothing: the one who answers may be the one who threatens.
RESULTS = {
    "confirm_by_phone": ("real", "false", "unclear", "no_answer"),
    "measure": ("none", "talk", "poster", "practice", "cover"),
}
# A line of these without the row of the shift would say what is not so.
_OF_SHIFTS = frozenset(("shift_began", "shift_ended"))
_RECORD = msgspec.json.Decoder(AlarmRecord)


class Refused(Exception):
    """It was not done; the text says why in the language of the request.

    `code` is for programs: `not_allowed` (role or area), `unknown` (no such alarm, post, unit),
    `already` (somebody was first: `first_operator` at `first_at_ms`), `kind_changed` (a test has
    become a call for help), `wrong` (a value does not fit), `full` (too much is being sent).
    """

    def __init__(
        self,
        code: Code,
        why: str,
        *,
        first_operator: str | None = None,
        first_at_ms: int | None = None,
    ) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.first_operator = first_operator
        self.first_at_ms = first_at_ms


@dataclass(frozen=True)
class _Wish:
    """What was asked for, as it came."""

    user: User
    action: Action
    alarm_id: str | None
    post: str | None
    repeats: int | None
    kind: str | None
    unit: str | None
    outcome: str | None
    note: str
    minutes: int | None
    fault: str | None = None
    hours: int | None = None
    result: str | None = None


def act(
    user: User,
    action: Action,
    *,
    alarm_id: str | None = None,
    post: str | None = None,
    repeats: int | None = None,
    kind: str | None = None,
    unit: str | None = None,
    outcome: str | None = None,
    note: str = "",
    minutes: int | None = None,
    fault: str | None = None,
    hours: int | None = None,
    result: str | None = None,
    address: str,
    screen: str,
) -> Entry:
    """Do one thing for one person; the line of the record when everything is on disk.

    `repeats` and `kind` are those that stood on the person's screen (the present ones where they
    are not given): a later cry is not answered by them. `unit` is a unit's short name; a dispatch
    without one goes to the unit of the post's registered kelurahan. `note` is at most 200
    characters, `minutes` 1 to 15, `result` one of `RESULTS` for the actions that stand there.
    `fault` is the id of a life of a fault, or a group of posts that
    became silent together (`picture` names both); it is shelved for `hours`, the `note` saying why.
    `address` and `screen` say from where: the IP address, the
    console's id.

    Inside another `changes()` it joins that transaction.

    Raises:
        Refused: nothing was done.
        django.db.Error: nothing was done.
    """
    if action in _OF_SHIFTS:
        raise Refused("wrong", _("A shift begins and ends at the hand-over."))
    wish = _Wish(
        user,
        action,
        alarm_id,
        post,
        repeats,
        kind,
        unit,
        outcome,
        note,
        minutes,
        fault,
        hours,
        result,
    )
    return _act(wish, address, screen)


def write_shift(
    user: User, action: Literal["shift_began", "shift_ended"], *, address: str, screen: str
) -> Entry:
    """Write down that a shift began or ended; for `mcc.people.shifts`, which keeps the shift.

    Raises:
        Refused: the role has no shifts.
        django.db.Error: nothing was done.
    """
    wish = _Wish(user, action, None, None, None, None, None, None, "", None)
    return _act(wish, address, screen)


def _act(wish: _Wish, address: str, screen: str) -> Entry:
    user, action, alarm_id = wish.user, wish.action, wish.alarm_id
    if not user.may(action):
        raise Refused("not_allowed", _("Your role does not allow this."))
    _check_words(wish)
    at_ns = time.time_ns()
    with changes() as change:
        alarm = _alarm(wish)
        about = alarm.post if alarm is not None else wish.post
        _check_area(user, about, wish)
        detail: dict[str, Any] = {"note": wish.note} if wish.note else {}
        if wish.action in RESULTS:
            detail["result"] = wish.result
        if wish.action == "ask_assist":
            asked = _asked_unit(wish)
            detail |= {"unit": asked.slug, "unit_name": asked.name}
        command = None
        if action in _ON_FAULTS:
            about = _on_fault(wish, change, detail)
        if action in _ORDERS and alarm is not None:
            command = _order(wish, alarm, change, detail)
        elif action in _WINDOWS:
            command = _window(wish, change, detail)
        if command is not None:
            _send(command, change)
        entry = Entry(
            at_ms=change.at_ms,
            action=action,
            alarm_id=alarm_id,
            post=about,
            operator=user.label,
            role=user.role,
            user_id=user.pk,
            address=address[:45],
            screen=screen.replace("\x00", "")[:36],
            command_id=command.command_id if command else None,
            detail=detail,
        )
        entry.save()
        _note(change, entry)
        if alarm_id is not None:
            line = Log(
                "acted",
                fields={"alarm_id": alarm_id, "post": about, "by": user.label, "action": action},
            )
            transaction.on_commit(partial(write_line, line, at_ns))
    return entry


def _check_words(wish: _Wish) -> None:
    # What no column of the record holds, on either database.
    said = (wish.alarm_id or "", wish.post or "", wish.note)
    if any("\x00" in text for text in said) or len(said[0]) > 36 or len(said[1]) > 64:
        raise Refused("wrong", _("There is no such thing."))
    if wish.action in _WITH_WORDS and not wish.note.strip():
        raise Refused("wrong", _("Write what is to be noted."))
    if len(wish.note) > NOTE_CHARS_MAX:
        raise Refused(
            "wrong", _("A note has at most %(max)s characters.") % {"max": NOTE_CHARS_MAX}
        )
    if wish.action in _ON_ALARMS and wish.alarm_id is None:
        raise Refused("wrong", _("Which alarm?"))
    if wish.action in RESULTS and wish.result not in RESULTS[wish.action]:
        raise Refused("wrong", _("Say what came of it."))
    if wish.action in _WINDOWS | {"measure"} and wish.post is None:
        raise Refused("wrong", _("Which post?"))
    if wish.action == "take_over" and wish.alarm_id is None and wish.post is None:
        raise Refused("wrong", _("Which alarm or post?"))


def _alarm(wish: _Wish) -> AlarmRecord | None:
    if wish.alarm_id is None:
        return None
    row = Alarm.objects.filter(alarm_id=wish.alarm_id).first()
    if row is None:
        raise Refused("unknown", _("There is no such alarm."))
    return _RECORD.decode(row.body)


def _check_area(user: User, post: str | None, wish: _Wish) -> None:
    if user.has_right("cases"):
        # Whether there is such a case elsewhere an officer is not told.
        if not posts_of(user).filter(post_id=post).exists():
            raise Refused("unknown", _("There is no such alarm."))
        return
    if user.role not in OWN_AREA_ONLY or post is None:
        return
    if user.unit is not None and is_in_area(post, user.unit):
        return
    # Beyond the own area: whoever was asked to help does; a neighbour may say what it knows.
    helps = user.unit is not None and (
        is_asked(user.unit, wish.alarm_id)
        or (wish.action == "message" and post in neighbouring_posts(user.unit))
    )
    if not helps:
        raise Refused("not_allowed", _("This post is not in your unit's area."))


# --- what goes to a gateway -------------------------------------------------------------------


def _order(
    wish: _Wish, alarm: AlarmRecord, change: Changes, detail: dict[str, Any]
) -> messages.Command:
    _check_state(wish, alarm)
    _check_first(wish.action, lambda row: row.filter(alarm_id=alarm.alarm_id))
    fields: dict[str, Any] = {"alarm_id": alarm.alarm_id}
    if wish.action != "panic":
        seen = alarm.repeats if wish.repeats is None else wish.repeats
        if not 0 <= seen <= alarm.repeats:
            raise Refused("wrong", _("The alarm has not been repeated that often."))
        if wish.kind is not None and wish.kind != alarm.kind:
            raise Refused("kind_changed", _("The alarm is now of another kind: look again."))
        fields |= {"repeats": seen, "kind": alarm.kind}
    if wish.action == "dispatch":
        unit = _unit(wish.unit, alarm.post)
        fields["unit"] = unit.name
        detail |= {"unit": unit.slug, "unit_name": unit.name}
    if wish.action == "resolve":
        if wish.outcome not in OUTCOMES:
            raise Refused("wrong", _("Say what it was: real, false, test or prank."))
        fields["outcome"] = detail["outcome"] = wish.outcome
        if wish.note:
            fields["note"] = wish.note
    return _command(wish, change, fields)


def _window(wish: _Wish, change: Changes, detail: dict[str, Any]) -> messages.Command:
    if not PostDocument.objects.filter(post=wish.post).exists():
        raise Refused("unknown", _("No gateway has told of this post yet."))
    _check_first(wish.action, lambda row: row.filter(post=wish.post))
    fields: dict[str, Any] = {"post": wish.post}
    if wish.action == "open_test":
        longest = messages.TEST_WINDOW_MINUTES_MAX
        if wish.minutes is None or not 1 <= wish.minutes <= longest:
            raise Refused("wrong", _("A test takes 1 to %(max)s minutes.") % {"max": longest})
        fields["minutes"] = detail["minutes"] = wish.minutes
    return _command(wish, change, fields)


# --- what is this centre's own record -----------------------------------------------------------


def _on_fault(wish: _Wish, change: Changes, detail: dict[str, Any]) -> str | None:
    """Acknowledge or shelve; the post that it is about, if it is one."""
    rows = _fault_rows(wish.fault or "")
    if not rows:
        raise Refused("unknown", _("This fault stands no more."))
    lives = [faults.life_of(row) for row in rows]
    wanted = [_life(wish, life, change.at_ms) for life in lives]
    if wanted == lives:
        first = lives[0]
        if wish.action == "fault_acknowledge":
            by, at_ms = first.acknowledged_by, first.acknowledged_ms
            why = _("%(who)s has acknowledged it already.") % {"who": by}
            raise Refused("already", why, first_operator=by, first_at_ms=at_ms)
        raise Refused("already", _("It is not shelved."))
    for row, life in zip(rows, wanted, strict=True):
        faults.put(row, life)
        row.save()
        faults.note(row, change)
    one = rows[0]
    kind, _slash, name = one.owner.partition("/")
    detail |= {"fault": one.fault, "owner": one.owner, "count": len(rows)}
    if wish.action == "fault_shelve":
        detail["until_ms"] = wanted[0].shelved_until_ms
    return name if kind == "post" and len(rows) == 1 else None


def _fault_rows(fault: str) -> list[FaultLife]:
    standing = FaultLife.objects.filter(cleared_ms=None).order_by("id")
    if fault.isdecimal() and fault.isascii() and len(fault) <= 18:
        return list(standing.filter(id=int(fault)))
    gateway, _space, group = fault.partition(" ")
    if not group or "\x00" in fault:
        return []
    return list(standing.filter(gateway=gateway, group=group))


def _life(wish: _Wish, life: Life, now_ms: int) -> Life:
    if wish.action == "fault_acknowledge":
        return life.acknowledged(wish.user.label, now_ms)
    if wish.action == "fault_unshelve":
        return life.unshelved()
    try:
        return life.shelved(wish.user.label, wish.note, wish.hours or 0, now_ms)
    except ValueError:
        why = _("Say why, and for how many hours: %(max)s at most.") % {"max": SHELF_HOURS_MAX}
        raise Refused("wrong", why) from None


def _check_state(wish: _Wish, alarm: AlarmRecord) -> None:
    """Refuse what has been done, by whoever it was."""
    if alarm.closed_here is not None:
        raise Refused("unknown", _("No gateway knows this alarm any more; it is closed."))
    if wish.action == "panic":
        if alarm.kind == "panic":
            raise Refused("already", _("It is a call for help already."))
        if alarm.state == "resolved":
            raise Refused("already", _("The alarm is over."))
        return
    target = STEP_OF[wish.action]
    if RANK[alarm.state] < RANK[target]:
        return
    # A state may have been jumped over: then whoever reached the later one was first.
    steps = (getattr(alarm.reached, name) for name in ("acknowledged", "dispatched", "resolved"))
    reached = [step for step in steps if step is not None]
    first = getattr(alarm.reached, target) or (reached[-1] if reached else None)
    _refuse_second(
        wish.action,
        first.operator if first else None,
        wall_ms(first.at) if first else None,
    )


def _check_first(action: Action, which: Callable[[Any], Any]) -> None:
    """Refuse what somebody else has just asked for and no document shows yet."""
    sending = Command.objects.filter(state=Command.State.SENDING, action=action)
    other = which(sending).order_by("created_ms").first()
    if other is not None:
        _refuse_second(action, other.operator, other.created_ms)


def _refuse_second(action: Action, operator: str | None, at_ms: int | None) -> None:
    who = operator or _("somebody")
    words = {
        "acknowledge": _("%(who)s has acknowledged it already."),
        "dispatch": _("%(who)s has sent a unit already."),
        "resolve": _("%(who)s has closed it already."),
        "panic": _("%(who)s has made it a call for help already."),
        "open_test": _("%(who)s is opening a test window already."),
        "close_test": _("%(who)s is closing the test window already."),
    }
    why = words[action] % {"who": who}
    raise Refused("already", why, first_operator=operator, first_at_ms=at_ms)


def _unit(slug: str | None, post: str) -> Unit:
    unit = unit_of(post) if slug is None else Unit.objects.filter(slug=slug).first()
    if unit is None and slug is None:
        raise Refused("wrong", _("The post is registered in no kelurahan: choose a unit."))
    if unit is None:
        raise Refused("unknown", _("There is no such unit."))
    return unit


def _asked_unit(wish: _Wish) -> Unit:
    unit = Unit.objects.filter(slug=wish.unit or "").first()
    if unit is None:
        raise Refused("unknown", _("There is no such unit."))
    return unit


def _command(wish: _Wish, change: Changes, fields: dict[str, Any]) -> messages.Command:
    try:
        command = messages.Command(
            command_id=new_id(),
            action=wish.action,  # type: ignore[arg-type]
            store_id=change.store.store_id,
            at=timestamp(change.at_ms),
            operator=wish.user.label,
            **fields,
        )
        # The contract's own bounds, on the bytes that will go out.
        return decode(messages.Command, encode(command))
    except BadMessage as error:
        raise Refused("wrong", str(error)) from None


def _send(command: messages.Command, change: Changes) -> None:
    if Command.objects.filter(state=Command.State.SENDING).count() >= COMMANDS_MAX:
        raise Refused("full", _("Too many commands are being sent; is a gateway connected?"))
    Command.objects.create(
        command_id=command.command_id,
        action=command.action,
        alarm_id=command.alarm_id,
        post=command.post,
        operator=command.operator or "",
        body=msgspec.json.encode(command).decode(),
        created_ms=change.at_ms,
    )


def _note(change: Changes, entry: Entry) -> None:
    """Say which part of a screen shows this."""
    if entry.alarm_id is not None:
        change.note("alarm", entry.alarm_id)
    elif entry.post is not None:
        change.note("post", entry.post)
    elif entry.action in _OF_SHIFTS:
        change.note("shift", str(entry.user_id))
    else:
        change.note("entry", str(entry.pk))
