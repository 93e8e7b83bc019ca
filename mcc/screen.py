"""What the command line shows: lines for people, or one JSON object a line for programs.

It words what the core has decided and decides nothing. Text from the network has passed the
contract's validation, which lets no control character through.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import msgspec

from mcc.alarms import AlarmRecord
from mcc.core import (
    AlarmShown,
    CommandShown,
    GatewayShown,
    LinkShown,
    PostShown,
    Show,
)
from protocol.messages import Command, MccPost, Step

BELL = "\a"
_RED_BLINKING = "\033[1;5;31m"
_RED = "\033[31m"
_YELLOW = "\033[33m"
_GREEN = "\033[32m"
_GREY = "\033[90m"
_PLAIN = "\033[0m"
LINES_REMEMBERED_MAX = 10_000
ID_CHARACTERS = 8


class Screen:
    """Turns changes into lines. A line that says nothing new is not repeated."""

    def __init__(self, *, as_json: bool, colour: bool) -> None:
        """`colour`: a terminal that understands it (and has a bell)."""
        self._json = as_json
        self._colour = colour
        self._last: OrderedDict[str, str] = OrderedDict()

    def line(self, show: Show, at: str) -> str | None:
        """One line without its end, or None; `at` is the contract's timestamp of now."""
        if self._json:
            return json.dumps({**as_object(show), "at": at}, ensure_ascii=False)
        change = show.change
        match change:
            case AlarmShown():
                text, colour = alarm_line(change), _colour_of(change)
                if self._is_old(change.alarm.alarm_id, text) and not change.rings:
                    return None
                if self._colour and change.rings:
                    colour = BELL + colour
            case PostShown(post):
                text, colour = _post_line(post), _YELLOW if _has_fault(post) else _GREY
                # A post that was well and is well is no news.
                if self._is_old(post.post, text, _post_line(_well(post))):
                    return None
            case GatewayShown():
                faults = f" faults: {', '.join(change.faults)}" if change.faults else ""
                text = f"gateway {change.gateway} {change.liveness}{faults}"
                colour = _GREEN if change.liveness == "online" and not faults else _YELLOW
            case LinkShown(up, reason):
                text = "connected to the broker" if up else f"NOT CONNECTED: {reason}"
                colour = _GREEN if up else _RED
            case CommandShown():
                text, colour = _command_line(change), _GREY
                if change.verdict is not None and change.verdict.refused:
                    colour = _RED
        text = f"{at[11:19]} {text}"
        return f"{colour}{text}{_PLAIN}" if self._colour else text

    def _is_old(self, name: str, text: str, unless: str = "") -> bool:
        known = self._last.get(name, unless) == text
        self._last[name] = text
        self._last.move_to_end(name)
        if len(self._last) > LINES_REMEMBERED_MAX:
            self._last.popitem(last=False)
        return known


def as_object(show: Show) -> dict[str, Any]:
    """The change as JSON has it; `event` says which kind it is."""
    match show.change:
        case AlarmShown(alarm, rings, sending, late_repeats):
            return {
                "event": "alarm",
                **_filled(alarm),
                "rings": rings,
                "sending": list(sending),
                "late_repeats": late_repeats,
            }
        case PostShown(post):
            return {"event": "post", **_plain(post)}
        case GatewayShown(gateway, liveness, faults):
            return {
                "event": "gateway",
                "gateway": gateway,
                "liveness": liveness,
                "faults": list(faults),
            }
        case LinkShown(up, reason):
            return {"event": "link", "up": up, "reason": reason}
        case CommandShown(command, verdict):
            state = "sending" if verdict is None else "refused" if verdict.refused else "done"
            shown = {**_plain(command), "event": "command", "state": state}
            return shown if verdict is None else {**shown, **_plain(verdict)}


def _plain(part: msgspec.Struct) -> dict[str, Any]:
    built = msgspec.to_builtins(part)
    built.pop("v", None)
    return dict(built)


