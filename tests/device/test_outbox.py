"""The outbox on a real file: what was acknowledged is there after anything."""

from __future__ import annotations

import queue
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device.core import RING_EVENTS_MAX, Commit, CommitFailed, Committed, RingEvent
from device.held import Held
from device.outbox import Outbox
from tests.device.rig import Rig

Events = queue.SimpleQueue[object]


def held() -> Held:
    rig = Rig()
    rig.press3()
    return rig.newest


def with_id(one: Held, n: int) -> Held:
    import msgspec

    alarm = msgspec.structs.replace(one.alarm, alarm_id=f"{n:08x}-0000-4000-8000-000000000000")
    return msgspec.structs.replace(one, alarm=alarm)


def opened(path: Path) -> tuple[Outbox, Events, list[Held], str | None]:
    events: Events = queue.SimpleQueue()
    outbox = Outbox(path, events.put)
    loaded, fault = outbox.open()
    return outbox, events, loaded, fault


def test_what_was_committed_is_loaded_again_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "post.db"
    outbox, events, _, fault = opened(path)
    assert fault is None
    both = [with_id(held(), n) for n in (2, 1)]
    outbox.commit(Commit(1, (both[0],), (), ()))
    outbox.commit(Commit(2, (both[1],), (), ()))
    outbox.commit(Commit(3, (both[0],), (), ()))  # written again: still the older one
    assert [events.get(timeout=5) for _ in range(3)] == [Committed(1), Committed(2), Committed(3)]
    outbox.close(5)
    assert opened(path)[2] == both


def test_what_was_deleted_is_gone(tmp_path: Path) -> None:
    outbox, events, _, _ = opened(tmp_path / "post.db")
    one = held()
    outbox.commit(Commit(1, (one,), (), ()))
    outbox.commit(Commit(2, (), (one.alarm_id,), ()))
    events.get(timeout=5)
    events.get(timeout=5)
    outbox.close(5)
    assert opened(tmp_path / "post.db")[2] == []


def test_the_ring_keeps_its_last_500_events(tmp_path: Path) -> None:
    outbox, events, _, _ = opened(tmp_path / "post.db")
    for write in range(1, 8):
        ring = tuple(
            RingEvent("2026-01-01T00:00:00.000Z", write * 1000 + n, "press") for n in range(100)
        )
        outbox.commit(Commit(write, (), (), ring))
        assert events.get(timeout=5) == Committed(write)
    outbox.close(5)
    with sqlite3.connect(tmp_path / "post.db") as database:
        count, first = database.execute("SELECT count(*), min(uptime_ms) FROM ring").fetchone()
    assert count == RING_EVENTS_MAX
    assert first == 3000


def test_a_full_sync_is_asked_of_the_disk(tmp_path: Path) -> None:
    outbox, _, _, _ = opened(tmp_path / "post.db")
    assert outbox._connection is not None
    assert outbox._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert outbox._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    outbox.close(5)


@pytest.mark.parametrize("damage", ["garbage", "zeroed page", "row"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "post.db"
    outbox, events, _, _ = opened(path)
    outbox.commit(Commit(1, (held(),), (), ()))
    events.get(timeout=5)
    outbox.close(5)
    if damage == "garbage":
        path.write_bytes(b"not a database" * 500)
    elif damage == "zeroed page":
        whole = bytearray(path.read_bytes())
        whole[100:4096] = bytes(3996)
        path.write_bytes(whole)
    else:
        with sqlite3.connect(path) as database:
            database.execute('UPDATE alarms SET body = \'{"state":"exploded"}\'')
    outbox, events, loaded, fault = opened(path)
    assert (loaded, fault) == ([], "disk_replaced")
    assert len(list(tmp_path.glob("post.db.damaged-*"))) >= 1
    outbox.commit(Commit(1, (held(),), (), ()))
    assert events.get(timeout=5) == Committed(1)
    outbox.close(5)


def test_a_file_of_a_newer_firmware_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    opened(path)[0].close(5)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    outbox, events, loaded, fault = opened(path)
    assert (loaded, fault) == ([], "disk_failing")
    outbox.commit(Commit(1, (held(),), (), ()))
    assert isinstance(events.get(timeout=5), CommitFailed)
    outbox.close(5)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (99,)


def test_a_place_where_no_file_can_be_made_leaves_the_post_its_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outbox, events, loaded, fault = opened(tmp_path / "file" / "post.db")
    assert (loaded, fault) == ([], "disk_failing")
    outbox.commit(Commit(1, (held(),), (), ()))
    assert isinstance(events.get(timeout=5), CommitFailed)
    assert outbox.alive()
    (tmp_path / "file").unlink()
    outbox.commit(Commit(2, (held(),), (), ()))
    assert events.get(timeout=5) == Committed(2)
    outbox.close(5)


WRITER = """
import sys
from pathlib import Path
from tests.device.test_outbox import held, with_id, opened
from device.core import Commit
outbox, events, _, _ = opened(Path(sys.argv[1]))
one = held()
for n in range(1, 100000):
    outbox.commit(Commit(n, (with_id(one, n),), (f"{n - 20:08x}-0000-4000-8000-000000000000",), ()))
    print(events.get().write, flush=True)
"""


def test_kill_9_at_random_instants_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(5)
    for n in range(8):
        path = tmp_path / f"{n}.db"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == "1"
        time.sleep(chance.uniform(0.0, 0.15))  # the instant of the kill is what is tested
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        last = int(rest[-1]) if rest else 1
        outbox, _, loaded, fault = opened(path)
        outbox.close(5)
        assert fault is None
        ids = {int(one.alarm_id[:8], 16) for one in loaded}
        assert set(range(max(1, last - 18), last + 1)) <= ids
