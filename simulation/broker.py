"""A model broker that forgets, and the links that lead to it.

It keeps to MQTT 5 as our own link uses it: a new session at every connect, QoS 1, retained
documents, wills, keepalive. It never keeps a promise that a real broker is known to break: what it
has acknowledged it may lose, say twice, say late, or bring back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from process.core import Acknowledge, Heard, LinkDown, LinkUp, Publish
from process.intake import Intake
from process.link import OUTBOUND_MAX, Received
from process.session import IN_FLIGHT_MAX
from protocol.codec import encode
from protocol.messages import Message
from protocol.topics import NEVER_RETAINED, Address, Topics
from simulation.hosts import Process
from simulation.timeline import SECOND_US, Timeline, Violation

KEEPALIVE_US = 20 * SECOND_US  # gateway/settings.py, device/settings.py
BROKER_GIVES_UP_US = KEEPALIVE_US * 3 // 2  # MQTT 5, 3.1.2.10
PUBACK_DEADLINE_US = 20 * SECOND_US
CONNECT_TIMEOUT_US = 5 * SECOND_US
SETUP_DEADLINE_US = 10 * SECOND_US
PAUSE_FIRST_US = SECOND_US // 2
PAUSE_MAX_US = 30 * SECOND_US
BROKER_IN_FLIGHT_MAX = 20  # mosquitto's max_inflight_messages
# Each such message is really encoded, and read by the real intake.
SAMPLE_EVERY = 50

_ADDRESSES: dict[str, Address] = {}
_TOPICS = Topics()


def address_of(topic: str) -> Address:
    """The parsed topic; each is parsed once."""
    found = _ADDRESSES.get(topic)
    if found is None:
        found = _ADDRESSES[topic] = _TOPICS.parse(topic)
    return found


@dataclass(slots=True)
class Packet:
    """One message on its way; `message` None clears a retained topic."""

    topic: str
    address: Address
    message: Message | None
    retain: bool
    expires_us: int | None = None
    sampled: bool = False


@dataclass(slots=True, eq=False)
class Session:
    """One connection as the broker sees it."""

    link: Link
    connection: str
    will: Packet | None
    open: bool = True
    in_flight: int = 0
    backlog: deque[tuple[Packet, bool]] = field(default_factory=deque)
    held_up: deque[Packet] = field(default_factory=deque)
    held_down: deque[tuple[Packet, bool]] = field(default_factory=deque)
    last_up_us: int = 0
    last_down_us: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """A subscription; `name` None is `+`."""

    side: str
    what: str
    name: str | None

    @property
    def live_only(self) -> bool:
        """As `process.link.Subscription`: no replay, retain as published."""
        return (self.side, self.what) in NEVER_RETAINED


Receipt = tuple[Session, Packet]


class Broker:
    """One broker; its faults are switches."""

    def __init__(self, timeline: Timeline, name: str, rng: Random, counts: Counter[str]) -> None:
        """Up and empty. `counts` takes what its faults have done."""
        self.timeline = timeline
        self.name = name
        self.up = True
        self.retained: dict[str, Packet] = {}
        self.links: list[Link] = []
        self.loses = 0.0  # the part of what it acknowledges
        self.loses_documents = 0.0  # the same of retained ones alone
        self.repeats = 0.0
        self.delays = 0.0
        self.queue_max = 1_000  # mosquitto's max_queued_messages
        self.keeps_zombies_us = BROKER_GIVES_UP_US
        self.watch: Callable[[Packet], None] = _unwatched
        self._rng = rng
        self._counts = counts
        self._sessions: dict[str, Session] = {}
        self._filters: dict[tuple[str, str], list[tuple[Session, Filter]]] = {}
        self._kept: dict[str, Packet] = {}

    # --- sessions --------------------------------------------------------------------------

    def accept(self, link: Link, connection: str) -> Session:
        """A client connects; an older connection under the same id is closed."""
        older = self._sessions.get(link.client_id)
        if older is not None:
            self.close(older, late=self._rng.random() < 0.5)
        session = Session(link, connection, link.will(connection))
        self._sessions[link.client_id] = session
        for each in link.subscribes():
            self._filters.setdefault((each.side, each.what), []).append((session, each))
        return session

    def replay(self, session: Session) -> None:
        """Send the stored documents that the session has subscribed to."""
        for packet in list(self.retained.values()):
            address = packet.address
            for owner, each in self._filters.get((address.side, address.what), ()):
                if owner is session and not each.live_only and each.name in (None, address.name):
                    self._send(session, packet, True)

    def close(self, session: Session, *, late: bool = False, will: bool = True) -> None:
        """End a session without a goodbye of the client: its will is published."""
        if not session.open:
            return
        session.open = False
        self._forget(session)
        if self._sessions.get(session.link.client_id) is session:
            del self._sessions[session.link.client_id]
        if will and session.will is not None and self.up:
            delay_us = self._rng.randrange(SECOND_US, 60 * SECOND_US) if late else 0
            if late:
                self._counts["will_late"] += 1
            self.timeline.after(delay_us, self.publish, session.will)
        session.link.closed_by_broker(session)

    def unsubscribe(self, session: Session) -> None:
        """Forget what a connected client has subscribed to."""
        self._forget(session)

    def session_of(self, link: Link) -> Session | None:
        """The present session of a client."""
        return self._sessions.get(link.client_id)

    def _forget(self, session: Session) -> None:
        for owners in self._filters.values():
            owners[:] = [each for each in owners if each[0] is not session]

    # --- messages --------------------------------------------------------------------------

    def arrive(self, session: Session, packet: Packet) -> None:
        """A publish of a client is read, and acknowledged with that."""
        if session.open and self.up:
            self.publish(packet)

    def publish(self, packet: Packet) -> None:
        """Keep it where it is retained, and hand it to who has subscribed."""
        if not self.up:
            return
        self.watch(packet)
        if self.loses and self._rng.random() < self.loses:
            self._counts["acknowledged_then_lost"] += 1
            if self._rng.random() < 0.5:
                return
            self._keep(packet)
            return
        if self.loses_documents and packet.retain and self._rng.random() < self.loses_documents:
            self._counts["document_dropped"] += 1
            return
        self._keep(packet)
        if self.delays and self._rng.random() < self.delays:
            self._counts["reordered"] += 1
            self.timeline.after(self._rng.randrange(20 * SECOND_US), self._route, packet)
        else:
            self._route(packet)
        if self.repeats and self._rng.random() < self.repeats:
            for _ in range(self._rng.randint(1, 4)):
                self._counts["duplicated"] += 1
                self.timeline.after(self._rng.randrange(180 * SECOND_US), self._route, packet)

    def _keep(self, packet: Packet) -> None:
        if packet.retain:
            if packet.message is None:
                self.retained.pop(packet.topic, None)
            else:
                self.retained[packet.topic] = packet

    def _route(self, packet: Packet) -> None:
        address = packet.address
        for session, each in self._filters.get((address.side, address.what), ()):
            if each.name is None or each.name == address.name:
                self._send(session, packet, packet.retain and each.live_only)

    def _send(self, session: Session, packet: Packet, retained: bool) -> None:
        link = session.link
        if session.in_flight >= BROKER_IN_FLIGHT_MAX or (
            link.process.frozen and len(link.process.inbox) >= BROKER_IN_FLIGHT_MAX
        ):
            if len(session.backlog) >= self.queue_max:
                self._counts["queue_dropped"] += 1
            else:
                session.backlog.append((packet, retained))
            return
        if link.manual:
            session.in_flight += 1
        self._down(session, packet, retained)

    def released(self, session: Session) -> None:
        """There is room in flight again."""
        while session.backlog and session.open and session.in_flight < BROKER_IN_FLIGHT_MAX:
            packet, retained = session.backlog.popleft()
            if packet.expires_us is not None and packet.expires_us < self.timeline.now_us:
                self._counts["expired"] += 1
                continue
            if session.link.manual:
                session.in_flight += 1
            self._down(session, packet, retained)

    def _down(self, session: Session, packet: Packet, retained: bool) -> None:
        link = session.link
        if link.down_cut:
            if len(session.held_down) < BROKER_IN_FLIGHT_MAX + self.queue_max:
                session.held_down.append((packet, retained))
            return
        at_us = max(self.timeline.now_us + link.latency_us(), session.last_down_us)
        session.last_down_us = at_us
        self.timeline.at(at_us, link.arrive, session, packet, retained)

    # --- amnesia ---------------------------------------------------------------------------

    def remember(self) -> None:
        """What is on its disk now comes back after a kill."""
        self._kept = dict(self.retained)

    def stop(self) -> None:
        """It is killed: sessions, queues and wills are gone."""
        self.up = False
        self.timeline.note(self.name, "is killed")
        for session in list(self._sessions.values()):
            self.close(session, will=False)
        self._sessions.clear()
        self._filters.clear()

    def start(self, memory: str) -> None:
        """Come back with `all` retained documents, `none`, or those of an `old` snapshot."""
        if memory == "none":
            self.retained = {}
        elif memory == "old":
            self.retained = dict(self._kept)
        self.up = True
        self.timeline.note(self.name, f"is back, remembers {memory}: {len(self.retained)}")


def _unwatched(_packet: Packet) -> None:
    """Nobody looks at what passes."""


class Link:
    """A client's side: one broker, one identity, kept up for ever, as `process.link` does it."""

    resubscribes = True

    def __init__(
        self,
        timeline: Timeline,
        rng: Random,
        process: Process,
        broker: Broker,
        *,
        name: str,
        client_id: str,
        filters: Iterable[Filter],
        will: Callable[[str], Packet | None],
        new_id: Callable[[], str],
        manual: bool = False,
        cleared: Callable[[Address], object] | None = None,
    ) -> None:
        """`cleared` makes an event of a document that was cleared, where the owner hears of it."""
        self.timeline = timeline
        self.process = process
        self.broker = broker
        self.name = name
        self.client_id = client_id
        self.will = will
        self.manual = manual
        self.filters = tuple(filters)
        self.session: Session | None = None  # as the client believes
        self.up = False
        self.up_cut = self.down_cut = False
        self.slow_us = 0
        self.connections = 0
        self.last_up_us = 0
        self._rng = rng
        self._new_id = new_id
        self._cleared = cleared
        self._base_us = rng.randrange(2_000, 40_000)
        self._epoch = 0
        self._cut = 0
        self._attempts = 0
        self._published = 0
        self._intake = Intake(
            _TOPICS,
            {(each.side, each.what) for each in self.filters},
            monotonic_s=lambda: timeline.now_us / SECOND_US,
        )
        broker.links.append(self)

    def latency_us(self) -> int:
        """How long one packet takes."""
        return self._base_us + self.slow_us + int(self._rng.random() * 4_000)

    def subscribes(self) -> tuple[Filter, ...]:
        """What is subscribed to at this connect: everything, at every connect."""
        return self.filters if self.resubscribes or self.connections == 0 else ()

    @property
    def whole(self) -> bool:
        """Connected, and nothing in the way."""
        return self.up and not (self.up_cut or self.down_cut) and self.broker.up

    @property
    def refused(self) -> int:
        """What the intake has refused."""
        return self._intake.refused

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._attempts = 0
        self._again(self._rng.randrange(PAUSE_FIRST_US))

    def end(self, *, power: bool) -> None:
        """The process is gone; its kernel says so, unless the power went too."""
        session, self.session = self.session, None
        self.up = False
        self._epoch += 1
        if session is not None:
            self._abandon(session, silently=power)

    def drop(self, reason: str) -> None:
        """The owner wants another connection."""
        if self.session is not None:
            self.lost(self.session, reason)

    def lost(self, session: Session, reason: str) -> None:
        """The client notices that this connection is gone."""
        if self.session is not session:
            return
        settled = self.up and self.timeline.now_us - self.last_up_us > 30 * SECOND_US
        self.session = None
        self.up = False
        self._epoch += 1
        self._abandon(session, silently=False)
        if settled:
            self._attempts = 0
        self.process.offer(LinkDown(self.name, session.connection, reason))
        if self.process.alive:
            self._again(self._pause_us())

    def _abandon(self, session: Session, *, silently: bool) -> None:
        if silently or self.up_cut:
            self.timeline.after(self.broker.keeps_zombies_us, self.broker.close, session)
        else:
            self.timeline.after(self.latency_us(), self.broker.close, session)

    def _pause_us(self) -> int:
        span_us = min(PAUSE_MAX_US, PAUSE_FIRST_US << min(self._attempts, 8))
        self._attempts += 1
        return int(self._rng.random() * span_us)

    def _again(self, delay_us: int) -> None:
        self.timeline.after(delay_us, self._attempt, self._epoch)

    def _attempt(self, epoch: int) -> None:
        if epoch != self._epoch or not self.process.alive:
            return
        if self.process.frozen:
            self._again(SECOND_US)
        elif self.up_cut or self.down_cut:
            self.timeline.after(CONNECT_TIMEOUT_US, self._failed, epoch, "does not answer")
        elif not self.broker.up:
            self.timeline.after(1_000, self._failed, epoch, "connection refused")
        else:
            self.timeline.after(self.latency_us(), self._accepted, epoch)

    def _failed(self, epoch: int, why: str) -> None:
        if epoch != self._epoch or not self.process.alive:
            return
        self.process.offer(LinkDown(self.name, self._new_id(), why))
        if self.process.alive:
            self._again(self._pause_us())

    def _accepted(self, epoch: int) -> None:
        if epoch != self._epoch or not self.process.alive:
            return
        if self.up_cut or self.down_cut or not self.broker.up:
            self.timeline.after(SETUP_DEADLINE_US, self._failed, epoch, "takes too long")
            return
        session = self.broker.accept(self, self._new_id())
        self.session = session
        session.last_down_us = self.timeline.now_us + 2 * self.latency_us()
        self.timeline.at(session.last_down_us, self._set_up, session)
        self.broker.replay(session)

    def _set_up(self, session: Session) -> None:
        if self.session is not session:
            return
        self.up = True
        self.connections += 1
        self.last_up_us = self.timeline.now_us
        self.process.offer(LinkUp(self.name, session.connection))

    # --- messages --------------------------------------------------------------------------

    def publish(self, publish: Publish) -> bool:
        """Hand over a message; False when there is no connection or too many wait."""
        session = self.session
        if session is None or not self.up:
            return False
        if len(session.held_up) >= OUTBOUND_MAX + IN_FLIGHT_MAX:
            return False
        now_us = self.timeline.now_us
        packet = Packet(
            publish.topic,
            address_of(publish.topic),
            publish.message,
            publish.retain,
            None if publish.expiry_s is None else now_us + publish.expiry_s * SECOND_US,
        )
        self._published += 1
        if self._published % SAMPLE_EVERY == 0:
            packet.sampled = True
        if self.up_cut:
            session.held_up.append(packet)
            return True
        at_us = max(now_us + self.latency_us(), session.last_up_us)
        session.last_up_us = at_us
        self.timeline.at(at_us, self.broker.arrive, session, packet)
        return True

    def acknowledge(self, acknowledge: Acknowledge) -> None:
        """PUBACK what was received on the present connection."""
        session = self.session
        if session is None:
            return
        for receipt in acknowledge.receipts:
            assert isinstance(receipt, tuple)
            if receipt[0] is session:
                session.in_flight -= 1
        if session.backlog:
            self.broker.released(session)

    def arrive(self, session: Session, packet: Packet, retained: bool) -> None:
        """A message of the broker is here."""
        if session is not self.session or not self.process.alive:
            return
        if session.backlog and not self.manual and not self.process.frozen:
            self.broker.released(session)
        address = packet.address
        message = packet.message
        if message is None:
            if self.manual:
                session.in_flight -= 1
            if self._cleared is not None:
                self.process.offer(self._cleared(address))
            return
        receipt = (session, packet) if self.manual else None
        if packet.sampled or (retained and address.never_retained):
            heard = self._read(session, packet, message, retained, receipt)
            if heard is None:
                if self.manual:
                    session.in_flight -= 1
                return
        else:
            heard = Heard(self.name, session.connection, address, message, retained, receipt)
        self.process.offer(heard)

    def _read(
        self,
        session: Session,
        packet: Packet,
        message: Message,
        retained: bool,
        receipt: Receipt | None,
    ) -> Heard | None:
        """The way through the real codec and the real intake."""
        payload = encode(message)
        received = Received(self.name, session.connection, packet.topic, payload, retained, None)
        heard = self._intake.read(received)
        if heard is None:
            if not retained:
                raise Violation(f"the intake refuses what was sent: {packet.topic} {payload!r}")
            return None
        if heard.retained and heard.address.never_retained:
            raise Violation(f"P4: a retained {heard.address.what} was taken: {message}")
        if packet.retain and heard.address.never_retained:
            raise Violation(f"P4: a forged {heard.address.what} was taken: {message}")
        if heard.message != message:
            raise Violation(f"not what was sent: {heard.message} instead of {message}")
        return Heard(
            self.name, session.connection, heard.address, heard.message, heard.retained, receipt
        )

    # --- what happens to the wire ----------------------------------------------------------

    def closed_by_broker(self, session: Session) -> None:
        """The broker's side is closed; the client hears of it unless the wire is cut."""
        session.held_up.clear()
        session.held_down.clear()
        session.backlog.clear()
        if self.session is session:
            delay_us = 2 * KEEPALIVE_US if self.down_cut else self.latency_us()
            self.timeline.after(delay_us, self.lost, session, "connection lost")

    def reset(self) -> None:
        """The connection breaks, and both sides know."""
        if self.session is not None:
            session = self.session
            self.lost(session, "connection reset")

    def cut(self, *, up: bool, down: bool) -> None:
        """Nothing passes from here on (half-open when one way only), and nobody is told."""
        self.up_cut = self.up_cut or up
        self.down_cut = self.down_cut or down
        self._cut += 1
        session = self.session
        if session is None:
            return
        if up:
            self.timeline.after(BROKER_GIVES_UP_US, self._broker_gives_up, session, self._cut)
        notice_us = self._rng.randrange(PUBACK_DEADLINE_US, 2 * KEEPALIVE_US)
        self.timeline.after(notice_us, self._client_gives_up, session, self._cut)

    def heal(self) -> None:
        """Everything passes again; what was held back comes now."""
        if not (self.up_cut or self.down_cut):
            return
        self.up_cut = self.down_cut = False
        self._cut += 1
        session = self.session
        if session is None:
            return
        if not session.open:
            self.timeline.after(self.latency_us(), self.lost, session, "connection reset")
            return
        while session.held_up:
            packet = session.held_up.popleft()
            at_us = max(self.timeline.now_us + self.latency_us(), session.last_up_us)
            session.last_up_us = at_us
            self.timeline.at(at_us, self.broker.arrive, session, packet)
        while session.held_down:
            packet, retained = session.held_down.popleft()
            at_us = max(self.timeline.now_us + self.latency_us(), session.last_down_us)
            session.last_down_us = at_us
            self.timeline.at(at_us, self.arrive, session, packet, retained)

    def _broker_gives_up(self, session: Session, cut: int) -> None:
        if cut == self._cut and self.up_cut:
            self.broker.close(session)

    def _client_gives_up(self, session: Session, cut: int) -> None:
        if cut == self._cut and self.session is session:
            self.lost(session, "publishes are not acknowledged")

    def keepalive_missed(self) -> None:
        """The broker has heard no ping (the client is frozen)."""
        session = self.broker.session_of(self)
        if session is not None:
            self.broker.close(session)
