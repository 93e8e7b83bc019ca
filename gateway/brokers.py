"""The posts' two brokers as one link: a gateway listens on both, and says everything on both.

A post goes to the second broker while the first does not let it in, alone or with all others; so
whatever it is that fails, it is heard. To the core there is one link. It comes up anew whenever one
of the two does, and then every document is said again; it is down when both are.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

from gateway.core import FaultSeen
from process.core import LinkDown, LinkUp
from process.link import Link, LinkCounts, Will
from process.log import log

# A fault of the gateway while one of the two is not connected.
LOST = "posts_broker_lost"


class Brokers:
    """Two links with one name. Made with `made(deliver, number)`, which builds each of them."""

    def __init__(
        self,
        name: str,
        made: Callable[[Callable[[object, bool], bool], int], Link],
        deliver: Callable[[object, bool], bool],
    ) -> None:
        self.name = name
        self._deliver = deliver
        # Both links' threads report here.
        self._lock = threading.Lock()
        self._up: dict[int, str] = {}
        self._links = tuple(made(self._door(number), number) for number in (0, 1))

    def start(self) -> None:
        """Begin to connect. Once."""
        for link in self._links:
            link.start()

    def stop(self, timeout_s: float, farewell: Sequence[Will] = ()) -> bool:
        """End both; False if that took longer than `timeout_s`."""
        ends = [link.stop(timeout_s / len(self._links), farewell) for link in self._links]
        return all(ends)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None
    ) -> bool:
        """Hand a message to each that is connected; False when there is none, or one was full."""
        up = [link for link in self._links if link.connection is not None]
        taken = [link.publish(topic, payload, retain=retain, expiry_s=expiry_s) for link in up]
        return bool(taken) and all(taken)

    def acknowledge(self, receipt: object) -> None:
        """A receipt names its connection: the other one passes it over."""
        for link in self._links:
            link.acknowledge(receipt)

    def drop(self, reason: str) -> None:
        """Open both anew."""
        for link in self._links:
            link.drop(reason)

    def alive(self) -> bool:
        """Whether both threads turn."""
        return all(link.alive() for link in self._links)

    @property
    def connection(self) -> str | None:
        """The id of one that is up."""
        return next((one.connection for one in self._links if one.connection is not None), None)

    @property
    def counts(self) -> LinkCounts:
        """What has happened on both together since the start."""
        both = [dataclasses.asdict(link.counts) for link in self._links]
        return LinkCounts(**{name: sum(one[name] for one in both) for name in both[0]})

    @property
    def outbound(self) -> Sequence[object]:
        """What waits for the one that is further behind."""
        return max((link.outbound for link in self._links), key=len)

    def _door(self, number: int) -> Callable[[object, bool], bool]:
        def deliver(event: object, droppable: bool) -> bool:
            if not isinstance(event, LinkUp | LinkDown):
                return self._deliver(event, droppable)
            with self._lock:
                return self._changed(number, event)

        return deliver

    def _changed(self, number: int, event: LinkUp | LinkDown) -> bool:
        before = dict(self._up)
        if isinstance(event, LinkUp):
            self._up[number] = event.connection
        else:
            self._up.pop(number, None)
        told: list[object] = []
        if isinstance(event, LinkUp) or not self._up:
            told.append(event)
        one_is_lost = len(self._up) == 1
        if one_is_lost != (len(before) == 1):
            told.append(FaultSeen(LOST, present=one_is_lost))
            if one_is_lost:
                log("posts_broker_lost", level="warning", link=self.name, reason=_why(event))
        if all(self._deliver(one, False) for one in told):
            return True
        # Offered again by the link, from where it was.
        self._up = before
        return False


def _why(event: LinkUp | LinkDown) -> str:
    return event.reason if isinstance(event, LinkDown) else "the other one is not there yet"
