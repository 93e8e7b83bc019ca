"""The post's durable store: its alarms until they are over, and a ring of its last 500 events.

SQLite with WAL and `synchronous=FULL`, so a commit that has returned survives a power cut. It runs
on a thread of its own: a hanging card delays neither the click nor the call. It decides nothing;
`device/core.py` says what to write and what it means when that fails.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from device.core import RING_EVENTS_MAX, Commit, CommitFailed, Committed
from device.held import Held
from process.log import log

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE alarms (alarm_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE ring (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL, uptime_ms INTEGER NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL
);
"""
_PUT = """
INSERT INTO alarms (alarm_id, body) VALUES (?, ?)
ON CONFLICT (alarm_id) DO UPDATE SET body = excluded.body
"""
LOADED_MAX = 64


class Outbox:
    """One file, one thread; `commit` hands over, `deliver` gets the outcome as an event."""

    def __init__(self, path: Path, deliver: Callable[[object], None]) -> None:
        """Take the file's path and where outcomes go; touches nothing yet."""
        self._path = path
        self._deliver = deliver
        self._work: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def open(self) -> tuple[list[Held], str | None]:
        """Open the file and read what is held, oldest first; then start the thread.

        A damaged file is set aside and a new one begun; a file that cannot be opened at all leaves
        the post with its memory. Returns the alarms, and the fault where there is one:
        `disk_replaced` or `disk_failing`.
        """
        fault = None
        held: list[Held] = []
        try:
            held = self._connect()
        except (sqlite3.DatabaseError, msgspec.MsgspecError, OSError) as error:
            if _is_damage(error):
                fault = "disk_replaced"
                self._set_aside(error)
                try:
                    held = self._connect()
                except (sqlite3.DatabaseError, OSError) as again:
                    fault = "disk_failing"
                    log("outbox_unusable", level="error", path=self._path, why=again)
            else:
                fault = "disk_failing"
                log("outbox_unusable", level="error", path=self._path, why=error)
        self._thread.start()
        return held, fault

    def commit(self, commit: Commit) -> None:
        """Write in one transaction, in the background. The core has one under way at a time."""
        self._work.put(commit)

    def close(self, timeout_s: float) -> None:
        """Finish what is under way, at most for `timeout_s`, and end the thread."""
        self._work.put(None)
        self._thread.join(timeout_s)

    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while (commit := self._work.get()) is not None:
            try:
                if self._connection is None:
                    self._connect()
                self._write(commit)
            except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
                self._disconnect()
                self._deliver(CommitFailed(commit.write, f"{type(error).__name__}: {error}"))
            else:
                self._deliver(Committed(commit.write))
        self._disconnect()

    def _connect(self) -> list[Held]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_size_limit=1048576")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
                )
            elif version > SCHEMA_VERSION:
                # Not damage: the alarms in it are whole, and the newer firmware can read them.
                raise sqlite3.OperationalError(
                    f"written by a newer firmware (schema {version}, known {SCHEMA_VERSION})"
                )
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"malformed: {verdict}")
            rows = connection.execute(
                "SELECT body FROM alarms ORDER BY rowid DESC LIMIT ?", (LOADED_MAX,)
            ).fetchall()
            held = [msgspec.json.decode(body, type=Held) for (body,) in reversed(rows)]
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return held

    def _write(self, commit: Commit) -> None:
        connection = self._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                _PUT, [(held.alarm_id, msgspec.json.encode(held)) for held in commit.puts]
            )
            connection.executemany(
                "DELETE FROM alarms WHERE alarm_id = ?", [(one,) for one in commit.deletes]
            )
            if commit.ring:
                connection.executemany(
                    "INSERT INTO ring (at, uptime_ms, what, detail) VALUES (?, ?, ?, ?)",
                    [(one.at, one.uptime_ms, one.what, one.detail) for one in commit.ring],
                )
                connection.execute(
                    "DELETE FROM ring WHERE n <= (SELECT max(n) FROM ring) - ?",
                    (RING_EVENTS_MAX,),
                )
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _set_aside(self, error: Exception) -> None:
        aside = f"{self._path}.damaged-{int(time.time())}"
        log("outbox_damaged", level="error", path=self._path, why=error, kept_as=aside)
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{self._path}{suffix}")
            with contextlib.suppress(OSError):
                part.rename(f"{aside}{suffix}")


def _is_damage(error: Exception) -> bool:
    """Damage is what the file says of itself; a full, read-only or absent disk is not damage."""
    if isinstance(error, msgspec.MsgspecError):
        return True
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )
