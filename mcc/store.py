"""The command centre's durable memory: one SQLite file that several processes share.

WAL with `synchronous=FULL`: a commit that has returned survives a power cut, and only after it
does a receipt go out. Whoever holds the lock beside the file holds the link; everybody else only
reads, and writes operators' commands into the outbox. It decides nothing about alarms.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import msgspec

from mcc.alarms import AlarmRecord, Verdict
from mcc.core import ALARMS_MAX, COMMANDS_MAX, GATEWAYS_MAX, POSTS_MAX, Commit, Memory
from process.database import (
    FILE_ERRORS,
    ForeignFile,
    NewerVersion,
    bring_up,
    found_corrupt,
    is_damage,
    note_corrupt,
    require_ours,
    set_aside,
)
from process.log import log
from process.restored import SEQUENCE_MAX, Sequence
from protocol.messages import Command, MccGateway, MccPost
from protocol.values import UUID_PATTERN, new_id

CLOSED_LOADED_MAX = 1_000
CLOSED_STORED_MAX = 1_000_000  # the oldest closed alarms beyond this are deleted
PRUNE_EVERY_COMMITS = 10_000  # and at each claim
SETTLED_STORED_MAX = 10_000
WAL_BYTES_MAX = 16 * 1024 * 1024  # what is left of it after a checkpoint
BUSY_TIMEOUT_S = 5.0

CommandState = Literal["sending", "done", "refused"]

# Step n turns a file of version n into one of version n + 1; a step is never changed afterwards.
_STEPS = (
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE alarms (
    alarm_id TEXT PRIMARY KEY, open INTEGER NOT NULL, raised_at TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX alarms_by_time ON alarms (open, raised_at);
CREATE TABLE posts (post TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE gateways (gateway TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE outbox (
    command_id TEXT PRIMARY KEY, body BLOB NOT NULL, state TEXT NOT NULL, why BLOB,
    created_ms INTEGER NOT NULL
);
CREATE INDEX outbox_by_state ON outbox (state, created_ms)
""",
    "CREATE TABLE selftests (post TEXT PRIMARY KEY, body BLOB NOT NULL)",
)
_READ = (
    "key, value FROM meta",
    "alarm_id, open, raised_at, body FROM alarms",
    "post, body FROM posts",
    "gateway, body FROM gateways",
    "command_id, body, state, why, created_ms FROM outbox",
    "post, body FROM selftests",
)
_PUT_ALARM = """
INSERT INTO alarms (alarm_id, open, raised_at, body) VALUES (?, ?, ?, ?)
ON CONFLICT (alarm_id) DO UPDATE
SET open = excluded.open, raised_at = excluded.raised_at, body = excluded.body
"""
_PUT_POST = """
INSERT INTO posts (post, body) VALUES (?, ?) ON CONFLICT (post) DO UPDATE SET body = excluded.body
"""
_PUT_GATEWAY = """
INSERT INTO gateways (gateway, body) VALUES (?, ?)
ON CONFLICT (gateway) DO UPDATE SET body = excluded.body
"""
_PUT_SELFTEST = """
INSERT INTO selftests (post, body) VALUES (?, ?)
ON CONFLICT (post) DO UPDATE SET body = excluded.body
"""
_COUNT_UP = """
INSERT INTO meta (key, value) VALUES ('sequence', '1')
ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1
"""
_PUT_META = """
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
_PRUNE_SETTLED = """
DELETE FROM outbox WHERE state != 'sending' AND created_ms <
(SELECT created_ms FROM outbox WHERE state != 'sending' ORDER BY created_ms DESC LIMIT 1 OFFSET ?)
"""
_PRUNE_CLOSED = """
DELETE FROM alarms WHERE open = 0 AND raised_at <
(SELECT raised_at FROM alarms WHERE open = 0 ORDER BY raised_at DESC LIMIT 1 OFFSET ?)
"""

_ALARM = msgspec.json.Decoder(AlarmRecord)
_POST = msgspec.json.Decoder(MccPost)
_GATEWAY = msgspec.json.Decoder(MccGateway)
_COMMAND = msgspec.json.Decoder(Command)
_VERDICT = msgspec.json.Decoder(Verdict)
_encode = msgspec.json.encode
_UUID = re.compile(UUID_PATTERN)
_T = TypeVar("_T")


class StoreUnavailable(Exception):
    """The store cannot be used; the text says which file and why."""


class OutboxFull(Exception):
    """As many commands are being sent as the outbox holds."""


@dataclass(frozen=True)
class Sent:
    """An operator's command as the outbox has it; `verdict` once it is not `sending`."""

    command: Command
    state: CommandState
    verdict: Verdict | None


