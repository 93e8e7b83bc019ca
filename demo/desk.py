"""The command centre's site in the demo: a database made anew, its ingest, its console.

The ingest is the receiver of the gateway; the terminal's `watch` speaks beside it under a name of
its own. Run as a module it sets up the database: `python -m demo.desk SETTINGS`.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import sqlite3
import sys
import urllib.error
import urllib.request
from pathlib import Path

from demo.stage import POST_ID, NotSeen, Stage, until

OPERATOR = "siti"
SET_UP_S = 20.0
_PASSWORD = "operator.password"


class Desk:
    """Ingest and site on a stage."""

    def __init__(self, stage: Stage) -> None:
        """Write the settings and the operator's password into the stage's directory."""
        self._stage = stage
        self._config = stage.directory / "mcc.toml"
        self._database = stage.directory / "site.db"
        self.password = secrets.token_urlsafe(9)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        (stage.directory / _PASSWORD).write_text(self.password)
        self._config.write_text(
            f'state_directory = "{stage.directory}"\n'
            f'[mqtt]\nurl = "{stage.broker_url}"\nkeepalive_s = 5\n'
            f'[database]\nurl = "sqlite:///{self._database}"\n'
            f"[site]\nport = {port}\n"
        )

    def prepare(self) -> None:
        """Begin to set up the database; others may be started meanwhile."""
        self._stage.start_as("setup", "demo.desk", str(self._config))

    def open(self) -> None:
        """Start ingest and site once the database is set up; returns when the ingest is connected.

        Raises:
            NotSeen: it could not be set up, or does not connect.
        """
        until("the database is set up", lambda: not self._stage.running("setup"), SET_UP_S)
        if self._stage.ended("setup") != 0:
            raise NotSeen(f"the database is set up: {self._stage.log_of('setup').strip()[-500:]}")
        for name, command in (("ingest", "ingest"), ("site", "serve")):
            self._stage.start_as(name, "mcc.cli", command, "--config", str(self._config))
        connected = "SELECT 1 FROM cases_process WHERE body LIKE '%\"link_up\": true%'"
        until("the command centre is connected", lambda: self._read(connected), SET_UP_S)

    def answers(self) -> bool:
        """Whether the console can be opened."""
        try:
            with urllib.request.urlopen(f"{self.address}health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def invitation(self) -> str:
        """Where the console is, and who may come in."""
        return f"the console: {self.address} as {OPERATOR}, password {self.password}"

    def resolved(self) -> set[str]:
        """The ids of the alarms that the site's database holds as over."""
        rows = self._read("SELECT alarm_id FROM cases_alarm WHERE state = 'resolved'")
        return {str(alarm_id) for (alarm_id,) in rows}

    def _read(self, question: str) -> list[tuple[object, ...]]:
        with contextlib.closing(
            sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True)
        ) as sql:
            return sql.execute(question).fetchall()


def _set_up(config: Path) -> None:
    """Tables, registers, the demo's post, and one operator; no administrator."""
    from mcc.settings import MccFile
    from mcc.site import configure
    from mcc.site.setup import make_places, make_tables
    from process.settings import read_settings

    make_places(read_settings(config, MccFile))
    configure(config)
    make_tables()
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    from mcc.people.models import User
    from mcc.registers.models import Kelurahan, Post

    password = config.with_name(_PASSWORD).read_text()
    # A random password of some minutes needs no second of hashing.
    hashed = PBKDF2PasswordHasher().encode(password, secrets.token_hex(8), iterations=10_000)
    User.objects.create(username=OPERATOR, first_name="Siti", role="operator", password=hashed)
    Post.objects.create(
        post_id=POST_ID,
        name="Pos RW 05 Dinoyo",
        rw="05",
        kelurahan=Kelurahan.objects.get(name="Dinoyo"),
        lat=-7.9440,
        lon=112.6110,
    )


if __name__ == "__main__":
    _set_up(Path(sys.argv[1]))
