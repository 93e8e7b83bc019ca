"""Power fails while SQLite writes: its log ends anywhere, with garbage after it.

The log (WAL) of each of our three databases is cut at every 512 bytes, which is the smallest piece
that a disk writes as a whole, and filled up with garbage. Every commit whose bytes lie wholly
before the cut was synced before it was acknowledged and must be there on reopening; nothing of a
later one may be, and nothing may be half there.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest

from device.core import Commit as PostCommit
from device.core import Committed as PostCommitted
from device.held import repeat
from device.outbox import Outbox
from gateway.core import Commit as JournalCommit
from gateway.core import Committed as JournalCommitted
from gateway.core import Put
from gateway.journal import Journal
from gateway.record import history, new_record
from hardware.clock import Now
from mcc.alarms import record_of
from mcc.core import Commit as CentreCommit
from mcc.store import Store
from protocol.values import timestamp
from tests.device.rig import Rig as PostRig
from tests.gateway.rig import WALL_MS, make_alarm, some_id
from tests.mcc.rig import document

COMMITS = 5
SECTOR_BYTES = 512
SECTOR_BYTES_IN_SHORT = 2560  # at scale 1; not a divisor of a frame's 4120 bytes either
WAIT_S = 10.0
Contents = dict[str, bytes]  # alarm id -> what is held of it
Write = Callable[[int], None]


@dataclass(frozen=True)
class Cuttable:
    """One of our databases: `fill` makes commits and calls back after each, `read` reopens it."""

    name: str
    fill: Callable[[Path, Callable[[], None]], None]
    read: Callable[[Path], Contents]


def fill_outbox(path: Path, after_commit: Callable[[], None]) -> None:
    """Commit n writes alarm n, and alarm 0 with one more call."""
    events: SimpleQueue[object] = SimpleQueue()
    outbox = Outbox(path, events.put)
    outbox.open()
    rig = PostRig()
    rig.press3()
    held = first = rig.newest
    for n in range(COMMITS):
        alarm = msgspec.structs.replace(held.alarm, alarm_id=some_id(n + 1))
        first = repeat(first, None)
        puts = (msgspec.structs.replace(held, alarm=alarm), first)
        outbox.commit(PostCommit(n + 1, puts, (), ()))
        assert events.get(timeout=WAIT_S) == PostCommitted(n + 1)
        after_commit()
    outbox.close(WAIT_S)


def read_outbox(path: Path) -> Contents:
    """What a post would start with."""
    outbox = Outbox(path, lambda _: None)
    loaded = outbox.open()
    outbox.close(WAIT_S)
    assert loaded.fault is None, "a torn log is no damage"
    return {one.alarm_id: msgspec.json.encode(one) for one in loaded.held}


def fill_journal(path: Path, after_commit: Callable[[], None]) -> None:
    """Commit n writes alarm n, and alarm 0 with one more call."""
    events: SimpleQueue[object] = SimpleQueue()
    journal = Journal(f"sqlite:///{path}", events.put)
    journal.open()
    now = Now(1_000_000_000, WALL_MS, True)
    records = [new_record(make_alarm(1_000_000, some_id(n)), now, None) for n in range(COMMITS)]
    for n, record in enumerate(records):
        again = msgspec.structs.replace(records[0], repeats=n)
        rows = history(None, record, timestamp(WALL_MS))
        puts = (Put(record, True, rows), Put(again, False, ()))
        journal.submit(JournalCommit(n, puts))
        assert isinstance(events.get(timeout=WAIT_S), JournalCommitted)
        after_commit()
    journal.close(WAIT_S)


def read_journal(path: Path) -> Contents:
    """What a gateway would start with."""
    journal = Journal(f"sqlite:///{path}", lambda _: None)
    opened = journal.open()
    journal.close(WAIT_S)
    assert not {"journal_replaced", "journal_damaged"} & set(opened.faults), opened.faults
    return {one.alarm_id: msgspec.json.encode(one) for one in opened.records}


def fill_store(path: Path, after_commit: Callable[[], None]) -> None:
    """Commit n writes alarm n, and alarm 1 with one more call."""
    with Store(path) as store:
        store.claim()
        for n in range(1, COMMITS + 1):
            alarms = (record_of(document(n)), record_of(document(1, repeats=n)))
            store.commit(CentreCommit(alarms=alarms))
            after_commit()


def read_store(path: Path) -> Contents:
    """What a command centre would start with."""
    with Store(path) as store:
        store.claim()
        alarms = store.load().alarms
    assert not [*path.parent.glob("*.damaged-*")], "a torn log is no damage"
    return {one.alarm_id: msgspec.json.encode(one) for one in alarms}


CUTTABLE = [
    Cuttable("outbox", fill_outbox, read_outbox),
    Cuttable("journal", fill_journal, read_journal),
    Cuttable("store", fill_store, read_store),
]


@pytest.mark.parametrize("database", CUTTABLE, ids=lambda one: one.name)
def test_whatever_was_committed_before_the_cut_is_there_and_nothing_else(
    database: Cuttable, tmp_path: Path, scale: int
) -> None:
    path = tmp_path / "whole" / "our.db"
    path.parent.mkdir()
    wal = Path(f"{path}-wal")
    # A copy after each commit: where its bytes end, and what it looked like then.
    ends: list[int] = []
    copies: list[Path] = []

    def after_commit() -> None:
        ends.append(wal.stat().st_size)
        copy = tmp_path / f"after-{len(ends)}"
        copy.mkdir()
        for file in (path, wal):
            shutil.copyfile(file, copy / file.name)
        copies.append(copy)

    database.fill(path, after_commit)
    assert sorted(set(ends)) == ends, "the log began anew: too many commits for this test"
    log, main = (copies[-1] / wal.name).read_bytes(), (copies[-1] / path.name).read_bytes()
    assert all((copy / path.name).read_bytes() == main for copy in copies)
    states: list[Contents] = [{}, *(database.read(copy / path.name) for copy in copies)]
    assert len(states[-1]) >= COMMITS
    garbage = random.Random(database.name).randbytes(len(log))
    seen = set()
    step_bytes = SECTOR_BYTES if scale > 1 else SECTOR_BYTES_IN_SHORT
    for cut in range(0, len(log) + 1, step_bytes):
        torn = tmp_path / f"torn-{cut}"
        torn.mkdir()
        (torn / path.name).write_bytes(main)
        (torn / wal.name).write_bytes(log[:cut] + garbage[cut:])
        whole_commits = sum(end <= cut for end in ends)
        assert database.read(torn / path.name) == states[whole_commits], f"cut at {cut}"
        seen.add(whole_commits)
        shutil.rmtree(torn)
    assert seen >= set(range(COMMITS))
