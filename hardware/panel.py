"""The panel of a post with mock pins: a Unix socket by which another process presses the button,
cuts its wires, opens the lid and takes the mains away.

One request a connection: a line of JSON, answered by a line of JSON. It decides nothing about
presses, and it exists with mock pins only: on a real post nobody presses from outside.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardware.inputs import PAIR_LEVELS, PairMeaning
from hardware.pins import MockPins
from process.local_socket import LocalSocketError, answer, check_path, listen, read_line

REQUEST_BYTES_MAX = 1024 * 1024
REPLY_BYTES_MAX = 1024 * 1024
EDGES_MAX = 100_000
EDGES_FILE_CHARACTERS_MAX = 4 * 1024 * 1024
EDGES_SPAN_MAX_US = 3_600_000_000
CONNECTIONS_MAX = 8
# A client that connects and says nothing takes a place for so long, and no longer.
REQUEST_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 10.0

_NUMBER = re.compile(r"[0-9]{1,12}")

# (microseconds since the first instant, level): 1 is high, open; 0 is low, closed.
Edge = tuple[int, int]

PRESS: tuple[Edge, ...] = ((0, 0),)
RELEASE: tuple[Edge, ...] = ((0, 1),)
# Three presses of 80 ms, 120 ms apart: a firm, quick hand, over in 0.48 s.
PRESS3: tuple[Edge, ...] = (
    (0, 0),
    (80_000, 1),
    (200_000, 0),
    (280_000, 1),
    (400_000, 0),
    (480_000, 1),
)
# The cancel key counts when held for 3 s.
CANCEL: tuple[Edge, ...] = ((0, 0), (3_200_000, 1))

# What can be done to the other inputs: request -> "to" -> the level of its line. The wires of the
# button's pair take two lines, so they are no level but a meaning of the table; None: well again.
LINES: dict[str, dict[str, int]] = {
    "tamper": {"open": 1, "close": 0},
    "mains": {"lost": 1, "back": 0},
}
WIRES: dict[str, PairMeaning | None] = {"cut": "cut", "short": "short", "ok": None}
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "wire": tuple(WIRES),
    **{name: tuple(levels) for name, levels in LINES.items()},
}
REQUESTS = ("press", "release", "press3", "cancel", "edges", "status", *ARGUMENTS)


class PanelError(Exception):
    """A request that cannot be served or asked; the message is for the person at the keyboard."""


class Panel:
    """The server, in a thread of its own. `status` is called on its threads for each *status*.

    Edges are stamped with the time they were meant for, so that microseconds survive a busy
    machine; requests that move pins wait for each other.
    """

    def __init__(
        self,
        path: str,
        pins: MockPins,
        button: int,
        cancel: int | None,
        status: Callable[[], dict[str, Any]],
        *,
        button_nc: int | None = None,
        tamper: int | None = None,
        mains: int | None = None,
    ) -> None:
        """Listens at `path`, for this user only; numbers of inputs not fitted are None.

        Raises PanelError.
        """
        self._path = Path(path)
        self._pins = pins
        self._button = button
        self._cancel = cancel
        self._button_nc = button_nc
        self._lines = {"tamper": tamper, "mains": mains}
        self._finger: PairMeaning = "rest"
        self._wire: PairMeaning | None = None  # a fault of the wires overrules the finger
        self._status = status
        self._stopping = threading.Event()
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        try:
            self._server = listen(self._path, CONNECTIONS_MAX)
        except LocalSocketError as error:
            raise PanelError(f"no panel at {path}: {error}") from None
        self._thread = threading.Thread(target=self._accept, name="panel", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops between two edges and removes the socket file."""
        self._stopping.set()
        self._path.unlink(missing_ok=True)
        # Wakes accept(): closing the descriptor alone would leave the thread inside it.
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                # Out of descriptors, or closed: the pause keeps the first from spinning.
                self._stopping.wait(0.1)
                continue
            connection.settimeout(REQUEST_TIMEOUT_S)
            if not self._places.acquire(blocking=False):
                _answer(connection, _error(f"the panel serves {CONNECTIONS_MAX} at a time"))
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="panel request", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            reply = json.dumps(self._reply_to(connection))
        except PanelError as error:
            reply = _error(str(error))
        except Exception as error:  # noqa: BLE001  whatever it is, the asker is told and served again
            reply = _error(f"{type(error).__name__}: {error}")
        _answer(connection, reply)
        self._places.release()

    def _reply_to(self, connection: socket.socket) -> dict[str, Any]:
        try:
            line = read_line(connection, REQUEST_BYTES_MAX, time.monotonic() + REQUEST_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise PanelError(f"the request did not come: {error}") from error
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PanelError(f"the request is not JSON: {error}") from error
        if not isinstance(request, dict) or not isinstance(request.get("request"), str):
            raise PanelError('a request is an object with "request"')
        return self._do(request["request"], request)

    def _do(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        moves = {"press": PRESS, "release": RELEASE, "press3": PRESS3}
        if name == "status":
            return self._status()
        if name in moves:
            return self._drive(moves[name], self._finger_at)
        if name == "edges":
            return self._drive(check_edges(request.get("edges")), self._finger_at)
        if name == "cancel":
            cancel = _fitted(self._cancel, "cancel key", "[cancel] pin")
            return self._drive(CANCEL, lambda level: ((cancel, level),))
        if name in ARGUMENTS:
            to = request.get("to")
            if to not in ARGUMENTS[name]:
                raise PanelError(f"{name}: to {' or '.join(ARGUMENTS[name])}, not {str(to)[:40]!r}")
            return self._set_wire(to) if name == "wire" else self._set_line(name, to)
        raise PanelError(f"unknown request {name[:40]!r}: one of {', '.join(REQUESTS)}")

    def _set_wire(self, to: str) -> dict[str, Any]:
        _fitted(self._button_nc, "second contact", "[button] nc_pin")

        def wires(_: int) -> tuple[tuple[int, int], ...]:
            self._wire = WIRES[to]
            return self._button_lines()

        return self._drive(PRESS, wires)

    def _set_line(self, name: str, to: str) -> dict[str, Any]:
        line = _fitted(self._lines[name], f"{name} input", f"[{name}] pin")
        return self._drive(((0, LINES[name][to]),), lambda level: ((line, level),))

    def _finger_at(self, level: int) -> tuple[tuple[int, int], ...]:
        self._finger = "rest" if level else "pressed"
        if self._button_nc is None:
            return ((self._button, level),)
        return self._button_lines()

    def _button_lines(self) -> tuple[tuple[int, int], ...]:
        """The two lines of the pair and their levels, of both contacts in the same instant."""
        assert self._button_nc is not None, "asked for with a second contact only"
        no_closed, nc_closed = PAIR_LEVELS[self._wire or self._finger]
        return (self._button_nc, int(not nc_closed)), (self._button, int(not no_closed))

    def _drive(
        self, edges: tuple[Edge, ...], lines: Callable[[int], tuple[tuple[int, int], ...]]
    ) -> dict[str, Any]:
        """Moves the pins that `lines` names, for each edge at its time."""
        changed, late_us = 0, 0
        with self._pins.driving() as drive:
            begin_us = time.monotonic_ns() // 1000
            for t_us, level in edges:
                while (left_us := begin_us + t_us - time.monotonic_ns() // 1000) > 0:
                    if self._stopping.wait(left_us / 1_000_000):
                        raise PanelError("the post is stopping")
                late_us = max(late_us, -left_us)
                for number, line_level in lines(level):
                    changed += drive(number, line_level, (begin_us + t_us) / 1_000_000)
        return {"ok": True, "edges": changed, "late_us": late_us}


def _fitted(number: int | None, what: str, key: str) -> int:
    if number is None:
        raise PanelError(f"this post has no {what}: {key} is not set")
    return number


def check_edges(edges: object) -> tuple[Edge, ...]:
    """The edges of a request, checked; raises PanelError naming the first that is wrong."""
    if not isinstance(edges, list) or not 1 <= len(edges) <= EDGES_MAX:
        raise PanelError(f'"edges" is a list of 1 to {EDGES_MAX} pairs [t_us, level]')
    checked: list[Edge] = []
    before_us = 0
    for place, edge in enumerate(edges):
        if not (
            isinstance(edge, list | tuple) and len(edge) == 2 and all(type(n) is int for n in edge)
        ):
            raise PanelError(f"edge {place}: not a pair of whole numbers [t_us, level]")
        wrong = _wrong_edge(edge[0], edge[1], before_us)
        if wrong:
            raise PanelError(f"edge {place}: {wrong}")
        before_us = edge[0]
        checked.append((edge[0], edge[1]))
    return tuple(checked)


def _wrong_edge(t_us: int, level: int, before_us: int) -> str | None:
    if not 0 <= t_us <= EDGES_SPAN_MAX_US:
        return f"t_us is {t_us}, allowed is 0 to {EDGES_SPAN_MAX_US}"
    if t_us < before_us:
        return f"t_us falls from {before_us} to {t_us}"
    if level not in (0, 1):
        return f"level is {level}, allowed is 1 (high, open) or 0 (low, closed)"
    return None


def read_edges_file(path: str) -> list[Edge]:
    """Reads an edges file: a line `t_us level` for each edge, `#` begins a comment.

    Times are microseconds since the first instant and must not fall. Raises PanelError with file
    and line.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(EDGES_FILE_CHARACTERS_MAX + 1)
    except OSError as error:
        raise PanelError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PanelError(f"{path}: not a text file") from error
    if len(text) > EDGES_FILE_CHARACTERS_MAX:
        raise PanelError(f"{path}: more than {EDGES_FILE_CHARACTERS_MAX} characters")
    edges: list[Edge] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        edges.append(_edge_of(words, edges[-1][0] if edges else 0, f"{path}:{number}"))
        if len(edges) > EDGES_MAX:
            raise PanelError(f"{path}:{number}: more than {EDGES_MAX} edges")
    if not edges:
        raise PanelError(f"{path}: no edges in it")
    return edges


def _edge_of(words: list[str], before_us: int, where: str) -> Edge:
    if len(words) != 2 or not all(_NUMBER.fullmatch(word) for word in words):
        raise PanelError(f"{where}: {' '.join(words)[:40]!r} is not `t_us level`, whole numbers")
    edge = (int(words[0]), int(words[1]))
    wrong = _wrong_edge(*edge, before_us)
    if wrong:
        raise PanelError(f"{where}: {wrong}")
    return edge


def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Asks the panel at socket `path` and waits for its reply (as long as the edges take + 10 s).

    `request` is `{"request": "press"|"release"|"press3"|"cancel"|"status"}`, `{"request": "edges",
    "edges": [[t_us, level], ...]}` or `{"request": "wire"|"tamper"|"mains", "to": ...}` as in
    `ARGUMENTS`. Raises PanelError, also for a reply that is an error.
    """
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S + _span_us(request) / 1_000_000
    line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
    if len(line) > REQUEST_BYTES_MAX:
        raise PanelError(f"the request has {len(line)} bytes, at most {REQUEST_BYTES_MAX} fit")
    try:
        check_path(Path(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(path)
            connection.sendall(line)
            reply = json.loads(read_line(connection, REPLY_BYTES_MAX, deadline_s))
    except LocalSocketError as error:
        raise PanelError(f"no panel answers at {path}: {error}") from None
    except OSError as error:
        raise PanelError(f"no panel answers at {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise PanelError(f"the panel at {path} answered what is not JSON") from error
    if not isinstance(reply, dict):
        raise PanelError(f"the panel at {path} answered what is not an object")
    if "error" in reply:
        raise PanelError(str(reply["error"]))
    return reply


def _span_us(request: dict[str, Any]) -> int:
    if request.get("request") == "cancel":
        return CANCEL[-1][0]
    if request.get("request") == "edges":
        return check_edges(request.get("edges"))[-1][0]
    return PRESS3[-1][0]


def _error(message: str) -> str:
    return json.dumps({"error": message})


def _answer(connection: socket.socket, reply: str) -> None:
    with connection:
        answer(connection, reply.encode(), REQUEST_TIMEOUT_S)
