"""Bounds and versions of the command centre's store that no other test reaches."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mcc import store as store_module
from mcc.alarms import record_of
from mcc.core import Commit
from mcc.store import Store, StoreUnavailable
from process.database import note_corrupt
from protocol.messages import Raised
from tests.mcc.rig import document, gateway, uid

VERSION_1 = (Path(__file__).parent / "store_1.sql").read_text()
ID_1 = "d8cf9884-3167-477d-a205-48fc0668f527"


def version_1(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
    # The sidecar as that program left it: without one the file would look restored.
    Path(f"{path}.seq").write_text(f"{4:019d}\n")


def test_a_store_made_by_version_1_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    version_1(path)
    with Store(path) as store:
        assert store.claim() == ID_1
        memory = store.load()
        assert {(a.alarm_id, a.state) for a in memory.alarms} == {
            (uid(1), "received"),
            (uid(2), "resolved"),
        }
        assert [c.command_id for c in memory.commands] == [uid(10)]
        store.commit(Commit(alarms=(record_of(document(3)),)))
        assert len(store.load().alarms) == 3


def test_an_older_store_is_brought_up_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mcc.db"
    version_1(path)
    step = "CREATE TABLE shifts (began TEXT PRIMARY KEY)"
    monkeypatch.setattr(store_module, "_STEPS", (*store_module._STEPS, step))
    with Store(path) as store:
        assert store.claim() == ID_1
        assert len(store.load().alarms) == 2
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM shifts").fetchone() == (0,)


def test_a_command_centre_that_runs_for_years_prunes_closed_alarms_without_a_new_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CLOSED_STORED_MAX", 5)
    monkeypatch.setattr(store_module, "PRUNE_EVERY_COMMITS", 10)
    with Store(tmp_path / "mcc.db") as store:
        store.claim()
        store.commit(Commit(alarms=(record_of(document(999)),)))
        for n in range(1, 60):
            at = f"2027-01-01T00:{n:02}:00.000Z"
            shown = document(n, "resolved", raised=Raised(at=at, known="before"))
            store.commit(Commit(alarms=(record_of(shown),)))
            closed = [a for a in store.alarms(99) if not a.is_open]
            assert len(closed) <= 5 + 10
        assert any(a.alarm_id == uid(999) for a in store.alarms(99))


def test_more_gateways_than_memory_takes_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "GATEWAYS_MAX", 2)
    with Store(tmp_path / "mcc.db") as store:
        store.claim()
        store.commit(Commit(gateways=tuple(gateway(f"gw-{n}") for n in range(5))))
        assert len(store.load().gateways) == 2


def test_a_store_whose_tables_are_gone_is_set_aside_at_the_claim(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    version_1(path)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE outbox")
    with Store(path) as store:
        assert store.claim() != ID_1
        assert store.sending() == ()
    assert len(list(tmp_path.glob("mcc.db.damaged-*"))) == 1


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 40, "\u0661"])
def test_a_count_of_commits_that_is_no_number_looks_restored(tmp_path: Path, value: str) -> None:
    path = tmp_path / "mcc.db"
    version_1(path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'sequence'", (value,))
    with Store(path) as store:
        claimed = store.claim()
        store.commit(Commit(alarms=(record_of(document(3)),)))
        assert len(store.load().alarms) == 3
        assert (claimed != ID_1) == (not value.startswith("9"))


def test_a_store_that_was_noted_as_corrupt_is_not_used_again(tmp_path: Path) -> None:
    path = tmp_path / "mcc.db"
    version_1(path)
    assert note_corrupt(path, sqlite3.DatabaseError("database disk image is malformed"))
    with Store(path) as store:
        claimed = store.claim()
    assert claimed != ID_1
    with Store(path) as store:
        assert store.claim() == claimed


def test_corruption_that_only_a_commit_finds_is_set_aside_by_the_next_claim(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mcc.db"
    with Store(path) as store:
        before = store.claim()
        store._sql.execute("PRAGMA writable_schema = ON")
        store._sql.execute("UPDATE sqlite_master SET rootpage = 999 WHERE name = 'alarms'")
        store._sql.execute("PRAGMA writable_schema = RESET")
        assert not store.corrupt()
        with pytest.raises(StoreUnavailable, match="malformed"):
            store.commit(Commit(alarms=(record_of(document(1)),)))
        assert store.corrupt()
    with Store(path) as store:
        assert store.claim() != before
        assert not store.corrupt()
        store.commit(Commit(alarms=(record_of(document(1)),)))
