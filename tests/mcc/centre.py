"""A command centre for tests: its settings, its database, and its processes started for real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mcc.settings import DatabaseSettings

REPOSITORY = Path(__file__).parents[2]
PASSWORD = "kentongan-malam-1234"
STOP_S = 5.0


class Centre:
    """`with Centre(directory, broker_url) as centre:` ends what it has started."""

    def __init__(
        self,
        directory: Path,
        broker_url: str,
        database: DatabaseSettings | None = None,
        more: str = "",
        mqtt: str = "",
    ) -> None:
        """Write the settings; `database` is set up already, else one beside them will be made.

        `mqtt`: more keys of that table; `more`: tables.
        """
        self.directory = directory
        self.database = database or DatabaseSettings(url=f"sqlite:///{directory / 'site.db'}")
        self.config = directory / "mcc.toml"
        self.config.write_text(
            f'state_directory = "{directory}"\n'
            f'[mqtt]\nurl = "{broker_url}"\n{mqtt}[database]\nurl = "{self.database.url}"\n{more}'
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (directory / "mcc.secret").write_text(
            "of a test, and long enough to sign with it: 0123456789"
        )

    def __enter__(self) -> Centre:
        return self

    def __exit__(self, *_: object) -> None:
        for name in tuple(self._processes):
            self.kill(name)

    def run(
        self, command: str, *arguments: str, stdin: bytes = b"", timeout_s: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """One command to its end."""
        return subprocess.run(
            self._line(command, *arguments),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout_s,
            env=self._environment(),
            cwd=self.directory,
        )

    def set_up(self) -> None:
        """`kentongan-mcc setup` with an administrator `admin`."""
        done = self.run(
            "setup", "--administrator", "admin", "--password-stdin", stdin=PASSWORD.encode()
        )
        assert done.returncode == 0, done.stderr.decode()

    def start(self, command: str = "ingest", **environment: str) -> None:
        """Start one that goes on running."""
        with (self.directory / f"{command}.log").open("ab") as log:
            self._processes[command] = subprocess.Popen(
                self._line(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment() | environment,
                cwd=self.directory,
            )

    def running(self, command: str = "ingest") -> bool:
        """Whether it lives."""
        return self._processes[command].poll() is None

    def freeze(self, command: str = "ingest") -> None:
        """SIGSTOP."""
        self._processes[command].send_signal(signal.SIGSTOP)

    def thaw(self, command: str = "ingest") -> None:
        """SIGCONT."""
        self._processes[command].send_signal(signal.SIGCONT)

    def kill(self, command: str = "ingest") -> None:
        """`kill -9`."""
        process = self._processes.pop(command)
        process.kill()
        process.wait()

    def stop(self, command: str = "ingest") -> float:
        """SIGTERM; how long it took (s). It must end by itself, well."""
        process = self._processes[command]
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        assert process.poll() == 0, self.log(command)
        del self._processes[command]
        return time.monotonic() - began_s

    def log(self, command: str = "ingest") -> str:
        """What it has said."""
        path = self.directory / f"{command}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _line(self, command: str, *arguments: str) -> list[str]:
        options = ["--config", str(self.config)]
        return [sys.executable, "-m", "mcc.cli", command, *options, *arguments]

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KENTONGAN", "DJANGO"))
        }
        return kept | {"PYTHONPATH": str(REPOSITORY)}
