"""Model disks: what was committed stays, what was under way may or may not, and they fail.

Each does what the real store of its process does at the start and at each commit, as far as a core
can tell; what is on it is the truth that the checkers look at. It never loses a reported commit,
unless it is replaced by an older copy of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from device.core import Commit as PostCommit
from device.core import CommitFailed as PostCommitFailed
from device.core import Committed as PostCommitted
from device.core import Loaded
from device.held import Held
from gateway.core import (
    Commit,
    CommitFailed,
    Committed,
    Found,
    Lookup,
    LookupFailed,
    Recall,
    Recalled,
    RecallFailed,
)
from gateway.record import AlarmRecord
from mcc.alarms import AlarmRecord as MccRecord
from mcc.alarms import Verdict
from mcc.core import Commit as MccCommit
from mcc.core import CommitFailed as MccCommitFailed
from mcc.core import Committed as MccCommitted
from mcc.core import Memory
from protocol.messages import Command, MccGateway, MccPost
from protocol.values import wall_ms
from simulation.hosts import Weather
from simulation.timeline import SECOND_US, Timeline

Deliver = Callable[[object], None]
COPIES_MAX = 8
WRITE_BACK_US = 30 * SECOND_US  # Linux: dirty_expire_centisecs; only for a disk that does not sync


class Disk:
    """What all three have in common: the weather, and copies that can be put back."""

    def __init__(self, timeline: Timeline, name: str, rng: Random) -> None:
        """Empty and in order. Commits take 1 to 15 ms."""
        self.timeline = timeline
        self.name = name
        self.rng = rng
        self.weather: Weather = "ok"
        self.slow_us = 0
        self.replaced = 0
        self._copies: list[Any] = []
        self._blocked: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def latency_us(self) -> int:
        """How long a commit takes."""
        return self.rng.randrange(1_000, 15_000) + self.slow_us

    def set_weather(self, weather: Weather) -> None:
        """From here on commits succeed, fail at once, or hang until the weather changes."""
        self.weather = weather
        self.timeline.note(self.name, f"disk {weather}")
        if weather != "hanging":
            blocked, self._blocked = self._blocked, []
            for act, arguments in blocked:
                self.timeline.after(self.latency_us(), act, *arguments)

    def when_done(self, act: Callable[..., None], *arguments: Any) -> None:
        """Let this happen when the disk has come to it."""
        if self.weather == "hanging":
            self._blocked.append((act, arguments))
        else:
            self.timeline.after(self.latency_us(), act, *arguments)

    def copy(self) -> None:
        """Somebody makes a copy (a backup, an image of the card)."""
        self._copies.append(self._image())
        del self._copies[:-COPIES_MAX]

    def put_back(self) -> bool:
        """Replace the content by one of the copies; False when there is none. Process is dead."""
        if not self._copies:
            return False
        self._blocked.clear()
        chosen = self.rng.randrange(len(self._copies))
        self._restore(self._copies[chosen])
        # Older than what is there now, always: a copy that is newer is another life's.
        del self._copies[chosen + 1 :]
        self.replaced += 1
        return True

    def _image(self) -> Any:
        raise NotImplementedError

    def _restore(self, image: Any) -> None:
        raise NotImplementedError


class PostDisk(Disk):
    """The outbox of a post: see `device.outbox`."""

    def __init__(self, timeline: Timeline, name: str, rng: Random) -> None:
        """An empty outbox."""
        super().__init__(timeline, name, rng)
        self.rows: dict[str, Held] = {}
        self.ever: set[str] = set()  # what stood on this card at any time
        self.syncs = True
        self.unread = False  # it could not be read at the start
        self.damaged = False  # what the start will find
        self.found_damaged = False  # what the latest start has found
        self.on_commit: Callable[[dict[str, Held], PostCommit], None] = _nobody
        self._synced: dict[str, Held] = {}
        self._under_way: PostCommit | None = None

    def open(self, deliver: Deliver) -> Loaded:
        """What is held, oldest first; a disk that does not answer tells later, by `deliver`."""
        self.unread = self.weather != "ok"
        self.found_damaged = self.damaged and not self.unread
        if self.found_damaged:
            self.damaged = False
            return Loaded(tuple(self.rows.values()), "disk_replaced")
        if self.weather == "failing":
            return Loaded((), "disk_failing", unread=True)
        if self.weather == "hanging":
            self._under_way = None
            self.when_done(self._opened_late, deliver)
            return Loaded((), "disk_hanging", unread=True)
        return Loaded(tuple(self.rows.values()))

    def _opened_late(self, deliver: Deliver) -> None:
        if self.unread and self.weather == "ok":
            self.unread = False
            deliver(Loaded(tuple(self.rows.values())))

    def commit(self, commit: PostCommit, deliver: Deliver) -> None:
        """One transaction in the background."""
        self._under_way = commit
        self.when_done(self._done, commit, deliver)

    def _done(self, commit: PostCommit, deliver: Deliver) -> None:
        if self._under_way is not commit:
            return
        self._under_way = None
        if self.weather == "failing":
            deliver(PostCommitFailed(commit.write, "OSError: no space left on device"))
            return
        self._opened_late(deliver)
        self._apply(commit)
        deliver(PostCommitted(commit.write))

    def _apply(self, commit: PostCommit) -> None:
        self.on_commit(self.rows, commit)
        for held in commit.puts:
            self.rows[held.alarm_id] = held
            self.ever.add(held.alarm_id)
        for alarm_id in commit.deletes:
            self.rows.pop(alarm_id, None)
        if self.syncs:
            self._synced = dict(self.rows)
        else:
            self.timeline.after(WRITE_BACK_US, self.sync)

    def crash(self, *, power: bool) -> None:
        """What was under way is there as a whole or not at all."""
        commit, self._under_way = self._under_way, None
        self._blocked.clear()
        if power and not self.syncs:
            self.rows = dict(self._synced)
        elif commit is not None and self.weather != "failing" and self.rng.random() < 0.5:
            self._apply(commit)

    def sync(self) -> None:
        """The kernel writes back by itself, every now and then."""
        self._synced = dict(self.rows)

    def damage(self) -> None:
        """The file is corrupted; what of it is whole is found at the start."""
        self.rows = {key: held for key, held in self.rows.items() if self.rng.random() < 0.5}
        self._synced = dict(self.rows)
        self._copies.clear()
        self._blocked.clear()
        self.damaged = True
        self.replaced += 1

    def replace_by_new(self) -> None:
        """Another, empty card."""
        self.rows = {}
        self._synced = {}
        self.ever = set()
        self._copies.clear()
        self._blocked.clear()
        self.replaced += 1

    def _image(self) -> Any:
        return dict(self.rows)

    def _restore(self, image: Any) -> None:
        self.rows = dict(image)
        self._synced = dict(image)


class Journal(Disk):
    """The journal of a gateway: see `gateway.journal`."""

    def __init__(
        self, timeline: Timeline, name: str, rng: Random, new_id: Callable[[], str]
    ) -> None:
        """A new journal."""
        super().__init__(timeline, name, rng)
        self.rows: dict[str, AlarmRecord] = {}
        self.meta: dict[str, str] = {"journal_id": new_id(), "commits": "0"}
        self.lineage = 0
        self.damaged = False  # what the start will find
        self.faults: tuple[str, ...] = ()  # what the latest start has found
        self.on_commit: Callable[[dict[str, AlarmRecord], Commit], None] = _nobody
        self._new_id = new_id
        self._sidecar = 0
        self._queue: list[Commit | Lookup | Recall] = []
        self._writing: list[Commit] | None = None

    def open(self) -> tuple[str, list[AlarmRecord], dict[str, str], tuple[str, ...]]:
        """Journal id, live records, meta, faults."""
        self.faults = ()
        commits = int(self.meta["commits"])
        if self.damaged:
            self.damaged = False
            self.lineage += 1
            self.faults = ("journal_replaced",)
            self.timeline.note(self.name, f"set aside: journal {self.meta['journal_id'][-4:]}")
        elif commits < self._sidecar:
            self.meta["journal_id"] = self._new_id()
            self.lineage += 1
            self.faults = ("journal_restored",)
            self.timeline.note(self.name, f"restored: journal {self.meta['journal_id'][-4:]}")
        self._count()
        live = [record for record in self.rows.values() if record.live]
        live.sort(key=lambda record: wall_ms(record.raised.at))
        return self.meta["journal_id"], live, dict(self.meta), self.faults

    def damage(self) -> None:
        """The file is corrupted: the start sets it aside and begins a new journal."""
        self.rows = {}
        self.meta = {"journal_id": self._new_id(), "commits": "0"}
        self._copies.clear()
        self._blocked.clear()
        self.damaged = True
        self.replaced += 1

    def submit(self, request: Commit | Lookup | Recall, deliver: Deliver) -> None:
        """Write or read in the background; all that waits is one transaction."""
        self._queue.append(request)
        if self._writing is None:
            self._next(deliver)

    def crash(self) -> None:
        """What was under way is there as a whole or not at all."""
        writing, self._writing = self._writing, None
        self._queue.clear()
        self._blocked.clear()
        if writing and self.weather != "failing" and self.rng.random() < 0.5:
            self._apply(writing)

    def _next(self, deliver: Deliver) -> None:
        if self._queue:
            taken, self._queue = self._queue, []
            commits = [each for each in taken if isinstance(each, Commit)]
            questions = [each for each in taken if not isinstance(each, Commit)]
            self._writing = commits
            self.when_done(self._done, commits, questions, deliver)

    def _done(
        self, commits: list[Commit], questions: list[Lookup | Recall], deliver: Deliver
    ) -> None:
        if self._writing is not commits:
            return
        self._writing = None
        tokens = tuple(commit.token for commit in commits)
        if self.weather == "failing":
            if commits:
                deliver(CommitFailed(tokens, "OSError: no space left on device"))
        elif commits:
            deliver(Committed(tokens, tuple(self._apply(commits))))
        for question in questions:
            deliver(self._answer(question))
        if self._writing is None:
            self._next(deliver)

    def _apply(self, commits: list[Commit]) -> list[AlarmRecord]:
        existing = []
        for commit in commits:
            self.on_commit(self.rows, commit)
            for alarm_id in commit.deletes:
                self.rows.pop(alarm_id, None)
            for put in commit.puts:
                there = self.rows.get(put.record.alarm_id)
                if put.is_new and there is not None:
                    existing.append(there)
                else:
                    self.rows[put.record.alarm_id] = put.record
            self.meta.update(commit.meta)
        self._count()
        return existing

    def _count(self) -> None:
        commits = int(self.meta["commits"]) + 1
        self.meta["commits"] = str(commits)
        self._sidecar = commits

    def _answer(self, question: Lookup | Recall) -> object:
        if isinstance(question, Lookup):
            if self.weather == "failing":
                return LookupFailed(question.alarm_id, "OSError")
            return Found(question.alarm_id, self.rows.get(question.alarm_id))
        if self.weather == "failing":
            return RecallFailed("OSError")
        found = sorted(
            record.alarm_id
            for record in self.rows.values()
            if not record.live
            and record.alarm_id > question.cursor
            and wall_ms(record.raised.at) >= question.since_ms
        )
        page = found[: question.limit]
        cursor = page[-1] if len(page) == question.limit else None
        return Recalled(tuple(self.rows[one] for one in page), cursor)

    def _image(self) -> Any:
        return dict(self.rows), dict(self.meta)

    def _restore(self, image: Any) -> None:
        rows, meta = image
        self.rows, self.meta = dict(rows), dict(meta)


class MccDisk(Disk):
    """The store of the command centre: see `mcc.store`."""

    def __init__(
        self, timeline: Timeline, name: str, rng: Random, new_id: Callable[[], str]
    ) -> None:
        """A new store."""
        super().__init__(timeline, name, rng)
        self.alarms: dict[str, MccRecord] = {}
        self.selftests: dict[str, MccRecord] = {}  # by post
        self.posts: dict[str, MccPost] = {}
        self.gateways: dict[str, MccGateway] = {}
        self.outbox: dict[str, tuple[Command, Verdict | None]] = {}
        self.store_id = new_id()
        self.on_commit: Callable[[dict[str, MccRecord], MccCommit], None] = _nobody
        self._new_id = new_id
        self._sequence = 1
        self._sidecar = 1

    def claim(self) -> None:
        """A store that is an older copy of itself gets a new id."""
        if self._sequence < self._sidecar:
            self.store_id = self._new_id()
            self.timeline.note(self.name, f"restored: store {self.store_id[-4:]}")
        self._count()

    def load(self) -> Memory:
        """Everything that the core begins with."""
        return Memory(
            store_id=self.store_id,
            alarms=tuple(sorted(self.alarms.values(), key=lambda a: (a.is_open, a.raised.at))),
            posts=tuple(self.posts.values()),
            gateways=tuple(self.gateways.values()),
            commands=self.sending(),
        )

    def sending(self) -> tuple[Command, ...]:
        """The commands that nothing has ended."""
        return tuple(command for command, verdict in self.outbox.values() if verdict is None)

    def commit(self, commit: MccCommit) -> MccCommitted | MccCommitFailed:
        """On the loop of the process, which waits for it."""
        if self.weather == "failing":
            return MccCommitFailed("OSError: no space left on device")
        self.on_commit(self.alarms, commit)
        existing = []
        for alarm in commit.alarms:
            if alarm.alarm_id in commit.fresh and alarm.alarm_id in self.alarms:
                existing.append(self.alarms[alarm.alarm_id])
            else:
                self.alarms[alarm.alarm_id] = alarm
        self.selftests.update((one.post, one) for one in commit.selftests)
        self.posts.update((post.post, post) for post in commit.posts)
        self.gateways.update((one.gateway, one) for one in commit.gateways)
        for command_id, verdict in commit.verdicts:
            if command_id in self.outbox:
                self.outbox[command_id] = (self.outbox[command_id][0], verdict)
        self._count()
        return MccCommitted(tuple(existing))

    def add(self, command: Command) -> bool:
        """An operator's command; False when the store cannot be written."""
        if self.weather == "failing":
            return False
        self.outbox[command.command_id] = (command, None)
        self._count()
        return True

    def _count(self) -> None:
        self._sequence += 1
        self._sidecar = self._sequence

    def _image(self) -> Any:
        return (
            dict(self.alarms),
            dict(self.posts),
            dict(self.gateways),
            dict(self.outbox),
            self.store_id,
            self._sequence,
        )

    def _restore(self, image: Any) -> None:
        alarms, posts, gateways, outbox, self.store_id, self._sequence = image
        self.alarms, self.posts = dict(alarms), dict(posts)
        self.gateways, self.outbox = dict(gateways), dict(outbox)


def _nobody(_rows: Any, _commit: Any) -> None:
    """Nobody checks."""
