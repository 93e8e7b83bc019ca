"""The journal on a real file: durable, grouped, and honest about what happened to it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gateway.core import (
    Commit,
    CommitFailed,
    Committed,
    Found,
    Lookup,
    Put,
    Recall,
    Recalled,
)
from gateway.faults import Start
from gateway.journal import Journal, JournalUnusable, Opened
from gateway.record import AlarmRecord, history, new_record
from hardware.clock import Now
from protocol.values import timestamp
from tests.gateway.rig import ALARM, POST, WALL_MS, make_alarm, some_id
from tests.postgresql import PostgreSQL

NOW = Now(1_000_000_000, WALL_MS, True)
AT = timestamp(WALL_MS)
WAIT_S = 10.0


class Room:
    """A journal in a directory (or at a URL), and the events that it delivers."""

    def __init__(self, place: Path | str, name: str = "journal.db") -> None:
        self.path = Path("/nowhere") if isinstance(place, str) else place / name
        self.url = place if isinstance(place, str) else f"sqlite:///{self.path}"
        self.events: SimpleQueue[object] = SimpleQueue()
        self.journal = Journal(self.url, self.events.put)
        self._token = 0

    def open(self) -> Opened:
        return self.journal.open()

    def commit(self, *records: AlarmRecord, is_new: bool = True, **meta: str) -> int:
        self._token += 1
        puts = tuple(Put(one, is_new, history(None, one, AT)) for one in records)
        self.journal.submit(Commit(self._token, puts, tuple(meta.items())))
        return self._token

    def event(self) -> object:
        return self.events.get(timeout=WAIT_S)

    def close(self) -> None:
        self.journal.close(WAIT_S)

    def execute(self, statement: str) -> None:
        """As somebody else at the same database."""
        engine = sa.create_engine(self.url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        engine = sa.create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]


_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a journal may be: the same tests hold for a file and for a server."""
    if request.param == "sqlite":
        return tmp_path
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"journal_{os.getpid()}_{next(_numbers)}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)


def own_faults(opened: Opened) -> set[str]:
    """Without the one that every server of the tests has: it does not sync."""
    return {*opened.faults} - {"journal_not_durable"}


def record(alarm_id: str = ALARM, post: str = POST) -> AlarmRecord:
    return new_record(make_alarm(1_000_000, alarm_id, post=post), NOW, None)


def dead(alarm_id: str) -> AlarmRecord:
    """One about which nothing more is said."""
    one = record(alarm_id)
    step = one.reached.received
    return msgspec.structs.replace(
        one,
        state="resolved",
        reached=msgspec.structs.replace(one.reached, resolved=step),
        listed=False,
        cleared=True,
    )


def test_what_was_committed_is_there_after_a_reopen_with_its_history(place: Path | str) -> None:
    room = Room(place)
    first = room.open()
    token = room.commit(record(), store_id=some_id(1))
    assert room.event() == Committed((token,))
    room.close()

    again = Room(place)
    opened = again.open()
    again.close()
    assert opened.records == (record(),)
    assert opened.journal_id == first.journal_id
    assert opened.meta["store_id"] == some_id(1)
    assert own_faults(opened) == set()
    assert again.rows("SELECT alarm_id, what FROM history") == [(ALARM, "received")]


