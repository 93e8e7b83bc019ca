"""Two machines that are one gateway: who is active, and what each says of itself.

The one whose session holds the seat at the journal (`seat.py`) is the gateway, under the gateway's
name at both brokers. Each of the two also says, under its own name, that it is there: an end of
the one that stands by must be noticed before it is needed.

Before it takes a seat that it finds free at its first look it listens whether a gateway of this
name speaks from another journal: a seat at the wrong database is always free. What it hears later
it can only tell.

`Member` decides what is said and whether to take the seat, pure; `Presence` is its thread and link;
`wait` is how long a process stands by. None of them ever says anything in the gateway's name.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from gateway.journal import Journal, JournalUnusable
from gateway.settings import GatewayFile
from gateway.status import GatewayStatus
from hardware.clock import Now, SystemClock
from process.core import Heard, LinkDown, LinkUp, Log, Publish, Stop
from process.events import EventQueue
from process.intake import Intake
from process.link import Link, LinkSettings, Received, Subscription, TlsFiles, Will
from process.log import log
from process.loop import run as run_loop
from process.notify import Notifier
from process.settings import parse_mqtt_url
from process.status import StatusFile
from protocol.codec import encode
from protocol.messages import MccGateway
from protocol.topics import Topics
from protocol.values import timestamp

LINK = "pair"
BEAT_US = 10_000_000
# So long after its last word a gateway of another journal still counts as there: two beats missed.
FOREIGN_US = 25_000_000
# Before a seat that was free at the first look is taken, from the moment at which we hear: for so
# long, or, where the broker keeps the word of a gateway of another journal, for a beat of it. A
# broker that we cannot reach keeps nobody waiting for longer than that, counted from the start.
KEPT_US = 1_000_000
LISTEN_US = 12_000_000
UNHEARD_US = 3_000_000
TRY_EVERY_S = 0.5
WATCH_EVERY_TRIES = 4
QUEUE_LIMIT = 64
QUEUE_RESERVED = 32
STOP_S = 0.5
LISTENING = "it is free; does a gateway of another journal speak?"


@dataclass(frozen=True)
class Sees:
    """What came of the last try for the seat: the journal's id, or why it cannot be reached.

    `is_free`: nobody else has it, so that a journal without an id is a new one.
    """

    journal_id: str | None
    why: str | None = None
    is_free: bool = False


@dataclass(frozen=True)
class TakesOver:
    """This machine is the gateway from now on, on this journal."""

    journal_id: str


class Member:
    """One of the two machines: what it says of itself. No clock, no link."""

    def __init__(self, gateway: str, name: str, topic: str, now: Now) -> None:
        """Begin standing by; `topic`: where its own document stands."""
        self._gateway = gateway
        self._name = name
        self._topic = topic
        self._standing_by = True
        self._connection: str | None = None
        self._journal_id: str | None = None
        self._knows_journal = False  # even one that has no id yet
        self._is_second = False  # another one sits at this journal, or did
        self.faults: tuple[str, ...] = ()  # what is wrong with the pair, as this machine sees it
        self.may_take = False  # whether the seat is to be taken as soon as it is free
        self._beat_us = now.uptime_us
        # When it is decided whether to take a seat that is free: see `KEPT_US`.
        self._began_us = now.uptime_us
        self._hears_us: int | None = None
        self._kept_id: str | None = None  # the journal of who is there, as the broker keeps it
        self._foreign_until_us = 0
        self._heard_id: str | None = None  # the last one that was not ours

    def wake_at_us(self) -> int | None:
        """The next beat, or the moment at which a foreign gateway is forgotten."""
        if self._connection is None:
            return None  # what we cannot hear is not gone
        if "foreign_journal" in self.faults:
            return min(self._beat_us, self._foreign_until_us)
        return self._beat_us

    def handle(self, event: object, now: Now) -> list[Publish | Log]:
        """Take one event; the effects are to be carried out in their order."""
        before = (self._standing_by, self._connection, self.faults, self._journal_id)
        match event:
            case LinkUp(_, connection):
                self._connection = connection
                if self._hears_us is None:
                    self._hears_us = now.uptime_us
                self._foreign_until_us = now.uptime_us + FOREIGN_US
            case LinkDown():
                self._connection = None
            case Sees(journal_id, why, is_free):
                self._set("journal_unreachable", present=why is not None)
                self._journal_id = journal_id or self._journal_id
                self._knows_journal |= is_free or journal_id is not None
                self._is_second |= why is None and not is_free
            case TakesOver(journal_id):
                self._standing_by = False
                self._journal_id, self._knows_journal = journal_id, True
                self._set("journal_unreachable", present=False)
            case Heard(message=MccGateway() as said, retained=retained):
                self._heard(said, now, retained=retained)
            case _:
                pass
        if self._connection is not None and now.uptime_us >= self._foreign_until_us:
            self._heard_id = None
        self._set("foreign_journal", present=self._is_foreign(self._heard_id))
        self.may_take = self._decided(now)
        changed = before != (self._standing_by, self._connection, self.faults, self._journal_id)
        effects: list[Publish | Log] = []
        if before[2] != self.faults:
            effects.append(Log("pair", "warning", {"faults": ",".join(self.faults) or None}))
        if self._connection is not None and (changed or now.uptime_us >= self._beat_us):
            self._beat_us = now.uptime_us + BEAT_US
            effects.append(Publish(LINK, self._topic, self.document(now, online=True), retain=True))
        return effects

    def document(self, now: Now, *, online: bool) -> MccGateway:
        """What stands under this machine's own name."""
        return MccGateway(
            gateway=self._name,
            online=online,
            at=timestamp(now.wall_ms),
            journal_id=self._journal_id,
            faults=self.faults,
            pair_of=self._gateway,
            standing_by=self._standing_by,
        )

    def _heard(self, said: MccGateway, now: Now, *, retained: bool) -> None:
        """The gateway speaks, or did once: from the journal that we are waiting for?"""
        if said.gateway != self._gateway:
            return
        if retained:
            self._kept_id = said.journal_id if said.online else None
        elif said.online and said.journal_id not in (None, self._journal_id):
            self._heard_id = said.journal_id
            self._foreign_until_us = now.uptime_us + FOREIGN_US

    def _is_foreign(self, journal_id: str | None) -> bool:
        return self._knows_journal and journal_id not in (None, self._journal_id)

    def _decided(self, now: Now) -> bool:
        """Whether a seat that is free is to be taken."""
        if self._is_second:
            return True  # it is the right one
        if not self._knows_journal or "foreign_journal" in self.faults:
            return False
        if self._hears_us is None:
            return now.uptime_us >= self._began_us + UNHEARD_US
        listen_us = LISTEN_US if self._is_foreign(self._kept_id) else KEPT_US
        return now.uptime_us >= self._hears_us + listen_us

    def _set(self, fault: str, *, present: bool) -> None:
        others = tuple(one for one in self.faults if one != fault)
        self.faults = (*others, fault) if present else others


