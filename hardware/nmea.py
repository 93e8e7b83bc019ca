"""NMEA 0183 as receivers really send it: bytes -> whole sentences -> positions -> one fix an epoch.

Pure: no port, no clock, no thread. Nothing leaves this file that was not framed, checksummed and
range checked, and no date or time of a receiver is ever given on.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

# NMEA 0183 allows 82 characters; u-blox and others send more.
SENTENCE_CHARACTERS_MAX = 120
# One standard deviation of the pseudorange, in metres, times HDOP is the horizontal error: 5 m is a
# cautious figure for a single-frequency receiver (GPS Standard Positioning Service Performance
# Standard 2020, appendix B: user equivalent range error with ionosphere, receiver and multipath).
RANGE_ERROR_M = 5.0
# Above 50 a fix says nothing; receivers write 50.0 or 99.99 for "unknown" (tn200, u-blox).
HDOP_MAX = 50.0
SATELLITES_MAX = 99

# GGA quality 1 GPS, 2 differential, 3 PPS, 4, 5 RTK; not 6 dead reckoning, 7 manual, 8 simulated.
_QUALITY_FIX = "12345"
# RMC mode A autonomous, D differential, F and R RTK, P precise; not N none, E estimated, M, S.
# Receivers before NMEA 2.3 send no mode.
_MODE_FIX = ("", "A", "D", "F", "P", "R")

_TALKER = re.compile(r"\$(G[ABILNPQ])(GGA|RMC)")
_TIME = re.compile(r"(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d|60)(?:\.\d{1,6})?", re.ASCII)
_LATITUDE = re.compile(r"\d{2}[0-5]\d(?:\.\d{1,8})?", re.ASCII)
_LONGITUDE = re.compile(r"\d{3}[0-5]\d(?:\.\d{1,8})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,2}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,3}(?:\.\d{1,4})?", re.ASCII)

_PRINTABLE = frozenset(range(0x20, 0x7F))
_DOLLAR, _CR, _LF = b"$\r\n"


class Fix(msgspec.Struct, frozen=True):
    """Where the receiver is. Degrees WGS 84; `uptime_us` is when it was received.

    `hdop`, `accuracy_m` (HDOP x 5 m) and `satellites` are None where the receiver did not say.
    """

    lat: float
    lon: float
    accuracy_m: float | None
    satellites: int | None
    hdop: float | None
    uptime_us: int


class GpsState(msgspec.Struct, frozen=True):
    """The receiver answers; `fixed` says whether it knows where it is. Sent on changes only."""

    fixed: bool
    uptime_us: int


class GpsLost(msgspec.Struct, frozen=True):
    """Nothing comes from the receiver any more, and why. Sent once for each loss."""

    reason: str
    uptime_us: int


def checksum(body: str) -> str:
    """The two hex digits for what stands between `$` and `*`."""
    value = 0
    for character in body.encode("ascii"):
        value ^= character
    return f"{value:02X}"


class Framer:
    """Bytes in any portions -> whole sentences `$…*hh` with the right checksum, without line end.

    A sentence ends at CR, LF or the next `$`. Anything else is skipped and counted; at most one
    sentence of 120 characters is held.
    """

    def __init__(self) -> None:
        self.sentences = 0
        self.wrong_checksum = 0  # also: no checksum, or not hex
        self.garbled = 0  # a byte that no sentence has, or too long
        self._held: bytearray | None = None  # None: outside a sentence

    def feed(self, received: bytes) -> list[str]:
        """The sentences that `received` completes."""
        whole: list[str] = []
        for byte in received:
            if byte == _DOLLAR:
                self._end(whole)
                self._held = bytearray((byte,))
            elif self._held is None:
                continue
            elif byte in (_CR, _LF):
                self._end(whole)
            elif byte not in _PRINTABLE or len(self._held) >= SENTENCE_CHARACTERS_MAX:
                self.garbled += 1
                self._held = None
            else:
                self._held.append(byte)
        return whole

    def _end(self, whole: list[str]) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        sentence = held.decode("ascii")
        if sentence[-3:-2] == "*" and sentence[-2:].upper() == checksum(sentence[1:-3]):
            self.sentences += 1
            whole.append(sentence)
        else:
            self.wrong_checksum += 1


class Claim(msgspec.Struct, frozen=True):
    """What one GGA or RMC says, before anything is computed from it.

    `fixed` None: it does not say. `canonical` is the sentence reduced to the fields that are used,
    in the one form that the parser behind it reads rightly; None where the place is not usable.
    """

    kind: Literal["GGA", "RMC"]
    time: str
    fixed: bool | None
    canonical: str | None


def read_claim(sentence: str) -> Claim | None:
    """What a framed sentence claims; None for other sentences and for malformed ones."""
    matched = _TALKER.match(sentence)
    if matched is None:
        return None
    name, *fields = sentence[1:-3].split(",")
    if matched[2] == "GGA" and len(fields) == 14 and len(name) == 5:
        return _gga(name, fields)
    if matched[2] == "RMC" and 11 <= len(fields) <= 13 and len(name) == 5:
        return _rmc(name, fields)
    return None


def _gga(name: str, fields: list[str]) -> Claim:
    time, place, quality = fields[0], fields[1:5], fields[5]
    fixed = None if quality == "" else quality in _QUALITY_FIX
    canonical = None
    if fixed and _TIME.fullmatch(time) and _is_place(place):
        satellites = fields[6] if _WHOLE.fullmatch(fields[6]) else ""
        hdop = fields[7] if _DECIMAL.fullmatch(fields[7]) else ""
        canonical = _sentence(name, [time, *place, quality, satellites, hdop, *[""] * 6])
    return Claim("GGA", time, fixed and canonical is not None, canonical)


def _rmc(name: str, fields: list[str]) -> Claim:
    time, status, place = fields[0], fields[1], fields[2:6]
    mode = fields[11] if len(fields) > 11 else ""
    fixed = status == "A" and mode in _MODE_FIX
    canonical = None
    if fixed and _TIME.fullmatch(time) and _is_place(place):
        # A mode field is put in where NMEA 2.0 has none: the parser knows 12 fields and more.
        canonical = _sentence(name, [time, "A", *place, *[""] * 5, mode])
    return Claim("RMC", time, fixed and canonical is not None, canonical)


def _is_place(fields: list[str]) -> bool:
    lat, north, lon, east = fields
    return bool(
        _LATITUDE.fullmatch(lat)
        and north in ("N", "S")
        and _LONGITUDE.fullmatch(lon)
        and east in ("E", "W")
        and float(lat) <= 9000
        and float(lon) <= 18000
        # A receiver without an almanac sits at 0 N 0 E.
        and (float(lat) or float(lon))
    )


def _sentence(name: str, fields: list[str]) -> str:
    body = ",".join([name, *fields])
    return f"${body}*{checksum(body)}"


class Position(msgspec.Struct, frozen=True):
    """What the parser made of a claim with a place."""

    lat: float
    lon: float
    satellites: int | None
    hdop: float | None


def position(
    lat: float | None, lon: float | None, satellites: int | None, hdop: float | None
) -> Position | None:
    """Checks what the parser gives; None unless the place is finite and on Earth.

    Satellites and HDOP outside their ranges become None: the place still counts.
    """
    if lat is None or lon is None or not (math.isfinite(lat) and math.isfinite(lon)):
        return None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None
    if satellites is not None and not 0 <= satellites <= SATELLITES_MAX:
        satellites = None
    if hdop is not None and not (math.isfinite(hdop) and 0 < hdop < HDOP_MAX):
        hdop = None
    return Position(lat, lon, satellites, hdop)


def accuracy_m(hdop: float | None) -> float | None:
    """Horizontal accuracy in metres, 1 sigma; None when the HDOP is not known."""
    return None if hdop is None else round(hdop * RANGE_ERROR_M, 1)


class Epochs:
    """Joins the GGA and RMC of one instant of the receiver into one verdict.

    Both must agree that there is a fix: an RMC that says *valid* in mode *none*, or a GGA with a
    leftover position, is overruled by the other. An epoch is judged as soon as the kinds that the
    epoch before had are in, at the latest when the next begins.
    """

    def __init__(self) -> None:
        self._time: str | None = None
        self._claims: dict[str, tuple[bool | None, Position | None]] = {}
        self._expected: frozenset[str] = frozenset(("GGA", "RMC"))
        self._judged = True

    def add(self, claim: Claim, place: Position | None) -> list[Position | None]:
        """The verdicts that this claim brings about: a position, or None for *no fix*."""
        verdicts: list[Position | None] = []
        if claim.time != self._time or claim.kind in self._claims:
            if not self._judged:
                verdicts.append(self._judge())
            if self._claims:
                self._expected = frozenset(self._claims)
            self._time, self._claims, self._judged = claim.time, {}, False
        fixed = claim.fixed and place is not None
        self._claims[claim.kind] = (None if claim.fixed is None else fixed, place)
        if not self._judged and self._expected <= self._claims.keys():
            verdicts.append(self._judge())
        return verdicts

    def _judge(self) -> Position | None:
        self._judged = True
        said = [self._claims[kind] for kind in ("GGA", "RMC") if kind in self._claims]
        if any(fixed is False for fixed, _ in said):
            return None
        return next((place for _, place in said if place is not None), None)
