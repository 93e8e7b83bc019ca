"""The gateway's door: who may say what, and how fast. Pure: time is an argument.

Brokers check certificates and topics; this is the second check, and the one that is at once right
when somebody is shut out. It never decides about an alarm, only about its sender: what it refuses
is acknowledged to the broker, counted and logged, and changes nothing else. Without a register
everyone may speak (a demo on one machine), but nobody faster than the limit.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Literal, get_args

from gateway.posts import Maintained
from protocol.messages import Action, Command, Message
from protocol.topics import Address

SECOND_US = 1_000_000


@dataclass(frozen=True)
class Pace:
    """How many messages at once, and how many a second for ever."""

    burst: float
    per_second: float


# A post says at most a heartbeat and, for each of 20 alarms, an offer every 2 s when it calls; it
# says all of it at once when it connects. This is several times as much.
POST_PACE = Pace(300.0, 20.0)
# A command centre that was restored receipts thousands of alarms in a row.
CONSOLE_PACE = Pace(4_000.0, 1_000.0)
# Topics that are others' to write. Documents of our own, which we read back, are not among them.
FROM_OTHERS = frozenset(
    (
        ("posts", "alarms"),
        ("posts", "presence"),
        ("posts", "health"),
        ("posts", "renewal"),
        ("mcc", "commands"),
    )
)
FLOODING_FOR_US = 60 * SECOND_US
SENDERS_MAX = 200_000

ConsoleRole = Literal["operator", "technician", "viewer"]
CONSOLE_ROLES: tuple[ConsoleRole, ...] = get_args(ConsoleRole)
# What each role may command. Whose receipts count is a setting of the gateway, not a role.
_ALL: frozenset[Action] = frozenset(get_args(Action))
MAY: dict[ConsoleRole, frozenset[Action]] = {
    "operator": _ALL,
    "technician": frozenset(("beat", "open_test", "close_test", "panic", "acknowledge", "resolve")),
    "viewer": frozenset(),
}
# A technician answers what he pressed himself; the core refuses `test` for what became panic.
ONLY_TESTS: frozenset[tuple[ConsoleRole, Action]] = frozenset(
    (("technician", "acknowledge"), ("technician", "resolve"))
)

Why = Literal["denied", "not_registered", "above_role", "flood"]


@dataclass(frozen=True)
class PostEntry:
    """What the register says of a post: what people call it and where it was surveyed."""

    label: str | None = None
    lat: float | None = None
    lon: float | None = None
    kelurahan: str | None = None


@dataclass(frozen=True)
class Register:
    """Who there is. `denied` are names whose every certificate is revoked.

    `maintained`: posts whose silence is planned. `retired`: names that are no posts any more.
    """

    posts: dict[str, PostEntry] = field(default_factory=dict)
    consoles: dict[str, ConsoleRole] = field(default_factory=dict)
    denied: frozenset[str] = frozenset()
    maintained: dict[str, Maintained] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()


@dataclass(frozen=True)
class NotAdmitted:
    """A message was refused. `tell`: a line is due; `count` is how many of its kind there were."""

    why: Why
    count: int
    tell: bool


@dataclass(slots=True)
class _Bucket:
    allowance: float
    at_us: int


class Gate:
    """Keeps a bucket for each sender it has heard of."""

    def __init__(self, register: Register | None = None) -> None:
        """Take the register; None lets everyone in."""
        self.register = register
        self.counts: Counter[Why] = Counter()
        self._refused: Counter[tuple[Why, str]] = Counter()
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._over_us: dict[str, int] = {}  # posts: when last over their pace

    def admit(self, address: Address, message: Message, now_us: int) -> NotAdmitted | None:
        """Whether a message may come in; None when it may. `now_us` is uptime."""
        if (address.side, address.what) not in FROM_OTHERS:
            return None
        why = self._why_not(address, message)
        if why is None and not self._in_time((address.side, address.name), now_us):
            why = "flood"
        if why is None:
            return None
        self.counts[why] += 1
        key = (why, address.name)
        if key not in self._refused and len(self._refused) >= SENDERS_MAX:
            self._refused.clear()
        self._refused[key] += 1
        count = self._refused[key]
        # The 1st, 2nd, 4th, 8th, ...: a flood of messages must not become a flood of lines.
        return NotAdmitted(why, count, tell=count.bit_count() == 1)

    def flooding(self, now_us: int) -> frozenset[str]:
        """The posts that were over their limit within the last minute."""
        for name in [
            name for name, at_us in self._over_us.items() if now_us - at_us >= FLOODING_FOR_US
        ]:
            del self._over_us[name]
        return frozenset(self._over_us)

    def _why_not(self, address: Address, message: Message) -> Why | None:
        register = self.register
        if register is None:
            return None
        if address.side == "posts":
            if address.name in register.denied:
                return "denied"
            return None if address.name in register.posts else "not_registered"
        if address.name in register.denied:
            return "denied"
        role = register.consoles.get(address.name)
        if role is None:
            return "not_registered"
        assert isinstance(message, Command)
        if message.action not in MAY[role]:
            return "above_role"
        if (role, message.action) in ONLY_TESTS and message.kind != "test":
            return "above_role"
        return None

    def _in_time(self, sender: tuple[str, str], now_us: int) -> bool:
        pace = POST_PACE if sender[0] == "posts" else CONSOLE_PACE
        bucket = self._buckets.get(sender)
        if bucket is None:
            if len(self._buckets) >= SENDERS_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[sender] = _Bucket(pace.burst, now_us)
        self._buckets.move_to_end(sender)
        passed_us = max(0, now_us - bucket.at_us)
        bucket.at_us = now_us
        earned = passed_us * pace.per_second / SECOND_US
        bucket.allowance = min(pace.burst, bucket.allowance + earned)
        if bucket.allowance < 1:
            if sender[0] == "posts":
                self._over_us[sender[1]] = now_us
            return False
        bucket.allowance -= 1
        return True
