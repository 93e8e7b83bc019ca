"""The ground of the measurement: settings files and processes in one directory, ended at its end.

Every process is started as its own program; a process that ends by itself stops the measurement.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.centre import NotMeasured
from demo.broker import Broker
from gateway.supervision import SILENT_AFTER_S
from hardware.panel import PanelError, ask

READY_TIMEOUT_S = 120.0  # all posts start at once, on a machine that may be busy
STOP_S = 20.0  # a service ends within 2 s, on a machine that is not busy with others
LOOK_EVERY_S = 0.01


def with_broker(directory: Path, mosquitto: str, ending: contextlib.ExitStack) -> Ground:
    """A ground whose broker runs; `ending` ends both."""
    log = ending.enter_context((directory / "broker.log").open("wb"))
    broker = Broker(directory, log, mosquitto)
    ending.callback(broker.kill)
    broker.start()
    ground = Ground(directory, broker.port)
    ground.broker = broker
    ending.callback(ground.close)
    return ground


class Ground:
    """Processes by name, each with `NAME.log` as its standard error. `close` ends them all."""

    def __init__(self, directory: Path, port: int) -> None:
        """Use a directory that the caller makes and removes, and a broker on a loopback port."""
        self.directory = directory
        self.port = port
        self.broker: Broker | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def write_post(self, name: str) -> Path:
        """The settings of a post with mock pins, every other value the default."""
        path = self.directory / f"{name}.toml"
        path.write_text(
            f'post_id = "{name}"\n[location]\nlat = -7.9440\nlon = 112.6110\n'
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{self.port}"\n'
            f'[hardware]\npins = "mock"\npanel_socket = "{self._panel(name)}"\n'
            f'[store]\npath = "{self.directory / name}.db"\n'
        )
        return path

    def write_gateway(self, name: str, *, silent_after_s: int = SILENT_AFTER_S) -> Path:
        """The settings of a gateway with both links to the one broker, else the defaults.

        But for the daily self-tests, which would come among the measured alarms as they fall due.
        """
        path = self.directory / f"{name}.toml"
        url = f"mqtt://127.0.0.1:{self.port}"
        path.write_text(
            f'gateway_id = "{name}"\n[posts]\nurl = "{url}"\nsilent_after_s = {silent_after_s}\n'
            f'[mcc]\nurl = "{url}"\n'
            f'[journal]\nurl = "sqlite:///{self.directory / name}.db"\n[selftest]\ndaily = false\n'
        )
        return path

    def start(self, name: str, *module_and_arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start `python -m MODULE ARGUMENTS`."""
        rooms = str(Path(__file__).resolve().parent.parent)
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, module_and_arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": rooms, "KENTONGAN_CLOCK": "synchronised"},
            )
        self._processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """Take a process away as SIGKILL does."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """The process of this name."""
        return self._processes[name]

    def until_said(self, name: str, words: str) -> None:
        """Wait until a process has logged these words.

        Raises:
            NotMeasured: it has not within 120 s, or has ended.
        """
        log = self.directory / f"{name}.log"
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while words not in log.read_text(errors="replace"):
            self.look_whole()
            if time.monotonic() > give_up_s:
                raise NotMeasured(f"{name} did not say {words!r} within {READY_TIMEOUT_S:g} s")
            time.sleep(LOOK_EVERY_S)

    def until_shown(self, post: str, name: str, value: object) -> None:
        """Wait until the panel's status of a post shows this.

        Raises:
            NotMeasured: it does not within 120 s, or a process has ended.
        """
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while self.panel(post, "status").get(name) != value:
            self.look_whole()
            if time.monotonic() > give_up_s:
                raise NotMeasured(f"{post}: {name} was not {value!r} in {READY_TIMEOUT_S:g} s")
            time.sleep(LOOK_EVERY_S)

    def panel(self, post: str, verb: str, **more: Any) -> dict[str, Any]:
        """Ask the panel of a post.

        Raises:
            NotMeasured: it does not answer, or refuses.
        """
        try:
            return ask(self._panel(post), {"request": verb, **more})
        except PanelError as error:
            raise NotMeasured(str(error)) from error

    def look_whole(self) -> None:
        """Raises NotMeasured when a process has ended by itself, with its last words."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = (self.directory / f"{name}.log").read_text(errors="replace")
                raise NotMeasured(f"{name} ended with code {process.returncode}:\n{log[-2000:]}")

    def stop(self, *names: str) -> None:
        """End these processes by SIGTERM and the end of their stdin.

        Raises:
            NotMeasured: one did not end within 20 s; it was killed.
        """
        going = {name: self._processes.pop(name) for name in names}
        for process in going.values():
            assert process.stdin is not None
            process.stdin.close()
            process.send_signal(signal.SIGTERM)
        stuck = []
        for name, process in going.items():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                stuck.append(name)
        if stuck:
            raise NotMeasured(f"did not end within {STOP_S:g} s of SIGTERM: {', '.join(stuck)}")

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()

    def _panel(self, name: str) -> str:
        return str(self.directory / f"{name}.sock")
