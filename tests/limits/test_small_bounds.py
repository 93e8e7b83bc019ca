"""Bounds that stand in docs/limits.md and belong to no room's own tests."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from device.core import HEARTBEATS_REMEMBERED, RING_EVENTS_MAX, RingEvent
from device.core import Commit as PostCommit
from device.core import Committed as PostCommitted
from device.outbox import LOADED_MAX, Outbox
from device.renewal import ANSWERS_MAX, ASK_PAUSE_FIRST_S, ASK_PAUSE_MAX_S, CertificateKeeper
from gateway.journal import WAL_BYTES_MAX as JOURNAL_WAL_BYTES_MAX
from mcc import cli
from mcc.alarms import record_of
from mcc.core import Commit, Show
from mcc.core import PostShown as Shown
from mcc.screen import LINES_REMEMBERED_MAX, Screen
from mcc.store import WAL_BYTES_MAX, Store
from process.core import Stop, Tick
from process.events import EventQueue
from process.loop import OVERDUE_MAX, run
from protocol.messages import Certificate, Health, Raised, Renewal
from tests.device.rig import Rig
from tests.device.test_outbox import held, with_id
from tests.gateway.test_journal import Room
from tests.mcc.rig import document, post, uid

WAIT_S = 10.0


@dataclass(frozen=True)
class Instant:
    uptime_us: int


class Still:
    """A clock that stands, past every moment that a core has asked for."""

    def now(self) -> Instant:
        return Instant(1_000_000)


class Overdue:
    """A core that has been overdue since the beginning."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def handle(self, event: object, now: Instant) -> list[object]:
        self.events.append(event)
        return []

    def wake_at_us(self) -> int | None:
        return 0


def test_a_flood_of_events_holds_time_back_for_so_many_and_no_more() -> None:
    queue = EventQueue(4 * OVERDUE_MAX, 0)
    for _ in range(2 * OVERDUE_MAX):
        queue.offer("message", droppable=True)
    queue.offer(Stop(), droppable=False)
    core = Overdue()
    run(core, queue, Still(), lambda _effect: None)
    assert core.events.index(Tick()) == OVERDUE_MAX


def test_of_more_alarms_than_a_post_can_hold_the_newest_are_read(tmp_path: Path) -> None:
    events: SimpleQueue[object] = SimpleQueue()
    outbox = Outbox(tmp_path / "post.db", events.put)
    outbox.open()
    alarms = tuple(with_id(held(), n) for n in range(LOADED_MAX + 5))
    outbox.commit(PostCommit(1, alarms, (), ()))
    assert events.get(timeout=WAIT_S) == PostCommitted(1)
    outbox.close(WAIT_S)
    again = Outbox(tmp_path / "post.db", events.put)
    loaded = again.open()
    again.close(WAIT_S)
    assert loaded.held == alarms[5:]


def test_an_outbox_that_has_seen_everything_is_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "post.db"
    events: SimpleQueue[object] = SimpleQueue()
    outbox = Outbox(path, events.put)
    outbox.open()
    one = held()
    for write in range(1, 200):
        ring = tuple(
            RingEvent("2026-01-01T00:00:00.000Z", n, "fault_raised", "x" * 200) for n in range(100)
        )
        old = tuple(with_id(one, write - 20).alarm_id for _ in range(1) if write > 20)
        outbox.commit(PostCommit(write, (with_id(one, write),), old, ring))
        assert events.get(timeout=WAIT_S) == PostCommitted(write)
    size = sum(part.stat().st_size for part in tmp_path.iterdir() if "-wal" not in part.name)
    outbox.close(WAIT_S)
    assert size < 2 * 1024 * 1024
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM ring").fetchone() == (RING_EVENTS_MAX,)


def test_every_database_cuts_its_write_ahead_log(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    connection = room.journal._connection
    assert connection is not None
    limit = connection.exec_driver_sql("PRAGMA journal_size_limit").scalar_one()
    connection.rollback()
    room.close()
    assert limit == JOURNAL_WAL_BYTES_MAX
    with Store(tmp_path / "mcc.db") as store:
        assert store._sql.execute("PRAGMA journal_size_limit").fetchone() == (WAL_BYTES_MAX,)
    outbox = Outbox(tmp_path / "post.db", lambda _event: None)
    outbox.open()
    assert outbox._connection is not None
    assert outbox._connection.execute("PRAGMA journal_size_limit").fetchone() == (1024 * 1024,)
    outbox.close(WAIT_S)


def test_an_answer_to_a_heartbeat_of_long_ago_says_nothing() -> None:
    rig = Rig()
    rig.connect(answering=False)
    rig.advance(30 * (HEARTBEATS_REMEMBERED + 8))
    beats = rig.published(Health)
    link = rig.post._link
    assert link is not None
    assert len(link.beats) <= HEARTBEATS_REMEMBERED
    rig.answer(beat=beats[0].n)
    assert rig.lamp() == "out_of_order"
    rig.answer(beat=beats[-1].n)
    assert rig.lamp() == "armed"


def test_the_screen_remembers_so_many_lines_and_no_more() -> None:
    screen = Screen(as_json=False, colour=False)
    at = "2026-01-01T00:00:00.000Z"
    for n in range(LINES_REMEMBERED_MAX + 10):
        silent = post(post=f"mlg-rw{n}", connection="silent")
        assert screen.line(Show(Shown(silent)), at) is not None
        assert screen.line(Show(Shown(silent)), at) is None
    assert len(screen._last) == LINES_REMEMBERED_MAX
    first = Show(Shown(post(post="mlg-rw0", connection="silent")))
    assert screen.line(first, at) is not None


def test_a_list_shows_so_many_closed_alarms_and_every_open_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcc.db"
    with Store(path) as store:
        store.claim()
        for n in range(1, cli.CLOSED_LISTED_MAX + 11):
            at = f"2027-01-01T{n // 60:02}:{n % 60:02}:00.000Z"
            shown = document(n, "resolved", raised=Raised(at=at, known="before"))
            store.commit(Commit(alarms=(record_of(shown),)))
        for n in (900, 901):
            store.commit(Commit(alarms=(record_of(document(n)),)))
    assert cli.main(["list", "--json", "--store", str(path)]) == 0
    lines = capsys.readouterr().out
    assert sum('"state": "resolved"' in line for line in lines.splitlines()) == (
        cli.CLOSED_LISTED_MAX
    )
    assert uid(900) in lines
    assert uid(901) in lines
    assert uid(10) not in lines


def keeper(events: list[object]) -> CertificateKeeper:
    return CertificateKeeper(
        "mlg-test-rw01",
        ca=Path("ca.pem"),
        identity=Path("post.pem"),
        deliver=events.append,
        synchronised=lambda: True,
    )


def test_a_renewal_is_asked_for_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CertificateKeeper, "_ends_within", lambda _self, _seconds: True)
    monkeypatch.setattr(CertificateKeeper, "_request", lambda _self: b"request")
    events: list[object] = []
    asking = keeper(events)
    pauses_s = [asking._guarded(asking._look) for _ in range(15)]
    assert pauses_s[0] == ASK_PAUSE_FIRST_S
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == ASK_PAUSE_MAX_S
    assert sum(isinstance(event, Renewal) for event in events) == 15


def test_more_answers_to_a_renewal_than_fit_are_passed_over() -> None:
    asking = keeper([])
    for _ in range(10 * ANSWERS_MAX):
        asking.take(Certificate(post="mlg-test-rw01", certificate="AAAA"))
    assert asking._answers.qsize() == ANSWERS_MAX
