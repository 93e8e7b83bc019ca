"""Bounds of a gateway that no other test reaches: posts, history, retention, questions asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from gateway import core as core_module
from gateway import journal as journal_module
from gateway.core import (
    POSTS_LINK,
    PRUNE_BATCH,
    PRUNE_EVERY_US,
    PRUNE_PAUSE_US,
    SECOND_US,
    UNRESOLVED_PER_POST_MAX,
    CommitFailed,
    Committed,
    Effect,
    Found,
    GatewaySettings,
    Lookup,
    LookupFailed,
    Prune,
    Pruned,
    PruneFailed,
    Put,
    Recall,
    Recalled,
)
from gateway.core import Commit as JournalCommit
from gateway.record import AlarmRecord, HistoryRow, history
from hardware.clock import Now
from process.core import Log
from process.database import note_corrupt
from protocol.values import timestamp, wall_ms
from tests.gateway.rig import GATEWAY, POST, STORE, WALL_MS, Rig, some_id
from tests.gateway.test_journal import AT, Room, dead, record

DAY_MS = 86_400_000


# --- posts and what they hold ---


def test_one_post_cannot_take_the_places_of_all_others() -> None:
    rig = Rig()
    for n in range(UNRESOLVED_PER_POST_MAX):
        rig.offer(some_id(n))
    receipt = rig.offer(some_id(999))
    # A broker stops at so many unacknowledged messages, and then every post would be silent.
    assert rig.is_acknowledged(receipt)
    assert some_id(999) not in rig.journal
    assert rig.gateway.counts["offer_too_many_of_post"] == 1
    rig.offer(some_id(1000), post="mlg-test-rw02")
    assert some_id(1000) in rig.journal
    rig.offer(some_id(0), repeat_ages_s=(0.5,))
    assert rig.journal[some_id(0)].repeats == 1


def test_a_resolved_alarm_makes_room_for_the_next_of_its_post() -> None:
    rig = Rig()
    for n in range(UNRESOLVED_PER_POST_MAX):
        rig.offer(some_id(n))
    rig.command("resolve", alarm_id=some_id(5))
    rig.offer(some_id(999))
    assert some_id(999) in rig.journal


def test_the_bound_of_a_post_counts_what_the_journal_does_not_hold_yet_and_a_restart() -> None:
    rig = Rig(disk="hanging")
    for n in range(UNRESOLVED_PER_POST_MAX + 3):
        rig.offer(some_id(n))
    assert rig.gateway.counts["offer_too_many_of_post"] == 3
    rig.disk = "good"
    rig.finish_commits()
    rig.restart()
    rig.offer(some_id(999))
    assert rig.gateway.counts["offer_too_many_of_post"] == 1


def test_beyond_the_bound_of_posts_an_alarm_is_taken_and_its_post_forgotten_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_module, "POSTS_MAX", 1)
    rig = Rig()
    rig.beat()
    rig.heartbeat(post="mlg-test-rw09")
    rig.heartbeat(post=POST)
    assert rig.gateway.presence_of(POST) is None
    rig.offer()
    assert rig.is_shown()
    assert rig.gateway.presence_of(POST) is not None
    rig.settle()
    rig.pass_days(8)
    rig.advance(10)
    assert rig.gateway.records == []
    assert rig.gateway.presence_of(POST) is None
    assert rig.gateway.presence_of("mlg-test-rw09") is not None


def test_a_post_that_only_offers_leaves_nothing_of_what_is_over() -> None:
    rig = Rig()
    rig.beat()
    for n in range(5):
        rig.offer(some_id(n))
        rig.settle(some_id(n))
    rig.pass_days(8)
    rig.advance(10)
    post = rig.gateway._posts[POST]
    assert (post.holds, post.unresolved, dict(post.listed)) == (set(), set(), {})


# --- questions to the journal ---


def test_a_journal_that_does_not_answer_is_asked_once_for_an_alarm() -> None:
    rig = Rig()
    rig.forget()
    # The rig answers a Lookup at once; the core alone, with a journal that hangs:
    gateway, now = rig.gateway, rig.now
    heard: list[object] = []
    original = gateway.handle

    def unanswered(event: object, now: Now) -> list[Effect]:
        heard.append(event)
        return []

    rig.gateway.handle = unanswered  # type: ignore[method-assign]
    for _ in range(50):
        rig.command("acknowledge", command_id=some_id(7), alarm_id=some_id(1))
    effects = [effect for event in heard for effect in original(event, now)]
    assert [one for one in effects if isinstance(one, Lookup)] == [Lookup(some_id(1))]
    assert original(LookupFailed(some_id(1), "gone"), now)
    again = original(heard[0], now)
    assert [one for one in again if isinstance(one, Lookup)] == [Lookup(some_id(1))]
    assert gateway._parked_count == 1
    original(Found(some_id(1), None), now)


def test_a_page_that_an_earlier_recall_asked_for_is_not_the_first_of_a_later_one() -> None:
    rig = Rig()
    rig.beat(STORE)
    asked: list[Recall] = []
    handle = rig.gateway.handle

    def keeping(event: object, now: object) -> list[object]:
        effects = handle(event, now)  # type: ignore[arg-type]
        asked.extend(one for one in effects if isinstance(one, Recall))
        return [one for one in effects if not isinstance(one, Recall)]

    rig.gateway.handle = keeping  # type: ignore[method-assign,assignment]
    for n in range(20):
        rig.beat(some_id(0x5700 + n))
    assert len(asked) == 1
    rig.send(Recalled((), some_id(50)))
    assert len(asked) == 2
    assert asked[1].cursor == ""


# --- retention ---


def prunes(rig: Rig) -> list[Prune]:
    found = rig.done(Prune)
    rig.forget()
    return found


def test_every_hour_what_is_over_for_400_days_is_to_be_pruned() -> None:
    rig = Rig()
    rig.advance(PRUNE_EVERY_US / SECOND_US - 1)
    assert prunes(rig) == []
    rig.advance(1)
    (prune,) = prunes(rig)
    assert prune.limit == PRUNE_BATCH
    assert prune.before is not None
    assert wall_ms(prune.before) == rig.now.wall_ms - 400 * DAY_MS
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    assert len(prunes(rig)) == 1


def test_how_long_alarms_are_kept_is_a_setting() -> None:
    rig = Rig(settings=GatewaySettings(GATEWAY, keep_days=30))
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    (prune,) = prunes(rig)
    assert prune.before is not None
    assert wall_ms(prune.before) == rig.now.wall_ms - 30 * DAY_MS


def test_a_clock_that_nobody_has_set_prunes_by_number_only() -> None:
    rig = Rig(synchronised=False)
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    assert prunes(rig) == [Prune(None, PRUNE_BATCH)]


def test_a_full_batch_is_followed_by_the_next_after_a_pause() -> None:
    rig = Rig()
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    prunes(rig)
    rig.send(Pruned(PRUNE_BATCH))
    rig.advance(PRUNE_PAUSE_US / SECOND_US)
    assert len(prunes(rig)) == 1
    rig.send(Pruned(PRUNE_BATCH - 1))
    rig.advance(60)
    assert prunes(rig) == []


def test_a_journal_that_cannot_prune_is_asked_again_in_an_hour() -> None:
    rig = Rig()
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    prunes(rig)
    rig.send(PruneFailed("database is locked"))
    assert "journal_not_pruned" in [line.event for line in rig.done(Log)]
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    assert len(prunes(rig)) == 1


def settled(n: int, days_ago: int) -> AlarmRecord:
    at = timestamp(WALL_MS - days_ago * DAY_MS)
    return msgspec.structs.replace(dead(some_id(n)), settled_at=at)


def pruned(room: Room, before_days: int | None, limit: int = PRUNE_BATCH) -> object:
    before = None if before_days is None else timestamp(WALL_MS - before_days * DAY_MS)
    room.journal.submit(Prune(before, limit))
    return room.event()


def ids(room: Room, table: str = "alarms") -> list[str]:
    rows = room.rows(f"SELECT DISTINCT alarm_id FROM {table} ORDER BY alarm_id")
    return [str(row[0]) for row in rows]


def test_the_oldest_settled_alarms_go_in_batches_with_their_history(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.commit(*(settled(n, 500 - n) for n in range(10)))
    room.event()
    assert pruned(room, 400, limit=4) == Pruned(4)
    assert ids(room) == ids(room, "history") == [some_id(n) for n in range(4, 10)]
    assert pruned(room, 400, limit=100) == Pruned(6)
    assert pruned(room, 400) == Pruned(0)
    room.close()


def test_what_is_not_over_is_never_pruned_however_old(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    old = timestamp(WALL_MS - 5_000 * DAY_MS)
    is_open = msgspec.structs.replace(record(some_id(1)), settled_at=old)
    still_listed = msgspec.structs.replace(settled(2, 5_000), listed=True)
    not_cleared = msgspec.structs.replace(settled(3, 5_000), cleared=False)
    unreceipted = msgspec.structs.replace(settled(4, 5_000), settled_at=None)
    room.commit(is_open, still_listed, not_cleared, unreceipted, settled(5, 5_000), settled(6, 10))
    room.event()
    assert pruned(room, 30) == Pruned(1)
    assert ids(room) == [some_id(n) for n in (1, 2, 3, 4, 6)]
    room.close()


def test_without_a_clock_only_what_is_beyond_the_bound_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SETTLED_STORED_MAX", 3)
    room = Room(tmp_path)
    room.open()
    room.commit(*(settled(n, 5_000 - n) for n in range(5)), record(some_id(99)))
    room.event()
    assert pruned(room, None) == Pruned(2)
    assert ids(room) == [some_id(n) for n in (2, 3, 4, 99)]
    assert pruned(room, None) == Pruned(0)
    room.close()


def test_an_alarm_that_was_pruned_is_a_new_one_when_it_is_offered_again(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.commit(settled(1, 500))
    room.event()
    pruned(room, 400)
    token = room.commit(record(some_id(1)))
    assert room.event() == Committed((token,))
    room.close()


# --- history ---


def test_an_alarm_that_is_listed_and_unlisted_for_ever_stops_writing_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "HISTORY_ROWS_MAX", 12)
    room = Room(tmp_path)
    room.open()
    room.commit(record())
    room.event()
    one = record()
    for n in range(40):
        other = msgspec.structs.replace(one, listed=n % 2 == 1)
        rows = history(one, other, AT)
        room.journal.submit(JournalCommit(100 + n, (Put(other, False, rows),)))
        room.event()
        one = other
    assert room.rows("SELECT count(*) FROM history") == [(12,)]
    step = one.reached.received
    over = msgspec.structs.replace(
        one, state="resolved", reached=msgspec.structs.replace(one.reached, resolved=step)
    )
    room.journal.submit(JournalCommit(200, (Put(over, False, history(one, over, AT)),)))
    room.event()
    room.close()
    assert room.rows("SELECT what FROM history ORDER BY n DESC LIMIT 1") == [("resolved",)]


def test_one_commit_with_more_rows_than_fit_writes_the_first_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "HISTORY_ROWS_MAX", 3)
    room = Room(tmp_path)
    room.open()
    one = record()
    rows = tuple(HistoryRow(one.alarm_id, AT, f"repeats {n}") for n in range(5))
    room.journal.submit(JournalCommit(1, (Put(one, True, rows),)))
    room.event()
    room.close()
    assert room.rows("SELECT what FROM history ORDER BY n") == [
        ("repeats 0",),
        ("repeats 1",),
        ("repeats 2",),
    ]


# --- a journal that is found corrupt in use ---


def test_corruption_that_only_a_commit_finds_ends_the_thread_and_a_new_journal_begins(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path)
    first = room.open()
    connection = room.journal._connection
    assert connection is not None
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql("UPDATE sqlite_master SET rootpage = 999 WHERE name = 'history'")
    connection.commit()
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")
    connection.rollback()
    room.commit(record())
    assert isinstance(room.event(), CommitFailed)
    room.journal._thread.join(10)
    assert not room.journal.alive()

    again = Room(tmp_path)
    opened = again.open()
    assert opened.faults == ("journal_replaced",)
    assert opened.journal_id != first.journal_id
    token = again.commit(record())
    assert again.event() == Committed((token,))
    again.close()


def test_a_journal_that_was_noted_as_corrupt_is_not_used_again(tmp_path: Path) -> None:
    room = Room(tmp_path)
    first = room.open()
    room.close()
    assert note_corrupt(room.path, sqlite3.DatabaseError("database disk image is malformed"))
    for faults in (("journal_replaced",), ()):
        room = Room(tmp_path)
        opened = room.open()
        room.close()
        assert opened.faults == faults
        assert opened.journal_id != first.journal_id


def test_a_posts_link_that_is_down_prunes_all_the_same() -> None:
    rig = Rig()
    rig.disconnect(POSTS_LINK)
    rig.advance(PRUNE_EVERY_US / SECOND_US)
    assert len(prunes(rig)) == 1


def test_the_setting_has_bounds(tmp_path: Path) -> None:
    from gateway.settings import JournalSettings

    for keep_days in (29, 3661):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"url": "sqlite:///x", "keep_days": keep_days}, JournalSettings)
    assert msgspec.convert({"url": "sqlite:///x"}, JournalSettings).keep_days == 400


def test_a_journal_on_disk_is_of_the_version_that_this_gateway_writes(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.close()
    with sqlite3.connect(room.path) as database:
        (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    assert version == journal_module.SCHEMA


@pytest.mark.parametrize("column", ["state", "settled_at", "what"])
def test_a_journal_with_a_column_of_another_name_is_set_aside(tmp_path: Path, column: str) -> None:
    room = Room(tmp_path)
    room.open()
    room.close()
    table = "history" if column == "what" else "alarms"
    with sqlite3.connect(room.path) as database:
        database.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
    again = Room(tmp_path)
    assert again.open().faults == ("journal_replaced",)
    token = again.commit(record())
    assert again.event() == Committed((token,))
    again.close()
