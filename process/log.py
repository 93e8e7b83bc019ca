"""Log lines: one event with its fields per line, logfmt or JSON on stderr, for journald and grep.

A line about an alarm carries its `alarm_id` in every process, and the time at which its event was
taken up, not that of writing: `grep ALARM_ID` over all logs, sorted, is the alarm's life in order.

Never raises for what stderr does, never writes more than one line per call, never writes a
password: the user part of a URL in a value is masked here, whatever the caller forgot.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from typing import TYPE_CHECKING, Literal

from protocol.values import timestamp

if TYPE_CHECKING:
    from process.core import Log

Level = Literal["info", "warning", "error"]
Format = Literal["logfmt", "json"]

VALUE_CHARACTERS_MAX = 1_000
# Lines of one event: this many at once, then so many a second. A button that chatters for a year
# or a peer that says nonsense for a week must not push everything else out of the log.
LINES_BURST = 1_000
LINES_PER_S = 5

_BARE = re.compile(r"[A-Za-z0-9_.:/+@%,()\[\]*-]+\Z")
_URL_USER = re.compile(r"//[^\s\"']*@")
_SECRET_NAMES = frozenset({"password", "secret", "token"})


class Pace:
    """How many lines of each event may be written; names of events are words of the code."""

    def __init__(self) -> None:
        """Every event begins with its whole burst."""
        self.held_back = 0
        # Event -> lines it may still write, when that was so (s), and what it could not write.
        self._events: dict[str, tuple[float, float, int]] = {}

    def admit(self, event: str, now_s: float) -> int | None:
        """None: not now, counted. Otherwise how many were held back since the last line."""
        allowance, since_s, held_back = self._events.get(event, (float(LINES_BURST), now_s, 0))
        allowance = min(float(LINES_BURST), allowance + max(0.0, now_s - since_s) * LINES_PER_S)
        if allowance < 1:
            self.held_back += 1
            self._events[event] = (allowance, now_s, held_back + 1)
            return None
        self._events[event] = (allowance - 1, now_s, 0)
        return held_back


_pace = Pace()
_lines_lost = 0
_part: str | None = None
_as_json = False


def begin(part: str, form: Format = "logfmt") -> None:
    """Let every line of this process say which part of the whole it is, and take this form."""
    global _part, _as_json
    _part, _as_json = part, form == "json"


def write_line(line: Log, at_ns: int | None = None) -> None:
    """Write a core's line; `at_ns` (Unix ns) is when the core was given what it tells of."""
    log(line.event, level=line.level, at_ns=at_ns, **line.fields)


def log(event: str, *, level: Level = "info", at_ns: int | None = None, **fields: object) -> None:
    """Write `at=… part=… level=… event=… key=value …` to stderr, or the same as a JSON object.

    A line that cannot be written (stderr closed, disk full) is counted in `lines_lost`; one too
    many of its event is held back, and the next one that is not says how many were.
    """
    global _lines_lost
    held_back = _pace.admit(event, time.monotonic())
    if held_back is None:
        return
    if held_back:
        fields["held_back"] = held_back
    line = (_json if _as_json else _logfmt)(
        {
            "at": _microseconds(time.time_ns() if at_ns is None else at_ns),
            **({} if _part is None else {"part": _part}),
            "level": level,
            "event": event,
            **{name: "***" if name in _SECRET_NAMES else one for name, one in fields.items()},
        }
    )
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, RuntimeError, AttributeError):
        # Closed, full, entered again from a signal handler, or no stderr at all.
        _lines_lost += 1


def lines_lost() -> int:
    """How many lines this process could not write."""
    return _lines_lost


def masked(text: str) -> str:
    """The text with `user:password@` of every URL in it replaced by `***@`."""
    return _URL_USER.sub("//***@", text) if "@" in text else text


def _microseconds(at_ns: int) -> str:
    # A hop takes less than a millisecond, and lines are put in order by this.
    return f"{timestamp(at_ns // 1_000_000)[:-1]}{at_ns // 1_000 % 1_000:03d}Z"


def _logfmt(fields: dict[str, object]) -> str:
    return " ".join([f"{name}={_quoted(_text(value))}" for name, value in fields.items()])


def _json(fields: dict[str, object]) -> str:
    return json.dumps({name: _plain(value) for name, value in fields.items()})


def _quoted(text: str) -> str:
    # JSON's escapes: control characters, quotes and every non-ASCII trick stay on this line.
    return text if _BARE.match(text) else json.dumps(text)


def _plain(value: object) -> bool | float | str | None:
    if value is None or isinstance(value, bool | int):
        return value
    # JSON has no nan, so a number that may be one is not written at all.
    return value if isinstance(value, float) and math.isfinite(value) else _text(value)


def _text(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            text = value
        case BaseException():
            text = f"{type(value).__name__}: {value}"
        case bytes() | bytearray():
            text = bytes(value[:VALUE_CHARACTERS_MAX]).decode("utf-8", "backslashreplace")
        case _:
            text = str(value)
    if len(text) > VALUE_CHARACTERS_MAX:
        text = text[:VALUE_CHARACTERS_MAX] + "..."
    return masked(text)
