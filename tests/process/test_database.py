"""What every SQLite file has in common: versions go up, never down, and damage is set aside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from process.database import (
    SET_ASIDE_MAX,
    NewerVersion,
    bring_up,
    found_corrupt,
    is_damage,
    note_corrupt,
    set_aside,
)

FIRST = "CREATE TABLE visits (n INTEGER PRIMARY KEY)"
SECOND = "ALTER TABLE visits ADD COLUMN at TEXT; UPDATE visits SET at = 'then'"
BROKEN = "CREATE TABLE more (n INTEGER); INSERT INTO nowhere VALUES (1)"


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def version_of(sql: sqlite3.Connection) -> int:
    return int(sql.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_file_gets_every_step_and_is_made_once(tmp_path: Path) -> None:
    sql = opened(tmp_path / "some.db")
    made: list[int] = []
    bring_up(sql, (FIRST, SECOND), made=lambda: made.append(1))
    bring_up(sql, (FIRST, SECOND), made=lambda: made.append(2))
    assert version_of(sql) == 2
    assert made == [1]
    sql.close()


def test_a_file_of_an_older_version_gets_what_it_lacks_and_keeps_what_it_holds(
    tmp_path: Path,
) -> None:
    sql = opened(tmp_path / "some.db")
    bring_up(sql, (FIRST,))
    sql.execute("INSERT INTO visits VALUES (7)")
    bring_up(sql, (FIRST, SECOND), made=lambda: pytest.fail("it was there before"))
    assert sql.execute("SELECT n, at FROM visits").fetchall() == [(7, "then")]
    sql.close()


def test_a_step_that_fails_leaves_the_version_that_was(tmp_path: Path) -> None:
    sql = opened(tmp_path / "some.db")
    bring_up(sql, (FIRST,))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        bring_up(sql, (FIRST, SECOND, BROKEN))
    assert version_of(sql) == 1
    assert not sql.in_transaction
    tables = sql.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("visits",)]
    sql.close()


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    sql = opened(path)
    bring_up(sql, (FIRST, SECOND))
    sql.close()
    before = path.read_bytes()
    sql = opened(path)
    with pytest.raises(NewerVersion, match="of version 2; this program knows 1"):
        bring_up(sql, (FIRST,))
    sql.close()
    assert path.read_bytes() == before


def test_a_file_that_denies_its_tables_is_damaged(tmp_path: Path) -> None:
    sql = opened(tmp_path / "some.db")
    bring_up(sql, (FIRST,))
    sql.execute("PRAGMA user_version = 0")
    with pytest.raises(sqlite3.OperationalError) as caught:
        bring_up(sql, (FIRST,))
    assert is_damage(caught.value)
    sql.close()


def test_a_full_disk_and_a_busy_file_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    sql, other = opened(path), sqlite3.connect(path, timeout=0, isolation_level=None)
    bring_up(sql, (FIRST,))
    sql.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as busy:
        other.execute("BEGIN IMMEDIATE")
    sql.execute("ROLLBACK")
    sql.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        sql.execute("CREATE TABLE big AS SELECT randomblob(100000)")
    assert not is_damage(busy.value)
    assert not is_damage(full.value)
    assert not is_damage(OSError(28, "No space left on device"))
    sql.close()
    other.close()


def test_a_schema_whose_words_are_no_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    sql = opened(path)
    bring_up(sql, (FIRST,))
    sql.close()
    whole = bytearray(path.read_bytes())
    at = whole.rindex(b"CREATE TABLE visits") + len(b"CREATE TABLE vi")
    whole[at - 9] = 0x86
    path.write_bytes(whole)
    sql = opened(path)
    with pytest.raises((sqlite3.DatabaseError, UnicodeDecodeError)) as caught:
        sql.execute("SELECT * FROM visits")
    assert is_damage(caught.value)
    sql.close()


def test_at_most_three_damaged_files_are_kept_and_the_newest_of_them(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    for n in range(SET_ASIDE_MAX + 3):
        path.write_text(f"damaged {n}")
        Path(f"{path}-wal").write_text(f"wal {n}")
        aside = set_aside(path)
        assert aside.read_text() == f"damaged {n}"
        assert not path.exists()
    kept = sorted(each.read_text() for each in tmp_path.glob("some.db.damaged-*"))
    assert kept == ["damaged 3", "damaged 4", "damaged 5", "wal 3", "wal 4", "wal 5"]


def test_what_belongs_to_another_database_is_not_counted_and_not_deleted(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("other.db.damaged-1", "some.db.damaged-x", "some.db2")]
    for other in others:
        other.write_text("other")
    path = tmp_path / "some.db"
    for _ in range(5):
        path.write_text("damaged")
        set_aside(path)
    assert all(other.exists() for other in others)


def test_damage_found_in_use_is_noted_until_the_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.write_text("x")
    assert not note_corrupt(path, sqlite3.OperationalError("database or disk is full"))
    assert not found_corrupt(path)
    assert note_corrupt(path, sqlite3.DatabaseError("database disk image is malformed"))
    assert found_corrupt(path)
    set_aside(path)
    assert not found_corrupt(path)
