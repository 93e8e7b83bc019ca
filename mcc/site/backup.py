"""`kentongan-mcc backup` and `restore`: the whole database into one file, and back.

A restored database gets a new `store_id`, so that the gateways tell it again what it has missed,
and everybody has to log in again. The photos of posts are files of their own and not in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mcc.cases.ingest import anchor_of
from mcc.settings import DatabaseSettings, MccFile
from mcc.store import LinkLock, StoreUnavailable
from process.log import masked
from protocol.values import new_id

BUSY_TIMEOUT_S = 5.0
# Sessions and screens of a time that is over.
_OVER = ("DELETE FROM django_session", "DELETE FROM people_screen")


class BackupError(Exception):
    """It was not done, and what is there is as it was; the text says why."""


def backup(settings: MccFile, target: Path) -> None:
    """Write the database to a new file, readable by its owner alone, while everything runs.

    Raises:
        BackupError: there is such a file already, or it cannot be written.
    """
    if target.exists():
        raise BackupError(f"{target}: there is such a file already; a backup overwrites nothing")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if settings.database.file is not None:
            _copy(_present(settings.database.file), part)
        else:
            _postgresql(settings.database, "pg_dump", "--format=custom", "--file", str(part))
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def restore(settings: MccFile, source: Path) -> str:
    """Put a backup in the place of the database; what became of the present one, in words.

    Ingest and site have to be stopped.

    Raises:
        BackupError: they are not, or the file is no such backup.
    """
    if not source.is_file():
        raise BackupError(f"{source}: there is no such file")
    lock = LinkLock(anchor_of(settings))
    try:
        if not lock.take():
            raise BackupError("an ingest runs on this database: stop it and the site first")
        if settings.database.file is not None:
            return _restore_file(source, settings.database.file)
        return _restore_server(source, settings.database)
    except StoreUnavailable as error:
        raise BackupError(str(error)) from None
    except OSError as error:
        raise BackupError(f"{error.filename or source}: {error.strerror or error}") from None
    finally:
        lock.give_back()


# --- SQLite -------------------------------------------------------------------------------------


def _present(file: Path) -> Path:
    if not file.is_file():
        raise BackupError(f"{file}: there is no database; kentongan-mcc setup makes one")
    return file


def _copy(source: Path, target: Path) -> None:
    """A copy as of one moment, whole by SQLite's own check, with a new id."""
    try:
        with _opened(source, "mode=ro") as present, _opened(target, "mode=rw") as copy:
            present.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            found = str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])
            if found != "ok":
                raise BackupError(f"{source} is damaged: {found}")
            for statement in _OVER:
                copy.execute(statement)
            done = copy.execute("UPDATE cases_store SET store_id = ?", (new_id(),))
            copy.commit()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise BackupError(f"{source} cannot be read as a command centre's: {error}") from None
    if done.rowcount < 1:
        raise BackupError(f"{source} holds no command centre's data yet")


@contextlib.contextmanager
def _opened(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?{how}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as sql:
        yield sql


def _restore_file(source: Path, file: Path) -> str:
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(source, part)
        _sync(part)
        aside = _set_aside(file)
        part.rename(file)
        _sync(file.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return f"the one before is {aside}" if aside else "there was none before"


def _set_aside(file: Path) -> Path | None:
    """Rename the present file to `<file>.before-restore`, in the place of the last such one."""
    if not file.exists():
        return None
    try:
        # Leaving the write-ahead log succeeds only when nobody else has the file open.
        with _opened(file, "mode=rw") as sql:
            sql.execute("PRAGMA busy_timeout=500")
            mode = str(sql.execute("PRAGMA journal_mode=DELETE").fetchone()[0])
    except sqlite3.DatabaseError as error:
        in_use = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        mode = "in use" if in_use else "damaged"
    if mode not in ("delete", "damaged"):
        raise BackupError(f"{file} is in use: stop the ingest and the site first")
    aside = file.with_name(file.name + ".before-restore")
    for suffix in ("-wal", "-shm"):
        Path(f"{aside}{suffix}").unlink(missing_ok=True)
    file.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{file}{suffix}").rename(f"{aside}{suffix}")
    return aside


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


# --- PostgreSQL ---------------------------------------------------------------------------------


def _restore_server(source: Path, database: DatabaseSettings) -> str:
    _postgresql(database, "pg_restore", "--list", str(source), connects=False)
    restoring = ("--clean", "--if-exists", "--no-owner", "--single-transaction")
    _postgresql(database, "pg_restore", *restoring, str(source))
    from django.db import Error, connection

    try:
        with connection.cursor() as cursor:
            for statement in _OVER:
                cursor.execute(statement)
            cursor.execute("UPDATE cases_store SET store_id = %s", [new_id()])
    except Error as error:
        raise BackupError(f"the database: {' '.join(str(error).split())}") from None
    return "what was in the database before is gone"


def _postgresql(
    database: DatabaseSettings, program: str, *arguments: str, connects: bool = True
) -> None:
    """Run one of PostgreSQL's own programs; the password goes by the environment."""
    found = shutil.which(program)
    if found is None:
        raise BackupError(f"{program} is missing: apt-get install postgresql-client")
    server = database.server
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    options = ["--no-password"] if connects else []
    for key, option, variable in (
        ("HOST", "--host", None),
        ("PORT", "--port", None),
        ("USER", "--username", None),
        ("NAME", "--dbname", None),
        ("PASSWORD", None, "PGPASSWORD"),
    ):
        if not server[key] or not connects:
            continue
        if variable:
            environment[variable] = server[key]
        elif option:
            options += [option, server[key]]
    done = subprocess.run(
        [found, *options, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:500]
        raise BackupError(f"{program}: {masked(said) or 'failed'}")
