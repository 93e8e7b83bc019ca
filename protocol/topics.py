"""Topics: built and parsed here and nowhere else.

The root is a setting (`kentongan/v1` by default); the rest is the contract. Where the gateways of
many districts report to one broker, each has the command centre's topics below its own name,
`<root>/<gateway>/mcc/…`, so that a broker can hold each to its own.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from protocol.values import NAME_PATTERN, UUID_PATTERN

DEFAULT_ROOT = "kentongan/v1"
ROOT_CHARS_MAX = 64
ROOT_PATTERN = r"^[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+){0,4}\Z"

PostTopic = Literal["alarms", "presence", "health", "answer", "state", "renewal", "certificate"]
MccTopic = Literal["alarms", "posts", "gateways", "commands", "answers"]

_POST_TOPICS: frozenset[str] = frozenset(get_args(PostTopic))
_MCC_TOPICS: dict[str, str] = {
    "alarms": UUID_PATTERN,
    "posts": NAME_PATTERN,
    "gateways": NAME_PATTERN,
    "commands": NAME_PATTERN,
    "answers": NAME_PATTERN,
}
# Retained on any of these is a forgery or a mistake: a press or a command that would fire again.
NEVER_RETAINED: frozenset[tuple[str, str]] = frozenset(
    (
        ("posts", "alarms"),
        ("posts", "health"),
        ("posts", "answer"),
        ("posts", "renewal"),
        ("posts", "certificate"),
        ("mcc", "commands"),
        ("mcc", "answers"),
    )
)


class Address(msgspec.Struct, frozen=True):
    """A parsed topic: whose it is and what it carries.

    `side` is `posts` or `mcc`; `what` the topic's word; `name` the post, console, gateway
    or alarm it names. `district`: below which gateway's name it stands, for who hears many.
    """

    side: Literal["posts", "mcc"]
    what: str
    name: str
    district: str | None = None

    @property
    def never_retained(self) -> bool:
        """Whether a retained message here must be refused."""
        return (self.side, self.what) in NEVER_RETAINED


class Topics:
    """Builds and parses every topic under one root."""

    def __init__(self, root: str = DEFAULT_ROOT, district: str | None = None) -> None:
        """Take the root, such as `kentongan/v1`.

        `district`: the gateway below whose name the topics of `mcc` stand; `+` for a command centre
        that hears every gateway; None where they stand below the root.

        Raises:
            ValueError: the root is empty, too long, or holds a wildcard or a control character.
        """
        if len(root) > ROOT_CHARS_MAX or not re.match(ROOT_PATTERN, root):
            raise ValueError(
                f"not a topic root: {root[:80]!r}; allowed: up to {ROOT_CHARS_MAX} characters in"
                " up to five levels of letters, digits, '-' and '_', such as 'kentongan/v1'"
            )
        self.root = root
        self.district = district
        self._prefix = root + "/"

    def post(self, post: str, what: PostTopic) -> str:
        """`posts/{post}/{what}`; post may be `+` for a subscription."""
        return f"{self._prefix}posts/{post}/{what}"

    def mcc(self, what: MccTopic, name: str, gateway: str | None = None) -> str:
        """`mcc/{what}/{name}`; name may be `+` for a subscription.

        `gateway`: whose it is, for who speaks to many; the others have the district they are in.
        """
        below = "" if self.district is None else f"{gateway or self.district}/"
        return f"{self._prefix}{below}mcc/{what}/{name}"

    def parse(self, topic: str) -> Address:
        """Read a topic that arrived.

        Raises:
            ValueError: it is not one of the contract's.
        """
        if len(topic) <= 256 and topic.startswith(self._prefix):
            parts = topic[len(self._prefix) :].split("/")
            district = None
            if self.district is not None and len(parts) == 4 and parts[1] == "mcc":
                district, *parts = parts
                if self.district == "+":
                    if not re.match(NAME_PATTERN, district):
                        parts = []
                elif district != self.district:
                    parts = []
            elif self.district is not None and parts[0] == "mcc":
                parts = []
            if len(parts) == 3:
                side, first, second = parts
                if side == "posts" and second in _POST_TOPICS and re.match(NAME_PATTERN, first):
                    return Address("posts", second, first)
                if side == "mcc" and first in _MCC_TOPICS and re.match(_MCC_TOPICS[first], second):
                    return Address("mcc", first, second, district if self.district == "+" else None)
        raise ValueError(f"no topic of the contract: {topic[:120]!r}")
