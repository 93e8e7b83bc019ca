"""setup, check, backup and restore, as a person runs them."""

from __future__ import annotations

import io
import os
import pty
import select
import sqlite3
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from django.contrib.auth.hashers import check_password
from django.db import connections
from django.test import Client

from mcc.cases.actions import act
from mcc.cases.models import Entry, Store
from mcc.cases.store import CaseStore
from mcc.core import Commit
from mcc.people.codes import has_app
from mcc.people.models import User
from mcc.registers.models import Kelurahan
from mcc.settings import DatabaseSettings
from tests.mcc.centre import PASSWORD, Centre
from tests.mcc.conftest import Switch
from tests.mcc.people_rig import an_account, an_app
from tests.mcc.test_actions import FROM, a_user
from tests.mcc.test_case_store import alarm
from tests.postgresql import PostgreSQL

NOBODY = "mqtt://127.0.0.1:1"


@pytest.fixture
def new(tmp_path: Path) -> Centre:
    """A command centre that nobody has set up yet."""
    return Centre(tmp_path, NOBODY)


def said(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == code, text
    assert "Traceback" not in text
    return text


def test_setup_makes_everything_for_its_owner_alone_and_a_second_time_nothing(
    new: Centre, tmp_path: Path, django_db_blocker: pytest.FixtureRequest
) -> None:
    new.set_up()
    for name in ("mcc.secret", "site.db"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "photos").stat().st_mode & 0o777 == 0o700
    secret = (tmp_path / "mcc.secret").read_text()
    assert len(secret) >= 50
    with sqlite3.connect(tmp_path / "site.db") as sql:
        [(name, role, hashed)] = sql.execute("SELECT username, role, password FROM people_user")
        assert sql.execute("SELECT count(*) FROM registers_kelurahan").fetchone() == (57,)
    assert (name, role) == ("admin", "administrator")
    assert check_password(PASSWORD, hashed)
    again = said(new.run("setup"), 0)
    assert "made" not in again
    assert (tmp_path / "mcc.secret").read_text() == secret
    with sqlite3.connect(tmp_path / "site.db") as sql:
        assert sql.execute("SELECT count(*) FROM people_user").fetchone() == (1,)


def test_setup_on_a_postgresql_server(
    tmp_path: Path, postgresql: PostgreSQL, django_db_blocker: pytest.FixtureRequest
) -> None:
    postgresql.sql("CREATE DATABASE setup_of_it")
    database = DatabaseSettings(url=postgresql.url("setup_of_it"))
    centre = Centre(tmp_path, NOBODY, database)
    centre.set_up()
    switch = Switch()
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        switch.to(database)
        assert Kelurahan.objects.count() == 57
        assert User.objects.get().role == "administrator"
        switch.back()


def test_there_is_no_administrator_without_a_name_and_a_password(
    new: Centre, tmp_path: Path
) -> None:
    assert "--password-stdin" in said(new.run("setup"), 2)
    assert "--password-stdin" in said(new.run("setup", "--administrator", "admin"), 2)
    with sqlite3.connect(tmp_path / "site.db") as sql:
        assert sql.execute("SELECT count(*) FROM people_user").fetchone() == (0,)


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("admin", "short", "at least 12 characters"),
        ("admin", "password1234", "too common"),
        ("administrator-1", "administrator-1", "too similar"),
        ("admin", "", "at least 12 characters"),
        ("no blanks", PASSWORD, "username"),
        ("admin", "x" * 2000, "longer than"),
    ],
)
def test_a_name_or_password_that_will_not_do_is_refused_with_the_reason(
    new: Centre, tmp_path: Path, name: str, password: str, why: str
) -> None:
    done = new.run("setup", "--administrator", name, "--password-stdin", stdin=password.encode())
    assert why in said(done, 2)
    with sqlite3.connect(tmp_path / "site.db") as sql:
        assert sql.execute("SELECT count(*) FROM people_user").fetchone() == (0,)


