"""The gateway's durable record of alarms, and the append-only history of their transitions.

SQLAlchemy Core, on a thread of its own. All commits that wait are written in one transaction, with
WAL and `synchronous=FULL` on SQLite and `synchronous_commit` on PostgreSQL: a commit that was
reported survives a power cut. It decides nothing: `core.py` says what to write, and what it means
when that fails. Nothing is ever said here before it is on disk.

On PostgreSQL two gateways may share one journal: `seat.py` says who writes, `lease.py` how long
that holds for what is said. A process that has lost the seat ends: its memory is old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from gateway import seat
from gateway.core import (
    ALARMS_MAX,
    Commit,
    CommitFailed,
    Committed,
    Found,
    Lookup,
    LookupFailed,
    Prune,
    Pruned,
    PruneFailed,
    Put,
    Recall,
    Recalled,
    RecallFailed,
)
from gateway.faults import RESTART_LOOP, Start, note_start, starts_too_often
from gateway.lease import PROVE_EVERY_US, Lease
from gateway.record import AlarmRecord
from process.database import (
    FILE_ERRORS,
    ForeignFile,
    found_corrupt,
    is_damage,
    note_corrupt,
    require_ours,
    set_aside,
)
from process.log import log, masked
from process.restored import SEQUENCE_MAX
from process.restored import Sequence as CommitSequence
from protocol.states import RANK
from protocol.values import UUID_PATTERN, new_id, wall_ms

SCHEMA = "0002"  # the newest of gateway/migrations/versions
SCHEMA_BEFORE_ALEMBIC = "0001"
PUTS_PER_TRANSACTION_MAX = 1_000
# Rows of one alarm's history; beyond them only the states it reaches are written.
HISTORY_ROWS_MAX = 500
SETTLED_STORED_MAX = 1_000_000  # the oldest beyond this are pruned, whatever a clock says
WAL_BYTES_MAX = 16 * 1024 * 1024  # what is left of it after a checkpoint
BUSY_TIMEOUT_S = 1.0

_UUID = re.compile(UUID_PATTERN)
_ERRORS = (sa.exc.SQLAlchemyError, *FILE_ERRORS, seat.SeatTaken, seat.NotDurable)

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
    sa.Column("settled_at", sa.Text, index=True),
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

Question = Lookup | Recall | Prune


def _uptime_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


Request = Commit | Question


class JournalUnusable(Exception):
    """The journal cannot be opened at all; the message says why."""


class _Damaged(Exception):
    """The file is readable and wrong."""


@dataclass(frozen=True)
class Opened:
    """What the journal held: `records` are those about which something is still to be said."""

    journal_id: str
    records: tuple[AlarmRecord, ...]
    meta: dict[str, str]
    faults: tuple[str, ...]


class Journal:
    """One database, one thread. `submit` hands over; outcomes go to `deliver` as events."""

    def __init__(
        self,
        url: str,
        deliver: Callable[[object], None] = lambda _: None,
        *,
        uptime_us: Callable[[], int] = _uptime_us,
    ) -> None:
        """Take `sqlite:///path` or `postgresql+psycopg://…`; touches nothing yet.

        Raises:
            JournalUnusable: the URL cannot be read.
        """
        self._url = url
        self.deliver = deliver
        self._path = file_of(url)
        # A file has one process and no lease: the operating system sees to that.
        self.lease = None if self._path is not None else Lease(uptime_us)
        self._epoch: str | None = None  # of our own opening; None: not opened yet
        self._lost: str | None = None
        self._failing = False  # as the core knows it from us
        self._server_faults: tuple[str, ...] = ()
        # The last transaction was reported as failed and is there all the same.
        self._repeats = False
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._sequence: CommitSequence | None = None
        self._lock_file: int | None = None
        self._commits = 0
        self._start: Start | None = None
        self._corrupt = False
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

    def open(self, start: Start | None = None) -> Opened:
        """Open or make the database, read what is live, and start the thread.

        A damaged file is set aside and a new journal begun. A file that is an older copy of itself
        gets a new `journal_id`, which voids the receipts in it. `start`: the start of a gateway's
        process, which is remembered; with too many of them that is a fault.

        Raises:
            JournalUnusable: it cannot be opened, another process has it, it is of a newer
                version, or it is no journal at all.
        """
        faults: list[str] = []
        self._start = start
        try:
            self._claim()
            try:
                meta, rows = self._read(self._connect(), faults)
            except (*_ERRORS, _Damaged) as error:
                if self._path is None or not _is_damage(error):
                    raise
                self._set_aside(self._path, error)
                faults = ["journal_replaced"]
                meta, rows = self._read(self._connect(), faults)
        except (*_ERRORS, seat.SeatLost, ImportError) as error:
            self._release()
            raise JournalUnusable(
                f"the journal {masked(self._url)} cannot be used: {_why(error)}"
            ) from error
        except JournalUnusable:
            self._release()
            raise
        # A server ends a session that says nothing: the thread speaks while we read the rows.
        self._thread.start()
        records = [_decoded(row.alarm_id, row.body) for row in rows]
        kept = tuple(record for record in reversed(records) if record is not None)
        if len(kept) < len(records):
            faults.append("journal_damaged")
        return Opened(meta["journal_id"], kept, meta, tuple(faults))

    def wait_for_seat(self) -> tuple[bool, str | None]:
        """Try once to take the seat at a journal on PostgreSQL: whether it is ours, and its id.

        None: it has no id yet. Call `open` or this again within a second, in either case: the
        session lives from being used. Who has the seat may take it again.

        Raises:
            JournalUnusable: it cannot be reached, or it will not do.
        """
        try:
            if self._connection is None:
                self._connection = self._new_engine().connect()
            with self._connection.begin():
                is_ours = True
                try:
                    seat.take(self._connection)
                except seat.SeatTaken:
                    is_ours = False
                return is_ours, seat.lasting(self._connection).get("journal_id")
        except (*_ERRORS, ImportError) as error:
            self._disconnect()
            raise JournalUnusable(
                f"the journal {masked(self._url)} cannot be used: {_why(error)}"
            ) from error

    def _claim(self) -> None:
        """Two gateways on one journal would each believe that they know every alarm."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            require_ours(self._path, ".seq", ".lock")
        except ForeignFile as error:
            raise JournalUnusable(str(error)) from None
        lock = self._path.with_name(self._path.name + ".lock")
        self._lock_file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalUnusable(f"another process has the journal {self._path} open") from None

    def _connect(self) -> bool:
        """Connect and bring the tables up to date; whether they had to be made."""
        # One that has waited for the seat has its session, and holds it.
        connection, self._connection = self._connection, None
        if connection is None:
            connection = self._new_engine().connect()
        try:
            if self._path is None:
                self._sit_down(connection)
            with connection.begin():
                tables = frozenset(sa.inspect(connection).get_table_names())
                is_new = "meta" not in tables
                self._bring_up(connection, tables)
                if is_new:
                    first = {"journal_id": new_id(), "commits": "0"}
                    self._put_meta.run(connection, _meta_rows(first))
            if not is_new and self._path is not None:
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                connection.rollback()
                if found_corrupt(self._path):
                    verdict = "a commit found it so"
                if verdict != "ok":
                    raise _Damaged(str(verdict))
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return is_new

    def _new_engine(self) -> sa.Engine:
        if self._engine is None:
            self._engine = _engine(self._url, self._path, self._told_of_server)
        return self._engine

    def _told_of_server(self, faults: tuple[str, ...]) -> None:
        self._server_faults = faults

    def _sit_down(self, connection: sa.Connection) -> None:
        """Take the seat; when we had it before, only as long as nobody was there meanwhile.

        Raises:
            SeatTaken: not now.
            SeatLost: somebody was.
        """
        with connection.begin():
            lasting = seat.lasting(connection) if self._epoch is not None else {}
            if lasting.get("epoch") != self._epoch:
                raise seat.SeatLost("another gateway has taken over the journal")
            seat.take(connection)
            if self._epoch is None:
                assert self.lease is not None
                self.lease.taken()
                return
            lasting = seat.lasting(connection)
        since = _number(lasting.get("commits", "")) - self._commits
        if lasting.get("epoch") != self._epoch or since not in (0, 1):
            raise seat.SeatLost("another gateway has taken over the journal")
        # The connection broke while the server committed: what was reported as failed is there.
        self._repeats = since == 1
        self._commits += since

    def _bring_up(self, connection: sa.Connection, tables: frozenset[str]) -> None:
        """Let Alembic run what a journal of an older version lacks, in the open transaction.

        Raises:
            JournalUnusable: it is of a newer version; it was not touched.
        """
        version = None
        if "alembic_version" in tables:
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        elif "meta" in tables:
            version = SCHEMA_BEFORE_ALEMBIC
        if version == SCHEMA:
            return
        from gateway import migrations  # brings Alembic, which a journal of today does not need

        if not migrations.bring_up(connection, version):
            raise JournalUnusable(
                f"the journal {masked(self._url)} is of schema {version};"
                f" this gateway knows {SCHEMA}"
            )
        log("journal_migrated", before=version, now=SCHEMA)

    def _read(self, is_new: bool, faults: list[str]) -> tuple[dict[str, str], Sequence[Any]]:
        connection = self._connection
        assert connection is not None
        asked_us = 0 if self.lease is None else self.lease.now_us()
        with connection.begin():
            # On PostgreSQL this waits for a transaction that another gateway had begun, and bars
            # the next one: what is read here is what stays.
            everything = sa.select(_META).with_for_update()
            meta = {row.key: row.value for row in connection.execute(everything)}
            for table in (_ALARMS, _HISTORY):
                connection.execute(sa.select(table).limit(1)).all()  # every column by its name
            if not _UUID.fullmatch(meta.get("journal_id", "")):
                raise _Damaged("it has no id")
            self._commits = _number(meta.get("commits", ""))
            if self._is_restored(is_new):
                faults.append("journal_restored")
                meta["journal_id"] = new_id()
                log("journal_restored", level="error", journal_id=meta["journal_id"])
            self._commits += 1
            meta["commits"] = str(self._commits)
            if self._start is not None:
                meta["starts"] = note_start(meta.get("starts", ""), self._start)
                if starts_too_often(meta["starts"]):
                    faults.append(RESTART_LOOP)
            if self.lease is not None:
                meta["epoch"] = new_id()
            self._put_meta.run(connection, _meta_rows(meta))
            live = sa.select(_ALARMS.c.alarm_id, _ALARMS.c.body).where(_ALARMS.c.live)
            # Were there ever more than the core takes: the newest.
            live = live.order_by(_ALARMS.c.raised_ms.desc()).limit(ALARMS_MAX)
            rows = connection.execute(live).all()
        self._note()
        if self.lease is not None:
            self._epoch = meta["epoch"]
            self.lease.proven(asked_us)
            faults += self._server_faults
        return meta, rows

    def _is_restored(self, is_new: bool) -> bool:
        if self._path is None:
            return False
        if self._sequence is not None:
            self._sequence.close()
        # A sidecar beside a new file belongs to one that is gone, which somebody must hear of.
        self._sequence = CommitSequence.open(self._path)
        return self._sequence.is_behind(self._commits, is_new)

    def _set_aside(self, path: Path, error: Exception) -> None:
        self._disconnect()
        aside = set_aside(path)
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

    @property
    def lost(self) -> str | None:
        """Why this process may not go on: another gateway has the journal now."""
        return self._lost

    def _run(self) -> None:
        going = True
        while going:
            commits: list[Commit] = []
            questions: list[Question] = []
            try:
                request = self._work.get(timeout=self._patience_s)
            except queue.Empty:
                self._prove()
                going = self._lost is None
                continue
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
                self.deliver(self._write(commits))
            for question in questions:
                self.deliver(self._answer(question))
            self._prove()
            # What dies with it is the process, and the next one begins with what is there.
            going = going and not self._corrupt and self._lost is None
        self._disconnect()
        self._release()

    @property
    def _patience_s(self) -> float | None:
        return None if self.lease is None else PROVE_EVERY_US / 1_000_000

    def _prove(self) -> None:
        """Ask the server whether the seat is still ours, if that was not asked just now.

        A server that is gone is told of like a commit that failed: lamps must not wait for an alarm
        to find out.
        """
        if self.lease is None or self._lost is not None or not self.lease.due():
            return
        asked_us = self.lease.now_us()
        try:
            connection = self._connected()
            with connection.begin():
                assert self._epoch is not None
                if not seat.is_held(connection, self._epoch):
                    raise seat.SeatLost("another gateway has taken over, or a pooler is between")
        except seat.SeatLost as error:
            self._lose(error)
        except _ERRORS as error:
            self._fail(error)
            if not self._failing:
                self._failing = True
                self.deliver(CommitFailed((), _why(error)))
        else:
            self.lease.proven(asked_us)
            if self._failing:
                self._failing = False
                self.deliver(Committed(()))

    def _lose(self, error: seat.SeatLost) -> None:
        self._lost = str(error)
        log("seat_lost", level="error", why=error)
        self._disconnect()

    def _write(self, commits: list[Commit]) -> Committed | CommitFailed:
        tokens = tuple(commit.token for commit in commits)
        asked_us = 0 if self.lease is None else self.lease.now_us()
        try:
            existing = self._transact(commits)
        except seat.SeatLost as error:
            self._lose(error)
            return CommitFailed(tokens, str(error))
        except _ERRORS as error:
            self._fail(error)
            self._failing = True
            return CommitFailed(tokens, _why(error))
        self._failing = False
        if self.lease is not None:
            self.lease.proven(asked_us)
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
            if self._path is None:
                seat.advance(connection, self._commits)
            for commit in commits:
                if commit.deletes:
                    _delete(connection, commit.deletes)
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
                history += _fitting(connection, put, again=self._repeats)
            if history:
                self._add_history.run(connection, history)
            self._put_meta.run(connection, _meta_rows(meta))
        self._commits += 1
        self._repeats = False
        return existing

    def _answer(self, question: Question) -> object:
        # A pruning writes: one that has lost the seat must delete nothing.
        counts = self._path is None and isinstance(question, Prune)
        try:
            connection = self._connected()
            with connection.begin():
                if counts:
                    seat.advance(connection, self._commits)
                answer = _answered(connection, question)
            self._commits += counts
            return answer
        except (*_ERRORS, seat.SeatLost) as error:
            if isinstance(error, seat.SeatLost):
                self._lose(error)
            else:
                self._fail(error)
            if isinstance(question, Lookup):
                return LookupFailed(question.alarm_id, _why(error))
            if isinstance(question, Prune):
                return PruneFailed(_why(error))
            return RecallFailed(_why(error))

    def _fail(self, error: Exception) -> None:
        self._disconnect()
        if self._path is not None and note_corrupt(self._path, _cause(error)):
            self._corrupt = True

    def _connected(self) -> sa.Connection:
        if self._connection is None and self._connect():
            # What this process believes to be on disk is not: it ends, and its next start says so.
            self._corrupt = True
            raise FileNotFoundError("the journal's file was taken away")
        assert self._connection is not None
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_ERRORS):
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


