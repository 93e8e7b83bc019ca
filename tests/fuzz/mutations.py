"""How bytes and JSON values are spoilt: small, seeded, and never the same twice in a row.

Pure: what is given is not changed, the chance is an argument, and the same chance spoils alike.
"""

from __future__ import annotations

from random import Random
from typing import Any

# What parsers have fallen over: ends of ranges, wrong kinds, text that is not what it looks like.
NASTY: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    65,
    2**31,
    2**53 + 1,
    2**64,
    -(2**63),
    10**40,
    1e308,
    -0.0,
    1e-320,
    "",
    " ",
    "\x00",
    "\x1b[2J",
    "\u202egnp.exe",
    "\ud83d\ude93" * 30,
    "a" * 300,
    "../../etc/passwd",
    "mlg-test-rw01/alarms",
    "+",
    "#",
    "$SYS",
    "2026-02-31T00:00:00.000Z",
    "2026-01-01T24:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
    "\u0661" * 4,
    "null",
    [],
    {},
    [[]] * 40,
    {"v": {"v": 1}},
)
TOKENS = tuple(b'{ } [ ] , : " \\ \\u0000 1e999 NaN \xff\xfe'.split(b" "))


def spoil_bytes(whole: bytes, chance: Random) -> bytes:
    """One to four changes: a bit, a cut, a token, a piece doubled, noise."""
    spoilt = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(spoilt) + 1)
        match chance.randrange(6):
            case 0 if spoilt:
                spoilt[at % len(spoilt)] ^= 1 << chance.randrange(8)
            case 1:
                del spoilt[at:]
            case 2:
                spoilt[at:at] = chance.choice(TOKENS) * chance.choice((1, 1, 1, 500))
            case 3:
                spoilt[at:at] = spoilt[at : at + chance.randrange(64)]
            case 4:
                spoilt[at:at] = chance.randbytes(chance.randrange(16))
            case _:
                del spoilt[at : at + chance.randrange(1, 16)]
    return bytes(spoilt)


def spoil_value(whole: dict[str, Any], chance: Random) -> dict[str, Any]:
    """One or two fields, at any depth, are missing, of another kind, doubled or unknown."""
    spoilt: dict[str, Any] = _copy(whole)
    for _ in range(chance.randint(1, 2)):
        table, key = _place(spoilt, chance)
        match chance.randrange(5):
            case 0 if isinstance(table, dict):
                del table[key]
            case 1 if isinstance(table, dict):
                name = chance.choice(("x", "v", "post", "alarm_id", "\x00"))
                table[name] = _copy(chance.choice(NASTY))
            case 2 if isinstance(table[key], list):
                table[key] = table[key] * chance.choice((2, 30, 300))
            case _:
                table[key] = _copy(chance.choice(NASTY))
        if not spoilt:
            break
    return spoilt


def _place(table: Any, chance: Random) -> tuple[Any, Any]:
    key = chance.choice(list(table)) if isinstance(table, dict) else chance.randrange(len(table))
    inner = table[key]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
        return _place(inner, chance)
    return table, key


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list | tuple) else value
