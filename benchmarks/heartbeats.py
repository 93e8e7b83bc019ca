"""Very many posts on a few connections, as cheap as it goes: they beat, and count what comes back.

Run as `python -m benchmarks.heartbeats SETTINGS LEFT`. It speaks MQTT 3.1.1 by hand on bare
sockets, because it shares the machine with what is measured. It takes the gateway's processor time
itself, at both ends of the span.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from benchmarks.firmware import cpu_s
from protocol.codec import encode
from protocol.messages import Health, Location
from protocol.topics import Topics
from protocol.values import new_id, timestamp

RECEIVE_BYTES = 1 << 16
TICK_S = 0.01
PACKET_ID_MAX = 65_535
PUBLISH, SUBSCRIBE, CONNECT = 0x30, 0x82, 0x10
DRAINED_S = 2.0
# So long at most until the documents of all posts have gone out, and so many must have.
SETTLING_S, SHOWN_SHARE = 60.0, 0.99
UPTIME_MARK, NUMBER_MARK = 987_654_321_987, 123_456_789


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """How many posts, how often they beat, and for how long they are watched.

    `arriving_s`: the first heartbeats are spread over so long, and each post's next ones follow.
    `quiet`: so many posts stop when the span begins, and the span goes on until the gateway has
    shown them silent, or `patience_s`.
    """

    port: int
    gateway: int  # process ids
    broker: int
    posts: int
    interval_s: float
    arriving_s: float
    span_s: float
    quiet: int
    patience_s: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in the span; `detected_s` are from a post's last heartbeat to `silent`.

    `others_cpu_s`: of this generator and the broker, which stand for machines of their own.
    """

    seconds: float
    heartbeats: int
    answers: int
    cpu_s: float
    others_cpu_s: float
    memory_bytes: int
    documents_before: int
    cpu_before_s: float
    heartbeats_before: int
    false_silences: int
    detected_s: tuple[float, ...]


class _Connection:
    """One socket; what comes in is taken apart into packets."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in = bytearray()
        self._packet_id = 0
        head = b"\x00\x04MQTT\x04\x02\x00\x00"  # 3.1.1, clean session, no keepalive
        self.send(_packet(CONNECT, head + _text(name.encode())))
        while not any(kind & 0xF0 == 0x20 for kind, _ in self.received()):
            select.select([self.socket], [], [], 1.0)

    def subscribe(self, *topics: str) -> None:
        """With QoS 0: nothing is to be acknowledged."""
        filters = b"".join(_text(topic.encode()) + b"\x00" for topic in topics)
        self.send(_packet(SUBSCRIBE, b"\x00\x01" + filters))

    def publish(self, topic: bytes, payload: bytes) -> bytes:
        """The packet of a QoS 1 publish."""
        self._packet_id = self._packet_id % PACKET_ID_MAX + 1
        body = _text(topic) + struct.pack("!H", self._packet_id) + payload
        return _packet(PUBLISH | 0x02, body)

    def send(self, data: bytes) -> None:
        """Blocks when the broker holds it back."""
        self.socket.sendall(data)

    def received(self) -> Iterator[tuple[int, memoryview]]:
        """Every whole packet that is there: its first byte, and the rest of it."""
        self._in += self.socket.recv(RECEIVE_BYTES)
        view, at = memoryview(bytes(self._in)), 0
        while at + 2 <= len(view):
            length, shift, place = 0, 0, at + 1
            while place < len(view):
                length |= (view[place] & 0x7F) << shift
                shift += 7
                place += 1
                if not view[place - 1] & 0x80:
                    break
            else:
                break
            if place + length > len(view):
                break
            yield view[at], view[place : place + length]
            at = place + length
        del self._in[:at]


def _packet(kind: int, body: bytes) -> bytes:
    length, head = len(body), bytearray([kind])
    while True:
        length, digit = length >> 7, length & 0x7F
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def _text(words: bytes) -> bytes:
    return struct.pack("!H", len(words)) + words


class _Crowd:
    """The posts, in turn; and what is heard of them."""

    def __init__(self, span: Span, connections: int) -> None:
        self._span = span
        topics = Topics()
        self._senders = [_Connection(span.port, f"crowd-{n}") for n in range(connections)]
        self._ears = _Connection(span.port, "crowd-ears")
        self._ears.subscribe(topics.post("+", "answer"), topics.mcc("posts", "+"))
        self.names = [f"crowd-{number:06}" for number in range(span.posts)]
        self._topics = [topics.post(name, "health").encode() for name in self.names]
        self._beats = [_template(name) for name in self.names]
        self._answer, self._shown = b"/answer", topics.mcc("posts", "").encode()
        self._turn = 0
        self.sent = 0
        self.last_s = [0.0] * span.posts
        self.answers = 0
        self.online: set[bytes] = set()
        self.documents = 0
        self.heard_document_s = 0.0
        self.silent_s: dict[bytes, float] = {}

    def arrive(self, seconds: float) -> None:
        """All come, evenly over so long; who has come beats from then on."""
        began_s = last_s = time.monotonic()
        come, owed = 0, 0.0
        while come < self._span.posts:
            now_s = time.monotonic()
            owed += (now_s - last_s) * come / self._span.interval_s
            self._send(self._turns(int(owed), come), now_s)
            owed, last_s = owed % 1, now_s
            wanted = min(self._span.posts, int((now_s - began_s) / seconds * self._span.posts) + 1)
            self._send(range(come, wanted), now_s)
            come = wanted
            self._hear(TICK_S)

    def beat(
        self,
        seconds: float,
        rate: float,
        *,
        but: int = 0,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Post after post at `rate` a second; the first `but` of them keep silent."""
        began_s = time.monotonic()
        due = 0
        while (now_s := time.monotonic()) - began_s < seconds:
            wanted = int((now_s - began_s) * rate)
            turns = self._turns(wanted - due, self._span.posts)
            self._send((post for post in turns if post >= but), now_s)
            due = wanted
            self._hear(TICK_S)
            if until():
                return

    def _turns(self, count: int, posts: int) -> Iterator[int]:
        """Whose turn it is, so many times, among the first so many."""
        for _ in range(count):
            post = self._turn % posts
            self._turn = post + 1
            yield post

    def _send(self, posts: Iterable[int], now_s: float) -> None:
        batches: dict[int, list[bytes]] = {}
        uptime_ms = int(now_s * 1000)
        for post in posts:
            self.sent += 1
            self.last_s[post] = now_s
            payload = self._beats[post] % (self.sent, uptime_ms)
            number = post % len(self._senders)
            packet = self._senders[number].publish(self._topics[post], payload)
            batches.setdefault(number, []).append(packet)
        for number, packets in batches.items():
            self._senders[number].send(b"".join(packets))

    def _hear(self, seconds: float) -> None:
        listening = [self._ears.socket, *(one.socket for one in self._senders)]
        ready, _, _ = select.select(listening, [], [], seconds)
        for one in ready:
            if one is not self._ears.socket:
                one.recv(RECEIVE_BYTES)  # PUBACKs
                continue
            for kind, body in self._ears.received():
                if kind & 0xF0 != PUBLISH:
                    continue
                (length,) = struct.unpack("!H", body[:2])
                topic = bytes(body[2 : 2 + length])
                if topic.endswith(self._answer):
                    self.answers += 1
                elif topic.startswith(self._shown):
                    self._document(topic[len(self._shown) :], bytes(body[2 + length :]))

    def _document(self, name: bytes, payload: bytes) -> None:
        self.documents += 1
        self.heard_document_s = time.monotonic()
        if b'"connection":"silent"' in payload:
            self.silent_s.setdefault(name, self.heard_document_s)
        elif b'"connection":"online"' in payload:
            self.online.add(name)


