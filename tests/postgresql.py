"""A real PostgreSQL for the tests, run by an unprivileged user on a free loopback port.

Never skips: where it is missing, the test that wants it fails and says so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tests.broker import free_port

START_TIMEOUT_S = 30.0
USER = "kentongan"
_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    found = shutil.which(name, path=os.pathsep.join([str(_PLACES[-1])] if _PLACES else []))
    found = found or shutil.which(name)
    assert found, f"the tests need PostgreSQL's {name}: apt-get install postgresql"
    return found


class PostgreSQL:
    """`with PostgreSQL() as server:` runs one until the end of the block, then removes it."""

    def __init__(self) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="kentongan-postgresql-", dir="/tmp"))
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        # The server refuses to be root.
        self._as: dict[str, int] = {}
        if os.geteuid() == 0:
            somebody = pwd.getpwnam("postgres")
            os.chown(self._directory, somebody.pw_uid, somebody.pw_gid)
            self._as = {"user": somebody.pw_uid, "group": somebody.pw_gid}
        made = subprocess.run(
            [program("initdb"), "--pgdata", str(self._data), "--username", USER]
            + ["--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._directory,
            **self._as,  # type: ignore[call-overload]
        )
        assert made.returncode == 0, made.stderr

    def url(self, name: str) -> str:
        """A database on it, as `[database] url` has it."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str) -> None:
        """Execute one statement in its own database."""
        done = subprocess.run(
            [program("psql"), "--host", "127.0.0.1", "--port", str(self.port), "--user", USER]
            + ["--dbname", "postgres", "--set", "ON_ERROR_STOP=1", "--command", statement],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Run it (again) on its port and wait until it accepts connections."""
        assert self._process is None, "it runs already"
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("postgres"), "-D", str(self._data), "-p", str(self.port)]
                + ["-c", "listen_addresses=127.0.0.1", "-k", str(self._directory)]
                # A killed server is tested, a power cut is not; and syncing takes many seconds.
                + ["-c", "fsync=off"],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                **self._as,  # type: ignore[call-overload]
            )
        until = time.monotonic() + START_TIMEOUT_S
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self._directory / "log").read_text(errors="replace")
                raise AssertionError(f"PostgreSQL does not start:\n{said}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, cutting every connection; what was committed stays."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate() if process.poll() is not None else process.send_signal(3)
            process.wait(10)

    def __enter__(self) -> PostgreSQL:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
