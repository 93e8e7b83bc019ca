"""A core on its link and its store: used by `watch`, by the ingest of the site, and by a command
that finds no `watch`.

Nothing is decided here. The link and the outbox's reader only enqueue; one loop takes an event at
a time and carries the effects out. Commits run on that loop: a command centre whose disk hangs
stops beating, and the posts' lamps say so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcc.alarms import AlarmRecord
from mcc.core import (
    LINK,
    Commit,
    CommitFailed,
    Committed,
    Core,
    DocumentCleared,
    Memory,
    NewCommands,
    PostCleared,
    SendingRefused,
    Show,
)
from mcc.store import Sent, StoreUnavailable
from process.core import Drop, Log, Publish, Stop
from process.events import EventQueue
from process.intake import Intake
from process.link import Link, LinkSettings, PublishRefused, Received, Subscription, TlsFiles
from process.log import lines_lost, log, write_line
from process.loop import run, stop_on_signals
from process.notify import Notifier
from process.settings import Broker
from protocol.codec import encode
from protocol.messages import Command
from protocol.topics import Topics
from protocol.values import timestamp

QUEUE_LIMIT = 4096
QUEUE_RESERVED = 256  # for the link's state, commits and Stop: a flood of documents waits
KEEPALIVE_S = 15
OUTBOX_POLL_S = 0.02
STOP_S = 1.0
STOP_WITHIN_S = 1.5
COUNT_EVERY_US = 10_000_000  # a look at everything that is held


@dataclass(frozen=True)
class Now:
    """A moment, as `mcc.core.Now` wants it."""

    uptime_us: int
    wall_ms: int


class Clock:
    """This machine's clocks; the uptime goes on through suspension and is never stepped."""

    def now(self) -> Now:
        """This moment."""
        return Now(
            uptime_us=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000,
            wall_ms=time.time_ns() // 1_000_000,
        )


class Outbox(Protocol):
    """What the operators want sent, read on a thread of its own. Each raises StoreUnavailable."""

    def data_version(self) -> int:
        """A number (0 or more) that changes when another connection has committed."""

    def sending(self) -> Sequence[Command]:
        """The commands that no document and no refusal has ended, oldest first."""

    def sent(self, command_id: str) -> Sent | None:
        """One command and what became of it."""

    def close(self) -> None:
        """Let go of it."""


class DurableStore(Protocol):
    """What a session needs of a store: `mcc.store.Store`, or `mcc.cases.store.CaseStore`."""

    def claim(self) -> str:
        """Make sure of it; the `store_id`, another one when it is new or restored.

        Raises:
            StoreUnavailable: it cannot be written.
        """

    def load(self) -> Memory:
        """Everything that is open, the newest of what is closed, and the commands under way.

        Raises:
            StoreUnavailable: it cannot be read.
        """

    def commit(self, commit: Commit) -> tuple[AlarmRecord, ...]:
        """Put all of it on disk at once; returns the `fresh` alarms that were there already.

        Raises:
            StoreUnavailable: nothing of it is on disk.
        """

    def corrupt(self) -> bool:
        """Whether it was found damaged in use, so that the process must begin anew."""

    def outbox(self) -> Outbox:
        """A connection of its own for another thread; call it there.

        Raises:
            StoreUnavailable: it cannot be read.
        """


@dataclass(frozen=True)
class SessionStatus:
    """What a session says of itself; `alarms` by `kind/state`, `queues` by where a thing waits."""

    uptime_us: int
    link_up: bool
    alarms: dict[str, int]
    posts: dict[str, int]
    gateways: dict[str, int]
    queues: dict[str, int]
    refused: dict[str, int]
    connections: int
    lines_lost: int


class Metrics(Protocol):
    """Who shows figures of a session; called on its loop."""

    def committed(self, took_s: float) -> None:
        """A write is in the store."""

    def show(self, status: SessionStatus) -> None:
        """What is so now."""


