"""The post's durable store: its alarms until they are over, and a ring of its last 500 events.

SQLite with WAL and `synchronous=FULL`, so a commit that has returned survives a power cut. It runs
on a thread of its own: a hanging card delays neither the click nor the call. It decides nothing;
`device/core.py` says what to write and what it means when that fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from device.core import RING_EVENTS_MAX, Commit, CommitFailed, Committed, Loaded
from device.held import Held
from process.database import (
    FILE_ERRORS,
    NewerVersion,
    bring_up,
    found_corrupt,
    is_damage,
    note_corrupt,
    read_only,
    set_aside,
)
from process.log import log

# Step n turns a file of version n into one of version n + 1; a step is never changed afterwards.
_STEPS = (
    """
CREATE TABLE alarms (alarm_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE ring (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL, uptime_ms INTEGER NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL
)
""",
)
SCHEMA_VERSION = len(_STEPS)
# Every column by its name: a check of the pages does not read the words of the schema.
_READ = ("alarm_id, body FROM alarms", "n, at, uptime_ms, what, detail FROM ring")
_PUT = """
INSERT INTO alarms (alarm_id, body) VALUES (?, ?)
ON CONFLICT (alarm_id) DO UPDATE SET body = excluded.body
"""
_MAGIC = b"SQLite format 3\x00"
# Where a copy of a file can be read whose disk takes no write; in memory on every Linux.
_MEMORY = Path("/dev/shm")
LOADED_MAX = 64
OPEN_PATIENCE_S = 10.0  # then the post listens with its memory alone


class OutboxRefused(Exception):
    """The file is not an outbox, or another post has it; the text says which and what to do."""


class Outbox:
    """One file, one thread; `commit` hands over, `deliver` gets the outcome as an event."""

    def __init__(self, path: Path, deliver: Callable[[object], None]) -> None:
        """Take the file's path and where outcomes go; touches nothing yet."""
        self._path = path
        self._deliver = deliver
        self._work: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._opened: queue.SimpleQueue[Loaded | OutboxRefused] = queue.SimpleQueue()
        self._gave_up = threading.Event()
        self._read = False
        self._lock: IO[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def open(self, patience_s: float = OPEN_PATIENCE_S) -> Loaded:
        """Start the thread, which opens the file; what it holds, oldest first.

        A damaged file is set aside and a new one begun; a file that cannot be opened at all, or
        not within `patience_s`, leaves the post with its memory (`Loaded.unread`) and with what
        can be read of it all the same. It is tried again with every write, and what was on it is
        delivered as `Loaded` then.

        Raises:
            OutboxRefused: the file is somebody's other file, or another post's outbox in use.
        """
        self._thread.start()
        try:
            loaded = self._opened.get(timeout=patience_s)
        except queue.Empty:
            self._gave_up.set()
            try:
                loaded = self._opened.get_nowait()  # it came while we gave up
            except queue.Empty:
                why = "the disk does not answer"
                log("outbox_unusable", level="error", path=self._path, why=why)
                return Loaded((), "disk_hanging", unread=True)
        if isinstance(loaded, OutboxRefused):
            raise loaded
        return loaded

    def _open(self) -> Loaded:
        try:
            was_begun = self._finish_exchange()
            held = self._connect()
        except (*FILE_ERRORS, NewerVersion) as error:
            if is_damage(error):
                return self._begin_anew(self._salvage(), error)
            # A file of a newer firmware is not damage: the alarms in it are whole.
            return self._unusable(error)
        whole = [one for one in held if one is not None]
        if len(whole) < len(held):
            return self._begin_anew(whole, f"{len(held) - len(whole)} alarms cannot be read")
        self._read = True
        return Loaded(tuple(whole), "disk_replaced" if was_begun else None)

    def _unusable(self, why: object) -> Loaded:
        """It takes no write (full, read-only, ...); what is on it may be an alarm all the same."""
        log("outbox_unusable", level="error", path=self._path, why=why)
        return Loaded(tuple(self._salvage()), "disk_failing", unread=True)

    def _claim(self) -> None:
        """Make sure that the file is ours alone, before anything in it is touched.

        Raises:
            OutboxRefused: it is not an outbox, or another process has it.
            OSError: the disk does not let us see.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(f"{self._path}.lock")
        if self._path.exists() and not beside.exists():
            with self._path.open("rb") as file:
                start = file.read(len(_MAGIC))
            if start not in (b"", _MAGIC):
                raise OutboxRefused(
                    f"{self._path} is not an outbox and is left alone; [store] path must name a"
                    " file of its own"
                )
        if self._lock is None:
            lock = beside.open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise OutboxRefused(
                    f"{self._path} is in use by another post; each post needs its own [store] path"
                ) from None
            self._lock = lock

    def _salvage(self) -> list[Held]:
        """The alarms that a file still gives, row by row: from a copy in memory, with its log."""
        found: list[Held] = []
        with (
            contextlib.suppress(*FILE_ERRORS),
            tempfile.TemporaryDirectory(prefix="kentongan-", dir=_MEMORY) as directory,
        ):
            copy = Path(directory) / "copy"
            shutil.copyfile(self._path, copy)
            with contextlib.suppress(OSError):
                shutil.copyfile(f"{self._path}-wal", f"{copy}-wal")
            with contextlib.closing(sqlite3.connect(copy)) as connection:
                for (body,) in connection.execute("SELECT body FROM alarms ORDER BY rowid"):
                    held = _decoded(body)
                    if held is not None:
                        found.append(held)
        return found[-LOADED_MAX:]

    def _begin_anew(self, whole: list[Held], why: object) -> Loaded:
        """Set the damaged file aside, once there is a new one that holds what of it is whole."""
        self._disconnect()
        try:
            self._new.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(self._new, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                bring_up(connection, _STEPS)
                _write_to(connection, Commit(0, tuple(whole), (), ()))
            log("outbox_damaged", level="error", path=self._path, why=why)
            aside = set_aside(self._path)
            log("outbox_set_aside", level="warning", path=self._path, kept_as=aside)
            self._finish_exchange()
            self._connect()
        except FILE_ERRORS as error:
            self._disconnect()
            log("outbox_unusable", level="error", path=self._path, why=error)
            return Loaded(tuple(whole), "disk_failing", unread=True)
        self._read = True
        return Loaded(tuple(whole), "disk_replaced")

    @property
    def _new(self) -> Path:
        return Path(f"{self._path}.new")

    def _finish_exchange(self) -> bool:
        """Put the new file into its place; a process may have been killed just before that."""
        if self._path.exists() or not self._new.exists():
            return False
        self._new.rename(self._path)
        return True

    def commit(self, commit: Commit) -> None:
        """Write in one transaction, in the background. The core has one under way at a time."""
        self._work.put(commit)

    def close(self, timeout_s: float) -> None:
        """Finish what is under way, at most for `timeout_s`, and end the thread."""
        self._work.put(None)
        self._thread.join(timeout_s)
        if self._lock is not None and not self._thread.is_alive():
            self._lock.close()

    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._claim()
        except OutboxRefused as refused:
            self._opened.put(refused)
            return
        except OSError as error:
            loaded = self._unusable(error)
        else:
            loaded = self._open()
        self._opened.put(loaded)
        if self._gave_up.is_set():
            self._deliver(loaded)
        while (commit := self._work.get()) is not None:
            try:
                self._open_again()
                self._write(commit)
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever a write raises
                # Its death would be the end of alarms that are in memory alone.
                self._disconnect()
                if note_corrupt(self._path, error):
                    self._read = False  # the next write begins a new file
                self._deliver(CommitFailed(commit.write, f"{type(error).__name__}: {error}"))
            else:
                self._deliver(Committed(commit.write))
        self._disconnect()

    def _open_again(self) -> None:
        """After a failure; and where nothing was read so far, tell what has been there."""
        if self._connection is not None:
            return
        if self._read:
            self._connect()
            return
        self._claim()
        loaded = self._open()
        if loaded.unread or self._connection is None:
            raise OSError("the outbox cannot be opened")
        self._deliver(loaded)

    def _connect(self) -> list[Held | None]:
        """Open or make the file; what it holds, None for a row that cannot be read."""
        connection = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA journal_size_limit=1048576")
            bring_up(connection, _STEPS)
            # The log may end with commits that were written and never synced, by a process that
            # was killed or by an fsync that failed: whatever is read from here on is on the disk.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found_corrupt(self._path):
                verdict = "a write found it so"
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"malformed: {verdict}")
            for columns in _READ:
                connection.execute(f"SELECT {columns} LIMIT 1").fetchall()
            rows = connection.execute(
                "SELECT body FROM alarms ORDER BY rowid DESC LIMIT ?", (LOADED_MAX,)
            ).fetchall()
            held = [_decoded(body) for (body,) in reversed(rows)]
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return held

    def _write(self, commit: Commit) -> None:
        assert self._connection is not None
        _write_to(self._connection, commit)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*FILE_ERRORS):
                connection.close()


def _write_to(connection: sqlite3.Connection, commit: Commit) -> None:
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
        if not (commit.puts or commit.deletes or commit.ring):
            # An empty transaction touches no disk; this one proves that the disk works.
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(*FILE_ERRORS):
            connection.execute("ROLLBACK")
        raise


def look_into(path: Path) -> tuple[Held, ...]:
    """What an outbox holds, oldest first; read only, beside a running post or without one.

    Raises:
        FILE_ERRORS: it cannot be read; `is_damage` tells which of them mean that it is damaged.
        NewerVersion: a newer firmware wrote it.
    """
    with contextlib.closing(sqlite3.connect(read_only(path), uri=True, timeout=1.0)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise NewerVersion(f"it is of version {version}; this program knows {SCHEMA_VERSION}")
        if version == 0:
            return ()
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found_corrupt(path):
            verdict = "a write found it so"
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"malformed: {verdict}")
        for columns in _READ:
            connection.execute(f"SELECT {columns} LIMIT 1").fetchall()
        rows = connection.execute(
            "SELECT body FROM alarms ORDER BY rowid DESC LIMIT ?", (LOADED_MAX,)
        ).fetchall()
    held = [_decoded(body) for (body,) in reversed(rows)]
    if None in held:
        raise sqlite3.DatabaseError("malformed: an alarm in it cannot be read")
    return tuple(one for one in held if one is not None)


def _decoded(body: object) -> Held | None:
    if not isinstance(body, bytes | str):
        return None
    try:
        return msgspec.json.decode(body, type=Held)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
