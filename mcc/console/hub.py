"""Follows the feed of changes and hands each to every open stream, in the order of the commits.

One task for the whole process; it reads the database only when something was committed. A stream
that cannot keep up is ended, never thinned: its browser comes back and asks for what it missed.
It decides nothing about who may see what; `mcc.console.stream` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec
import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections

from mcc.cases import picture
from mcc.cases.changes import CHANNEL, reading
from mcc.cases.models import Change, Process, Store
from process.log import log

POLL_S = 0.05
# How often the database is asked though nothing seems to have changed, and the pulse is given.
PULSE_S = 2.0
PROCESS_NAME = "site"
# The most streams at once, and the most items that wait for one of them.
STREAMS_MAX = 256
WAITING_MAX = 2_000
# A reader that is further behind than this takes the whole picture anew.
BACKLOG_MAX = 2_000


@dataclass(frozen=True)
class Step:
    """Something that is shown has become another: its present value as JSON.

    `post`: whose it is; None concerns everybody.
    """

    kind: str
    key: str
    post: str | None
    value: bytes


@dataclass(frozen=True)
class Steps:
    """What was committed together or shortly one after the other; `sequence` is the newest."""

    sequence: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Pulse:
    """That the site lives and what it knows of its neighbours.

    `processes` as in `mcc.cases.picture`; `database`: whether it answers.
    """

    sequence: int
    database: bool
    processes: Sequence[dict[str, Any]] = ()
    gateways: Sequence[dict[str, Any]] = ()


END: Final = "end"
Item = Steps | Pulse | str


class Subscriber:
    """One stream's queue. Only the loop's thread touches it."""

    def __init__(self) -> None:
        """Begin empty."""
        self._queue: asyncio.Queue[Item] = asyncio.Queue(WAITING_MAX)
        self._ended = False

    def offer(self, item: Item) -> None:
        """Put something in; one that is full is ended."""
        if self._ended:
            return
        if self._queue.full():
            self.end()
            return
        self._queue.put_nowait(item)

    def end(self) -> None:
        """Let the reader finish; what it had not taken, its browser asks for again."""
        self._ended = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(END)

    async def take(self) -> Item:
        """The next item."""
        return await self._queue.get()


class Watch(Protocol):
    """Tells when something may have been committed."""

    async def wait(self) -> None:
        """Return soon after a commit, and after `PULSE_S` at the latest.

        Raises:
            Exception: what the database raises.
        """

    async def close(self) -> None:
        """Let go of its connection."""


class SqliteWatch:
    """By `PRAGMA data_version`, on a connection of its own that writes nothing."""

    def __init__(self, file: str) -> None:
        """Open the file; it has to be there."""
        self._connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
        self._version = -1

    async def wait(self) -> None:
        """Ask for the number that every commit of another connection changes: microseconds."""
        until_s = time.monotonic() + PULSE_S
        while time.monotonic() < until_s:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._version = version
                return
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PostgresWatch:
    """By LISTEN, on a connection of its own."""

    def __init__(self, server: dict[str, str]) -> None:
        """Take NAME, USER, PASSWORD, HOST and PORT."""
        self._server = server
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def wait(self) -> None:
        """Wait for a word of the server."""
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                dbname=self._server["NAME"],
                user=self._server["USER"] or None,
                password=self._server["PASSWORD"] or None,
                host=self._server["HOST"] or None,
                port=self._server["PORT"] or None,
                autocommit=True,
            )
            await self._connection.execute(f"LISTEN {CHANNEL}")
            return
        # To the generator's own end: one that is left holds on to the connection.
        async for _word in self._connection.notifies(timeout=PULSE_S, stop_after=1):
            pass

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


def _watch() -> Watch:
    database = settings.MCC.database
    if database.file is not None:
        return SqliteWatch(str(database.file))
    return PostgresWatch(database.server)


@dataclass
class Hub:
    """The follower of the feed, and the streams that hang on it."""

    open_watch: Callable[[], Watch] = _watch
    sequence: int = 0
    # The last time (monotonic seconds) that it came round, database or not; feeds the watchdog.
    turned_s: float = 0.0
    _streams: set[Subscriber] = field(default_factory=set)
    _ending: bool = False
    _pulse: Pulse = Pulse(0, database=False)
    _store_id: str | None = None
    _began: bool = False

    def subscribe(self) -> Subscriber | None:
        """A new stream's queue; None when there are too many, or the process ends."""
        if self._ending or len(self._streams) >= STREAMS_MAX:
            return None
        one = Subscriber()
        self._streams.add(one)
        one.offer(self._pulse)
        return one

    def unsubscribe(self, one: Subscriber) -> None:
        """The stream is over."""
        self._streams.discard(one)

    def end(self) -> None:
        """End every stream and take no new one. Call it on the loop's thread."""
        self._ending = True
        for one in self._streams:
            one.end()

    async def follow(self) -> None:
        """Work until cancelled or ended. A database that does not answer is said in the pulse."""
        watch: Watch | None = None
        pulse_due_s = 0.0
        try:
            while not self._ending:
                self.turned_s = time.monotonic()
                try:
                    watch = watch or self.open_watch()
                    await watch.wait()
                    await self._look(with_pulse=time.monotonic() >= pulse_due_s)
                except Exception as error:  # noqa: BLE001 - whichever driver's; none may end it
                    log("database_silent", level="error", why=str(error))
                    self._pulse = Pulse(self.sequence, database=False)
                    if watch is not None:
                        with contextlib.suppress(Exception):
                            await watch.close()
                    watch = None
                    await asyncio.sleep(1.0)
                if time.monotonic() >= pulse_due_s:
                    pulse_due_s = time.monotonic() + PULSE_S
                    self._give(self._pulse)
        finally:
            if watch is not None:
                await watch.close()

    async def _look(self, *, with_pulse: bool) -> None:
        after = self.sequence if self._began else None
        found = await sync_to_async(_look)(after, with_pulse=with_pulse)
        restored = self._store_id not in (None, found.store_id)
        skipped = self._began and found.steps is None
        self._store_id, self.sequence, self._began = found.store_id, found.sequence, True
        if found.pulse is not None:
            self._pulse = found.pulse
        if restored or skipped:
            # Another database, or more than one look carries: everybody takes the whole anew.
            for one in self._streams:
                one.end()
        elif found.steps:
            self._give(Steps(found.sequence, found.steps))

    def _give(self, item: Item) -> None:
        for one in list(self._streams):
            one.offer(item)


