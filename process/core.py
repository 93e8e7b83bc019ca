"""How a pure core and its thin edges speak to each other, in every process.

A core has `handle(event, now) -> list of effects` and `wake_at_us() -> uptime or None`. It never
reads a clock, never blocks, never raises for what a network or a disk does. Edges turn pins,
sockets, disks and timers into events and carry the effects out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from protocol.messages import Message
from protocol.topics import Address


class Tick(msgspec.Struct, frozen=True):
    """Nothing waits, and time has reached what `wake_at_us` asked for (or later, or earlier)."""


class Stop(msgspec.Struct, frozen=True):
    """The process is asked to end (SIGTERM)."""


class LinkUp(msgspec.Struct, frozen=True):
    """A link is connected and every subscription is granted."""

    link: str
    connection: str


class LinkDown(msgspec.Struct, frozen=True):
    """A connection is gone, or an attempt at one has failed, and why.

    `is_in_doubt`: it looks as if another device used our identity (a cloned card).
    """

    link: str
    connection: str
    reason: str
    is_in_doubt: bool = False


class Heard(msgspec.Struct, frozen=True):
    """A valid message of the contract arrived on a link.

    `receipt` is to be given back in an `Acknowledge` once its content is committed; None where
    the link acknowledged by itself. `retained` marks a replay of a stored document.
    """

    link: str
    connection: str
    address: Address
    message: Message
    retained: bool = False
    receipt: object | None = None


class Publish(msgspec.Struct, frozen=True):
    """Send a message on a link, QoS 1; None as message clears a retained topic."""

    link: str
    topic: str
    message: Message | None
    retain: bool = False
    expiry_s: int | None = None


class Acknowledge(msgspec.Struct, frozen=True):
    """Tell the broker that these messages need not come again."""

    link: str
    receipts: Sequence[object]


class Drop(msgspec.Struct, frozen=True):
    """Close a link's connection and open a new one."""

    link: str
    reason: str


class Log(msgspec.Struct, frozen=True):
    """One line for the log: an event with fields."""

    event: str
    level: Literal["info", "warning", "error"] = "info"
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
