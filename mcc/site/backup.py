"""`kentongan-mcc backup` and `restore`: the database and the photos into one file, and back.

The file is a tar: `database` (a copy of the SQLite file, or what `pg_dump` wrote) and `photos/…`. A
restored database gets a new `store_id`, so that the gateways tell it again what it has missed, and
everybody has to log in again. Photos that are there are left as they are: a name is a photo's for
ever.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mcc.cases.ingest import anchor_of
from mcc.settings import DatabaseSettings, MccFile
from mcc.store import LinkLock, StoreUnavailable
from process.log import masked
from protocol.values import new_id

BUSY_TIMEOUT_S = 5.0
_DATABASE = "database"
_PHOTOS = "photos/"
# What this site names its photos; a backup that came from elsewhere writes to no other place.
_PHOTO = re.compile(r"photos/(?:[a-z0-9_-]{1,64}/){0,4}[A-Za-z0-9_-]{1,64}\.(?:jpg|png)")
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
    database = target.with_name(target.name + ".database.part")
    try:
        for made in (part, database):
            made.unlink(missing_ok=True)
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if settings.database.file is not None:
            _copy(_present(settings.database.file), database)
        else:
            _postgresql(settings.database, "pg_dump", "--format=custom", "--file", str(database))
        with tarfile.open(part, "w") as tar:
            tar.add(database, _DATABASE)
            _add_photos(tar, settings.photos)
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror or error}") from None
    finally:
        for made in (part, database):
            with contextlib.suppress(OSError):
                made.unlink(missing_ok=True)


def _add_photos(tar: tarfile.TarFile, photos: Path) -> None:
    # After the database: it names no photo that has not been written.
    for path in sorted(one for one in photos.rglob("*") if one.is_file()):
        # One that was replaced just now is gone, and nobody misses it.
        with contextlib.suppress(FileNotFoundError):
            tar.add(path, _PHOTOS + path.relative_to(photos).as_posix())


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
        with tempfile.TemporaryDirectory(
            prefix="restore-", dir=settings.state_directory
        ) as directory:
            database, photos = _unpacked(source, Path(directory))
            if settings.database.file is not None:
                became = _restore_file(database, settings.database.file)
            else:
                became = _restore_server(database, settings.database)
            put = _put_photos(photos, settings.photos)
        return f"{became}; {put} photos put back"
    except StoreUnavailable as error:
        raise BackupError(str(error)) from None
    except OSError as error:
        raise BackupError(f"{error.filename or source}: {error.strerror or error}") from None
    finally:
        lock.give_back()


def _unpacked(source: Path, directory: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """The database of a backup, and its photos with the names that they are to get.

    A file that is no tar is taken for a database by itself: so were backups written once.
    """
    if not tarfile.is_tarfile(source):
        return source, []
    database, photos = directory / _DATABASE, []
    try:
        with tarfile.open(source, "r:") as tar:
            for number, member in enumerate(tar):
                if not member.isfile() or not (
                    member.name == _DATABASE or _PHOTO.fullmatch(member.name)
                ):
                    raise BackupError(f"{source} is no backup: it holds {member.name!r}")
                is_photo = member.name != _DATABASE
                to = directory / f"photo-{number}" if is_photo else database
                read = tar.extractfile(member)
                if read is None:
                    raise BackupError(f"{source} is damaged: {member.name}")
                with read, to.open("wb") as file:
                    shutil.copyfileobj(read, file)
                if is_photo:
                    photos.append((to, member.name.removeprefix(_PHOTOS)))
    except tarfile.TarError as error:
        raise BackupError(f"{source} is damaged: {error}") from None
    if not database.is_file():
        raise BackupError(f"{source} is no backup: there is no database in it")
    return database, photos


def _put_photos(photos: list[tuple[Path, str]], target: Path) -> int:
    """Move what is missing to its place, for its owner alone; how many were."""
    put = 0
    for path, name in photos:
        to = target / name
        if to.exists():
            continue
        to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o600)
        _sync(path)
        path.rename(to)
        _sync(to.parent)
        put += 1
    return put


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
