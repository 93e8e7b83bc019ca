"""Damaged database files of post, gateway and command centre: opened, written, opened again.

Whatever a disk gives back, the process has a database that works afterwards: this one, or a new
one with the damaged one beside it. Refused is only what says that a newer program wrote it.
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random

from device.core import Commit as PostCommit
from device.core import Committed as PostCommitted
from device.core import Loaded, RingEvent
from device.outbox import Outbox
from gateway.core import Committed
from gateway.journal import JournalUnusable
from mcc.alarms import record_of
from mcc.core import Commit as CentreCommit
from mcc.store import Store, StoreUnavailable
from process.database import SET_ASIDE_MAX
from tests.device.test_outbox import held, with_id
from tests.gateway.rig import some_id
from tests.gateway.test_journal import Room, dead, record
from tests.mcc import rig as centre

PAGE = 4096
WAIT_S = 20.0
ROWS = 60


@dataclass(frozen=True)
class _Kind:
    """One of the three databases. `use`: open, write, close; True: refused as of a newer one."""

    name: str
    fill: Callable[[Path], None]
    use: Callable[[Path], bool]


def run(seed: int, count: int, directory: Path) -> Counter[str]:
    """Spoil and use `count` files of each kind.

    Raises:
        AssertionError: a database did not work after it was opened.
        Exception: whatever opening or writing raised.
    """
    chance = Random(seed)
    counts: Counter[str] = Counter()
    for kind in (_OUTBOX, _JOURNAL, _STORE):
        closed = directory / f"{kind.name}-closed"
        closed.mkdir()
        kind.fill(closed / "some.db")
        place = directory / kind.name
        for _ in range(count):
            _put_back(chance.choice((closed, _in_use(closed))), place)
            _spoil(place / "some.db", chance)
            counts[f"{kind.name} files"] += 1
            if kind.use(place / "some.db"):
                counts[f"{kind.name} refused as newer"] += 1
                continue
            aside = list(place.glob("some.db.damaged-[0-9]"))
            counts[f"{kind.name} set aside"] += bool(aside)
            assert len(aside) <= SET_ASIDE_MAX
            # What was written before is there, and whole, without another one set aside.
            assert not kind.use(place / "some.db")
            assert list(place.glob("some.db.damaged-[0-9]")) == aside
    return counts


def _put_back(whole: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)


def _spoil(path: Path, chance: Random) -> None:
    """One to three changes to the file, its WAL or its sidecar, as disks and cards make them."""
    for _ in range(chance.randint(1, 3)):
        suffix = chance.choice(("", "", "", "-wal", ".seq"))
        file = Path(f"{path}{suffix}")
        if not file.exists():
            file = path
        spoilt = bytearray(file.read_bytes())
        if not spoilt:
            continue
        at = chance.randrange(len(spoilt))
        page = at - at % PAGE
        match chance.randrange(9):
            case 0:
                for _ in range(chance.choice((1, 1, 8, 64))):
                    spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
            case 1:
                del spoilt[at:]
            case 2:
                spoilt[page : page + PAGE] = bytes(len(spoilt[page : page + PAGE]))
            case 3:
                spoilt[page : page + PAGE] = chance.randbytes(len(spoilt[page : page + PAGE]))
            case 4:
                other = chance.randrange(len(spoilt) // PAGE + 1) * PAGE
                spoilt[page : page + PAGE] = spoilt[other : other + PAGE]
            case 5:
                # A field of SQLite's header: sizes, counters, encoding, versions.
                field = chance.randrange(16, 97)
                spoilt[field : field + 4] = struct.pack(">I", chance.choice((0, 1, 7, 2**31, 512)))
            case 6:
                # The bodies of rows and the words of the schema, which no checksum guards.
                start = spoilt.find(chance.choice((b'"post"', b"CREATE", b"alarm", b"state")), at)
                if start >= 0:
                    spoilt[start] ^= 1 << chance.randrange(8)
            case 7:
                spoilt += chance.randbytes(chance.randrange(1, 3 * PAGE))
            case _:
                spoilt[at : at + 512] = chance.randbytes(len(spoilt[at : at + 512]))
        file.write_bytes(spoilt)


def _fill_outbox(path: Path) -> None:
    events: SimpleQueue[object] = SimpleQueue()
    outbox = Outbox(path, events.put)
    outbox.open()
    one = held()
    ring = tuple(RingEvent("2026-01-01T00:00:00.000Z", n, "press") for n in range(200))
    outbox.commit(PostCommit(1, tuple(with_id(one, n) for n in range(16)), (), ring))
    assert events.get(timeout=WAIT_S) == PostCommitted(1)
    _copy_in_use(path)
    outbox.close(WAIT_S)


def _use_outbox(path: Path) -> bool:
    events: SimpleQueue[object] = SimpleQueue()
    outbox = Outbox(path, events.put)
    loaded = outbox.open()
    if loaded.fault == "disk_failing":
        outbox.close(WAIT_S)
        assert struct.unpack(">I", path.read_bytes()[60:64])[0] > 1, "not of a newer firmware"
        return True
    done: object = None
    for write in (1, 2):  # the first may find what no check has seen; the second never
        outbox.commit(PostCommit(write, (with_id(held(), 99),), (), ()))
        done = events.get(timeout=WAIT_S)
        while isinstance(done, Loaded):
            done = events.get(timeout=WAIT_S)
        if done == PostCommitted(write):
            break
    outbox.close(WAIT_S)
    assert isinstance(done, PostCommitted), (done, loaded.fault)
    return False


def _fill_journal(path: Path) -> None:
    room = Room(path.parent, path.name)
    room.open()
    for n in range(0, ROWS, 10):
        room.commit(*(record(some_id(n + m)) for m in range(5)))
        room.commit(*(dead(some_id(n + m)) for m in range(5, 10)))
        room.event()
    _copy_in_use(path)
    room.close()


def _use_journal(path: Path) -> bool:
    done: object = None
    for _ in range(2):  # as in a process that ends and is started again
        room = Room(path.parent, path.name)
        try:
            room.open()
        except JournalUnusable as error:
            if "is of schema" in str(error):
                return True
            raise
        room.commit(record(some_id(9_000)), is_new=False)
        done = room.event()
        room.close()
        if isinstance(done, Committed):
            break
    assert isinstance(done, Committed), done
    return False


def _fill_store(path: Path) -> None:
    with Store(path) as store:
        store.claim()
        for n in range(1, ROWS):
            shown = centre.document(n, "resolved" if n % 2 else "received")
            store.commit(CentreCommit(alarms=(record_of(shown),), posts=(centre.post(),)))
        store.add(centre.command(500, "acknowledge"))
        _copy_in_use(path)


def _use_store(path: Path) -> bool:
    why = ""
    for _ in range(2):  # as in a process that ends and is started again
        try:
            with Store(path) as store:
                store.claim()
                store.load()
                store.commit(CentreCommit(alarms=(record_of(centre.document(9_000)),)))
                assert any(one.alarm_id == centre.uid(9_000) for one in store.load().alarms)
            return False
        except StoreUnavailable as error:
            why = str(error)
            if "of version" in why:
                return True
    raise AssertionError(why)


def _in_use(closed: Path) -> Path:
    """Where the files lie as they were before the last close: with all its commits in the WAL."""
    return closed.with_name(closed.name + "-not")


def _copy_in_use(path: Path) -> None:
    copy = _in_use(path.parent)
    copy.mkdir()
    for part in path.parent.iterdir():
        if not part.name.endswith("-shm"):
            shutil.copy(part, copy / part.name)


_OUTBOX = _Kind("outbox", _fill_outbox, _use_outbox)
_JOURNAL = _Kind("journal", _fill_journal, _use_journal)
_STORE = _Kind("store", _fill_store, _use_store)
