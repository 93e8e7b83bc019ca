"""A broker that misbehaves on purpose: what no real one can be made to do at will.

It accepts every client, grants `subscribe_code`, answers pings, and acknowledges publishes only
when `acknowledges` says so.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import BinaryIO

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ = 1, 3, 8, 12
CONNACK_OK = bytes([0x20, 3, 0, 0, 0])
PINGRESP = bytes([0xD0, 0])


class ScriptedBroker:
    """`with ScriptedBroker(...) as broker:` listens on `broker.port` for one client at a time."""

    def __init__(self, *, subscribe_code: int = 1, acknowledges: bool = False) -> None:
        self._subscribe_code = subscribe_code
        self._acknowledges = acknowledges
        self.published: list[bytes] = []  # the bodies of the PUBLISH packets
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedBroker:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        if self._client is not None:
            # The other side may have left already.
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                self._client, _ = self._server.accept()
            except OSError:
                return
            with self._client, self._client.makefile("rb") as stream:
                try:
                    while (first := stream.read(1)) != b"":
                        self._answer(self._client, first[0] >> 4, stream.read(_length(stream)))
                except OSError:
                    continue

    def _answer(self, client: socket.socket, packet: int, body: bytes) -> None:
        if packet == CONNECT:
            client.sendall(CONNACK_OK)
        elif packet == SUBSCRIBE:
            codes = bytes([self._subscribe_code]) * _filters(body)
            client.sendall(bytes([0x90, 3 + len(codes)]) + body[:2] + b"\0" + codes)
        elif packet == PINGREQ:
            client.sendall(PINGRESP)
        elif packet == PUBLISH:
            self.published.append(body)
            if self._acknowledges:
                end_of_topic = 2 + int.from_bytes(body[:2], "big")
                client.sendall(bytes([0x40, 2]) + body[end_of_topic : end_of_topic + 2])


def _filters(body: bytes) -> int:
    """How many topic filters a SUBSCRIBE asks for; its properties are fewer than 128 bytes."""
    at, count = 3 + body[2], 0
    while at < len(body):
        at += 2 + int.from_bytes(body[at : at + 2], "big") + 1
        count += 1
    return count


def _length(stream: BinaryIO) -> int:
    value, shift = 0, 0
    while True:
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