def file_of(url: str) -> Path | None:
    """The file of an SQLite URL; None for a server.

    Raises:
        JournalUnusable: the URL cannot be read.
    """
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    try:
        sa.make_url(url)
    except (sa.exc.SQLAlchemyError, ValueError) as error:
        why = f"the journal {masked(url)} cannot be used: {_why(error)}"
        raise JournalUnusable(why) from error
    return None


def _answered(connection: sa.Connection, question: Question) -> Found | Pruned | Recalled:
    if isinstance(question, Lookup):
        return Found(question.alarm_id, _select(connection, question.alarm_id))
    if isinstance(question, Prune):
        return Pruned(_prune(connection, question))
    return _page(connection, question)


def _engine(url: str, path: Path | None, told: Callable[[tuple[str, ...]], None]) -> sa.Engine:
    """`told`: the faults of a server that can be lived with."""
    if path is None:
        engine = sa.create_engine(url, poolclass=NullPool, connect_args=seat.connect_args())

        @sa.event.listens_for(engine, "connect")
        def _on_session(connection: Any, _record: object) -> None:
            told(seat.settle(connection.cursor()))
            connection.commit()

        return engine
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
            f"journal_size_limit={WAL_BYTES_MAX}",
            # The log may end with commits that were never synced, by a process that was killed or
            # by an fsync that failed: nothing is written after them before they are on the disk.
            "wal_checkpoint(TRUNCATE)",
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


