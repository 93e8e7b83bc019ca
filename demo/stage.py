"""The processes of the story and the wires between them; also the ground of the system tests.

Everything lies in one directory that the caller makes and removes. Each process is started as a
user would start it, from its command and a settings file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from demo.broker import dying_with_us
from hardware.panel import PanelError, ask

POST_ID = "mlg-lowokwaru-dinoyo-rw05"
GATEWAY_ID = "mlg-gw1"
STOP_S = 5.0
START_S = 30.0  # a machine that runs a test on each core takes its time to start one more process
T = TypeVar("T")


class BrokerProcess(Protocol):
    """What the stage needs of a broker."""

    @property
    def url(self) -> str:
        """`mqtt://host:port`."""


class NotSeen(RuntimeError):
    """Something that should have happened did not, in time."""


def until(what: str, look: Callable[[], T | None], timeout_s: float = 10.0) -> T:
    """Look every 5 ms until there is something to see.

    Raises:
        NotSeen: naming what was waited for.
    """
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        seen = look()
        if seen:
            return seen
        time.sleep(0.005)
    raise NotSeen(f"{what}: not seen within {timeout_s:g} s")


class Stage:
    """One post, one gateway and one command centre on one broker."""

    def __init__(
        self,
        directory: Path,
        broker_url: str,
        *,
        gps_device: str | None = None,
        heartbeat_s: int = 5,
        post_id: str = POST_ID,
        silent: bool = False,
        console: str = "console",
    ) -> None:
        """Write the settings files into `directory`; starts nothing.

        `console`: the name under which the terminal of the operator speaks.
        """
        self._console = console
        self.directory = directory
        self.broker_url = broker_url
        self.post_id = post_id
        self.panel_socket = str(directory / "panel.sock")
        self.store = directory / "mcc.db"
        self.journal = directory / "journal.db"
        self.outbox = directory / "post.db"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._watched = 0
        self._shown: dict[str, dict[str, Any]] = {}
        gps = f'source = "gps"\ndevice = "{gps_device}"\n' if gps_device else ""
        (directory / "post.toml").write_text(
            f'post_id = "{post_id}"\n'
            f"[location]\nlat = -7.9440\nlon = 112.6110\n{gps}"
            f'[mqtt]\nurl = "{broker_url}"\nheartbeat_s = {heartbeat_s}\nkeepalive_s = 5\n'
            f'[cancel]\npin = 25\n[hardware]\npins = "mock"\npanel_socket = "{self.panel_socket}"\n'
            f'[store]\npath = "{self.outbox}"\n[buzzer]\nsilent = {str(silent).lower()}\n'
        )
        (directory / "gateway.toml").write_text(
            f'gateway_id = "{GATEWAY_ID}"\n'
            f'[posts]\nurl = "{broker_url}"\nkeepalive_s = 5\n'
            f'[mcc]\nurl = "{broker_url}"\nkeepalive_s = 5\n'
            f'[journal]\nurl = "sqlite:///{self.journal}"\n'
        )

    # --- processes -------------------------------------------------------------------------

    def start_post(self) -> None:
        """Start the post and wait until it listens."""
        self.start_as("post", "device.cli", "run", "--config", str(self.directory / "post.toml"))
        until("the post listens", lambda: self.status().get("listening"), START_S)

    def start_gateway(self) -> None:
        """Start the gateway."""
        config = str(self.directory / "gateway.toml")
        self.start_as("gateway", "gateway.cli", "run", "--config", config)

    def start_mcc(self) -> None:
        """Start the command centre's watch, which holds the link and gives receipts."""
        self.start_as("mcc", "mcc.cli", "watch", "--json", *self._mcc_options())

    def start_as(self, name: str, module: str, *arguments: str) -> None:
        """Start a process under a name (`post`, `gateway`, `mcc`) from a module of the project."""
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._open(f"{name}.out"),
            stderr=self._open(f"{name}.log"),
            cwd=self.directory,
            env=self._environment(),
            preexec_fn=dying_with_us(),  # noqa: PLW1509 - it makes two system calls
        )

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = (self.directory / name).open("ab")
        return self._files[name]

    def _environment(self) -> dict[str, str]:
        rooms = str(Path(__file__).resolve().parent.parent)
        return {**os.environ, "PYTHONPATH": rooms, "KENTONGAN_CLOCK": "synchronised"}

    def _mcc_options(self) -> list[str]:
        options = ["--store", str(self.store), "--url", self.broker_url]
        return [*options, "--console", self._console]

    def running(self, name: str) -> bool:
        """Whether a process (`post`, `gateway`, `mcc`) lives."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def ended(self, name: str) -> int | None:
        """The exit code of a process that has ended by itself; None while it runs."""
        return self._processes[name].poll()

    def pid(self, name: str) -> int:
        """The process id of a running process."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """`kill -9` a process."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def stop(self, name: str) -> float:
        """SIGTERM a process; how long it took to end (s). Kills it after 5 s.

        Raises:
            NotSeen: it did not end by itself.
        """
        process = self._processes.pop(name)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise NotSeen(f"{name} did not end within {STOP_S:g} s of SIGTERM") from None
        return time.monotonic() - began_s

    def close(self) -> None:
        """End what still runs."""
        for name in tuple(self._processes):
            with contextlib.suppress(NotSeen):
                self.stop(name)
        for file in self._files.values():
            file.close()

    def log_of(self, name: str) -> str:
        """What a process has said so far."""
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- the resident's side ---------------------------------------------------------------

    def panel(self, verb: str, **more: Any) -> dict[str, Any]:
        """Work the panel of the mock pins.

        Raises:
            PanelError: nobody answers, or the post refuses.
        """
        return ask(self.panel_socket, {"request": verb, **more})

    def status(self) -> dict[str, Any]:
        """The panel's status; empty while nobody answers."""
        try:
            return self.panel("status")
        except PanelError:
            return {}

    def until_lamp(self, meaning: str, timeout_s: float = 15.0) -> dict[str, Any]:
        """Wait until the lamp says this; the status then.

        Raises:
            NotSeen: it does not.
        """

        def look() -> dict[str, Any] | None:
            status = self.status()
            return status if status.get("lamp") == meaning else None

        return until(f"the lamp says: {meaning.replace('_', ' ')}", look, timeout_s)

    # --- the operator's side ---------------------------------------------------------------

    def mcc(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `kentongan-mcc COMMAND` as an operator would."""
        return subprocess.run(
            [sys.executable, "-m", "mcc.cli", command, *arguments, *self._mcc_options()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=self.directory,
            env=self._environment(),
        )

    def listed(self) -> list[dict[str, Any]]:
        """`kentongan-mcc list --json`.

        Raises:
            NotSeen: it failed, and what it said.
        """
        listing = self.mcc("list", "--json")
        if listing.returncode != 0:
            raise NotSeen(f"kentongan-mcc list: {listing.stderr.strip()}")
        return [json.loads(line) for line in listing.stdout.splitlines() if line.strip()]

    def shown(self) -> dict[str, dict[str, Any]]:
        """Every alarm as `watch` has shown it last, by id."""
        path = self.directory / "mcc.out"
        if path.exists():
            with path.open("rb") as lines:
                lines.seek(self._watched)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._watched += len(line)
                    change = json.loads(line)
                    if change.get("event") == "alarm":
                        self._shown[change["alarm_id"]] = change
        return self._shown

    def operator_sees(self, alarm_id: str, *states: str) -> dict[str, Any] | None:
        """The alarm, once `watch` has shown it in one of these states."""
        alarm = self.shown().get(alarm_id)
        return alarm if alarm is not None and alarm["state"] in states else None
