"""Log lines: one event with its fields per line, logfmt on stderr, for journald and for grep.

Never raises for what stderr does, never writes more than one line per call, never writes a
password: the user part of a URL in a value is masked here, whatever the caller forgot.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Literal

from protocol.values import timestamp

Level = Literal["info", "warning", "error"]

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


def log(event: str, *, level: Level = "info", **fields: object) -> None:
    """Write `at=… level=… event=… key=value …` to stderr.

    A line that cannot be written (stderr closed, disk full) is counted in `lines_lost`; one too
    many of its event is held back, and the next one that is not says how many were.
    """
    global _lines_lost
    held_back = _pace.admit(event, time.monotonic())
    if held_back is None:
        return
    if held_back:
        fields["held_back"] = held_back
    words = [f"at={timestamp(time.time_ns() // 1_000_000)} level={level} event={_value(event)}"]
    for name, value in fields.items():
        words.append(f"{name}={'***' if name in _SECRET_NAMES else _value(value)}")
    try:
        sys.stderr.write(" ".join(words) + "\n")
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


def _value(value: object) -> str:
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
    text = masked(text)
    # JSON's escapes: control characters, quotes and every non-ASCII trick stay on this line.
    return text if _BARE.match(text) else json.dumps(text)
