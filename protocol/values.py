"""The scalar types of the contract, each with its bounds and unit.

Everything that arrives from a network is hostile until it has passed one of these. A value
that a message may carry is declared here once and nowhere else.
"""

from __future__ import annotations

import functools
import re
import uuid
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta

# Patterns end in Python's `\Z`, because its `$` lets a trailing newline through; the published
# schemas say the same in every other language's words (protocol.schema).
# MQTT topic levels are built from these, so neither '/', '+', '#', '$' nor '%' may occur.
NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z"
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
# Digits are spelt out: Python's \d also takes those of other scripts.
TIMESTAMP_PATTERN = (
    r"^(?:19[7-9]|20[0-9])[0-9]-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z\Z"
)
_TIMESTAMP = re.compile(TIMESTAMP_PATTERN)
# Control characters (C0, DEL, C1), line and paragraph separators, and the bidirectional
# overrides that can make a name on an operator's screen read as another (Unicode TR 36).
# Lone surrogates need no mention: the JSON reader refuses them, and naming them here would make
# other languages' readers refuse every emoji.
TEXT_PATTERN = "^[^\\x00-\\x1f\\x7f-\\x9f\u2028-\u202e\u2066-\u2069\ufeff]*\\Z"

PostId = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64, examples=["mlg-dinoyo-rw05"])]
GatewayId = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64)]
ConsoleId = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64)]
Uuid = Annotated[str, Meta(pattern=UUID_PATTERN, max_length=36)]
Timestamp = Annotated[
    str,
    Meta(pattern=TIMESTAMP_PATTERN, max_length=24, description="RFC 3339, UTC, milliseconds"),
]
# Lengths are in characters, which take up to 4 bytes: the largest legal message has to fit its
# bound in bytes (`protocol.codec`), so that no sender of legal values is ever refused.
LABEL_CHARS_MAX = 48
NOTE_CHARS_MAX = 200
Label = Annotated[str, Meta(pattern=TEXT_PATTERN, min_length=1, max_length=LABEL_CHARS_MAX)]
Note = Annotated[str, Meta(pattern=TEXT_PATTERN, max_length=NOTE_CHARS_MAX)]
# Binary structures of X.509 (DER) as base64: a request or certificate with a P-256 key has 300 to
# 700 bytes.
Der = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9+/]+={0,2}\Z",
        min_length=4,
        max_length=2000,
        description="DER as base64",
    ),
]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z", max_length=16)]

# 2**43 ms is 278 years of uptime.
UptimeMs = Annotated[int, Meta(ge=0, le=2**43, description="milliseconds since the boot")]
OffsetMs = Annotated[int, Meta(ge=-86_400_000, le=86_400_000, description="milliseconds")]
Latitude = Annotated[float, Meta(ge=-90.0, le=90.0, description="WGS 84 degrees")]
Longitude = Annotated[float, Meta(ge=-180.0, le=180.0, description="WGS 84 degrees")]
AccuracyM = Annotated[float, Meta(ge=0.0, le=100_000.0, description="metres")]
AgeS = Annotated[int, Meta(ge=0, le=10 * 366 * 86_400, description="seconds")]
Sequence = Annotated[int, Meta(ge=0, le=2**53)]

REPEATS_MAX = 64
Repeats = Annotated[int, Meta(ge=0, le=REPEATS_MAX)]

ClockState = Literal["synchronised", "unsynchronised"]
Kind = Literal["panic", "test", "selftest"]
Outcome = Literal["real", "false", "test", "prank"]
OUTCOMES: tuple[Outcome, ...] = ("real", "false", "test", "prank")

FAULTS_MAX = 16
FAULT_COUNT_MAX = 1_000_000  # how often a fault has come while it stands; then it is not counted on
FaultName = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z", max_length=32, examples=["button_worn"])
]

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def timestamp(wall_ms: int) -> str:
    """Write Unix milliseconds as the contract's RFC 3339 form (years 1970 to 2099)."""
    bounded_ms = min(max(wall_ms, 0), 4_102_444_799_999)
    days, ms = divmod(bounded_ms, 86_400_000)
    minutes, ms = divmod(ms, 60_000)
    return f"{_day(days)}T{minutes // 60:02d}:{minutes % 60:02d}:{ms // 1000:02d}.{ms % 1000:03d}Z"


# Most times are of today.
@functools.lru_cache(maxsize=64)
def _day(days: int) -> str:
    return date.fromordinal(_EPOCH_ORDINAL + days).isoformat()


@functools.lru_cache(maxsize=64)
def _day_ms(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1000


# One moment is read again and again: as it comes in, in the record, in each document of it.
@functools.lru_cache(maxsize=1_024)
def wall_ms(text: str) -> int:
    """Read a contract timestamp as Unix milliseconds.

    Raises:
        ValueError: the text is no such timestamp, or no such day exists (31 February).
    """
    if not _TIMESTAMP.match(text):
        raise ValueError(f"not an RFC 3339 UTC time with milliseconds: {text[:40]!r}")
    minutes = int(text[11:13]) * 60 + int(text[14:16])
    return _day_ms(text[:10]) + minutes * 60_000 + int(text[17:19]) * 1000 + int(text[20:23])


def new_id() -> str:
    """Make a random id (UUID version 4) as it stands in messages."""
    return str(uuid.uuid4())
