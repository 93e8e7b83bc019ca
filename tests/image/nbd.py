"""A disk with a volatile write cache, as cards have one: what was not flushed dies with the power.

It speaks NBD on a Unix socket, for one QEMU at a time. `cut` throws the cache away, all but a
random part: a card writes in an order of its own, so any part of it may have reached the flash.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path
from random import Random

BLOCK = 4096
_MAGIC, _OPTION, _REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
_REQUEST, _SIMPLE = 0x25609513, 0x67446698
_READ, _WRITE, _DISCONNECT, _FLUSH, _TRIM, _ZEROES = 0, 1, 2, 3, 4, 6
_FLAGS = 1 | 1 << 2 | 1 << 3  # has flags, can flush, can write through
_FUA = 1
_EXPORT_NAME, _ABORT, _GO = 1, 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, 1 << 31 | 1


class Disk:
    """The image below `path` behind a cache; `with Disk(...) as disk`."""

    def __init__(self, path: Path, address: Path, seed: int) -> None:
        """Take the image, which is written, and the socket's place."""
        self.written_bytes = 0  # that reached the cache
        self.flushes = 0
        self._file = os.open(path, os.O_RDWR)
        self._size = os.fstat(self._file).st_size
        self._cache: dict[int, bytearray] = {}
        self._lock = threading.Lock()
        self._has_power = True
        self._random = Random(seed)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(address))
        self._server.listen(1)
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="disk", daemon=True)
        self._thread.start()

    def cut(self) -> int:
        """The power goes: how many cached blocks were lost. Nothing is answered any more."""
        with self._lock:
            self._has_power = False
            share = self._random.choice((0.0, 0.0, 0.3, 0.7))
            lost = 0
            for number, block in self._cache.items():
                if self._random.random() < share:
                    os.pwrite(self._file, block, number * BLOCK)
                else:
                    lost += 1
            self._cache.clear()
        self.close()
        return lost

    def close(self) -> None:
        """Let go of the file; what is cached is lost."""
        self._has_power = False
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while self._has_power:
                self._connection, _ = self._server.accept()
                with self._connection, contextlib.suppress(EOFError):
                    if self._greet(self._connection):
                        self._answer(self._connection)

    def _greet(self, peer: socket.socket) -> bool:
        peer.sendall(struct.pack(">QQH", _MAGIC, _OPTION, 3))
        _take(peer, 4)
        while True:
            _, option, length = struct.unpack(">QII", _take(peer, 16))
            _take(peer, length)
            if option == _EXPORT_NAME:
                peer.sendall(struct.pack(">QH", self._size, _FLAGS))
                return True
            if option == _GO:
                info = struct.pack(">HQH", 0, self._size, _FLAGS)
                peer.sendall(struct.pack(">QIII", _REPLY, option, _INFO, len(info)) + info)
                peer.sendall(struct.pack(">QIII", _REPLY, option, _ACK, 0))
                return True
            if option == _ABORT:
                return False
            peer.sendall(struct.pack(">QIII", _REPLY, option, _UNSUPPORTED, 0))

    def _answer(self, peer: socket.socket) -> None:
        while True:
            _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", _take(peer, 28))
            body = _take(peer, length) if kind == _WRITE else b""
            if kind == _DISCONNECT:
                return
            data = b""
            with self._lock:
                if not self._has_power:
                    raise EOFError
                if kind == _READ:
                    data = self._read(offset, length)
                elif kind == _WRITE:
                    self._write(offset, body)
                if kind == _FLUSH or flags & _FUA:
                    self._flush()
            error = 0 if kind in (_READ, _WRITE, _FLUSH, _TRIM) else 22
            peer.sendall(struct.pack(">IIQ", _SIMPLE, error, handle) + data)

    def _read(self, offset: int, length: int) -> bytes:
        data = bytearray(os.pread(self._file, length, offset))
        for number in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1):
            block = self._cache.get(number)
            if block is not None:
                at = number * BLOCK
                begin, end = max(offset, at), min(offset + length, at + BLOCK)
                data[begin - offset : end - offset] = block[begin - at : end - at]
        return bytes(data)

    def _write(self, offset: int, body: bytes) -> None:
        self.written_bytes += len(body)
        at = offset
        while at < offset + len(body):
            number, within = divmod(at, BLOCK)
            block = self._cache.get(number)
            if block is None:
                block = bytearray(os.pread(self._file, BLOCK, number * BLOCK))
                self._cache[number] = block
            count = min(BLOCK - within, offset + len(body) - at)
            block[within : within + count] = body[at - offset : at - offset + count]
            at += count

    def _flush(self) -> None:
        self.flushes += 1
        for number, block in self._cache.items():
            os.pwrite(self._file, block, number * BLOCK)
        self._cache.clear()


def _take(peer: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = peer.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
