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

_BARE = re.compile(r"[A-Za-z0-9_.:/+@%,()\[\]*-]+\Z")
_URL_USER = re.compile(r"//[^\s\"']*@")
_SECRET_NAMES = frozenset({"password", "secret", "token"})

_lines_lost = 0


def log(event: str, *, level: Level = "info", **fields: object) -> None:
    """Write `at=… level=… event=… key=value …` to stderr.

    A line that cannot be written (stderr closed, disk full) is counted in `lines_lost`.
    """
    global _lines_lost
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
