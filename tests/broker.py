"""A real mosquitto for the tests, on a free loopback port; and a wire between that can be cut.

Never skips: where mosquitto is missing, the test that wants it fails and says so.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

START_TIMEOUT_S = 10.0


# Bound and never listening: who sets SO_REUSEADDR can listen there, as every server here does, and
# the system gives the port to no connection that goes out, not even while a killed broker is away.
_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """A loopback port that nobody listens on, kept for whoever asked until this process ends."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _RESERVED.append(reserved)
    port: int = reserved.getsockname()[1]
    return port


class Mosquitto:
    """`with Mosquitto() as broker:` runs one until the end of the block.

    `config` is added to its configuration. `directory` keeps its persistence across instances; by
    default it is a fresh one, removed at the end. Anonymous clients are let in, unless `config`
    says otherwise.
    """

    def __init__(self, config: str = "", *, directory: Path | None = None) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise AssertionError("the tests need mosquitto: apt-get install mosquitto")
        self._program = program
        self._config = config
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="kentongan-broker-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Run it (again) on its port, and wait until it accepts connections."""
        assert self._process is None, "it runs already"
        lines = [
            "user root",  # mosquitto started by root would give up its right to the directory
            f"listener {self.port} 127.0.0.1",
            "set_tcp_nodelay true",
            f"persistence_location {self.directory}/",
        ]
        if "allow_anonymous" not in self._config:
            lines.append("allow_anonymous true")
        settings = self.directory / "mosquitto.conf"
        settings.write_text("\n".join(lines) + "\n" + self._config + "\n")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(settings), "-v"], stdout=log, stderr=log
            )
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > until:
                    self.stop()
                    raise AssertionError(f"mosquitto does not start:\n{self.log}") from None
                time.sleep(0.005)

    def save(self) -> None:
        """Let it write its persistence file now (SIGUSR1); it does so a moment later."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def reload(self) -> None:
        """Let it read its access control list anew (SIGHUP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9: nothing is saved, nobody is told."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly end (persistence is saved). Nothing when it does not run."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)


class Wire:
    """A TCP relay to a loopback port that can mistreat what goes through.

    `with Wire(broker.port) as wire:` listens on `wire.port`. While `swallow` is set, bytes of both
    directions are taken and thrown away, and no end of a connection is passed on: a half-open
    connection. `delay_s` passes between the taking and the giving of each piece; `piece_bytes` is
    the size of the pieces; after `cut_after_bytes` of one direction the connection is cut,
    wherever in a packet that is. All of them can be changed at any time.
    """

    def __init__(self, to_port: int, server: socket.socket | None = None) -> None:
        """Relay to this port; `server` listens already, perhaps in another network."""
        self._to_port = to_port
        self.swallow = False
        self.delay_s = 0.0
        self.piece_bytes = 65536
        self.cut_after_bytes: int | None = None
        self._server = server or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._open = True

    def cut(self) -> None:
        """Close every connection that goes through."""
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already
        self._ends.clear()

    def __enter__(self) -> Wire:
        self._run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _run(self, target: object, *arguments: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends += [near, far]
            self._run(self._relay, near, far)
            self._run(self._relay, far, near)

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        passed_bytes = 0
        while True:
            try:
                data = source.recv(self.piece_bytes)
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self.cut_after_bytes is not None:
                    data = data[: max(0, self.cut_after_bytes - passed_bytes)]
                passed_bytes += len(data)
                if self.swallow:
                    if data:
                        continue
                    return
                if not data:
                    sink.shutdown(socket.SHUT_RDWR)
                    source.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(data)
            except OSError:
                return
