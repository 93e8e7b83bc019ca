"""The gateway's durable record of alarms, and the append-only history of their transitions.

SQLAlchemy Core, on a thread of its own. All commits that wait are written in one transaction, with
WAL and `synchronous=FULL`: a commit that was reported survives a power cut. It decides nothing:
`core.py` says what to write, and what it means when that fails. Nothing is ever said here before
it is on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from gateway.core import (
    ALARMS_MAX,
    Commit,
    CommitFailed,
    Committed,
    Found,
    Lookup,
    LookupFailed,
    Put,
    Recall,
    Recalled,
    RecallFailed,
)
from gateway.record import AlarmRecord
from process.log import log, masked
from process.restored import Sequence
from protocol.values import new_id, wall_ms

SCHEMA_VERSION = 1
PUTS_PER_TRANSACTION_MAX = 1_000
KEPT_MS = 3 * 366 * 86_400 * 1000  # alarms that nothing more is said about
BUSY_TIMEOUT_S = 1.0

_TABLES = sa.MetaData()
_META = sa.Table(
    "meta",
    _TABLES,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_ALARMS = sa.Table(
    "alarms",
    _TABLES,
    sa.Column("alarm_id", sa.Text, primary_key=True),
    sa.Column("post", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False, index=True),
    sa.Column("settled_at", sa.Text),
    sa.Column("raised_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
)
_HISTORY = sa.Table(
    "history",
    _TABLES,
    sa.Column("n", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("alarm_id", sa.Text, nullable=False, index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("by", sa.Text),
)

Request = Commit | Lookup | Recall


class JournalUnusable(Exception):
    """The journal cannot be opened at all; the message says why."""


@dataclass(frozen=True)
class Opened:
    """What the journal held: `records` are those about which something is still to be said."""

    journal_id: str
    records: tuple[AlarmRecord, ...]
    meta: dict[str, str]
    faults: tuple[str, ...]


class Journal:
    """One database, one thread. `submit` hands over; outcomes go to `deliver` as events."""

    def __init__(self, url: str, deliver: Callable[[object], None]) -> None:
        """Take `sqlite:///path` or `postgresql+psycopg://…`; touches nothing yet."""
        self._url = url
        self._deliver = deliver
        self._path = _file_of(url)
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._sequence: Sequence | None = None
        self._lock_file: int | None = None
        self._commits = 0
        self._work: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        dialect: Any = sqlite if self._path is not None else postgresql
        columns = ("post", "state", "live", "settled_at", "raised_ms", "body")
        self._add_alarm = _Statement(
            dialect.insert(_ALARMS).on_conflict_do_nothing(), dialect.dialect()
        )
        self._put_alarm = _Statement(
            _upsert(dialect.insert(_ALARMS), "alarm_id", columns), dialect.dialect()
        )
        self._put_meta = _Statement(
            _upsert(dialect.insert(_META), "key", ("value",)), dialect.dialect()
        )
        self._add_history = _Statement(sa.insert(_HISTORY), dialect.dialect())

    # --- opening ---------------------------------------------------------------------------

    def open(self, wall_now_ms: int) -> Opened:
        """Open or make the database, read what is live, and start the thread.

        A damaged file is set aside and a new journal begun. A file that is an older copy of itself
        gets a new `journal_id`, which voids the receipts in it.

        Raises:
            JournalUnusable: it cannot be opened, another process has it, or it is of a newer
                version.
        """
        faults = []
        try:
            self._claim()
            try:
                is_new = self._connect()
            except sa.exc.DatabaseError as error:
                if self._path is None or not _is_damage(error):
                    raise
                self._set_aside(error, wall_now_ms)
                faults.append("journal_replaced")
                is_new = self._connect()
            opened = self._read(wall_now_ms, is_new, faults)
        except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
            self._release()
            raise JournalUnusable(
                f"the journal {masked(self._url)} cannot be used: {_why(error)}"
            ) from error
        except JournalUnusable:
            self._release()
            raise
        self._thread.start()
        return opened

    def _claim(self) -> None:
        """Two gateways on one journal would each believe that they know every alarm."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_name(self._path.name + ".lock")
        self._lock_file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalUnusable(f"another process has the journal {self._path} open") from None

    def _connect(self) -> bool:
        """Connect and see to the tables; whether they had to be made."""
        if self._engine is None:
            self._engine = _engine(self._url, self._path)
        connection = self._engine.connect()
        try:
            is_new = not sa.inspect(connection).has_table("meta")
            connection.rollback()
            if is_new:
                with connection.begin():
                    _TABLES.create_all(connection)
                    first = {"schema": str(SCHEMA_VERSION), "journal_id": new_id(), "commits": "0"}
                    self._put_meta.run(connection, _meta_rows(first))
            elif self._path is not None and self._connection is None:
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                connection.rollback()
                if verdict != "ok":
                    raise sa.exc.DatabaseError(
                        "quick_check", None, ValueError(f"malformed: {verdict}")
                    )
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return is_new

    def _read(self, wall_now_ms: int, is_new: bool, faults: list[str]) -> Opened:
        connection = self._connection
        assert connection is not None
        with connection.begin():
            meta = {row.key: row.value for row in connection.execute(sa.select(_META))}
            if not is_new and meta.get("schema") != str(SCHEMA_VERSION):
                raise JournalUnusable(
                    f"the journal {masked(self._url)} is of schema {meta.get('schema')};"
                    f" this gateway knows {SCHEMA_VERSION}"
                )
            self._commits = int(meta.get("commits", "0"))
            if self._is_restored(is_new):
                faults.append("journal_restored")
                meta["journal_id"] = new_id()
                log("journal_restored", level="error", journal_id=meta["journal_id"])
            self._commits += 1
            meta["commits"] = str(self._commits)
            self._put_meta.run(connection, _meta_rows(meta))
            _prune(connection, wall_now_ms - KEPT_MS)
            live = sa.select(_ALARMS.c.alarm_id, _ALARMS.c.body).where(_ALARMS.c.live)
            # Were there ever more than the core takes: the newest.
            live = live.order_by(_ALARMS.c.raised_ms.desc()).limit(ALARMS_MAX)
            records = [_decoded(row.alarm_id, row.body) for row in connection.execute(live)]
        self._note()
        kept = tuple(record for record in reversed(records) if record is not None)
        if len(kept) < len(records):
            faults.append("journal_damaged")
        return Opened(meta["journal_id"], kept, meta, tuple(faults))

    def _is_restored(self, is_new: bool) -> bool:
        if self._path is None:
            return False
        if self._sequence is not None:
            self._sequence.close()
        self._sequence = Sequence.open(self._path)
        if is_new:
            # A sidecar that is still there belongs to a journal that was lost or set aside; this
            # one is new in any case, and so is its id.
            return False
        return self._sequence.is_behind(self._commits, is_new)

    def _set_aside(self, error: Exception, wall_now_ms: int) -> None:
        assert self._path is not None
        self._disconnect()
        mark = f".corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(wall_now_ms / 1000))}"
        for suffix in ("", "-wal", "-shm", ".seq"):
            file = self._path.with_name(self._path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                file.rename(self._path.with_name(self._path.name + mark + suffix))
        aside = self._path.with_name(self._path.name + mark)
        log("journal_replaced", level="error", why=_why(error), aside=aside)

    # --- the thread ------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Write or read in the background; the outcome comes as an event."""
        self._work.put(request)

    def close(self, timeout_s: float) -> None:
        """Finish what was handed over, at most for `timeout_s`, and end the thread."""
        self._work.put(None)
        self._thread.join(timeout_s)

    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def _run(self) -> None:
        going = True
        while going:
            commits: list[Commit] = []
            questions: list[Lookup | Recall] = []
            request = self._work.get()
            while True:
                if request is None:
                    going = False
                elif isinstance(request, Commit):
                    commits.append(request)
                else:
                    questions.append(request)
                full = sum(len(commit.puts) for commit in commits) >= PUTS_PER_TRANSACTION_MAX
                if full or not going:
                    break
                try:
                    request = self._work.get_nowait()
                except queue.Empty:
                    break
            if commits:
                self._deliver(self._write(commits))
            for question in questions:
                self._deliver(self._answer(question))
        self._disconnect()
        self._release()

    def _write(self, commits: list[Commit]) -> Committed | CommitFailed:
        tokens = tuple(commit.token for commit in commits)
        try:
            existing = self._transact(commits)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self._disconnect()
            return CommitFailed(tokens, _why(error))
        self._note()
        return Committed(tokens, tuple(existing))

    def _transact(self, commits: list[Commit]) -> list[AlarmRecord]:
        connection = self._connected()
        puts = [put for commit in commits for put in commit.puts]
        meta = {"commits": str(self._commits + 1)}
        for commit in commits:
            meta.update(commit.meta)
        existing: list[AlarmRecord] = []
        history: list[dict[str, object]] = []
        with connection.begin():
            for put in puts:
                row = _row(put)
                if put.is_new and self._add_alarm.run(connection, [row]) == 0:
                    known = _select(connection, put.record.alarm_id)
                    if known is not None:
                        existing.append(known)
                        continue
                    self._put_alarm.run(connection, [row])  # what stood there is damaged
                elif not put.is_new:
                    self._put_alarm.run(connection, [row])
                history += [_history_row(one) for one in put.history]
            if history:
                self._add_history.run(connection, history)
            self._put_meta.run(connection, _meta_rows(meta))
        self._commits += 1
        return existing

    def _answer(self, question: Lookup | Recall) -> object:
        try:
            connection = self._connected()
            with connection.begin():
                if isinstance(question, Lookup):
                    return Found(question.alarm_id, _select(connection, question.alarm_id))
                return _page(connection, question)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self._disconnect()
            if isinstance(question, Lookup):
                return LookupFailed(question.alarm_id, _why(error))
            return RecallFailed(_why(error))

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()

    def _release(self) -> None:
        self._disconnect()
        if self._sequence is not None:
            self._sequence.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _note(self) -> None:
        if self._sequence is not None:
            self._sequence.note(self._commits)


def _file_of(url: str) -> Path | None:
    """The file of an SQLite URL; None for a server."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _engine(url: str, path: Path | None) -> sa.Engine:
    if path is None:
        return sa.create_engine(url, poolclass=NullPool)
    engine = sa.create_engine(
        url,
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
    )

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        # SQLAlchemy's own recipe: the driver begins no transactions by itself.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "journal_size_limit=16777216",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class _Statement:
    """A statement compiled once: compiling it anew took longer than the commit's fsync."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        keys = [column.key for column in statement.table.columns if column is not _HISTORY.c.n]
        compiled = statement.compile(dialect=dialect, column_keys=keys)
        self._text = str(compiled)
        self._order: list[str] | None = compiled.positiontup

    def run(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> int:
        """Run it for each row (columns by name); for a single row, how many it touched."""
        parameters: list[Any] = rows
        if self._order is not None:
            parameters = [tuple(row[name] for name in self._order) for row in rows]
        one = parameters[0] if len(parameters) == 1 else parameters
        return connection.exec_driver_sql(self._text, one).rowcount


def _upsert(statement: Any, key: str, columns: Iterable[str]) -> Any:
    new = {column: statement.excluded[column] for column in columns}
    return statement.on_conflict_do_update(index_elements=[key], set_=new)


def _row(put: Put) -> dict[str, object]:
    record = put.record
    return {
        "alarm_id": record.alarm_id,
        "post": record.post,
        "state": record.state,
        "live": record.live,
        "settled_at": record.settled_at,
        "raised_ms": wall_ms(record.raised.at),
        "body": msgspec.json.encode(record).decode(),
    }


def _meta_rows(meta: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in meta.items()]


def _history_row(row: Any) -> dict[str, object]:
    return {"alarm_id": row.alarm_id, "at": row.at, "what": row.what, "by": row.by}


def _select(connection: sa.Connection, alarm_id: str) -> AlarmRecord | None:
    query = sa.select(_ALARMS.c.body).where(_ALARMS.c.alarm_id == alarm_id)
    body = connection.execute(query).scalar_one_or_none()
    return None if body is None else _decoded(alarm_id, body)


def _page(connection: sa.Connection, recall: Recall) -> Recalled:
    query = (
        sa.select(_ALARMS.c.alarm_id, _ALARMS.c.body)
        .where(
            ~_ALARMS.c.live,
            _ALARMS.c.raised_ms >= recall.since_ms,
            _ALARMS.c.alarm_id > recall.cursor,
        )
        .order_by(_ALARMS.c.alarm_id)
        .limit(recall.limit)
    )
    rows = connection.execute(query).all()
    records = [_decoded(row.alarm_id, row.body) for row in rows]
    cursor = rows[-1].alarm_id if len(rows) == recall.limit else None
    return Recalled(tuple(record for record in records if record is not None), cursor)


def _decoded(alarm_id: str, body: str) -> AlarmRecord | None:
    try:
        return msgspec.json.decode(body, type=AlarmRecord)
    except (msgspec.MsgspecError, ValueError) as error:
        # The others are whole. The post that holds it offers it again, and the row is replaced.
        log("journal_row_damaged", level="error", alarm=alarm_id, why=error)
        return None


def _prune(connection: sa.Connection, before_ms: int) -> None:
    old = sa.select(_ALARMS.c.alarm_id).where(~_ALARMS.c.live, _ALARMS.c.raised_ms < before_ms)
    connection.execute(sa.delete(_HISTORY).where(_HISTORY.c.alarm_id.in_(old)))
    connection.execute(sa.delete(_ALARMS).where(_ALARMS.c.alarm_id.in_(old)))


def _is_damage(error: Exception) -> bool:
    text = str(error)
    return "malformed" in text or "not a database" in text


def _why(error: Exception) -> str:
    """One line: SQLAlchemy's own text holds the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}"[:300]
