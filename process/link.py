"""One MQTT 5 session with a broker, kept up for ever: used by post, gateway and MCC.

All calls into paho happen on the link's own thread, through paho's external-loop interface, so
nothing can interleave two packets. Other threads only put into bounded queues and wake it.

Never queues across connections: what is durable lives in the owner's store, who publishes it
again after `LinkUp`. Never dies silently: an exception anywhere on the thread is logged and
becomes `LinkDown` and a new attempt. A PUBACK is the broker's word, never a receipt.

What happens when the owner's event queue is full: the link stops reading, so that the broker
holds the messages back, and goes on when there is room. Nothing is acknowledged that the queue has
not taken. After STALL_S of that the connection is dropped: then retained documents are replayed,
and the rest is offered again by its owner.
"""

from __future__ import annotations

import contextlib
import functools
import random
import select
import socket
import ssl
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from tenacity import (
    RetryError,
    Retrying,
    retry_if_result,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from process.core import LinkDown, LinkUp
from process.log import log
from process.settings import Broker
from process.settings import TlsFiles as TlsFiles
from protocol.values import new_id

CONNECT_TIMEOUT_S = 5.0
SETUP_DEADLINE_S = 10.0  # from the TCP connection to the last SUBACK
PUBACK_DEADLINE_S = 20.0
STALL_S = 20.0
STALL_PAUSE_S = 0.01
# At the second broker the first is knocked at so often, times 0.75 to 1.25; we go back when it
# opens.
RETURN_S = 600.0
# Twice as seldom after each time that the first let us in and nobody heard us there, so often.
RETURN_DOUBLINGS_MAX = 4
KNOCK_TIMEOUT_S = 3.0
MUTE_PAUSE_S = 0.1  # who may not speak asks so often whether he may again
TURN_S = 1.0  # an idle link looks at its deadlines this often
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
IN_FLIGHT_MAX = 100
RECEIVE_MAX = 1_000
INBOX_MAX = 2_000  # QoS 0, which we never ask for, knows no receive maximum
# The contract's largest document is 16 KiB; a little more still reaches the owner, who refuses it
# by name.
PAYLOAD_BYTES_MAX = 17 * 1024
PACKET_BYTES_MAX = 64 * 1024
READ_BYTES_MAX = 64 * 1024  # by one system call

LOST = "connection lost"
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name

_FAILURE = 0x80  # reason codes from here on are failures (MQTT 5, 2.4)
_UNSPECIFIED = 0x80
_SESSION_TAKEN_OVER = 0x8E


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter, always QoS 1.

    `live_only` is for topics that are never retained: no replay, and the flag of the publisher is
    kept, so that a retained forgery can be told. Others get the stored document on subscribing.
    """

    topic: str
    live_only: bool
    no_local: bool = False


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where to and as whom; `keepalive_s` is the MQTT keepalive.

    `second`: a broker to go to while the first does not let us in, or does not hold us.
    """

    broker: Broker
    client_id: str
    keepalive_s: int
    tls: TlsFiles | None = None
    second: Broker | None = None


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when the connection breaks, or what we say on leaving."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """Names one received QoS 1 message of one connection, for `Link.acknowledge`."""

    connection: str
    packet_id: int


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in. `receipt` is None for QoS 0."""

    link: str
    connection: str
    topic: str
    payload: bytes
    retained: bool
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class PublishRefused:
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


@dataclass(frozen=True, slots=True)
class _Outgoing:
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
        self.outbound: deque[_Outgoing] = deque()
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
            self.outbound.append(_Outgoing(topic, payload, retain, expiry_s))
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
        while not self.stopping and not self.may_speak():
            self.turned_s = time.monotonic()
            self._stopping.wait(MUTE_PAUSE_S)
        if self.stopping:
            return False
        self.turned_s = time.monotonic()
        session = _Session(self, new_id())
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


class _Client(mqtt.Client):
    """Paho's client with a buffer on either side of its socket.

    Paho reads one packet by three system calls and writes each by one of its own, and at each of
    them another thread of the process may take the interpreter away for a while. Here one call
    reads what is there, and `flush` writes what a turn of the loop has brought.
    """

    _unread = memoryview(b"")
    _unsent = b""

    @property
    def has_unread(self) -> bool:
        """Whether bytes were read from the socket that paho has not asked for yet."""
        return bool(self._unread)

    def want_write(self) -> bool:
        """Whether `flush` has something to write."""
        return bool(self._unsent) or super().want_write()

    def flush(self) -> None:
        """Write what the socket takes. One that is gone is closed, as paho would close it."""
        self.loop_write()  # what paho could not put into our buffer, inside a callback of its own
        if self._sock is None:
            return
        try:
            sent = super()._sock_send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
            return
        self._unsent = self._unsent[sent:]

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._unread:
            self._unread = memoryview(super()._sock_recv(READ_BYTES_MAX))
        taken, self._unread = self._unread[:bufsize], self._unread[bufsize:]
        return bytes(taken)

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self._unsent += buf
        return len(buf)

    def _sock_close(self) -> None:
        if self._unsent and self._sock is not None:
            with contextlib.suppress(OSError):  # a goodbye that nobody can hear
                super()._sock_send(self._unsent)
        self._unsent = b""
        super()._sock_close()


class _Session:
    """One connection: a fresh paho client, its callbacks and its loop. Link thread only."""

    def __init__(self, link: Link, connection: str) -> None:
        self.connection = connection
        self.up_at_s: float | None = None
        self.may_be_kicked = False
        self._link = link
        self._client: _Client | None = None
        self._reason: str | None = None
        self._subscribe_id: int | None = None
        self._accepted = False
        self._ready = False
        self._inbox: deque[Received | PublishRefused] = deque()
        self._unacknowledged: set[int] = set()
        # Packet id -> topic and time of sending, oldest first.
        self._in_flight: OrderedDict[int, tuple[str, float]] = OrderedDict()
        self._window = IN_FLIGHT_MAX
        self._stalled_at_s: float | None = None
        self._parting = False

    def run(self) -> str:
        """Connect, serve, and say why it ended.

        Raises:
            Exception: whatever a callback of the owner or paho raised.
        """
        try:
            client = self._connect()
        except (OSError, ValueError) as error:
            return _why_not_connected(error)
        # A second small packet would otherwise wait 40 ms for the first one's delayed TCP ack.
        transport = client.socket()
        if transport is None:
            return self._why_lost()
        assert isinstance(transport, socket.socket)
        transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._serve(client, transport)

    def close(self) -> None:
        """Let go of the socket; without a DISCONNECT, unless one was sent."""
        transport = self._client.socket() if self._client is not None else None
        if transport is not None:
            transport.close()
        self._client = None

    def _connect(self) -> _Client:
        settings = self._link.settings
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        self._client = client
        client.max_inflight_messages_set(0)  # the window is kept here
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        broker = self._link.broker
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls:
            dated = self._link.synchronised()
            client.tls_set_context(tls_context(self._link.tls_files(), dated=dated))
            if not dated:
                self._link.counts.undated += 1
                log("certificate_dates_unchecked", level="warning", link=self._link.name)
        will = self._link.will(self.connection)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        properties.ReceiveMaximum = self._link.receive_max
        properties.MaximumPacketSize = PACKET_BYTES_MAX
        client.connect(
            broker.host,
            broker.port,
            keepalive=settings.keepalive_s,
            clean_start=True,
            properties=properties,
        )
        return client

    def _serve(self, client: _Client, transport: socket.socket) -> str:
        link = self._link
        setup_until_s = time.monotonic() + SETUP_DEADLINE_S
        poller = select.poll()
        poller.register(link.wake_file, select.POLLIN)
        poller.register(transport, select.POLLIN)
        file, polled = transport.fileno(), select.POLLIN
        while True:
            wanted = 0 if self._stalled_at_s is not None else select.POLLIN
            if client.want_write():
                wanted |= select.POLLOUT
            if wanted != polled:
                poller.modify(file, wanted)
                polled = wanted
            # We and TLS may hold bytes that no poll can see.
            readable = self._stalled_at_s is None and (
                client.has_unread
                or (isinstance(transport, ssl.SSLSocket) and transport.pending() > 0)
            )
            for ready, flags in poller.poll(0 if readable else self._timeout_ms()):
                if ready != file:
                    link.woken()
                elif flags & ~select.POLLOUT:
                    readable = True
            link.turned_s = now_s = time.monotonic()
            link.look_back(now_s)
            while readable:
                client.loop_read()
                # Paho gathers a packet of any size that a broker announces, up to 256 MiB.
                if client._in_packet["remaining_length"] > PACKET_BYTES_MAX:
                    return f"the broker sends a packet of over {PACKET_BYTES_MAX} bytes"
                self._hand_over(client, now_s)
                readable = (
                    client.has_unread
                    and self._stalled_at_s is None
                    and self._reason is None
                    and client.socket() is not None
                )
            self._hand_over(client, now_s)
            self._send(client, now_s)
            client.loop_misc()
            if client.want_write():
                client.flush()
            ended = self._ended(client, now_s, setup_until_s)
            if ended is not None:
                return ended

    def _timeout_ms(self) -> int:
        waits_s = [TURN_S, self._link.puback_deadline_s]
        if self._link.outbound and not self._link.may_speak():
            waits_s.append(MUTE_PAUSE_S)
        if self._stalled_at_s is not None:
            waits_s.append(STALL_PAUSE_S)
        if self._parting and self._link.farewell_until_s is not None:
            waits_s.append(self._link.farewell_until_s - time.monotonic())
        return max(0, int(min(waits_s) * 1000) + 1)

    def _hand_over(self, client: mqtt.Client, now_s: float) -> None:
        """Give the owner what came in, in order, nothing before it knows of the connection."""
        link = self._link
        if not self._ready or link.stopping:
            return
        if self.up_at_s is None:
            link.set_up(self.connection)
            if not link.deliver(LinkUp(link.name, self.connection), False):
                self._reason = "the event queue is full"
                return
            self.up_at_s = now_s
        while self._inbox:
            event = self._inbox[0]
            if not link.deliver(event, True):
                if self._stalled_at_s is None:
                    self._stalled_at_s = now_s
                    link.counts.stalls += 1
                    log("link_stalled", level="warning", link=link.name, waiting=len(self._inbox))
                return
            self._inbox.popleft()
            if not link.manual and isinstance(event, Received) and event.receipt is not None:
                self._acknowledge(client, event.receipt.packet_id)
        self._stalled_at_s = None

    def _send(self, client: mqtt.Client, now_s: float) -> None:
        link = self._link
        while link.outbound and len(self._in_flight) < self._window and link.may_speak():
            self._publish(client, link.outbound.popleft(), now_s)
        while link.acknowledged:
            receipt = link.acknowledged.popleft()
            if receipt.connection == self.connection:
                self._acknowledge(client, receipt.packet_id)
        if link.stopping and not self._parting:
            self._parting = True
            self._stalled_at_s = None  # the owner takes no more; the PUBACKs must be read
            if self.up_at_s is not None and link.may_speak():
                for word in link.farewell:
                    parting = _Outgoing(word.topic, word.payload, word.retain, None)
                    self._publish(client, parting, now_s)

    def _publish(self, client: mqtt.Client, message: _Outgoing, now_s: float) -> None:
        properties = None if message.expiry_s is None else _expiring(message.expiry_s)
        info = client.publish(
            message.topic, message.payload, qos=1, retain=message.retain, properties=properties
        )
        # Anything but success means that the socket has just gone; the loop sees that next.
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._in_flight[info.mid] = (message.topic, now_s)

    def _acknowledge(self, client: mqtt.Client, packet_id: int) -> None:
        if packet_id in self._unacknowledged:
            self._unacknowledged.remove(packet_id)
            client.ack(packet_id, 1)

    def _ended(self, client: mqtt.Client, now_s: float, setup_until_s: float) -> str | None:
        link = self._link
        if client.socket() is None:
            return self._why_lost()
        if self._reason is not None:
            return self._reason
        if self._parting:
            said_s = link.farewell_until_s or 0.0
            waiting = self._in_flight or (link.outbound and link.may_speak())
            if now_s >= said_s or not waiting:
                client.disconnect()
                return "stopped"
            return None
        if link.drop_wanted is not None:
            connection, reason = link.drop_wanted
            if connection == self.connection:
                return reason
        if self.up_at_s is None and now_s >= setup_until_s:
            return f"the broker took over {SETUP_DEADLINE_S:.0f} s to accept us"
        if self._stalled_at_s is not None and now_s - self._stalled_at_s > STALL_S:
            return "the event queue is full"
        if self._in_flight:
            _, sent_s = next(iter(self._in_flight.values()))
            if now_s - sent_s > link.puback_deadline_s:
                return "publishes are not acknowledged"
        return None

    def _why_lost(self) -> str:
        reason = self._reason or LOST
        if reason == LOST and self._link.broker.tls and not self._accepted:
            # TLS 1.3 tells a client only after its handshake that it was not accepted, and that
            # may be as early as its first word is on the way.
            reason += " before a word: the broker may not accept our certificate"
        return reason

    # --- paho calls these, inside loop_read and loop_misc ---------------------------------------

    def _on_connect(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._reason = f"refused by the broker: {reason}"
            return
        self._accepted = True
        self._window = min(IN_FLIGHT_MAX, getattr(properties, "ReceiveMaximum", IN_FLIGHT_MAX))
        if not self._link.subscriptions:
            self._ready = True
            return
        _, self._subscribe_id = client.subscribe(
            [(each.topic, _options(each)) for each in self._link.subscriptions]
        )

    def _on_subscribe(
        self,
        client: mqtt.Client,
        userdata: object,
        packet_id: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        if packet_id != self._subscribe_id:
            return
        asked = self._link.subscriptions
        for subscription, reason in zip(asked, reasons, strict=False):
            # A lower QoS than asked would lose messages without a word.
            if reason.value != 1:
                self._reason = f"subscription to {subscription.topic} refused: {reason}"
                return
        if len(reasons) != len(asked):
            self._reason = "the broker answered for other subscriptions than ours"
            return
        self._ready = True

    def _on_message(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        link = self._link
        link.counts.received += 1
        receipt = None
        if message.qos > 0:
            receipt = Receipt(self.connection, message.mid)
            self._unacknowledged.add(message.mid)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            link.counts.malformed += 1
            self._acknowledge(client, message.mid)
            return
        if len(message.payload) > PAYLOAD_BYTES_MAX:
            link.counts.oversize += 1
            # A flood of them must not become a flood of lines: the 1st, 2nd, 4th, 8th, ...
            if link.counts.oversize.bit_count() == 1:
                log(
                    "message_oversize",
                    level="warning",
                    link=link.name,
                    topic=topic,
                    bytes=len(message.payload),
                    count=link.counts.oversize,
                )
            self._acknowledge(client, message.mid)
            return
        if len(self._inbox) >= INBOX_MAX:
            self._reason = "the broker sends more than it may"
            return
        payload = bytes(message.payload)
        self._inbox.append(
            Received(link.name, self.connection, topic, payload, message.retain, receipt)
        )

    def _on_publish(
        self,
        client: mqtt.Client,
        userdata: object,
        packet_id: int,
        reason: ReasonCode,
        properties: Properties,
    ) -> None:
        topic, _ = self._in_flight.pop(packet_id, ("", 0.0))
        if reason.value < _FAILURE:
            # 0x10, no matching subscribers, is a success: our receipts are not the broker's.
            self._link.counts.published += 1
            return
        self._link.counts.refused_by_broker += 1
        if len(self._inbox) < INBOX_MAX:
            self._inbox.append(PublishRefused(self._link.name, topic, str(reason)))

    def _on_disconnect(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._reason is not None:
            return
        if not flags.is_disconnect_packet_from_server:
            self.may_be_kicked = reason.value == _UNSPECIFIED
            detail = "" if self.may_be_kicked else f": {reason}"
            self._reason = f"{LOST}{detail}"
        elif reason.value == _SESSION_TAKEN_OVER:
            self.may_be_kicked = True
            self._reason = f"another client uses our id {self._link.settings.client_id}"
        else:
            self._reason = f"closed by the broker: {reason}"


def _options(subscription: Subscription) -> SubscribeOptions:
    replay = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
    if subscription.live_only:
        replay = SubscribeOptions.RETAIN_DO_NOT_SEND
    return SubscribeOptions(
        qos=1,
        noLocal=subscription.no_local,
        retainAsPublished=subscription.live_only,
        retainHandling=replay,
    )


@functools.lru_cache(maxsize=64)
def _expiring(expiry_s: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = expiry_s
    return properties


def tls_context(files: TlsFiles, *, dated: bool) -> ssl.SSLContext:
    """How we speak TLS: the broker's chain and name are checked, and its dates if `dated`.

    Raises:
        OSError: a file cannot be read, or is none of its kind.
        ValueError: the same.
    """
    for path in (files.ca, files.certificate, files.key):
        if path is not None:
            Path(path).open("rb").close()  # ssl's own error does not name the file
    # Checks the chain and that the broker's name is the one we asked for; there is no way back to
    # plain text.
    context = ssl.create_default_context(cafile=files.ca)
    if not dated:
        context.verify_flags |= NO_CHECK_TIME
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


def _why_not_connected(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the broker does not answer"
    if isinstance(error, OSError) and error.strerror:
        which = f"{error.filename}: " if error.filename else ""
        return f"cannot connect: {which}{error.strerror}"
    return f"cannot connect: {error}"