def test_at_a_terminal_it_asks_and_shows_no_password(new: Centre, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcc.cli", "setup", "--config", str(new.config)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=new._environment(),
        start_new_session=True,
    )
    os.close(theirs)
    shown = ""

    def until(words: str) -> None:
        nonlocal shown
        end_s = time.monotonic() + 60
        while words not in shown:
            assert time.monotonic() < end_s, shown
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 4096).decode()
        shown = shown.partition(words)[2]

    def type_in(text: str) -> None:
        os.write(ours, f"{text}\n".encode())

    until("user name: ")
    type_in("siti")
    until("Password")
    type_in(PASSWORD)
    until("Once more: ")
    type_in("another one")
    until("not the same")
    until("user name: ")
    type_in("siti")
    until("Password")
    type_in(PASSWORD)
    until("Once more: ")
    type_in(PASSWORD)
    until("made the administrator siti")
    assert process.wait(20) == 0
    os.close(ours)
    assert PASSWORD not in shown
    with sqlite3.connect(tmp_path / "site.db") as sql:
        assert sql.execute("SELECT username FROM people_user").fetchall() == [("siti",)]


# --- account ------------------------------------------------------------------------------------


def test_a_sole_administrator_who_lost_phone_and_password_gets_in_again(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    user = an_account("siti", "administrator")
    an_app(user)
    new_password = "jagung-rebus-di-alun-alun"
    text = said(
        centre.run(
            "account", "siti", "--reset-code", "--password-stdin", stdin=new_password.encode()
        ),
        0,
    )
    assert new_password not in text
    lines = Entry.objects.order_by("id").values_list("action", "operator", "user_id", "detail")
    assert list(lines) == [
        ("code_reset", "command line", None, {"account": "siti"}),
        ("password_given", "command line", None, {"account": "siti"}),
    ]
    client = Client()
    answer = client.post("/login/", {"username": "siti", "password": new_password})
    assert answer.status_code == 302
    assert client.get("/code/", follow=True).redirect_chain[-1][0].startswith("/code/app/")
    user.refresh_from_db()
    assert user.password_given


@pytest.mark.parametrize(
    ("arguments", "password", "why"),
    [
        (["siti"], "", "--reset-code"),
        (["budi", "--reset-code"], "", "no account 'budi'"),
        (["\udcff", "--reset-code"], "", "no account"),
        (["agus", "--reset-code"], "", "is closed"),
        (["siti", "--reset-code", "--password-stdin"], "short", "at least 12 characters"),
    ],
)
def test_an_account_that_cannot_be_let_in_is_left_as_it_is(
    database: DatabaseSettings, tmp_path: Path, arguments: list[str], password: str, why: str
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    user = an_account("siti", "administrator")
    an_app(user)
    an_account("agus", is_active=False)
    assert why in said(centre.run("account", *arguments, stdin=password.encode()), 2)
    assert has_app(user)
    assert user.password == User.objects.get(pk=user.pk).password
    assert not Entry.objects.exists()


def test_check_prints_what_would_run_and_no_password(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    url = postgresql.url("x").replace("@", ":geheim@")
    more = '[escalation]\nsupervisor = ["tgram://bottoken/chat"]\n'
    centre = Centre(tmp_path, NOBODY, DatabaseSettings(url=url), more)
    text = said(centre.run("check"), 0)
    assert "keepalive_s = 15" in text
    assert "geheim" not in text
    assert "bottoken" not in text


def test_check_says_what_this_machine_does_not_have(tmp_path: Path) -> None:
    more = '[site]\ncertificate = "/nowhere/site.pem"\n'
    centre = Centre(tmp_path, NOBODY, DatabaseSettings(url=f"sqlite:///{tmp_path}"), more)
    text = said(centre.run("check"), 2)
    assert "[site] certificate" in text
    assert "[database] url" in text


# --- backup and restore -------------------------------------------------------------------------


def test_a_backup_is_whole_for_its_owner_alone_and_overwrites_nothing(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    CaseStore(tmp_path / "anchor").commit(Commit(alarms=(alarm(),)))
    act(a_user(), "note", note="before", **FROM)
    target = tmp_path / "backup"
    said(centre.run("backup", str(target)), 0)
    assert target.stat().st_mode & 0o777 == 0o600
    assert "overwrites nothing" in said(centre.run("backup", str(target)), 2)
    assert not list(tmp_path.glob("*.part"))

    act(a_user("siti"), "note", note="after", **FROM)
    before = Store.objects.get().store_id
    connections["default"].close()
    assert f"restored {target}" in said(centre.run("restore", str(target)), 0)
    assert [one.detail["note"] for one in Entry.objects.all()] == ["before"]
    assert Store.objects.get().store_id != before
    said(centre.run("setup", "--administrator", "admin", "--password-stdin",
                    stdin=PASSWORD.encode()), 0)  # fmt: skip
    with pytest.raises(Exception, match="only ever added to"):
        Entry.objects.update(operator="somebody else")


def test_photos_are_in_a_backup_and_come_back_where_they_are_missing(tmp_path: Path) -> None:
    centre = Centre(tmp_path, NOBODY)
    centre.set_up()
    with sqlite3.connect(tmp_path / "site.db") as sql:
        sql.execute("INSERT INTO cases_store VALUES (1, 'x', 5, '')")
    sql.close()
    posts = tmp_path / "photos" / "posts"
    posts.mkdir()
    (posts / f"{1:032x}.jpg").write_bytes(b"gate")
    (posts / f"{2:032x}.jpg").write_bytes(b"lamp")
    said(centre.run("backup", str(tmp_path / "backup")), 0)
    (posts / f"{1:032x}.jpg").unlink()
    (posts / f"{3:032x}.jpg").write_bytes(b"newer")
    assert "1 photos put back" in said(centre.run("restore", str(tmp_path / "backup")), 0)
    assert [one.read_bytes() for one in sorted(posts.iterdir())] == [b"gate", b"lamp", b"newer"]
    assert (posts / f"{1:032x}.jpg").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("restore-*"))


@pytest.mark.parametrize(
    "name", ["photos/../../mcc.secret", "/etc/passwd", "photos/posts/x.html", "other"]
)
def test_a_backup_that_would_write_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    centre = Centre(tmp_path, NOBODY)
    centre.set_up()
    secret = (tmp_path / "mcc.secret").read_text()
    with tarfile.open(tmp_path / "forged", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"mine"))
    assert "is no backup" in said(centre.run("restore", str(tmp_path / "forged")), 2)
    assert (tmp_path / "mcc.secret").read_text() == secret


def test_each_restored_copy_has_an_id_of_its_own(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    CaseStore(tmp_path / "anchor").claim()
    said(centre.run("backup", str(tmp_path / "backup")), 0)
    ids = set()
    for _ in range(2):
        connections["default"].close()
        said(centre.run("restore", str(tmp_path / "backup")), 0)
        ids.add(Store.objects.get().store_id)
    assert len(ids) == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_restore_refuses_while_somebody_has_the_database_open(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    CaseStore(tmp_path / "anchor").claim()
    said(centre.run("backup", str(tmp_path / "backup")), 0)
    list(Store.objects.all())  # as the site, whose connection stays open
    assert "is in use" in said(centre.run("restore", str(tmp_path / "backup")), 2)
    connections["default"].close()
    assert "before-restore" in said(centre.run("restore", str(tmp_path / "backup")), 0)


def test_restore_refuses_while_an_ingest_runs(database: DatabaseSettings, tmp_path: Path) -> None:
    with Centre(tmp_path, NOBODY, database) as centre:
        CaseStore(tmp_path / "anchor").claim()
        said(centre.run("backup", str(tmp_path / "backup")), 0)
        centre.start()
        end_s = time.monotonic() + 30
        lock = Path(f"{database.file or tmp_path / 'mcc-postgresql'}.link")
        while not lock.exists() and time.monotonic() < end_s:
            time.sleep(0.05)
        time.sleep(0.2)  # the lock is taken right after its file is made
        assert "stop it" in said(centre.run("restore", str(tmp_path / "backup")), 2)


def test_restore_refuses_what_is_no_backup_and_leaves_all_as_it_was(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    centre = Centre(tmp_path, NOBODY, database)
    CaseStore(tmp_path / "anchor").commit(Commit(alarms=(alarm(),)))
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE recipes (name)").close()
    (tmp_path / "text").write_text("no database at all, but long enough to have a header of one")
    connections["default"].close()
    before = Store.objects.get().store_id
    connections["default"].close()
    for name in ("other.db", "text", "absent"):
        said(centre.run("restore", str(tmp_path / name)), 2)
    assert Store.objects.get().store_id == before


def test_a_damaged_database_can_be_replaced(tmp_path: Path) -> None:
    centre = Centre(tmp_path, NOBODY)
    centre.set_up()
    with sqlite3.connect(tmp_path / "site.db") as sql:
        sql.execute("INSERT INTO cases_store VALUES (1, 'x', 5, '')")
    sql.close()
    said(centre.run("backup", str(tmp_path / "backup")), 0)
    (tmp_path / "site.db").write_bytes(b"\x00rubbish" * 1000)
    said(centre.run("backup", str(tmp_path / "second")), 2)
    said(centre.run("restore", str(tmp_path / "backup")), 0)
    with sqlite3.connect(tmp_path / "site.db") as sql:
        assert sql.execute("SELECT sequence FROM cases_store").fetchone() == (5,)
