"""The seat at a journal on PostgreSQL: who has lost it commits nothing and may say nothing."""

from __future__ import annotations

import os
import time

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core import CommitFailed, Committed, Prune
from gateway.journal import Journal
from gateway.lease import PROVE_EVERY_US, SETTLE_US, SPEAK_US, Lease
from gateway.seat import SESSION_IDLE_MS
from tests.gateway.rig import some_id
from tests.gateway.test_journal import WAIT_S, Room, dead, record
from tests.postgresql import PostgreSQL

# Ends the session that holds the seat, and no other.
HOLDER = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture
def place(postgresql: PostgreSQL) -> str:
    """An empty database."""
    name = f"seat_{os.getpid()}_{time.monotonic_ns()}"
    postgresql.sql(f"CREATE DATABASE {name}")
    return postgresql.url(name)


def eventually(room: Room, kind: type[object]) -> object:
    """The first outcome of this kind; others came before it."""
    while True:
        event = room.events.get(timeout=WAIT_S)
        if isinstance(event, kind):
            return event


def until(what: str, look: object) -> None:
    assert callable(look)
    until_s = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < until_s, what
        time.sleep(0.02)


# --- the lease -----------------------------------------------------------------------------------


def test_a_lease_holds_for_two_seconds_after_the_question_and_not_a_moment_longer() -> None:
    now_us = 1_000_000_000
    lease = Lease(lambda: now_us)
    assert not lease.may_speak()
    asked_us = lease.now_us()
    now_us += 300_000  # the server took so long to answer
    lease.proven(asked_us)
    assert lease.may_speak()
    now_us = asked_us + SPEAK_US - 1
    assert lease.may_speak()
    now_us += 1
    assert not lease.may_speak()
    lease.proven(now_us - 2 * SPEAK_US)  # an answer that was a minute on its way (SIGSTOP)
    assert not lease.may_speak()


def test_who_has_taken_the_seat_waits_for_what_the_other_may_still_say() -> None:
    now_us = 1_000_000_000
    lease = Lease(lambda: now_us)
    lease.taken()
    now_us += SETTLE_US - 1
    lease.proven(now_us)
    assert not lease.may_speak()
    now_us += 1
    assert lease.may_speak()


def test_the_times_fit_together() -> None:
    # A session that still proves itself is never ended; one that may still speak never has been.
    assert 3 * PROVE_EVERY_US < SPEAK_US < SETTLE_US
    assert SPEAK_US < SESSION_IDLE_MS * 1000
    # A machine that died: its session ends, the other one looks, and waits. Then it connects.
    assert SESSION_IDLE_MS * 1000 + PROVE_EVERY_US + SETTLE_US < 8_000_000


# --- the server ----------------------------------------------------------------------------------


def test_commits_are_synchronous_whatever_the_database_has_as_default(
    place: str, postgresql: PostgreSQL
) -> None:
    name = place.rpartition("/")[2]
    postgresql.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    room = Room(place)
    opened = room.open()
    connection = room.journal._connection
    assert connection is not None
    with connection.begin():
        setting = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    room.close()
    assert setting == "on"
    assert opened.faults == (
        "journal_not_durable",
    )  # the tests' server has fsync = off, and is told on


def test_a_session_that_ended_while_nobody_else_was_there_is_made_anew(place: str) -> None:
    room = Room(place)
    room.open()
    room.commit(record(some_id(1)))
    room.event()
    room.execute(HOLDER)
    # Nobody had anything to write: it is told of all the same, and so is that it is over.
    eventually(room, CommitFailed)
    eventually(room, Committed)
    token = room.commit(record(some_id(2)))
    assert room.event() == Committed((token,))
    assert room.journal.lost is None
    room.close()