class Session:
    """Holds the link for one console; the caller holds the store's link lock."""

    def __init__(
        self,
        store: DurableStore,
        broker: Broker,
        *,
        console: str,
        topics: Topics,
        watching: bool,
        show: Callable[[Show, str], None],
        tls: TlsFiles | None = None,
        keepalive_s: int = KEEPALIVE_S,
        pulse: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
    ) -> None:
        """Read the store. `show` puts a change on the screen, with the contract's time of now.

        `pulse` is called every 2 s by a loop that has found everything whole; `metrics` is told
        how long each commit took, and every 10 s what there is.

        Raises:
            StoreUnavailable: the store cannot be read or written.
        """
        self._store = store
        store.claim()
        self._queue = EventQueue(QUEUE_LIMIT, QUEUE_RESERVED)
        self._topics = topics
        self._clock = Clock()
        self._show = show
        self._pulse = pulse
        self._core = Core(store.load(), console=console, topics=topics, watching=watching)
        self._intake = Intake(
            topics, {("mcc", "alarms"), ("mcc", "posts"), ("mcc", "gateways"), ("mcc", "answers")}
        )
        self._link = Link(
            LINK,
            LinkSettings(broker, client_id=f"mcc-{console}", keepalive_s=keepalive_s, tls=tls),
            subscriptions=(
                Subscription(topics.mcc("answers", console), live_only=True),
                Subscription(topics.mcc("gateways", "+"), live_only=False),
                Subscription(topics.mcc("posts", "+"), live_only=False),
                Subscription(topics.mcc("alarms", "+"), live_only=False),
            ),
            will=lambda _connection: None,
            deliver=lambda event, droppable: self._queue.offer(event, droppable=droppable),
        )
        self._reader: _OutboxReader | None = None
        self._metrics = metrics
        self._counted_us: int | None = None

    def run(self, *, command_id: str | None = None, seconds: float | None = None) -> str | None:
        """Work until SIGTERM or Ctrl-C; with a command also until it is settled or time is over.

        Call from the main thread, once. Returns what was found broken, or None.
        """
        stop_on_signals(self._queue, within_s=STOP_WITHIN_S)
        self._reader = _OutboxReader(self._store, self._queue, command_id, seconds)
        notifier = Notifier.from_environment()
        try:
            for effect in self._core.begin(self._clock.now()):
                self._perform(effect)
            self._link.start()
            self._reader.start()
            notifier.ready("watching")
            return run(
                self._core,
                self._queue,
                self._clock,
                self._perform,
                read=self._read,
                watch=notifier.feeding(self._broken),
            )
        finally:
            notifier.stopping()
            self._reader.stop()
            self._link.stop(STOP_S)
            notifier.close()

    def reason(self) -> str:
        """Why nothing gets through, in words for an operator; empty when it does."""
        return self._core.reason()

    def _read(self, event: object) -> object | None:
        if isinstance(event, PublishRefused):
            return SendingRefused(event.topic, event.reason)
        if not isinstance(event, Received):
            return event
        if not event.payload:
            return self._cleared(event.topic)
        return self._intake.read(event)

    def _cleared(self, topic: str) -> DocumentCleared | PostCleared | None:
        try:
            address = self._topics.parse(topic)
        except ValueError:
            return None
        if address.what == "posts":
            return PostCleared(address.name, address.district)
        if address.what == "alarms":
            return DocumentCleared(address.name, address.district)
        return None

    def _perform(self, effect: object) -> None:
        match effect:
            case Publish(_, topic, message, retain, expiry_s):
                payload = b"" if message is None else encode(message)
                self._link.publish(topic, payload, retain=retain, expiry_s=expiry_s)
            case Drop(_, reason):
                self._link.drop(reason)
            case Commit():
                self._queue.offer(self._commit(effect), droppable=False)
            case Show():
                self._show(effect, timestamp(self._clock.now().wall_ms))
            case Log():
                write_line(effect)

    def _commit(self, commit: Commit) -> Committed | CommitFailed:
        began_s = time.monotonic()
        try:
            committed = Committed(self._store.commit(commit))
        except StoreUnavailable as error:
            return CommitFailed(str(error))
        if self._metrics is not None:
            self._metrics.committed(time.monotonic() - began_s)
        return committed

    def _broken(self) -> str | None:
        if not self._link.alive():
            return "the link's thread has died"
        if self._store.corrupt():
            return "the store is damaged"
        if self._reader is None or not self._reader.is_alive():
            return "the outbox's reader has died"
        self._pulse()
        if self._metrics is not None:
            now_us = self._clock.now().uptime_us
            if self._counted_us is None or now_us - self._counted_us >= COUNT_EVERY_US:
                self._counted_us = now_us
                self._metrics.show(self._status(now_us))
        return None

    def _status(self, now_us: int) -> SessionStatus:
        census = self._core.census()
        refused = {**self._intake.refusals, **self._link.counts.refusals}
        return SessionStatus(
            uptime_us=now_us,
            link_up=self._core.link_up,
            alarms=dict(census.alarms),
            posts=dict(census.posts),
            gateways=dict(census.gateways),
            queues={
                "events": self._queue.depth,
                "out": len(self._link.outbound),
                "commands": census.sending,
            },
            refused={**refused, "queue_full": self._queue.dropped},
            connections=self._link.counts.connections,
            lines_lost=lines_lost(),
        )


class _OutboxReader(threading.Thread):
    """Tells the loop what operators have put into the outbox, and when to stop for a command."""

    def __init__(
        self, store: DurableStore, queue: EventQueue, command_id: str | None, seconds: float | None
    ) -> None:
        super().__init__(name="outbox", daemon=True)
        self._store = store
        self._queue = queue
        self._command_id = command_id
        self._until_s = None if seconds is None else time.monotonic() + seconds
        self._ending = threading.Event()

    def stop(self) -> None:
        self._ending.set()
        if self.ident is not None:
            self.join(STOP_S)

    def run(self) -> None:
        outbox: Outbox | None = None
        seen = -1
        while not self._ending.is_set():
            try:
                outbox = outbox or self._store.outbox()
                version = outbox.data_version()
                if version != seen and self._tell(outbox):
                    seen = version
            except StoreUnavailable as error:
                log("outbox_unreadable", level="error", why=str(error))
                outbox, seen = None, -1
                self._ending.wait(1.0)
            if self._until_s is not None and time.monotonic() >= self._until_s:
                self._queue.offer(Stop(), droppable=False)
                break
            self._ending.wait(OUTBOX_POLL_S)
        self._ending.wait()
        if outbox is not None:
            outbox.close()

    def _tell(self, outbox: Outbox) -> bool:
        """Whether the loop has been told all that there is."""
        if self._command_id is not None:
            sent = outbox.sent(self._command_id)
            if sent is not None and sent.state != "sending":
                return self._queue.offer(Stop(), droppable=False)
        commands = outbox.sending()
        return not commands or self._queue.offer(NewCommands(commands), droppable=True)