def test_wal_and_full_synchronous_are_set(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    connection = room.journal._connection
    assert connection is not None
    assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    connection.rollback()
    room.close()


def test_a_new_record_never_takes_the_place_of_one_that_is_there(place: Path | str) -> None:
    room = Room(place)
    room.open()
    room.commit(dead(ALARM))
    room.event()
    token = room.commit(record(), record(some_id(2)))
    assert room.event() == Committed((token,), (dead(ALARM),))
    room.close()
    assert sorted(room.rows("SELECT alarm_id, state FROM alarms")) == sorted(
        [(ALARM, "resolved"), (some_id(2), "received")]
    )
    (count,) = room.rows(f"SELECT count(*) FROM history WHERE alarm_id = '{ALARM}'")[0]
    assert count == 2  # received and resolved: nothing of the one that was not written


def test_an_older_record_of_an_alarm_is_replaced(place: Path | str) -> None:
    room = Room(place)
    room.open()
    room.commit(record())
    room.event()
    room.commit(msgspec.structs.replace(record(), repeats=3), is_new=False)
    room.event()
    room.journal.submit(Lookup(ALARM))
    found = room.event()
    room.close()
    assert isinstance(found, Found)
    assert found.record is not None
    assert found.record.repeats == 3


def test_a_self_test_that_is_over_is_deleted_with_its_history_before_anything_is_put(
    place: Path | str,
) -> None:
    room = Room(place)
    room.open()
    over, other = record(some_id(0xA1)), record(some_id(0xA2))
    room.commit(over, other)
    room.event()
    again = Put(over, True, history(None, over, AT))
    room.journal.submit(Commit(7, (), (("selftest/post", "{}"),), deletes=(over.alarm_id,)))
    room.journal.submit(Commit(8, (again,), deletes=(over.alarm_id, some_id(9))))
    answered: list[int] = []
    while len(answered) < 2:
        event = room.event()
        assert isinstance(event, Committed)
        assert event.existing == ()
        answered += event.tokens
    for table in ("alarms", "history"):
        query = f"SELECT count(*) FROM {table} WHERE alarm_id = '{over.alarm_id}'"
        assert room.rows(query) == [(1,)]
    room.close()
    opened = Room(place).open()
    assert {record.alarm_id for record in opened.records} == {over.alarm_id, other.alarm_id}
    assert opened.meta["selftest/post"] == "{}"


def test_only_live_records_are_loaded_and_the_others_are_found(place: Path | str) -> None:
    room = Room(place)
    room.open()
    room.commit(record(some_id(1)), dead(some_id(2)))
    room.event()
    room.close()
    room = Room(place)
    assert [one.alarm_id for one in room.open().records] == [some_id(1)]
    room.journal.submit(Lookup(some_id(2)))
    assert room.event() == Found(some_id(2), dead(some_id(2)))
    room.journal.submit(Lookup(some_id(3)))
    assert room.event() == Found(some_id(3), None)
    room.close()


def test_a_recall_gives_what_is_no_longer_live_page_by_page(place: Path | str) -> None:
    room = Room(place)
    room.open()
    room.commit(*(dead(some_id(n)) for n in range(5)), record(some_id(9)))
    room.event()
    seen, cursor = [], ""
    while cursor is not None:
        room.journal.submit(Recall(cursor, WALL_MS - 60_000, 2))
        page = room.event()
        assert isinstance(page, Recalled)
        seen += [one.alarm_id for one in page.records]
        cursor = page.cursor  # type: ignore[assignment]
    assert seen == [some_id(n) for n in range(5)]
    room.journal.submit(Recall("", WALL_MS + 60_000, 2))
    assert room.event() == Recalled((), None)
    room.close()


def test_commits_that_wait_are_written_in_one_transaction(place: Path | str) -> None:
    room = Room(place)
    room.open()
    room.journal.submit(Lookup(ALARM))  # the thread is busy with something for a moment
    tokens = [room.commit(record(some_id(n))) for n in range(500)]
    events: list[Committed] = []
    while sum(len(one.tokens) for one in events) < 500:
        event = room.event()
        if isinstance(event, Committed):
            events.append(event)
    room.close()
    assert [token for one in events for token in one.tokens] == tokens
    assert len(events) < 250
    assert room.rows("SELECT count(*) FROM alarms") == [(500,)]


def test_a_disk_that_is_full_fails_the_commit_and_the_next_one_works(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.commit(record(some_id(1)))
    room.event()
    connection = room.journal._connection
    assert connection is not None
    # Its own page limit is how SQLite can be made to say "disk is full" without a small disk.
    connection.exec_driver_sql("PRAGMA max_page_count=1")
    connection.rollback()
    token = room.commit(*(record(some_id(n)) for n in range(2, 200)))
    failed = room.event()
    assert isinstance(failed, CommitFailed)
    assert failed.tokens == (token,)
    assert "full" in failed.why
    assert "INSERT" not in failed.why

    room.commit(record(some_id(300)))
    assert isinstance(room.event(), Committed)
    room.close()
    assert room.rows("SELECT count(*) FROM alarms") == [(2,)]


@pytest.mark.parametrize("damage", ["garbage", "torn"])
def test_a_damaged_file_is_set_aside_and_a_new_journal_begun(tmp_path: Path, damage: str) -> None:
    room = Room(tmp_path)
    first = room.open()
    room.commit(*(record(some_id(n)) for n in range(200)))
    room.event()
    room.close()
    size = room.path.stat().st_size
    with room.path.open("r+b") as file:
        file.seek(0 if damage == "garbage" else 4096)
        file.write(os.urandom(min(size, 40_000)))

    again = Room(tmp_path)
    opened = again.open()
    again.commit(record())
    assert isinstance(again.event(), Committed)
    again.close()
    assert opened.faults == ("journal_replaced",)
    assert opened.journal_id != first.journal_id
    assert opened.records == ()
    assert len(list(tmp_path.glob("journal.db.damaged-*"))) >= 1


def test_a_file_that_was_never_a_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("the plan for the night watch\n" * 400)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(JournalUnusable, match=r"notes\.txt is not a Kentongan store"):
            Journal(f"sqlite:///{path}", lambda _: None).open()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_one_damaged_row_costs_only_itself_and_is_replaced_by_the_next_offer(
    place: Path | str,
) -> None:
    room = Room(place)
    room.open()
    room.commit(record(some_id(1)), record(some_id(2)))
    room.event()
    room.close()
    room.execute(f"UPDATE alarms SET body = '{{' WHERE alarm_id = '{some_id(1)}'")

    room = Room(place)
    opened = room.open()
    assert [one.alarm_id for one in opened.records] == [some_id(2)]
    assert own_faults(opened) == {"journal_damaged"}
    token = room.commit(record(some_id(1)))
    assert room.event() == Committed((token,))
    room.close()


def test_an_older_copy_of_itself_gets_a_new_journal_id(tmp_path: Path) -> None:
    room = Room(tmp_path)
    first = room.open()
    room.commit(record(some_id(1)))
    room.event()
    room.close()
    shutil.copy(room.path, tmp_path / "backup")

    room = Room(tmp_path)
    same = room.open()
    room.commit(record(some_id(2)))
    room.event()
    room.close()
    assert same.journal_id == first.journal_id
    for suffix in ("-wal", "-shm"):
        room.path.with_name(room.path.name + suffix).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", room.path)

    room = Room(tmp_path)
    restored = room.open()
    room.close()
    assert restored.journal_id != first.journal_id
    assert restored.faults == ("journal_restored",)
    assert [one.alarm_id for one in restored.records] == [some_id(1)]
    room = Room(tmp_path)
    again = room.open()
    room.close()
    assert (again.journal_id, again.faults) == (restored.journal_id, ())


def test_a_journal_that_is_gone_is_a_fault_and_a_new_one_has_another_id(tmp_path: Path) -> None:
    room = Room(tmp_path)
    first = room.open()
    room.commit(record())
    room.event()
    room.close()
    room.path.unlink()

    room = Room(tmp_path)
    opened = room.open()
    room.close()
    assert (opened.faults, opened.records) == (("journal_restored",), ())
    assert opened.journal_id != first.journal_id
    room = Room(tmp_path)
    again = room.open()
    room.close()
    assert (again.journal_id, again.faults) == (opened.journal_id, ())


def test_a_journal_whose_file_is_taken_away_ends_the_process_and_its_next_start_says_so(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path)
    first = room.open()
    room.commit(record())
    room.event()
    connection = room.journal._connection
    assert connection is not None
    # It is noticed when the file has to be opened again, after an error of the disk.
    connection.exec_driver_sql("PRAGMA query_only=ON")
    connection.rollback()
    room.commit(record(some_id(1)))
    assert isinstance(room.event(), CommitFailed)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{room.path}{suffix}").unlink(missing_ok=True)
    room.commit(record(some_id(1)))
    failed = room.event()
    assert isinstance(failed, CommitFailed)
    assert "taken away" in failed.why
    room.journal._thread.join(WAIT_S)
    assert not room.journal.alive()

    again = Room(tmp_path)
    opened = again.open()
    again.close()
    assert opened.faults == ("journal_restored",)
    assert opened.journal_id != first.journal_id


def test_what_a_killed_process_wrote_and_never_synced_is_synced_before_it_is_believed(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path)
    room.open()
    room.commit(record())
    room.event()
    # As after kill -9: the commit is in the log, and whether a disk has it nobody knows.
    (tmp_path / "killed").mkdir()
    killed = Room(tmp_path / "killed")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{room.path}{suffix}", f"{killed.path}{suffix}")
    room.close()
    assert not killed.journal._connect()
    # SQLite moves commits into the file itself only after an fsync of the log, and of the file.
    (tmp_path / "file alone").mkdir()
    alone = Room(tmp_path / "file alone")
    shutil.copyfile(killed.path, alone.path)
    killed.journal._disconnect()
    assert alone.open().records == (record(),)
    alone.close()


def test_a_url_that_cannot_be_read_is_named() -> None:
    with pytest.raises(JournalUnusable, match=r"host:port/x cannot be used") as refused:
        Journal("postgresql+psycopg://user:secret@host:port/x", lambda _: None)
    assert "secret" not in str(refused.value)


def test_a_second_process_on_the_same_journal_is_refused(place: Path | str) -> None:
    room = Room(place)
    room.open()
    with pytest.raises(JournalUnusable, match=r"another (process|gateway) has the journal"):
        Room(place).open()
    room.close()
    freed = Room(place)
    freed.open()
    freed.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    journal = Journal(f"sqlite:///{tmp_path}/file/journal.db", lambda _: None)
    with pytest.raises(JournalUnusable, match=r"journal\.db cannot be used"):
        journal.open()


def test_a_journal_that_turns_read_only_fails_commits_and_does_not_die(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    connection = room.journal._connection
    assert connection is not None
    connection.exec_driver_sql("PRAGMA query_only=1")
    connection.rollback()
    room.commit(record())
    failed = room.event()
    assert isinstance(failed, CommitFailed)
    assert "readonly" in failed.why
    assert room.journal.alive()
    room.commit(record())
    assert isinstance(room.event(), Committed)
    room.close()


def test_a_journal_of_a_newer_gateway_is_left_alone(place: Path | str) -> None:
    room = Room(place)
    room.open()
    room.close()
    room.execute("UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(JournalUnusable, match="schema 0099"):
        Room(place).open()
    assert isinstance(place, str) or list(place.glob("*.damaged-*")) == []


WRITER = """
import sys
from pathlib import Path
from tests.gateway.test_journal import Room, record, some_id
from gateway.core import Committed
room = Room(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]))
base = len(room.open().records)
n = base
while True:
    room.commit(record(some_id(n)))
    assert isinstance(room.event(), Committed)
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
    n += 1
"""


def test_kill_9_in_a_loop_loses_nothing_that_was_reported(place: Path | str) -> None:
    for round_number in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        assert process.stdout is not None
        wanted = 20 + 13 * round_number
        reported = [int(process.stdout.readline()) for _ in range(wanted)]
        process.send_signal(signal.SIGKILL)
        reported += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait(WAIT_S)
        room = Room(place)
        opened = room.open()
        room.close()
        there = {one.alarm_id for one in opened.records}
        assert {some_id(n) for n in range(max(reported) + 1)} <= there
        assert own_faults(opened) == set()


def test_three_starts_in_ten_minutes_are_a_fault_that_outlasts_the_process(tmp_path: Path) -> None:
    found = []
    for minute in (0, 4, 8, 30, 31):
        room = Room(tmp_path)
        at_us = minute * 60_000_000
        found.append(room.journal.open(Start("boot", at_us, at_us // 1000)).faults)
        room.close()
    assert found == [(), (), ("restart_loop",), (), ()]