def test_who_lost_the_seat_commits_nothing_more_deletes_nothing_and_ends(place: str) -> None:
    old, new = Room(place), Room(place)
    first = old.open()
    old.commit(record(some_id(1)))
    old.event()
    assert new.journal.wait_for_seat() == (False, first.journal_id)

    def takes_it() -> bool:
        old.execute(HOLDER)
        is_ours, journal_id = new.journal.wait_for_seat()
        assert journal_id == first.journal_id
        return is_ours

    until("the seat is taken", takes_it)
    assert new.journal.wait_for_seat() == (True, first.journal_id)  # who listens first keeps it
    opened = new.open()
    assert opened.journal_id == first.journal_id
    assert [one.alarm_id for one in opened.records] == [some_id(1)]
    old.commit(record(some_id(2)))
    old.journal.submit(Prune(None, 1))
    until("the old one ends", lambda: not old.journal.alive())
    assert old.journal.lost is not None
    assert old.journal.lease is not None
    assert old.rows("SELECT alarm_id FROM alarms") == [(some_id(1),)]
    new.commit(record(some_id(3)))
    assert isinstance(new.event(), Committed)
    new.close()
    old.close()


def test_a_transaction_that_began_before_the_take_over_fails_after_it(place: str) -> None:
    """As through a pooler, or on a server where the lock was let go: the epoch alone must do."""
    old = Room(place)
    old.open()
    # Another gateway's opening, which counts one commit and writes its own epoch.
    old.execute("UPDATE meta SET value = '2' WHERE key = 'commits'")
    old.execute(f"UPDATE meta SET value = '{some_id(7)}' WHERE key = 'epoch'")
    old.commit(record(some_id(2)))
    eventually(old, CommitFailed)
    until("it ends", lambda: not old.journal.alive())
    assert old.rows("SELECT count(*) FROM alarms") == [(0,)]


def test_a_seat_that_was_let_go_behind_its_back_is_noticed_without_any_commit(place: str) -> None:
    room = Room(place)
    room.open()
    room.execute(f"UPDATE meta SET value = '{some_id(7)}' WHERE key = 'epoch'")
    until("it ends", lambda: not room.journal.alive())
    assert room.journal.lost is not None


def test_a_commit_whose_answer_was_lost_is_not_written_twice(place: str) -> None:
    room = Room(place)
    room.open()
    one = record(some_id(1))
    room.commit(one)
    room.event()
    later = msgspec.structs.replace(dead(some_id(1)), reached=dead(some_id(1)).reached)
    room.commit(later, is_new=False)
    room.event()
    history = room.rows("SELECT what FROM history ORDER BY n")
    room.close()

    # The same, with a connection that broke after the server had committed the second one.
    again = Room(place)
    again.open()
    again.commit(record(some_id(2)))
    again.event()
    again.journal._commits -= 1  # as the process knows it that never heard of the last one
    again.execute(HOLDER)
    eventually(again, CommitFailed)
    eventually(again, Committed)
    again.commit(record(some_id(2)), is_new=False)
    assert isinstance(again.event(), Committed)
    again.close()
    assert again.rows(f"SELECT what FROM history WHERE alarm_id = '{some_id(2)}'") == [
        ("received",)
    ]
    assert ("received",) in history


def test_a_server_that_restarts_is_a_failing_disk_and_then_one_that_works(
    place: str, postgresql: PostgreSQL
) -> None:
    room = Room(place)
    room.open()
    postgresql.stop()
    try:
        room.commit(record(some_id(1)))
        failed = eventually(room, CommitFailed)
        assert isinstance(failed, CommitFailed)
        assert "Traceback" not in failed.why
    finally:
        postgresql.start()
    eventually(room, Committed)
    token = room.commit(record(some_id(1)))
    assert room.event() == Committed((token,))
    room.close()


def test_a_seat_at_a_new_database_is_free_and_the_journal_has_no_id_yet(place: str) -> None:
    room = Room(place)
    assert room.journal.wait_for_seat() == (True, None)
    other = Room(place)
    assert other.journal.wait_for_seat() == (False, None)
    opened = room.open()
    room.close()
    third = Room(place)  # opening took its time, and the server ends an idle session: not `other`
    assert third.journal.wait_for_seat() == (True, opened.journal_id)
    third.open()
    third.close()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    journal = Journal("postgresql+psycopg://kentongan:geheim@127.0.0.1:1/j")
    with pytest.raises(Exception, match="cannot be used") as refused:
        journal.wait_for_seat()
    assert "geheim" not in str(refused.value)


def test_the_tables_on_a_server_are_those_that_the_versions_make(place: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from gateway.journal import _TABLES

    room = Room(place)
    room.open()
    room.close()
    engine = sa.create_engine(place)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), _TABLES) == []
    engine.dispose()
