"""What a service tells systemd: that it is ready, that its main loop has proved itself, its status.

Never blocks and never raises: outside systemd (no NOTIFY_SOCKET) every word goes nowhere, and a
socket that is full or gone costs that one word, counted. It never decides whether the process is
well; a watchdog that is fed by anything but that proof would guard nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

STATUS_CHARACTERS_MAX = 200


class Notifier:
    """The line to the service manager; use from the main loop."""

    def __init__(self, address: str | None) -> None:
        """Take the value of NOTIFY_SOCKET: a path, or `@name` in the abstract namespace.

        None, and an address of another kind, mean that nobody listens.
        """
        self.unsent = 0
        self._address: str | None = None
        self._socket: socket.socket | None = None
        if address is not None and address[:1] in ("/", "@"):
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> Notifier:
        """The line that systemd opened for this process; a mute one outside systemd."""
        return cls(os.environ.get("NOTIFY_SOCKET"))

    def ready(self, status: str) -> None:
        """The start is over: what this service is for works from now on."""
        self._send(f"READY=1\n{_status(status)}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status(status))

    def stopping(self) -> None:
        """The process has begun to end by itself or on request."""
        self._send("STOPPING=1")

    def feeding(self, watch: Callable[[], str | None]) -> Callable[[], str | None]:
        """The same watch, which feeds the watchdog each time that it has found nothing wrong."""

        def watch_and_feed() -> str | None:
            wrong = watch()
            if wrong is None:
                self._send("WATCHDOG=1")
            return wrong

        return watch_and_feed

    def close(self) -> None:
        """Let go of the socket; every later word goes nowhere."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, words: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(words.encode(), self._address)
        except (OSError, ValueError):
            self.unsent += 1


def _status(text: str) -> str:
    # Every line of the datagram is a word of its own: a status must not bring a second one.
    line = "".join(character if character.isprintable() else " " for character in text)
    return f"STATUS={line[:STATUS_CHARACTERS_MAX]}"
