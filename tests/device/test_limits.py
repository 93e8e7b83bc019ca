"""Bounds of a post that no other test reaches: ring, deletions, faults, a full queue, the file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest

from device import outbox as outbox_module
from device import service as service_module
from device.core import (
    DOUBT_SHOWN_US,
    LINK,
    RING_EVENTS_MAX,
    ROUTINE_EVENTS_MAX,
    ROUTINE_SPAN_US,
    SECOND_US,
    Click,
    Commit,
    CommitFailed,
    Committed,
    FaultSeen,
    Loaded,
    RingEvent,
)
from device.outbox import Outbox
from device.service import Service
from device.settings import PostFile
from process.core import LinkDown
from protocol.codec import decode, encode
from protocol.messages import Health, ListedAlarm
from protocol.states import State
from protocol.values import FAULTS_MAX, timestamp
from tests.device.rig import WALL_MS, Rig
from tests.device.test_outbox import held, with_id

VERSION_1 = (Path(__file__).parent / "outbox_1.sql").read_text()
WAIT_S = 10.0


def listed(rig: Rig, state: State) -> ListedAlarm:
    return ListedAlarm(
        alarm_id=rig.newest.alarm_id,
        kind="panic",
        state=state,
        at=timestamp(WALL_MS),
        answered_repeats=0 if state == "resolved" else None,
    )


def resolve_newest(rig: Rig) -> None:
    rig.document(listed(rig, "resolved"))
    rig.advance(3)
    rig.document()
    rig.advance(1)


# --- the ring ---


def test_a_chattering_button_clicks_each_time_and_leaves_alarms_in_the_ring() -> None:
    rig = Rig()
    rig.connect()
    for _ in range(400):
        rig.press(0.02, 0.04)
    assert len(rig.done(Click)) == 400
    rig.advance(1000)
    rig.press()
    rig.advance(1000)
    written = [event for commit in rig.done(Commit) for event in commit.ring]
    assert sum(event.what == "press" for event in written) <= 2 * ROUTINE_EVENTS_MAX
    assert "raised" in [event.what for event in written]
    (unrecorded,) = [event for event in written if event.what == "unrecorded"]
    assert unrecorded.detail == f"press {400 - ROUTINE_EVENTS_MAX}"


def test_a_fault_that_comes_and_goes_for_a_day_does_not_fill_the_ring() -> None:
    rig = Rig()
    for n in range(24 * 60):
        rig.send(FaultSeen("gps_lost", present=n % 2 == 0))
        rig.advance(60)
    written = [event for commit in rig.done(Commit) for event in commit.ring]
    spans = 24 * 3600 * SECOND_US // ROUTINE_SPAN_US + 1
    faults = [event for event in written if event.what.startswith("fault_")]
    assert 0 < len(faults) <= 2 * spans * ROUTINE_EVENTS_MAX


def test_a_ring_that_cannot_be_written_holds_its_last_500_events() -> None:
    rig = Rig(disk="failing")
    for _ in range(80):
        for _ in range(20):
            rig.press(0.02, 0.04)
        rig.advance(600)
    assert len(rig.post._ring) <= RING_EVENTS_MAX


# --- what is to be deleted ---


def test_alarms_that_no_disk_ever_held_leave_nothing_to_delete() -> None:
    rig = Rig(disk="failing")
    rig.connect()
    for _ in range(30):
        rig.press3()
        rig.advance(2)
        resolve_newest(rig)
    assert rig.post.held == ()
    assert rig.post._deleted == set()
    rig.disk = "good"
    rig.advance(61)
    assert rig.held == {}


def test_an_alarm_that_was_forgotten_during_its_write_is_deleted_after_it() -> None:
    rig = Rig(disk="hanging")
    rig.connect()
    alarm_id = rig.press3()
    rig.advance(2)  # told from memory: the disk hangs
    resolve_newest(rig)
    assert rig.post.held == ()
    rig.disk = "good"
    rig.finish_commits()
    rig.advance(1)
    assert alarm_id not in rig.held
    assert rig.post._deleted == set()


def test_an_alarm_of_the_disk_is_deleted_from_it() -> None:
    rig = Rig()
    rig.connect()
    alarm_id = rig.press3()
    assert alarm_id in rig.held
    resolve_newest(rig)
    assert rig.held == {}


def test_a_new_file_in_place_of_a_damaged_one_gets_everything_that_is_held() -> None:
    rig = Rig()
    alarm_id = rig.press3()
    rig.held.clear()
    rig.send(Loaded((), "disk_replaced"))
    rig.advance(1)
    assert set(rig.held) == {alarm_id}
    assert "disk_replaced" in rig.post.faults


def test_an_alarm_whose_deletion_is_under_way_does_not_come_back_from_the_disk() -> None:
    rig = Rig()
    rig.connect()
    alarm_id = rig.press3()
    stale = rig.newest
    rig.document(listed(rig, "resolved"))
    rig.advance(3)
    rig.disk = "hanging"
    rig.document()
    assert [commit.deletes for commit in rig.waiting] == [(alarm_id,)]
    rig.send(Loaded((stale,), "disk_replaced"))
    assert rig.post.held == ()


def test_alarms_of_a_disk_that_takes_no_write_are_offered_and_nothing_is_armed() -> None:
    before = Rig()
    alarm_id = before.press3()
    rig = Rig(disk="failing")
    rig.connect()
    rig.send(Loaded(tuple(before.held.values()), "disk_failing", unread=True))
    assert len(rig.offers(alarm_id)) == 1
    rig.document(listed(rig, "resolved"))
    rig.advance(3)
    rig.document()
    assert rig.post.held == ()
    assert rig.lamp() == "out_of_order"


# --- faults ---


def test_a_post_whose_connection_a_twin_takes_names_it_until_that_is_long_over() -> None:
    rig = Rig()
    for _ in range(2):
        rig.connect()
        rig.send(LinkDown(LINK, rig.connection, "kicked off 3 times", is_in_doubt=True))
        rig.advance(DOUBT_SHOWN_US / SECOND_US - 60)
    rig.connect()
    assert rig.published(Health)[-1].faults == ("identity_in_doubt",)
    rig.advance(120)
    assert rig.published(Health)[-1].faults == ()


def test_more_faults_than_a_heartbeat_holds_never_make_it_unreadable() -> None:
    rig = Rig()
    rig.connect()
    for n in range(FAULTS_MAX + 5):
        rig.send(FaultSeen(f"fault_{n:02}", present=True))
    rig.advance(31)
    beat = rig.published(Health)[-1]
    assert len(decode(Health, encode(beat)).faults) == FAULTS_MAX


# --- a full queue ---


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = {
        "post_id": "mlg-test-rw01",
        "location": {"lat": -7.9, "lon": 112.6},
        "mqtt": {"url": "mqtt://127.0.0.1:1"},
        "hardware": {"pins": "mock"},
        "store": {"path": str(tmp_path / "post.db")},
    }
    service = Service(msgspec.convert(settings, PostFile))
    yield service
    if not service._closing.is_set():
        service._close()


def test_an_outcome_of_the_disk_waits_for_a_place_in_a_full_queue(service: Service) -> None:
    queue = service._queue
    while queue.offer(object(), droppable=False):
        pass
    told = threading.Thread(target=service._deliver_surely, args=(Committed(7),), daemon=True)
    told.start()
    taken = [queue.take(0) for _ in range(service_module.QUEUE_LIMIT)]
    told.join(WAIT_S)
    assert Committed(7) not in taken[:-1]
    assert Committed(7) in (*taken, queue.take(0))


def test_a_post_that_ends_waits_for_no_place(service: Service) -> None:
    while service._queue.offer(object(), droppable=False):
        pass
    told = threading.Thread(target=service._deliver_surely, args=(Committed(7),), daemon=True)
    told.start()
    service._close()
    told.join(WAIT_S)
    assert not told.is_alive()


# --- the file ---


def events_of(outbox: Outbox) -> SimpleQueue[object]:
    events: SimpleQueue[object] = SimpleQueue()
    outbox._deliver = events.put
    return events


def test_an_outbox_made_by_version_1_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
    outbox = Outbox(path, lambda _: None)
    events = events_of(outbox)
    loaded = outbox.open()
    assert loaded.fault is None
    assert [(one.alarm_id[:8], one.state, one.sound) for one in loaded.held] == [
        ("00000001", "acknowledged", "due"),
        ("00000002", "raised", "none"),
    ]
    outbox.commit(Commit(1, (with_id(held(), 3),), (), ()))
    assert events.get(timeout=WAIT_S) == Committed(1)
    outbox.close(WAIT_S)


def test_an_older_outbox_is_brought_up_with_its_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "post.db"
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
    step = "ALTER TABLE ring ADD COLUMN boot TEXT NOT NULL DEFAULT ''"
    monkeypatch.setattr(outbox_module, "_STEPS", (*outbox_module._STEPS, step))
    outbox = Outbox(path, lambda _: None)
    assert len(outbox.open().held) == 2
    outbox.close(WAIT_S)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        assert database.execute("SELECT count(boot) FROM ring").fetchone() == (2,)


def test_one_alarm_that_cannot_be_read_does_not_cost_the_others(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
        database.execute("UPDATE alarms SET body = x'7b' WHERE alarm_id LIKE '00000001%'")
    outbox = Outbox(path, lambda _: None)
    loaded = outbox.open()
    outbox.close(WAIT_S)
    assert loaded.fault == "disk_replaced"
    assert [one.alarm_id[:8] for one in loaded.held] == ["00000002"]
    again = Outbox(path, lambda _: None)
    assert again.open() == Loaded(loaded.held)
    again.close(WAIT_S)


def test_corruption_that_only_a_write_finds_is_mended_by_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    outbox = Outbox(path, lambda _: None)
    events = events_of(outbox)
    outbox.open()
    outbox.commit(Commit(1, (with_id(held(), 1),), (), ()))
    assert events.get(timeout=WAIT_S) == Committed(1)
    connection = outbox._connection
    assert connection is not None
    # No check at the opening could have seen it: it was not so then.
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET rootpage = 999 WHERE name = 'ring'")
    connection.execute("PRAGMA writable_schema = RESET")
    ring = (RingEvent("2026-01-01T00:00:00.000Z", 1, "press"),)
    outbox.commit(Commit(2, (), (), ring))
    assert isinstance(events.get(timeout=WAIT_S), CommitFailed)
    outbox.commit(Commit(3, (with_id(held(), 1),), (), ring))
    loaded = events.get(timeout=WAIT_S)
    assert isinstance(loaded, Loaded)
    assert loaded.fault == "disk_replaced"
    assert events.get(timeout=WAIT_S) == Committed(3)
    outbox.close(WAIT_S)