@dataclass(frozen=True)
class _Found:
    sequence: int
    store_id: str | None
    steps: tuple[Step, ...] | None
    pulse: Pulse | None


def _look(after: int | None, *, with_pulse: bool) -> _Found:
    """What stands in the database now; on a thread of Django's."""
    try:
        if with_pulse:
            _beat()
        with reading():
            store = Store.objects.first()
            sequence = store.sequence if store else 0
            steps = None if after is None else steps_after(after, sequence)
            pulse = None
            if with_pulse:
                pulse = Pulse(sequence, True, picture.processes(), picture.gateways())
        return _Found(sequence, store.store_id if store else None, steps, pulse)
    finally:
        connections.close_all()


def _beat() -> None:
    """This process's own pulse, for those that supervise it."""
    at_ms = time.time_ns() // 1_000_000
    row, made = Process.objects.get_or_create(name=PROCESS_NAME, defaults={"at_ms": at_ms})
    if not made:
        row.beat, row.at_ms = row.beat + 1, at_ms
        row.save()


def steps_after(after: int, newest: int) -> tuple[Step, ...] | None:
    """The present values of all that has changed since `after`; None: take the whole anew.

    Call it inside `reading()`, so that the values are those of `newest`.
    """
    if after > newest or newest - after > BACKLOG_MAX:
        return None
    rows = list(
        Change.objects.filter(sequence__gt=after, sequence__lte=newest)
        .order_by("sequence")
        .values_list("kind", "key")
    )
    if len(rows) != newest - after:
        return None  # the feed's oldest lines are gone
    keys: dict[str, list[str]] = {}
    for kind, key in dict.fromkeys(rows):
        keys.setdefault(kind, []).append(key)
    return tuple(_steps(keys))


def _steps(keys: dict[str, list[str]]) -> Iterator[Step]:
    """A step for each key by kind. Pulses tell of processes; entries are looked up when they are
    shown."""
    alarms = picture.alarm_pictures(keys.get("alarm", ()))
    for key in keys.get("alarm", ()):
        value = alarms.get(key)
        yield Step("alarm", key, value["post"] if value else None, msgspec.json.encode(value))
    posts = picture.post_pictures(keys.get("post", ()))
    for key in keys.get("post", ()):
        yield Step("post", key, key, msgspec.json.encode(posts.get(key)))
    for kind, look in (
        ("gateway", picture.gateways),
        ("fault", picture.faults),
        ("store", _store),
        # The page asks who is on shift.
        ("shift", lambda: None),
    ):
        if kind in keys:
            yield Step(kind, "", None, msgspec.json.encode(look()))


def _store() -> dict[str, Any]:
    store = Store.objects.first()
    return {"store_id": store.store_id, "reason": store.reason} if store else {}
