"""One MQTT 5 session with a broker, kept up for ever: used by post, gateway and MCC.

One connection is `process/session.py`'s; when to make the next one, and with which broker, is said
here. All of it happens on the link's own thread. Other threads only put into bounded queues and
wake it.

Never queues across connections: what is durable lives in the owner's store, who publishes it
again after `LinkUp`. Never dies silently: an exception anywhere on the thread is logged and
becomes `LinkDown` and a new attempt.

What happens when the owner's event queue is full: the session stops reading, so that the broker
holds the messages back, and goes on when there is room. Nothing is acknowledged that the queue has
not taken. If that lasts the connection is dropped: then retained documents are replayed, and the
rest is offered again by its owner.
"""

from __future__ import annotations

import random
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from process.core import LinkDown
from process.log import log
from process.settings import Broker
from process.settings import TlsFiles as TlsFiles
from protocol.values import new_id

PUBACK_DEADLINE_S = 20.0
STALL_PAUSE_S = 0.01
# At the second broker the first is knocked at so often, times 0.75 to 1.25; we go back when it
# opens.
RETURN_S = 600.0
# Twice as seldom after each time that the first let us in and nobody heard us there, so often.
RETURN_DOUBLINGS_MAX = 4
KNOCK_TIMEOUT_S = 3.0
MUTE_PAUSE_S = 0.1  # who may not speak asks so often whether he may again
SILENT_THREAD_S = 120.0  # resolver and connect time-outs together stay below
PAUSE_FIRST_S = 0.5
# So long at most is a post deaf after its broker came back. Each pause is drawn from zero to its
# bound, so that the posts of a district knock spread over these seconds and not all at once.
PAUSE_MAX_S = 8.0
SETTLED_S = 30.0
# Longer by this for every connection in a row that came up and did not hold so long: two devices
# with one identity kick each other off, and must not do so four times a second.
SHORT_PAUSE_S = 1.0
# So many short connections in a row that the other side closed without a word look like a cloned
# card: mosquitto 2.0 does not say "session taken over" when two clients kick each other off.
KICKED_MAX = 3
OUTBOUND_MAX = 1_000
RECEIVE_MAX = 1_000


class Subscription(msgspec.Struct, frozen=True):
    """A topic filter, always QoS 1.

    `live_only` is for topics that are never retained: no replay, and the flag of the publisher is
    kept, so that a retained forgery can be told. Others get the stored document on subscribing.
    """

    topic: str
    live_only: bool
    no_local: bool = False


class LinkSettings(msgspec.Struct, frozen=True):
    """Where to and as whom; `keepalive_s` is the MQTT keepalive.

    `second`: a broker to go to while the first does not let us in, or does not hold us.
    """

    broker: Broker
    client_id: str
    keepalive_s: int
    tls: TlsFiles | None = None
    second: Broker | None = None


class Will(msgspec.Struct, frozen=True):
    """What the broker says for us when the connection breaks, or what we say on leaving."""

    topic: str
    payload: bytes
    retain: bool


class Receipt(msgspec.Struct, frozen=True):
    """Names one received QoS 1 message of one connection, for `Link.acknowledge`."""

    connection: str
    packet_id: int


class Received(msgspec.Struct, frozen=True):
    """A message came in. `receipt` is None for QoS 0."""

    link: str
    connection: str
    topic: str
    payload: bytes
    retained: bool
    receipt: Receipt | None


class PublishRefused(msgspec.Struct, frozen=True):
    """The broker threw one of our messages away (not authorised, quota)."""

    link: str
    topic: str
    reason: str


@dataclass(slots=True)
class LinkCounts:
    """What has happened on a link since the start."""

    connections: int = 0
    failed: int = 0  # attempts that came to nothing: no broker, or not the one that was asked for
    received: int = 0
    oversize: int = 0
    malformed: int = 0
    stalls: int = 0
    published: int = 0
    not_taken: int = 0
    refused_by_broker: int = 0
    undated: int = 0  # attempts for which the dates of the broker's certificate were not checked

    @property
    def refusals(self) -> dict[str, int]:
        """What was not taken in or not let out, by reason."""
        return {
            "oversize": self.oversize,
            "malformed": self.malformed,
            "not_taken": self.not_taken,
            "by_broker": self.refused_by_broker,
        }


