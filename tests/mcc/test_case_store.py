"""The contract of a durable store, held to by the site's database on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from django.db import Error, connection, connections

from mcc.alarms import DONE, AlarmRecord, Verdict, record_of
from mcc.cases import store as store_module
from mcc.cases.actions import act
from mcc.cases.models import Alarm, Change, Command, PostDocument, Process, Store
from mcc.cases.store import CaseOutbox, CaseStore, NotSetUp
from mcc.core import Commit, GatewayShown, LinkShown, Show
from mcc.settings import DatabaseSettings
from mcc.store import StoreUnavailable
from protocol.messages import Raised
from protocol.values import timestamp
from tests.mcc.rig import GATEWAY, POST, START_MS, document, gateway, post, uid
from tests.mcc.test_actions import FROM, a_user, stored
from tests.postgresql import PostgreSQL

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    claimed = CaseStore(tmp_path / "anchor")
    claimed.claim()
    return claimed


def alarm(n: int = 1, state: str = "received", **fields: object) -> AlarmRecord:
    return record_of(document(n, state, **fields))


def rings(n: int = 1) -> int:
    return Alarm.objects.get(alarm_id=uid(n)).rings


def test_what_was_committed_is_loaded_after_reopening(tmp_path: Path) -> None:
    first = CaseStore(tmp_path / "anchor")
    store_id = first.claim()
    first.commit(
        Commit(
            alarms=(alarm(1), alarm(2, "resolved")),
            fresh=frozenset((uid(1), uid(2))),
            posts=(post(),),
            gateways=(gateway(),),
            reason="no gateway is answering",
        )
    )
    entry = act(a_user(), "acknowledge", alarm_id=uid(1), **FROM)
    first.close()
    second = CaseStore(tmp_path / "anchor")
    assert second.claim() == store_id
    memory = second.load()
    assert memory.store_id == store_id
    assert [(a.alarm_id, a.state) for a in memory.alarms] == [
        (uid(2), "resolved"),
        (uid(1), "received"),
    ]
    assert [p.post for p in memory.posts] == [POST]
    assert [g.gateway for g in memory.gateways] == [GATEWAY]
    assert [c.command_id for c in memory.commands] == [entry.command_id]
    assert Store.objects.get().reason == "no gateway is answering"


def test_a_fresh_alarm_that_the_store_has_is_left_as_it_is_and_returned(store: CaseStore) -> None:
    store.commit(Commit(alarms=(alarm(1, "resolved"),)))
    [existing] = store.commit(Commit(alarms=(alarm(1),), fresh=frozenset((uid(1),))))
    assert existing.state == "resolved"
    assert Alarm.objects.get().state == "resolved"


def test_each_commit_says_what_has_changed(store: CaseStore) -> None:
    seen = Store.objects.get().sequence
    store.commit(Commit(alarms=(alarm(2, follows=uid(1)),), posts=(post(),), gone_posts=("gone",)))
    changed = Change.objects.filter(sequence__gt=seen).order_by("sequence")
    assert [(one.kind, one.key) for one in changed] == [
        ("alarm", uid(2)),
        ("alarm", uid(1)),
        ("post", POST),
        ("post", "gone"),
        ("process", "ingest"),
    ]


def test_a_retired_post_leaves_and_its_alarms_stay(store: CaseStore) -> None:
    store.commit(Commit(alarms=(alarm(),), posts=(post(),)))
    store.commit(Commit(gone_posts=(POST,)))
    assert not PostDocument.objects.exists()
    assert Alarm.objects.count() == 1


def test_an_alarm_rings_once_and_again_for_every_repeat_until_it_is_answered(
    store: CaseStore,
) -> None:
    for seen, expected in (
        (alarm(1), 1),
        (alarm(1, "delivered"), 1),
        (alarm(1, "delivered", repeats=1), 2),
        (alarm(1, "delivered", repeats=1), 2),
        (alarm(1, "acknowledged", repeats=1), 2),
        # A cry that came too late for the answer.
        (alarm(1, "acknowledged", repeats=2, answered_repeats=1), 3),
        (alarm(1, "resolved", repeats=2, answered_repeats=1), 3),
    ):
        store.commit(Commit(alarms=(seen,)))
        assert rings() == expected


def test_practice_is_silent_until_it_becomes_a_call_for_help(store: CaseStore) -> None:
    store.commit(Commit(alarms=(alarm(1, kind="test"),)))
    assert rings() == 0
    store.commit(Commit(alarms=(alarm(1, kind="panic"),)))
    assert rings() == 1


def test_a_late_cry_that_lives_on_in_another_alarm_rings_there_alone(store: CaseStore) -> None:
    store.commit(Commit(alarms=(alarm(1, "acknowledged"),)))
    store.commit(
        Commit(
            alarms=(
                alarm(1, "acknowledged", repeats=1, answered_repeats=0),
                alarm(2, follows=uid(1)),
            )
        )
    )
    assert (rings(1), rings(2)) == (0, 1)


def test_when_it_was_first_heard_stays(store: CaseStore) -> None:
    store.commit(Commit(alarms=(alarm(),)))
    first_ms = Alarm.objects.get().heard_ms
    time.sleep(0.002)
    store.commit(Commit(alarms=(alarm(1, "delivered"),)))
    assert Alarm.objects.get().heard_ms == first_ms


def test_a_verdict_ends_the_sending_and_is_kept(store: CaseStore) -> None:
    stored(1)
    stored(2)
    user = a_user()
    ids = [
        str(act(user, "acknowledge", alarm_id=uid(n), **FROM).command_id)  #
        for n in (1, 2)
    ]
    outbox = store.outbox()
    assert [one.command_id for one in outbox.sending()] == ids
    lost = Verdict(refused="already", why="already", first_operator="siti")
    store.commit(Commit(verdicts=((ids[0], DONE), (ids[1], lost))))
    assert outbox.sending() == ()
    sent = outbox.sent(ids[1])
    assert sent is not None
    assert (sent.state, sent.verdict) == ("refused", lost)
    assert Command.objects.get(command_id=ids[0]).state == "done"
    assert outbox.sent(uid(77)) is None


def test_an_older_copy_of_the_database_gets_a_new_id(store: CaseStore, tmp_path: Path) -> None:
    before = Store.objects.get()
    store.commit(Commit(alarms=(alarm(),)))
    store.close()
    # As a copy that was taken before the alarm.
    Alarm.objects.all().delete()
    Change.objects.filter(sequence__gt=before.sequence).delete()
    before.save()
    restored = CaseStore(tmp_path / "anchor")
    assert restored.claim() != before.store_id
    restored.close()
    kept = restored.claim()
    restored.close()
    assert CaseStore(tmp_path / "anchor").claim() == kept


def test_another_connections_commit_changes_the_outbox_version(store: CaseStore) -> None:
    versions: list[int] = []
    looked = threading.Event()
    written = threading.Event()

    def read() -> None:
        outbox = CaseOutbox()
        versions.append(outbox.data_version())
        versions.append(outbox.data_version())
        looked.set()
        written.wait(10)
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s and versions[-1] == versions[0]:
            versions.append(outbox.data_version())
        outbox.close()

    reader = threading.Thread(target=read)
    reader.start()
    looked.wait(10)
    stored()
    act(a_user(), "acknowledge", alarm_id=uid(1), **FROM)
    written.set()
    reader.join(20)
    assert versions[0] == versions[1]
    assert versions[-1] != versions[0]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_command_whose_notification_never_came_is_found_all_the_same(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LOOK_S", 0.05)
    outbox = store.outbox()
    before = outbox.data_version()
    stored()  # as a server says it that has lost our listener
    until_s = time.monotonic() + 10
    while outbox.data_version() == before:
        assert time.monotonic() < until_s
    outbox.close()


def test_a_pulse_counts_up_and_shows_link_and_gateways(store: CaseStore) -> None:
    seen = Store.objects.get().sequence
    store.show(Show(LinkShown(True)))
    store.show(Show(GatewayShown("mlg", "online")))
    store.pulse()
    row = Process.objects.get(name="ingest")
    assert row.body == {"link_up": True, "link_reason": "", "gateways": {"mlg": "online"}}
    told = Store.objects.get().sequence
    assert told == seen + 1
    store.pulse()
    assert Process.objects.get(name="ingest").beat > row.beat
    assert Store.objects.get().sequence == told


def test_a_database_without_tables_is_not_set_up(tmp_path: Path) -> None:
    with connection.cursor() as cursor:
        newest = "SELECT max(name) FROM django_migrations WHERE app = 'cases'"
        cursor.execute(f"DELETE FROM django_migrations WHERE app = 'cases' AND name = ({newest})")
    with pytest.raises(NotSetUp, match="kentongan-mcc setup"):
        CaseStore(tmp_path / "anchor").claim()


def test_a_row_that_cannot_be_read_hides_no_other(store: CaseStore) -> None:
    store.commit(Commit(alarms=(alarm(1), alarm(2))))
    Alarm.objects.filter(alarm_id=uid(1)).update(body="{")
    assert [one.alarm_id for one in store.load().alarms] == [uid(2)]
    store.commit(Commit(alarms=(alarm(1),), fresh=frozenset((uid(1),))))
    assert len(store.load().alarms) == 2


def test_of_a_commit_that_fails_nothing_is_there_and_the_next_one_works(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise Error("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "_write_verdicts", full)
        with pytest.raises(StoreUnavailable, match="disk full"):
            store.commit(Commit(alarms=(alarm(),)))
        assert not Alarm.objects.exists()
    store.commit(Commit(alarms=(alarm(),)))
    assert Alarm.objects.count() == 1


def test_closed_alarms_and_settled_commands_are_pruned_beyond_their_bounds(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CLOSED_STORED_MAX", 2)
    monkeypatch.setattr(store_module, "SETTLED_STORED_MAX", 1)
    monkeypatch.setattr(store_module, "PRUNE_EVERY_COMMITS", 2)
    Command.objects.bulk_create(
        Command(command_id=uid(n), action="panic", operator="x", body="{}", state="done",
                created_ms=n)
        for n in range(3)
    )  # fmt: skip
    store.commit(Commit(alarms=(alarm(9),)))
    closed = [
        alarm(n, "resolved", raised=Raised(at=timestamp(START_MS + n), known="computed"))
        for n in range(1, 5)
    ]
    store.commit(Commit(alarms=tuple(closed)))
    left = set(Alarm.objects.values_list("alarm_id", flat=True))
    assert left == {uid(3), uid(4), uid(9)}
    assert list(Command.objects.values_list("created_ms", flat=True)) == [2]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_database_that_goes_away_is_used_again_when_it_is_back(
    database: DatabaseSettings, tmp_path: Path, postgresql: PostgreSQL
) -> None:
    store = CaseStore(tmp_path / "anchor")
    store.claim()
    outbox = store.outbox()
    connections["default"].ensure_connection()
    try:
        postgresql.stop()
        with pytest.raises(StoreUnavailable):
            store.commit(Commit(alarms=(alarm(),)))
        with pytest.raises(StoreUnavailable):
            _listen(outbox)
        store.pulse()
    finally:
        postgresql.start()
    store.commit(Commit(alarms=(alarm(),)))
    assert store.outbox().sending() == ()
    assert Alarm.objects.count() == 1


def _listen(outbox: CaseOutbox) -> None:
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        outbox.data_version()
