"""The door between a link and a core: bytes on a topic become a `Heard`, or are refused.

What is refused is counted by its reason and logged with its topic, at most ten lines a second; it
changes nothing else. The caller acknowledges what was refused, so that it does not come again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from process.core import Heard
from process.link import Received
from process.log import log
from protocol.codec import Refused, decode_at
from protocol.topics import Topics

LOG_LINES_PER_SECOND_MAX = 10

Reason = Literal["refused_topic", "refused_retained", "refused_content"]


class Intake:
    """Reads what arrives on the links of one process. Used by its main loop alone."""

    def __init__(
        self,
        topics: Topics,
        allowed: Iterable[tuple[str, str]],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the topic root and the pairs such as `("posts", "alarms")` that may come in."""
        self._topics = topics
        self._allowed = frozenset(allowed)
        self._monotonic_s = monotonic_s
        self.counts: Counter[str] = Counter()
        self._second = -1
        self._lines = 0
        self._unlogged = 0

    def read(self, received: Received) -> Heard | None:
        """The message, or None: refused, or the empty payload that clears a retained topic.

        A cleared document says nothing about an alarm, so no core hears of it.
        """
        try:
            address = self._topics.parse(received.topic)
        except ValueError as error:
            self._refuse("refused_topic", received, str(error))
            return None
        if (address.side, address.what) not in self._allowed:
            self._refuse("refused_topic", received, "not one this process listens to")
            return None
        if address.never_retained:
            if received.retained:
                # A press or command that a broker kept would fire again at every start.
                self._refuse("refused_retained", received, "retained, must never be")
                return None
        elif not received.payload:
            self.counts["cleared"] += 1
            return None
        try:
            message = decode_at(address, received.payload)
        except Refused as error:
            self._refuse("refused_content", received, str(error))
            return None
        # A gateway speaks for itself alone, below its own name.
        speaker = getattr(message, "gateway", address.district)
        if address.district not in (None, speaker):
            self._refuse("refused_content", received, f"{speaker} is not of {address.district}")
            return None
        return Heard(
            link=received.link,
            connection=received.connection,
            address=address,
            message=message,
            retained=received.retained,
            receipt=received.receipt,
        )

    @property
    def refusals(self) -> dict[str, int]:
        """How many messages were refused since the start, by reason."""
        return {why: count for why, count in self.counts.items() if why.startswith("refused")}

    @property
    def refused(self) -> int:
        """How many messages were refused since the start."""
        return sum(self.refusals.values())

    def _refuse(self, reason: Reason, received: Received, why: str) -> None:
        self.counts[reason] += 1
        second = int(self._monotonic_s())
        if second != self._second:
            if self._unlogged:
                log("messages_refused_unlogged", level="warning", count=self._unlogged)
            self._second, self._lines, self._unlogged = second, 0, 0
        if self._lines >= LOG_LINES_PER_SECOND_MAX:
            self._unlogged += 1
            return
        self._lines += 1
        log(
            "message_refused",
            level="warning",
            link=received.link,
            topic=received.topic[:160],
            reason=reason,
            why=why,
            refused=self.refused,
        )