class Outgoing(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    retain: bool
    expiry_s: int | None


class Link:
    """One broker, one identity, one thread.

    `will(connection)` makes the will of each attempt; `deliver(event, droppable)` takes events and
    says whether it did (`EventQueue.offer`); both are called on the link's thread. With `manual`
    the owner acknowledges each `Received`; otherwise that happens as soon as `deliver` took it.
    At most `receive_max` messages come in unacknowledged: the broker holds back the others.
    `may_speak()` is asked last before each connection and each publish: while it says no, the link
    makes no connection and what is to be published waits, as it does for a broker that is slow.
    With a second broker attempts take turns, the first one's first; there is one session at a time.
    After one that held the first is tried first again, unless the owner found it deaf.
    At the second, `may_leave()` is asked before we go back to the first.
    While `synchronised()` says no, a broker's certificate is checked for its chain and its name,
    but not for its dates, and a log line says so: a machine without a clock must get through.
    """

    def __init__(
        self,
        name: str,
        settings: LinkSettings,
        *,
        subscriptions: Sequence[Subscription],
        will: Callable[[str], Will | None],
        deliver: Callable[[object, bool], bool],
        manual: bool = False,
        puback_deadline_s: float = PUBACK_DEADLINE_S,
        outbound_max: int = OUTBOUND_MAX,
        receive_max: int = RECEIVE_MAX,
        pause_max_s: float = PAUSE_MAX_S,
        synchronised: Callable[[], bool] = lambda: True,
        may_speak: Callable[[], bool] = lambda: True,
        may_leave: Callable[[], bool] = lambda: True,
        return_s: float = RETURN_S,
    ) -> None:
        self.name = name
        self.settings = settings
        self.subscriptions = tuple(subscriptions)
        self.will = will
        self.deliver = deliver
        self.manual = manual
        self.puback_deadline_s = puback_deadline_s
        self.synchronised = synchronised
        self.may_speak = may_speak
        self.may_leave = may_leave
        self._return_s = return_s
        self._at_second = False
        self._deaf: str | None = None  # the connection that its owner found deaf
        self._deaf_returns = 0  # times in a row that nobody heard us at the first
        self._knock_at_s: float | None = None  # when to see whether the first broker is back
        self.receive_max = receive_max
        self.counts = LinkCounts()
        self.farewell: tuple[Will, ...] = ()
        self.farewell_until_s: float | None = None
        # Packet ids have 16 bits: more receipts than this cannot be outstanding.
        self.acknowledged: deque[Receipt] = deque(maxlen=65_535)
        self.outbound: deque[Outgoing] = deque()
        self.drop_wanted: tuple[str, str] | None = None
        self.turned_s = time.monotonic()
        self._outbound_max = outbound_max
        self._pause_max_s = min(pause_max_s, SILENT_THREAD_S / 2)
        self._lock = threading.Lock()
        self._up: str | None = None
        self._stopping = threading.Event()
        self._woken = False
        self._short = 0  # connections in a row that came up and did not hold
        self._kicked = 0
        self._failed = 0  # attempts in a row
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"link-{name}", daemon=True)

    # --- for any thread ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect. Once."""
        self._thread.start()

    def stop(self, timeout_s: float, farewell: Sequence[Will] = ()) -> bool:
        """Publish `farewell`, disconnect cleanly and end; False if that took over `timeout_s`.

        A broker that does not answer costs at most `timeout_s` seconds.
        """
        self.farewell = tuple(farewell)
        self.farewell_until_s = time.monotonic() + 0.6 * timeout_s
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None
    ) -> bool:
        """Hand over a QoS 1 message; False when there is no connection or too many wait.

        True means handed over and nothing more: it is gone when this connection breaks.
        `expiry_s` is the message expiry in seconds. Never blocks.
        """
        with self._lock:
            if self._up is None or len(self.outbound) >= self._outbound_max:
                self.counts.not_taken += 1
                return False
            self.outbound.append(Outgoing(topic, payload, retain, expiry_s))
        self._wake()
        return True

    def acknowledge(self, receipt: object) -> None:
        """Tell the broker that a `Received` need not come again; nothing for a past connection."""
        if isinstance(receipt, Receipt) and receipt.connection == self._up:
            self.acknowledged.append(receipt)
            self._wake()

    def drop(self, reason: str, *, deaf: bool = False) -> None:
        """Close this connection without a goodbye and make a new one; nothing when there is none.

        The broker publishes the will, as for any connection that breaks. `deaf`: nobody hears us
        through this broker, however well it holds us: it is the other one's turn.
        """
        connection = self._up
        if connection is not None:
            if deaf:
                self._deaf = connection
            self.drop_wanted = (connection, reason)
            self._wake()

    def alive(self) -> bool:
        """Is the link's thread there and turning? For the watchdog."""
        turned = time.monotonic() - self.turned_s < SILENT_THREAD_S
        return self._thread.is_alive() and turned

    @property
    def connection(self) -> str | None:
        """The id of the connection that is up."""
        return self._up

    # --- for the link's own thread ----------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Was `stop` called?"""
        return self._stopping.is_set()

    @property
    def wake_file(self) -> int:
        """Readable when another thread wants something."""
        return self._wake_out.fileno()

    def woken(self) -> None:
        """Take the wake-up; what was wanted is looked at after this."""
        self._wake_out.recv(64)
        self._woken = False

    def set_up(self, connection: str) -> None:
        """From here on `publish` takes messages, for this connection."""
        with self._lock:
            self._up = connection
        self.counts.connections += 1

    def tls_files(self) -> TlsFiles:
        """What the next attempt shows: our certificate, or in turn the one before it."""
        files = self.settings.tls or TlsFiles()
        rounds = self._failed // (1 if self.settings.second is None else 2)
        if rounds % 2 == 0 or files.previous is None or not Path(files.previous).exists():
            return files
        return TlsFiles(files.ca, files.previous)

    def _wake(self) -> None:
        # One byte at a time: set before sending here, cleared before the queues are read there.
        if not self._woken:
            self._woken = True
            self._wake_in.send(b"\0")

    def _run(self) -> None:
        while not self.stopping:
            try:
                self._keep_up()
            except Exception as error:  # noqa: BLE001 - a part that cannot be loaded, most likely
                # The owner goes on without us: a post that listens and says that it is not
                # connected is worth more than one that is restarted for ever.
                frame = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{frame.name}:{frame.lineno}"
                log("link_broke", level="error", link=self.name, why=error, where=where)
                self.turned_s = time.monotonic()
                self._stopping.wait(self._pause_max_s)

    def _keep_up(self) -> None:
        """One connection after the other, until `stop`."""
        # Here, on this thread: a post hears presses before it has loaded what calls need to leave.
        from tenacity import (
            RetryError,
            Retrying,
            retry_if_result,
            sleep_using_event,
            stop_when_event_set,
            wait_random_exponential,
        )

        while not self.stopping:
            attempts = Retrying(
                retry=retry_if_result(lambda came_up: not came_up),
                wait=wait_random_exponential(multiplier=PAUSE_FIRST_S, max=self._pause_max_s),
                sleep=sleep_using_event(self._stopping),
                stop=stop_when_event_set(self._stopping),
            )
            try:
                attempts(self._attempt)
            except RetryError:
                return  # only ever by `stop`
            # The broker is there or will be soon: pauses start small again, spread so that not
            # every post of a broker that restarts knocks at the same instant.
            longer_s = min(self._pause_max_s, SHORT_PAUSE_S * max(0, self._short - 1))
            self._stopping.wait(longer_s + random.uniform(0, PAUSE_FIRST_S))

    def _attempt(self) -> bool:
        """One connection from beginning to end; whether it came up."""
        from process.session import Session  # brings paho and TLS, see `_run`

        while not self.stopping and not self.may_speak():
            self.turned_s = time.monotonic()
            self._stopping.wait(MUTE_PAUSE_S)
        if self.stopping:
            return False
        self.turned_s = time.monotonic()
        session = Session(self, new_id())
        self._knock_at_s = None
        if self._at_second:
            self._knock_at_s = self.turned_s + self.return_s * random.uniform(0.75, 1.25)
        try:
            reason = session.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the post must get its link back
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.name}:{frame.lineno}"
            log("link_broke", level="error", link=self.name, why=error, where=where)
            reason = f"{type(error).__name__}: {error}"
        ended_s = time.monotonic()
        with self._lock:
            self._up = None
            self.outbound.clear()
        self.drop_wanted = None
        session.close()
        came_up = session.up_at_s is not None
        self._failed = 0 if came_up else self._failed + 1
        if session.up_at_s is None:
            self._kicked = 0  # it is the broker that was not there
            self.counts.failed += 1
            log(
                "link_attempt_failed",
                level="warning",
                link=self.name,
                reason=reason,
                failed=self.counts.failed,
            )
        else:
            short = ended_s - session.up_at_s < SETTLED_S
            self._short = self._short + 1 if short else 0
            self._kicked = self._kicked + 1 if short and session.may_be_kicked else 0
            if self._kicked >= KICKED_MAX:
                client_id = self.settings.client_id
                reason = f"kicked off {self._kicked} times: does another device use {client_id}?"
        is_deaf = session.connection == self._deaf
        held = session.up_at_s is not None and ended_s - session.up_at_s >= SETTLED_S
        held = held and not is_deaf
        if is_deaf and not self._at_second:
            self._deaf_returns += 1
        elif is_deaf or (held and not self._at_second):
            self._deaf_returns = 0  # deaf at the second too: it was not the first one's fault
        # The other one's turn, unless this one has held us: then again the first before the second.
        self._at_second = self.settings.second is not None and not (held or self._at_second)
        is_in_doubt = self._kicked >= KICKED_MAX
        self._tell_down(LinkDown(self.name, session.connection, reason, is_in_doubt))
        return came_up

    @property
    def broker(self) -> Broker:
        """Where this connection leads, or the next attempt."""
        second = self.settings.second
        return second if self._at_second and second is not None else self.settings.broker

    @property
    def return_s(self) -> float:
        """How often the first broker is knocked at from the second, seconds."""
        doublings = min(RETURN_DOUBLINGS_MAX, max(0, self._deaf_returns - 1))
        return self._return_s * float(2**doublings)

    def look_back(self, now_s: float) -> None:
        """At the second broker: is it time to see whether the first is there again?"""
        if self._knock_at_s is None or now_s < self._knock_at_s or self._up is None:
            return
        self._knock_at_s = now_s + self.return_s * random.uniform(0.75, 1.25)
        knocking = threading.Thread(target=self._knock, args=(self._up,), daemon=True)
        knocking.start()

    def _knock(self, connection: str) -> None:
        """Leave the second broker only for a first that opens: no lamp goes out for nothing."""
        first = self.settings.broker
        try:
            socket.create_connection((first.host, first.port), KNOCK_TIMEOUT_S).close()
        except OSError:
            return
        if self.may_leave() and self._up == connection:
            self.drop_wanted = (connection, "the first broker is back")
            self._wake()

    def _tell_down(self, event: LinkDown) -> None:
        """Nobody may go on believing in this connection: offered until it is taken."""
        while True:
            self.turned_s = time.monotonic()
            try:
                if self.deliver(event, False):
                    return
            except Exception as error:  # noqa: BLE001
                log("link_broke", level="error", link=self.name, why=error, where="deliver")
            if self._stopping.wait(STALL_PAUSE_S):
                return
