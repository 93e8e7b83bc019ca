"""The journal's versions: what an older gateway wrote is read, what a newer one wrote is left."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway import migrations
from gateway.core import Committed
from gateway.journal import _TABLES, SCHEMA, JournalUnusable
from tests.gateway.rig import some_id
from tests.gateway.test_journal import Room, record

ROOT = Path(__file__).parents[2]
VERSION_1 = (Path(__file__).parent / "journal_1.sql").read_text()
ID_1 = "a98bc63e-00b1-4c67-a4c2-1db0cae49cd8"


def version_1(directory: Path) -> Room:
    room = Room(directory)
    with sqlite3.connect(room.path) as database:
        database.executescript(VERSION_1)
    # The sidecar as that gateway left it: without one the file would look restored.
    Path(f"{room.path}.seq").write_text(f"{3:019d}\n")
    return room


def test_the_newest_version_is_the_one_that_the_journal_knows() -> None:
    assert ScriptDirectory.from_config(migrations.config()).get_heads() == [SCHEMA]


def test_a_journal_made_by_version_1_is_brought_up_with_all_that_is_in_it(tmp_path: Path) -> None:
    room = version_1(tmp_path)
    opened = room.open()
    assert opened.journal_id == ID_1
    assert opened.faults == ()
    assert [one.alarm_id for one in opened.records] == [some_id(1)]
    assert opened.meta["store_id"] == some_id(0x57)
    token = room.commit(record(some_id(3)))
    assert room.event() == Committed((token,))
    room.close()
    assert room.rows("SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert room.rows("SELECT count(*) FROM history") == [(4,)]
    assert room.rows("SELECT key FROM meta WHERE key = 'schema'") == []


def test_a_journal_that_was_brought_up_is_the_same_as_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    rooms = [version_1(tmp_path / "old"), Room(tmp_path / "new")]
    for room in rooms:
        room.open()
        room.close()
    names = "SELECT type, name, tbl_name FROM sqlite_master ORDER BY name"
    assert rooms[0].rows(names) == rooms[1].rows(names)


def test_the_tables_that_the_journal_uses_are_those_that_the_versions_make(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.close()
    engine = sa.create_engine(f"sqlite:///{room.path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, _TABLES) == []
    engine.dispose()


def test_a_step_that_fails_leaves_version_1_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = version_1(tmp_path)
    with sqlite3.connect(room.path) as database:
        # The name of the index that version 2 adds is taken.
        database.execute("CREATE INDEX ix_alarms_settled_at ON alarms (post)")
    monkeypatch.setattr("gateway.journal._is_damage", lambda _error: False)
    with pytest.raises(JournalUnusable, match="already exists"):
        room.open()
    tables = {name for (name,) in room.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "alembic_version" not in tables
    assert room.rows("SELECT value FROM meta WHERE key = 'schema'") == [("1",)]


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.close()
    with contextlib.closing(sqlite3.connect(room.path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0042'")
    before = room.path.read_bytes()
    with pytest.raises(JournalUnusable, match=f"is of schema 0042; this gateway knows {SCHEMA}"):
        Room(tmp_path).open()
    assert room.path.read_bytes() == before


def test_a_journal_of_today_is_opened_without_alembic(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.open()
    room.close()
    program = (
        "import sys; from pathlib import Path; sys.modules['alembic'] = None\n"
        "from gateway.journal import Journal\n"
        "journal = Journal('sqlite:///' + sys.argv[1], print); journal.open(); journal.close(5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(room.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_path_with_a_percent_sign_is_no_setting_of_alembic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "__file__", str(tmp_path / "50%" / "__init__.py"))
    found = migrations.config().get_main_option("script_location")
    assert found == str(tmp_path / "50%")


def test_the_versions_are_part_of_what_is_installed() -> None:
    # Packages are found by their __init__.py, and nothing but Python files is needed.
    here = Path(migrations.__file__).parent
    for directory in (here, here / "versions"):
        assert (directory / "__init__.py").is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "gateway*" in settings["tool"]["setuptools"]["packages"]["find"]["include"]