def _template(name: str) -> bytes:
    """A heartbeat as a post says it, with places for its number and its uptime."""
    health = Health(
        post=name,
        n=NUMBER_MARK,
        boot_id=new_id(),
        connection=new_id(),
        at=timestamp(time.time_ns() // 1_000_000),
        clock="synchronised",
        uptime_ms=UPTIME_MARK,
        location=Location(lat=-7.944, lon=112.611, source="surveyed"),
        temperature_c=48.3,
        disk_free_mb=21_000,
    )
    text = encode(health).replace(b"%", b"%%")
    return text.replace(str(NUMBER_MARK).encode(), b"%d").replace(str(UPTIME_MARK).encode(), b"%d")


def run(span: Span, connections: int) -> Found:
    """Let all arrive, wait until the gateway has said so, then watch one span."""
    crowd = _Crowd(span, connections)
    rate = span.posts / span.interval_s
    began_cpu_s = cpu_s(span.gateway)
    crowd.arrive(span.arriving_s)

    def drained() -> bool:
        quiet_s = time.monotonic() - crowd.heard_document_s
        return len(crowd.online) >= span.posts and quiet_s >= DRAINED_S

    crowd.beat(SETTLING_S, rate, until=drained)
    if len(crowd.online) < SHOWN_SHARE * span.posts:
        raise RuntimeError(f"{len(crowd.online)} of {span.posts} posts were shown online")
    sent, answers, cpu, documents = crowd.sent, crowd.answers, cpu_s(span.gateway), crowd.documents
    others_s = time.process_time() + cpu_s(span.broker)
    sys.stderr.write("span begins\n")
    sys.stderr.flush()
    began_s = time.monotonic()
    crowd.beat(span.span_s, rate, but=span.quiet)
    cpu_after, sent_after, over_s = cpu_s(span.gateway), crowd.sent, time.monotonic()
    others_s = time.process_time() + cpu_s(span.broker) - others_s
    quiet = {name.encode() for name in crowd.names[: span.quiet]}
    if quiet:
        crowd.beat(
            span.patience_s, rate, but=span.quiet, until=lambda: quiet <= set(crowd.silent_s)
        )
    crowd.beat(1.0, 0.0)  # the last answers
    detected = [
        crowd.silent_s[name.encode()] - crowd.last_s[number]
        for number, name in enumerate(crowd.names[: span.quiet])
        if name.encode() in crowd.silent_s
    ]
    return Found(
        seconds=over_s - began_s,
        heartbeats=sent_after - sent,
        answers=crowd.answers - answers - (crowd.sent - sent_after),
        cpu_s=cpu_after - cpu,
        others_cpu_s=others_s,
        memory_bytes=resident_bytes(span.gateway),
        documents_before=documents,
        cpu_before_s=cpu - began_cpu_s,
        heartbeats_before=sent,
        false_silences=len(set(crowd.silent_s) - quiet),
        detected_s=tuple(detected),
    )


def resident_bytes(process_id: int) -> int:
    """The resident memory of a process."""
    pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    return int(pages) * 4096


def main(settings: str, connections: str, left: str) -> None:
    """Measure, and leave what was found."""
    found = run(msgspec.json.decode(settings, type=Span), int(connections))
    path = Path(left)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(msgspec.to_builtins(found)))
    new.rename(path)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
