"""The outbox on a real file: what was acknowledged is there after anything."""

from __future__ import annotations

import queue
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import device.outbox
from device.core import RING_EVENTS_MAX, Commit, CommitFailed, Committed, Loaded, RingEvent
from device.held import Held
from device.outbox import Outbox, OutboxRefused
from process.database import set_aside
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
    loaded = outbox.open()
    return outbox, events, list(loaded.held), loaded.fault


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
    assert events.get(timeout=5) == Loaded(())
    assert events.get(timeout=5) == Committed(2)
    outbox.close(5)


def written(path: Path, *alarms: Held) -> None:
    """An outbox that holds these, closed."""
    outbox, events, _, _ = opened(path)
    outbox.commit(Commit(1, alarms, (), ()))
    assert events.get(timeout=5) == Committed(1)
    outbox.close(5)


def test_alarms_on_a_disk_that_takes_no_write_are_read_and_delivered_again_when_it_does(
    tmp_path: Path,
) -> None:
    path = tmp_path / "post.db"
    one = held()
    written(path, one)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("PRAGMA locking_mode=EXCLUSIVE")
    blocker.execute("BEGIN EXCLUSIVE")
    outbox, events, loaded, fault = opened(path)
    assert (loaded, fault) == ([one], "disk_failing")
    blocker.close()
    outbox.commit(Commit(1, (), (), ()))
    assert events.get(timeout=5) == Loaded((one,))
    assert events.get(timeout=5) == Committed(1)
    outbox.close(5)


def test_what_a_killed_process_wrote_and_never_synced_is_synced_before_it_is_believed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "post.db"
    one = held()
    outbox, events, _, _ = opened(path)
    outbox.commit(Commit(1, (one,), (), ()))
    assert events.get(timeout=5) == Committed(1)
    # As after kill -9: the commit is in the log, and whether a disk has it nobody knows.
    (tmp_path / "killed").mkdir()
    killed = tmp_path / "killed" / "post.db"
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{killed}{suffix}")
    outbox.close(5)
    again, _, loaded, _ = opened(killed)
    assert loaded == [one]
    # SQLite moves commits into the file itself only after an fsync of the log, and of the file.
    shutil.copyfile(killed, tmp_path / "file alone.db")
    again.close(5)
    assert opened(tmp_path / "file alone.db")[2] == [one]


class Killed(BaseException):
    """Ends the thread at once, as a kill would the process."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("instant", ["before it is set aside", "after it was set aside"])
def test_a_kill_while_a_damaged_file_is_set_aside_loses_nothing_of_it(
    tmp_path: Path, instant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "post.db"
    both = [with_id(held(), n) for n in (1, 2)]
    written(path, *both, with_id(held(), 3))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alarms SET body = 'x' WHERE alarm_id LIKE '00000003%'")

    def killed(database: Path) -> Path:
        if instant.startswith("after"):
            set_aside(database)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(device.outbox, "set_aside", killed)
        dying = Outbox(path, lambda _event: None)
        assert dying.open(patience_s=0.5).held == ()
        assert not dying.alive()
    assert dying._lock is not None
    dying._lock.close()
    assert path.exists() == instant.startswith("before")
    outbox, _, loaded, fault = opened(path)
    outbox.close(5)
    assert (loaded, fault) == (both, "disk_replaced")
    outbox, _, loaded, fault = opened(path)
    outbox.close(5)
    assert (loaded, fault) == (both, None)
    assert len(list(tmp_path.glob("post.db.damaged-?"))) == 1


def test_a_disk_that_answers_in_the_moment_of_giving_up_is_heard(tmp_path: Path) -> None:
    class InThatMoment(queue.SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            if timeout is None:
                return super().get(block)
            self.held = super().get(timeout=5)
            self.put(self.held)
            raise queue.Empty

    path = tmp_path / "post.db"
    written(path, held())
    outbox = Outbox(path, lambda _event: None)
    outbox._opened = InThatMoment()  # type: ignore[assignment]
    assert outbox.open() == Loaded((held(),))
    outbox.close(5)


def test_an_error_that_nobody_expected_fails_the_write_and_not_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, events, _, _ = opened(tmp_path / "post.db")
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_write", lambda _commit: 1 // 0)
        outbox.commit(Commit(1, (held(),), (), ()))
        assert isinstance(events.get(timeout=5), CommitFailed)
    outbox.commit(Commit(2, (held(),), (), ()))
    assert events.get(timeout=5) == Committed(2)
    outbox.close(5)


def test_damage_to_the_ring_costs_no_alarm(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    one = held()
    first, events, _, _ = opened(path)
    first.commit(Commit(1, (one,), (), (RingEvent("2026-01-01T00:00:00.000Z", 1, "press"),)))
    events.get(timeout=5)
    first.close(5)
    with sqlite3.connect(path) as database:
        (root,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name='ring'"
        ).fetchone()
    whole = bytearray(path.read_bytes())
    whole[(root - 1) * 4096 : (root - 1) * 4096 + 200] = b"\xff" * 200
    path.write_bytes(whole)
    outbox, _, loaded, fault = opened(path)
    outbox.close(5)
    assert (loaded, fault) == ([one], "disk_replaced")
    outbox, _, loaded, fault = opened(path)
    outbox.close(5)
    assert (loaded, fault) == ([one], None)


def test_a_file_that_is_no_outbox_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk")
    with pytest.raises(OutboxRefused, match=r"notes\.txt is not an outbox"):
        opened(path)
    assert path.read_text() == "buy milk"
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_two_posts_do_not_share_an_outbox(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    first = opened(path)[0]
    with pytest.raises(OutboxRefused, match="in use by another post"):
        opened(path)
    first.close(5)
    opened(path)[0].close(5)


WRITER = """
import sys
import threading
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


class OnHangingDisk(Outbox):
    """An outbox whose disk answers only when it is let go."""

    let_go: threading.Event

    def _open(self) -> Loaded:
        self.let_go.wait()
        return super()._open()


def test_a_disk_that_hangs_at_the_start_leaves_the_post_with_its_memory_until_it_answers(
    tmp_path: Path,
) -> None:
    events: Events = queue.SimpleQueue()
    outbox = OnHangingDisk(tmp_path / "post.db", events.put)
    outbox.let_go = threading.Event()
    assert outbox.open(patience_s=0.01) == Loaded((), "disk_hanging", unread=True)
    outbox.commit(Commit(1, (held(),), (), ()))
    outbox.let_go.set()
    assert [events.get(timeout=5) for _ in range(2)] == [Loaded(()), Committed(1)]
    outbox.close(5)


def test_a_write_of_nothing_reaches_the_disk_so_that_it_proves_itself(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    outbox, events, _, _ = opened(path)
    outbox.commit(Commit(1, (held(),), (), ()))
    events.get(timeout=5)
    wal = path.with_name("post.db-wal")
    before = wal.stat().st_size
    outbox.commit(Commit(2, (), (), ()))
    assert events.get(timeout=5) == Committed(2)
    assert wal.stat().st_size > before
    outbox.close(5)


def test_a_day_of_probes_writes_less_than_a_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    outbox, events, _, _ = opened(path)
    outbox.commit(Commit(1, (held(),), (), ()))
    for write in range(2, 2 + 24 * 4):
        outbox.commit(Commit(write, (), (), ()))
    for _ in range(1 + 24 * 4):
        events.get(timeout=5)
    assert path.with_name("post.db-wal").stat().st_size < 500_000
    outbox.close(5)
