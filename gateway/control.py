"""The control socket of a running gateway: how somebody at this machine opens a test window.

A Unix socket of mode 0600; one request a connection, a line of JSON, answered by a line of JSON.
Only root and the gateway's own user are heard. It decides nothing: a request becomes an event for
the core, and the core's `Told` the answer. It acknowledges no alarm: that is for people who see it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core import CloseWindow, OpenWindow, Told
from process.local_socket import LocalSocketError, answer, check_path, listen, read_line
from process.log import log
from protocol.messages import TEST_WINDOW_MINUTES_MAX
from protocol.values import Label, PostId, new_id

LINE_BYTES_MAX = 4096
# One is served at a time; so many more wait, each until the one before has its answer.
WAITING_MAX = 4
# Who connects and says nothing holds the others up for so long, and no longer.
REQUEST_TIMEOUT_S = 1.0
CORE_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = (WAITING_MAX + 1) * (REQUEST_TIMEOUT_S + CORE_TIMEOUT_S)

Minutes = Annotated[int, Meta(ge=1, le=TEST_WINDOW_MINUTES_MAX)]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag_field="request"):
    """A request, by its word."""

    post: PostId
    technician: Label


class OpenTest(Ask, frozen=True, tag="open_test"):
    """Open a post's test window."""

    minutes: Minutes


class CloseTest(Ask, frozen=True, tag="close_test"):
    """End it."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it: `error` in words, or none; when the window ends; is the post heard."""

    error: str | None = None
    until: str | None = None
    connection: str = "unknown"


class ControlError(Exception):
    """Nothing came of a request, or nobody can listen; the text says why and what to do."""


class Control:
    """Listens. `offer` hands an event to the main loop; False when it has no place."""

    def __init__(self, path: Path, offer: Callable[[object], bool]) -> None:
        """Make the socket and serve it, on a thread of its own.

        Raises:
            ControlError: it cannot be made there.
        """
        self._path = path
        self._offer = offer
        self._asked = 0
        self._told: SimpleQueue[Told] = SimpleQueue()
        self._stopping = threading.Event()
        try:
            self._server = listen(path, WAITING_MAX)
        except LocalSocketError as error:
            raise ControlError(f"[control] socket: {path}: {error}") from None
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def tell(self, told: Told) -> None:
        """The core's answer."""
        self._told.put(told)

    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> None:
        """Stop listening and remove the socket."""
        self._stopping.set()
        self._path.unlink(missing_ok=True)
        # Wakes accept(): closing the descriptor alone would leave the thread inside it.
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout_s)
        self._server.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                # Out of descriptors, or closed: the pause keeps the first from spinning.
                self._stopping.wait(0.1)
                continue
            with connection:
                try:
                    reply = self._serve(connection)
                except Exception as error:  # noqa: BLE001 - whatever it is, the next is served
                    reply = Reply(error=f"{type(error).__name__}: {error}")
                answer(connection, msgspec.json.encode(reply), REQUEST_TIMEOUT_S)

    def _serve(self, connection: socket.socket) -> Reply:
        user = _user_of(connection)
        if user not in (0, os.geteuid()):
            log("control_refused", level="warning", user=user)
            return Reply(error="only root and the gateway's own user may ask")
        try:
            line = read_line(connection, LINE_BYTES_MAX, time.monotonic() + REQUEST_TIMEOUT_S)
            ask = msgspec.json.decode(line, type=OpenTest | CloseTest)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            return Reply(error=f"not a request: {error}")
        self._asked += 1
        log("control", user=user, request=type(ask).__name__, post=ask.post, by=ask.technician)
        if not self._offer(self._event(ask)):
            return Reply(error="the gateway is too busy; try again")
        return self._reply(self._asked)

    def _event(self, ask: OpenTest | CloseTest) -> OpenWindow | CloseWindow:
        if isinstance(ask, CloseTest):
            return CloseWindow(self._asked, ask.post, ask.technician)
        return OpenWindow(self._asked, ask.post, ask.minutes, ask.technician, new_id())

    def _reply(self, asked: int) -> Reply:
        until_s = time.monotonic() + CORE_TIMEOUT_S
        while True:
            try:
                told = self._told.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                return Reply(error="the gateway's main loop did not answer; see its log")
            if told.asked == asked:  # else the answer to one that no longer waits for it
                return Reply(error=told.refused, until=told.until, connection=told.connection)


def ask_gateway(path: Path, ask: OpenTest | CloseTest) -> Reply:
    """Ask the running gateway at this socket.

    Raises:
        ControlError: nobody answers there, or the gateway refuses; with why.
    """
    try:
        check_path(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ASK_TIMEOUT_S)
            connection.connect(str(path))
            with contextlib.suppress(BrokenPipeError):
                # Who is refused may have his answer before he has asked.
                connection.sendall(msgspec.json.encode(ask) + b"\n")
            line = read_line(connection, LINE_BYTES_MAX, time.monotonic() + ASK_TIMEOUT_S)
        reply = msgspec.json.decode(line, type=Reply)
    except LocalSocketError as error:
        raise ControlError(f"[control] socket: {path}: {error}") from None
    except PermissionError:
        raise ControlError(f"{path}: only root and the gateway's own user may ask") from None
    except OSError as error:
        why = error.strerror or error
        raise ControlError(f"no gateway answers at {path}: {why}; is it running?") from None
    except (msgspec.MsgspecError, ValueError):
        raise ControlError(f"what answers at {path} is no gateway") from None
    if reply.error is not None:
        raise ControlError(reply.error)
    return reply


def _user_of(connection: socket.socket) -> int:
    """Whose process is at the other end, by the kernel's word (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    _, user, _ = struct.unpack("3i", credentials)
    return int(user)