class LinkLock:
    """Who holds it holds the link to the broker: one console is one MQTT client."""

    def __init__(self, store: Path) -> None:
        """Name the lock file beside the store; takes nothing yet."""
        self.path = Path(f"{store}.link")
        self._file: int | None = None

    def take(self) -> bool:
        """Try to take it without waiting; the kernel gives it back when the process dies.

        Raises:
            StoreUnavailable: the lock file cannot be made.
        """
        if self._file is not None:
            return True
        try:
            opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from None
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(opened)
            return False
        self._file = opened
        return True

    def give_back(self) -> None:
        """Let another process hold the link."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Store:
    """One connection to the store; use it on the thread that opened it."""

    def __init__(self, path: Path, *, replaces: bool = True) -> None:
        """Open the file, or make it; a damaged one is set aside where nobody else uses it.

        With `replaces=False` a damaged one stays where it is.

        Raises:
            StoreUnavailable: not readable, not writable, not a store, of a newer version, or
                damaged while another process holds the link.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            require_ours(path, ".seq", ".link")
            self._sql = self._connect()
        except ForeignFile as error:
            raise StoreUnavailable(str(error)) from None
        except (*FILE_ERRORS, NewerVersion) as error:
            if not is_damage(error):
                raise StoreUnavailable(f"{path}: {error}") from None
            if not replaces:
                raise StoreUnavailable(f"{path} is damaged: {error}") from None
            lock = LinkLock(path)
            if not lock.take():
                raise StoreUnavailable(f"{path} is damaged, and in use: {error}") from None
            try:
                self._sql = self._begin_anew(error)
            finally:
                lock.give_back()
        self._sequence: Sequence | None = None
        self._unpruned = 0  # commits since closed alarms were last pruned

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        self._sql.close()
        if self._sequence is not None:
            self._sequence.close()
            self._sequence = None

    def claim(self) -> str:
        """Make sure of the file; for the holder of the link lock. Returns the `store_id`.

        A damaged file is set aside. A file that is an older copy of itself gets a new
        `store_id`, so that the gateways tell it again what it has missed.

        Raises:
            StoreUnavailable: the file cannot be written.
        """
        wrong = self._damage()
        if wrong is not None:
            self._sql.close()
            try:
                self._sql = self._begin_anew(wrong)
            except FILE_ERRORS as error:
                raise StoreUnavailable(f"{self.path}: {error}") from None
        if self._sequence is not None:
            self._sequence.close()
        self._sequence = Sequence.open(self.path)
        with self._write() as sql:
            count = self._count()
            if self._sequence.is_behind(count, is_new=count == 0):
                sql.execute(_PUT_META, ("store_id", new_id()))
                log("store_restored", level="warning", path=str(self.path), sequence=count)
            self._prune(sql)
        return self.store_id

    def corrupt(self) -> bool:
        """Whether the file was found corrupt in use: the next claim begins a new one."""
        return found_corrupt(self.path)

    @property
    def store_id(self) -> str:
        """The id of this store; another one when the file is new or restored."""
        return self._meta("store_id", "")

    # --- what the core needs ------------------------------------------------------------------

    def load(self) -> Memory:
        """Everything that is open, the newest of what is closed, and the commands under way.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with self._read() as sql:
            opened = self._alarms(sql, "open = 1", ALARMS_MAX)
            closed = self._alarms(sql, "open = 0", CLOSED_LOADED_MAX)
            posts = sql.execute("SELECT body FROM posts LIMIT ?", (POSTS_MAX,)).fetchall()
            gateways = sql.execute("SELECT body FROM gateways LIMIT ?", (GATEWAYS_MAX,)).fetchall()
        return Memory(
            store_id=self.store_id,
            alarms=(*closed, *opened),
            posts=_read_rows(_POST, posts),
            gateways=_read_rows(_GATEWAY, gateways),
            commands=self.sending(),
        )

    def commit(self, commit: Commit) -> tuple[AlarmRecord, ...]:
        """Put all of it on disk at once; returns the `fresh` alarms that were there already.

        Raises:
            StoreUnavailable: nothing of it is on disk.
        """
        existing: list[AlarmRecord] = []
        with self._write() as sql:
            for alarm in commit.alarms:
                if alarm.alarm_id in commit.fresh:
                    there = self._alarm(sql, alarm.alarm_id)
                    if there is not None:
                        existing.append(there)
                        continue
                row = (alarm.alarm_id, alarm.is_open, alarm.raised.at, _encode(alarm))
                sql.execute(_PUT_ALARM, row)
            sql.executemany(_PUT_POST, [(one.post, _encode(one)) for one in commit.posts])
            sql.executemany(
                "DELETE FROM posts WHERE post = ?", [(post,) for post in commit.gone_posts]
            )
            sql.executemany(_PUT_GATEWAY, [(one.gateway, _encode(one)) for one in commit.gateways])
            sql.executemany(_PUT_SELFTEST, [(one.post, _encode(one)) for one in commit.selftests])
            sql.executemany(
                "DELETE FROM selftests WHERE post = ?", [(post,) for post in commit.gone_posts]
            )
            for command_id, verdict in commit.verdicts:
                sql.execute(
                    "UPDATE outbox SET state = ?, why = ? WHERE command_id = ?",
                    ("refused" if verdict.refused else "done", _encode(verdict), command_id),
                )
            if commit.verdicts:
                sql.execute(_PRUNE_SETTLED, (SETTLED_STORED_MAX,))
            if commit.reason is not None:
                sql.execute(_PUT_META, ("reason", commit.reason))
            self._unpruned += 1
            if self._unpruned >= PRUNE_EVERY_COMMITS:
                self._prune(sql)
        return tuple(existing)

    def outbox(self) -> Store:
        """A connection of its own for another thread; call it there.

        Raises:
            StoreUnavailable: the file cannot be opened.
        """
        return Store(self.path)

    # --- what commands and screens need ---------------------------------------------------------

    def add(self, command: Command) -> None:
        """Put an operator's command into the outbox.

        Raises:
            OutboxFull: `COMMANDS_MAX` are being sent already.
            StoreUnavailable: the file cannot be written.
        """
        with self._write() as sql:
            count = sql.execute("SELECT count(*) FROM outbox WHERE state = 'sending'").fetchone()[0]
            if count >= COMMANDS_MAX:
                raise OutboxFull(f"{count} commands are being sent already; no more fit")
            sql.execute(
                "INSERT INTO outbox (command_id, body, state, created_ms) VALUES (?, ?, ?, ?)",
                (command.command_id, _encode(command), "sending", time.time_ns() // 1_000_000),
            )

    def sending(self) -> tuple[Command, ...]:
        """The commands that no document and no refusal has ended, oldest first."""
        with self._read() as sql:
            rows = sql.execute(
                "SELECT body FROM outbox WHERE state = 'sending' ORDER BY created_ms LIMIT ?",
                (COMMANDS_MAX,),
            ).fetchall()
        return tuple(_read_rows(_COMMAND, rows))

    def sent(self, command_id: str) -> Sent | None:
        """One command of the outbox and what became of it."""
        with self._read() as sql:
            row = sql.execute(
                "SELECT body, state, why FROM outbox WHERE command_id = ?", (command_id,)
            ).fetchone()
        command = _read_row(_COMMAND, row[0]) if row else None
        if command is None:
            return None
        return Sent(command, row[1], _read_row(_VERDICT, row[2]) if row[2] else None)

    def alarms(self, closed_max: int) -> tuple[AlarmRecord, ...]:
        """The newest closed ones and every open one (both oldest first)."""
        with self._read() as sql:
            closed = self._alarms(sql, "open = 0", closed_max)
            return (*closed, *self._alarms(sql, "open = 1", ALARMS_MAX))

    def alarms_like(self, beginning: str, limit: int = 20) -> tuple[AlarmRecord, ...]:
        """The alarms whose id begins so (hexadecimal digits and dashes), newest last."""
        upper = beginning + "g"  # beyond every hexadecimal digit and the dash
        with self._read() as sql:
            rows = sql.execute(
                "SELECT body FROM alarms WHERE alarm_id >= ? AND alarm_id < ?"
                " ORDER BY raised_at DESC LIMIT ?",
                (beginning, upper, limit),
            ).fetchall()
        return tuple(reversed(_read_rows(_ALARM, rows)))

    def reason(self) -> str:
        """Why nothing gets through, as the holder of the link last wrote it; empty when it does."""
        return self._meta("reason", "")

    def data_version(self) -> int:
        """A number that changes when another connection has committed (1.5 us to ask)."""
        try:
            return int(self._sql.execute("PRAGMA data_version").fetchone()[0])
        except FILE_ERRORS as error:
            raise StoreUnavailable(f"{self.path}: {error}") from None

    # --- the file -------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        sql = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            sql.execute("PRAGMA journal_mode=WAL")
            sql.execute("PRAGMA synchronous=FULL")
            sql.execute(f"PRAGMA journal_size_limit={WAL_BYTES_MAX}")
            bring_up(sql, _STEPS, made=lambda: self._make(sql))
        except BaseException:
            sql.close()
            raise
        return sql

    def _make(self, sql: sqlite3.Connection) -> None:
        self.path.chmod(0o600)
        sql.execute(_PUT_META, ("store_id", new_id()))

    def _prune(self, sql: sqlite3.Connection) -> None:
        self._unpruned = 0
        sql.execute(_PRUNE_CLOSED, (CLOSED_STORED_MAX,))

    def _begin_anew(self, why: object) -> sqlite3.Connection:
        aside = set_aside(self.path)
        log("store_replaced", level="error", path=str(self.path), aside=str(aside), why=str(why))
        return self._connect()

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._sql
        except FILE_ERRORS as error:
            note_corrupt(self.path, error)
            raise StoreUnavailable(f"{self.path}: {error}") from None

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, counted, so that an older copy of the file can be told."""
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute(_COUNT_UP)
                count = self._count()
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise
        except FILE_ERRORS as error:
            note_corrupt(self.path, error)
            raise StoreUnavailable(f"{self.path}: {error}") from None
        if self._sequence is None:
            self._sequence = Sequence.open(self.path)
        self._sequence.note(count)

    def _damage(self) -> str | None:
        """What the file itself is wrong in; None when it is whole.

        Raises:
            StoreUnavailable: it cannot be read, which is not its own fault.
        """
        try:
            found = str(self._sql.execute("PRAGMA quick_check(1)").fetchone()[0])
            for columns in _READ:
                self._sql.execute(f"SELECT {columns} LIMIT 1").fetchall()
            key = self._sql.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
        except FILE_ERRORS as error:
            if not is_damage(error):
                raise StoreUnavailable(f"{self.path}: {error}") from None
            return str(error)
        if found_corrupt(self.path):
            return "a commit found it corrupt"
        if found == "ok" and (key is None or not _UUID.fullmatch(str(key[0]))):
            return "it has no id"
        return None if found == "ok" else found

    def _count(self) -> int:
        """The number of the newest commit; 0 where that cannot be read, which looks restored."""
        digits = self._meta("sequence", "0")
        return min(int(digits), SEQUENCE_MAX - 1) if digits.isdecimal() else 0

    def _meta(self, key: str, default: str) -> str:
        with self._read() as sql:
            row = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def _alarm(self, sql: sqlite3.Connection, alarm_id: str) -> AlarmRecord | None:
        row = sql.execute("SELECT body FROM alarms WHERE alarm_id = ?", (alarm_id,)).fetchone()
        return _read_row(_ALARM, row[0]) if row else None

    def _alarms(
        self, sql: sqlite3.Connection, which: Literal["open = 1", "open = 0"], limit: int
    ) -> list[AlarmRecord]:
        rows = sql.execute(
            f"SELECT body FROM alarms WHERE {which} ORDER BY raised_at DESC LIMIT ?", (limit,)
        ).fetchall()
        return _read_rows(_ALARM, rows[::-1])


def _read_row(decoder: msgspec.json.Decoder[_T], body: object) -> _T | None:
    try:
        return decoder.decode(body if isinstance(body, bytes | str) else b"")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # One row that cannot be read must not hide the others; documents bring its alarm again.
        log("row_unreadable", level="error", why=str(error))
        return None


def _read_rows(decoder: msgspec.json.Decoder[_T], rows: list[tuple[object]]) -> list[_T]:
    return [one for (body,) in rows if (one := _read_row(decoder, body)) is not None]