def _decoded(alarm_id: str, body: object) -> AlarmRecord | None:
    try:
        text = body if isinstance(body, bytes | str) else b""
        return msgspec.json.decode(text, type=AlarmRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # The others are whole. The post that holds it offers it again, and the row is replaced.
        log("journal_row_damaged", level="error", alarm_id=alarm_id, why=error)
        return None


def _fitting(connection: sa.Connection, put: Put, *, again: bool) -> list[dict[str, object]]:
    """The rows of its history that have a place: a state always has one.

    `again`: some may be there already.
    """
    rows = [_history_row(one) for one in put.history]
    if again:
        there = sa.select(_HISTORY.c.what).where(_HISTORY.c.alarm_id == put.record.alarm_id)
        known = set(connection.execute(there).scalars()) & RANK.keys()
        rows = [row for row in rows if row["what"] not in known]
    if all(row["what"] in RANK for row in rows):
        return rows
    query = sa.select(sa.func.count()).where(_HISTORY.c.alarm_id == put.record.alarm_id)
    room = HISTORY_ROWS_MAX - connection.execute(query).scalar_one()
    return [row for place, row in enumerate(rows) if place < room or row["what"] in RANK]


def _prune(connection: sa.Connection, prune: Prune) -> int:
    """Delete the oldest that are over; how many. What is not settled has no time, and stays."""
    over = (~_ALARMS.c.live, _ALARMS.c.state == "resolved", _ALARMS.c.settled_at.is_not(None))
    newest_first = _ALARMS.c.settled_at.desc()
    beyond = (
        sa.select(_ALARMS.c.settled_at)
        .where(*over)
        .order_by(newest_first)
        .limit(1)
        .offset(SETTLED_STORED_MAX - 1)
    )
    moments = [prune.before, connection.execute(beyond).scalar_one_or_none()]
    before = max((one for one in moments if one is not None), default=None)
    if before is None:
        return 0
    old = (
        sa.select(_ALARMS.c.alarm_id)
        .where(*over, _ALARMS.c.settled_at < before)
        .order_by(_ALARMS.c.settled_at)
        .limit(prune.limit)
    )
    ids = list(connection.execute(old).scalars())
    _delete(connection, ids)
    return len(ids)


def _delete(connection: sa.Connection, alarm_ids: list[str] | tuple[str, ...]) -> None:
    connection.execute(sa.delete(_HISTORY).where(_HISTORY.c.alarm_id.in_(alarm_ids)))
    connection.execute(sa.delete(_ALARMS).where(_ALARMS.c.alarm_id.in_(alarm_ids)))


def _number(digits: str) -> int:
    """The number of the newest commit; 0 where that cannot be read, which looks restored."""
    return min(int(digits), SEQUENCE_MAX - 1) if digits.isdecimal() else 0


def _cause(error: Exception) -> BaseException:
    """What the driver said, without SQLAlchemy's words around it."""
    cause: BaseException | None = getattr(error, "orig", None)
    return cause or error


def _is_damage(error: Exception) -> bool:
    return isinstance(error, _Damaged) or is_damage(_cause(error))


def _why(error: Exception) -> str:
    """One line: SQLAlchemy's own text holds the statement and its values."""
    cause = _cause(error)
    return f"{type(cause).__name__}: {cause}"[:300]