def _filled(alarm: AlarmRecord) -> dict[str, Any]:
    """With the defaults that matter to a reader, so that a program need not know them."""
    return {"repeats": 0, "answered_repeats": None, "outcome": None, **_plain(alarm)}


def alarm_line(shown: AlarmShown) -> str:
    """An alarm on one line: what, which, where, since when, and what became of it."""
    alarm = shown.alarm
    words = [_headline(alarm), alarm.alarm_id[:ID_CHARACTERS], alarm.post]
    words.append(f"{alarm.location.lat:.5f},{alarm.location.lon:.5f} ({alarm.location.source})")
    words.append(("before " if alarm.raised.known == "before" else "") + _time(alarm.raised.at))
    if alarm.repeats:
        words.append(f"called {alarm.repeats + 1} times")
    if shown.late_repeats:
        words.append(f"UNANSWERED REPEAT x{shown.late_repeats}")
    if alarm.follows:
        words.append(f"follows {alarm.follows[:ID_CHARACTERS]}")
    if alarm.cancel_requested_at:
        words.append("the post asks to CANCEL")
    words.extend(_answers(alarm))
    if alarm.closed_here:
        words.append("closed here: no gateway knows it any more")
    if shown.sending:
        words.append("sending " + ", ".join(shown.sending))
    return "  ".join(words)


def _headline(alarm: AlarmRecord) -> str:
    name = {"panic": "ALARM", "test": "TEST", "selftest": "SELFTEST"}[alarm.kind]
    state = alarm.state.upper() if alarm.is_answered else "NEW"
    return f"{name} {'CLOSED' if alarm.closed_here else state}"


def _answers(alarm: AlarmRecord) -> list[str]:
    words = []
    if step := alarm.reached.acknowledged:
        words.append("acknowledged" + _by(step))
    if step := alarm.reached.dispatched:
        words.append(f"dispatched to {alarm.unit or '?'}" + _by(step))
    if step := alarm.reached.resolved:
        note = f" ({alarm.note})" if alarm.note else ""
        words.append(f"resolved as {alarm.outcome or '?'}" + _by(step) + note)
    return words


def _by(step: Step) -> str:
    return f" by {step.operator or '?'} at {_time(step.at)}"


def _time(at: str) -> str:
    return at[:19].replace("T", " ") + "Z"


def _colour_of(shown: AlarmShown) -> str:
    alarm = shown.alarm
    if not alarm.is_answered or shown.late_repeats:
        return _RED_BLINKING if alarm.kind == "panic" else _GREEN
    return _YELLOW if alarm.is_open else _GREY


def _post_line(post: MccPost) -> str:
    words = [f"post {post.post} {post.connection}"]
    if post.name:
        words.append(f"({post.name})")
    if post.faults:
        words.append("faults: " + ", ".join(post.faults))
    if post.test_window:
        window = post.test_window
        words.append(f"test window until {_time(window.until)} by {window.opened_by}")
    if post.maintenance:
        planned = post.maintenance
        why = f" ({planned.why})" if planned.why else ""
        words.append(f"maintenance until {_time(planned.until)} by {planned.by}{why}")
    return " ".join(words)


def _has_fault(post: MccPost) -> bool:
    return bool(post.faults) or post.connection == "silent"


def _well(post: MccPost) -> MccPost:
    return msgspec.structs.replace(
        post, connection="online", faults=(), test_window=None, maintenance=None
    )


def command_text(command: Command) -> str:
    """A command in an operator's words."""
    target = (command.alarm_id or "")[:ID_CHARACTERS] or command.post or ""
    return f"{command.action.replace('_', '-')} {target} by {command.operator or '?'}"


def _command_line(shown: CommandShown) -> str:
    verdict = shown.verdict
    if verdict is None:
        return f"sending {command_text(shown.command)}"
    if verdict.refused is None:
        return f"done {command_text(shown.command)}"
    return f"REFUSED {command_text(shown.command)}: {verdict.why or verdict.refused}"