class Presence:
    """A `Member` on its own thread, queue and link, from the start of the process to its end."""

    def __init__(self, settings: GatewayFile) -> None:
        """Start to connect."""
        name, mcc = settings.pair.name, settings.mcc
        assert name is not None
        topics = settings.topics
        # Below its own name, as every gateway: its certificate allows it no other.
        own = Topics(settings.topic_root, name if mcc.districts else None)
        topic = own.mcc("gateways", name)
        self._clock = SystemClock()
        self._queue = EventQueue(QUEUE_LIMIT, QUEUE_RESERVED)
        self._core = Member(settings.gateway_id, name, topic, self._clock.now())
        self._intake = Intake(topics, {("mcc", "gateways")})
        self._link = Link(
            LINK,
            LinkSettings(
                broker=parse_mqtt_url(mcc.url),
                client_id=f"{name}-mcc",
                keepalive_s=mcc.keepalive_s,
                tls=TlsFiles(mcc.ca, settings.pair.certificate, settings.pair.key),
            ),
            subscriptions=(
                Subscription(topics.mcc("gateways", settings.gateway_id), live_only=False),
            ),
            will=lambda _connection: Will(topic, encode(self._gone()), retain=True),
            deliver=lambda event, droppable: self._queue.offer(event, droppable=droppable),
            synchronised=lambda: self._clock.now().synchronised,
        )
        self._topic = topic
        self._thread = threading.Thread(target=self._run, name="pair", daemon=True)
        self._link.start()
        self._thread.start()

    def tell(self, event: Sees | TakesOver) -> None:
        """Hand over what the process has found out."""
        self._queue.offer(event, droppable=isinstance(event, Sees))

    def alive(self) -> bool:
        """Whether its threads live."""
        return self._thread.is_alive() and self._link.alive()

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the pair."""
        return self._core.faults

    @property
    def may_take(self) -> bool:
        """Whether the seat is to be taken as soon as it is free."""
        return self._core.may_take

    @property
    def connected(self) -> bool:
        """Whether its link is up."""
        return self._link.connection is not None

    def close(self, timeout_s: float = STOP_S) -> None:
        """Say that this machine leaves, and end."""
        self._queue.offer(Stop(), droppable=False)
        self._link.stop(timeout_s, [Will(self._topic, encode(self._gone()), retain=True)])

    def _gone(self) -> MccGateway:
        return self._core.document(self._clock.now(), online=False)

    def _run(self) -> None:
        run_loop(self._core, self._queue, self._clock, self._perform, read=self._read)

    def _read(self, event: object) -> object | None:
        return self._intake.read(event) if isinstance(event, Received) else event

    def _perform(self, effect: Publish | Log) -> None:
        match effect:
            case Publish(topic=topic, message=message, retain=retain):
                assert message is not None
                self._link.publish(topic, encode(message), retain=retain)
            case Log(event, level, fields):
                log(event, level=level, **fields)


def wait(
    settings: GatewayFile,
    journal: Journal,
    presence: Presence,
    show: Callable[[GatewayStatus], None] | None = None,
) -> bool:
    """Stand by until the seat at the journal is ours and to be taken; False when asked to end.

    `show` gets each status, as the status file does.
    """
    asked = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    notifier = Notifier.from_environment()
    status_file = StatusFile.from_environment()
    clock = SystemClock()
    log("standing_by", gateway=settings.gateway_id, name=settings.pair.name)
    notifier.ready("standing by")
    said: str | None = None
    tries = 0
    while not asked.is_set():
        try:
            is_ours, journal_id = journal.wait_for_seat()
        except JournalUnusable as error:
            sees = Sees(None, str(error))
        else:
            if is_ours and presence.may_take:
                log("takes_over", gateway=settings.gateway_id, name=settings.pair.name)
                notifier.close()
                return True
            sees = Sees(journal_id, is_free=is_ours)
        why = LISTENING if sees.is_free else sees.why
        if why != said:
            said = why
            log("seat_awaited", level="warning" if sees.why else "info", why=why)
        presence.tell(sees)
        tries += 1
        if tries % WATCH_EVERY_TRIES == 1 and presence.alive():
            notifier.feeding(lambda: None)()
            status = GatewayStatus(
                uptime_us=clock.now().uptime_us,
                gateway=settings.gateway_id,
                links={LINK: presence.connected},
                mcc_answers=False,
                faults=presence.faults,
                standing_by=True,
            )
            status_file.write(status)
            if show is not None:
                show(status)
        asked.wait(TRY_EVERY_S)
    notifier.stopping()
    notifier.close()
    status_file.remove()
    return False
