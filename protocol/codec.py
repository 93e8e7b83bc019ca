"""Bytes to messages and back. The only door through which anything enters.

A message that is refused raises `Refused` with the topic's word, the path to the field and what
is allowed; it never raises anything else and never returns half a message.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, TypeVar

import msgspec

from protocol.messages import MESSAGES, MccAlarm, Message, PostState
from protocol.topics import Address

MESSAGE_BYTES_MAX = 4096
STATE_BYTES_MAX = 16_384
WHY_CHARS_MAX = 300
# The contract nests four deep; unknown fields may go further. How deep a parser can follow depends
# on the Python it runs on, so the bound is ours.
NESTING_MAX = 32

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)  # one without an end goes to the end
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))

M = TypeVar("M", bound=Message)


class Refused(ValueError):
    """A message that is not of the contract; the text says where and why."""


class _Version(msgspec.Struct):
    # msgspec takes a missing tag for the only type there is; the contract does not.
    v: Literal[1]


_VERSION = msgspec.json.Decoder(_Version)
_DECODERS: dict[type[Message], msgspec.json.Decoder[Message]] = {
    kind: msgspec.json.Decoder(kind) for kind in MESSAGES.values()
}
_ENCODER = msgspec.json.Encoder()


def bytes_max(kind: type[Message]) -> int:
    """The size bound of a message kind in bytes: 16 KiB for a state document, else 4 KiB."""
    return STATE_BYTES_MAX if kind is PostState else MESSAGE_BYTES_MAX


def decode(kind: type[M], payload: bytes) -> M:
    """Validate and read one message.

    Raises:
        Refused: too large, nested too deep, not UTF-8 JSON, a wrong type or range (with the path).
    """
    if len(payload) > bytes_max(kind):
        raise Refused(f"{len(payload)} bytes; allowed are {bytes_max(kind)}")
    try:
        payload.decode("utf-8")  # msgspec does not look into fields that it skips
        _require_shallow(payload)
        _VERSION.decode(payload)
        message = _DECODERS[kind].decode(payload)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError) as error:
        raise Refused(_shortened(str(error))) from None
    assert isinstance(message, kind)
    return message


def _require_shallow(payload: bytes) -> None:
    if payload.count(b"[") + payload.count(b"{") <= NESTING_MAX:
        return
    depth = 0
    for bracket in _STRING.sub(b"", payload).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > NESTING_MAX:
            raise Refused(f"nested deeper than {NESTING_MAX}")


def _shortened(text: str) -> str:
    # A refused value may be quoted at length; the path to the field stands behind it.
    return (
        text if len(text) <= WHY_CHARS_MAX else f"{text[:120]} ... {text[-(WHY_CHARS_MAX - 125) :]}"
    )


def decode_at(address: Address, payload: bytes) -> Message:
    """Read a message by the topic it came on; its own name must be the topic's.

    Raises:
        Refused: as `decode`, or the payload speaks of another post, alarm, console or gateway.
    """
    message = decode(MESSAGES[f"{address.side}/{address.what}"], payload)
    spoken_of = _name_in(message, address)
    if spoken_of is not None and spoken_of != address.name:
        raise Refused(f"the topic is {address.name!r}'s, the payload speaks of {spoken_of!r}")
    return message


def _name_in(message: Message, address: Address) -> str | None:
    if address.side == "posts":
        return str(getattr(message, "post"))  # noqa: B009 - each posts/ message has one
    field = {
        "alarms": "alarm_id",
        "posts": "post",
        "gateways": "gateway",
        "answers": "console",
        "commands": None,
    }[address.what]
    return None if field is None else str(getattr(message, field))


def encode(message: Message) -> bytes:
    """Write one message as compact JSON.

    Raises:
        Refused: larger than its bound or not Unicode, which no legal value is.
    """
    try:
        payload = _ENCODER.encode(message)
    except UnicodeEncodeError as error:  # a lone surrogate, as in an undecodable argument
        raise Refused(f"{type(message).__name__} holds text that is not Unicode: {error}") from None
    if len(payload) > bytes_max(type(message)):
        raise Refused(f"{type(message).__name__} of {len(payload)} bytes is over its bound")
    return payload


# What the MCC need not receipt: where it was journaled, what it has receipted already, when a
# buzzer sounded, and the state `delivered`, which says only that a receipt has come.
_NOT_CONTENT: frozenset[str] = frozenset(
    ("v", "journal_id", "gateway", "receipted", "content", "sounded_at")
)


def content_of(alarm: MccAlarm) -> str:
    """The digest that names what the MCC has to hold of this document (16 hex digits)."""
    built = msgspec.to_builtins(alarm)
    kept = {key: value for key, value in built.items() if key not in _NOT_CONTENT}
    kept["reached"].pop("delivered", None)
    if kept["state"] == "delivered":
        kept["state"] = "received"
    text = msgspec.json.encode(kept, order="sorted")
    return hashlib.sha256(text).hexdigest()[:16]
