"""A broker for the demo: mosquitto where it is installed, otherwise the one inside a wheel.

Loopback only, a free port, nothing kept on disk: what the broker forgets is part of the story.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)
_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
set_tcp_nodelay true
"""
# Started by root it would become another user, and then no longer die with us (prctl(2)).
_AS_ROOT = "user root\n"
# rumqttd's own form; MQTT 5 needs the listener [v5.1].
_EMBEDDED = """\
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 65536
max_inflight_count = 100
dynamic_filters = true
"""


def dying_with_us() -> Callable[[], None]:
    """For Popen's `preexec_fn`: the child is killed when the thread that starts it has gone.

    So even `kill -9` of the demo leaves no process. Start children from the main thread.
    """
    parent = os.getpid()

    def in_the_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was faster
            os._exit(1)

    return in_the_child


def free_port() -> int:
    """A TCP port of the loopback that the system has just found free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto_path() -> str | None:
    """Where mosquitto is, or None."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Broker:
    """One broker process; `kill` takes it away with all it knew, `start` brings an empty one."""

    def __init__(self, directory: Path, log: IO[bytes], mosquitto: str | None) -> None:
        """Choose a port and write the configuration into `directory`.

        `mosquitto` is the path of the program; None takes the broker inside the wheel.
        """
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        # rumqttd tells the format of its configuration by the name's ending.
        configuration = directory / ("broker.conf" if mosquitto else "broker.toml")
        if mosquitto is not None:
            self.name = "mosquitto"
            as_whom = _AS_ROOT if os.getuid() == 0 else ""
            configuration.write_text(_MOSQUITTO.format(port=self.port) + as_whom)
            self._command = [mosquitto, "-c", str(configuration)]
        else:
            self.name = "the embedded broker"
            configuration.write_text(_EMBEDDED.format(port=self.port))
            self._command = [sys.executable, "-m", "iotcore", "--config", str(configuration)]

    def start(self) -> None:
        """Start it and wait until it accepts connections.

        Raises:
            RuntimeError: it ended, or does not listen within 10 s.
        """
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=dying_with_us(),  # noqa: PLW1509 - it makes two system calls
        )
        give_up_at = time.monotonic() + 10
        while time.monotonic() < give_up_at:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with code {self._process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{self.name} does not listen on port {self.port}")

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id, while there is one."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
