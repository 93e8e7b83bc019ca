"""One connection with a broker by paho: made, served, ended, and why. Belongs to a `Link`.

All of it happens on the link's own thread, through paho's external-loop interface, so nothing can
interleave two packets. A PUBACK is the broker's word, never a receipt. While the owner's event
queue is full the session stops reading, and ends after STALL_S of that.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import ssl
import time
from collections import OrderedDict, deque
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from process.core import LinkUp
from process.link import (
    MUTE_PAUSE_S,
    STALL_PAUSE_S,
    Link,
    Outgoing,
    PublishRefused,
    Receipt,
    Received,
    Subscription,
)
from process.log import log
from process.settings import TlsFiles

CONNECT_TIMEOUT_S = 5.0
SETUP_DEADLINE_S = 10.0  # from the TCP connection to the last SUBACK
STALL_S = 20.0
TURN_S = 1.0  # an idle link looks at its deadlines this often
IN_FLIGHT_MAX = 100
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


class Session:
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
                    parting = Outgoing(word.topic, word.payload, word.retain, None)
                    self._publish(client, parting, now_s)

    def _publish(self, client: mqtt.Client, message: Outgoing, now_s: float) -> None:
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
