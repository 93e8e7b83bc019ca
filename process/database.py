"""What every SQLite file of a process has in common: its version, and its end when it is damaged.

A file of an older version is brought up step by step, in one transaction; one of a newer version
is refused and left as it is. A damaged file is set aside, never deleted at once and never kept for
ever: it may hold the only copy of something, and a failing card makes many of them. A file that was
never ours is not touched at all.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

SET_ASIDE_MAX = 3  # of one database; the oldest goes first

_MAGIC = b"SQLite format 3\x00"
_CORRUPT = ".corrupt"

# What reading or writing a file may raise. SQLite quotes names of a damaged schema in its errors,
# and Python cannot always decode them.
FILE_ERRORS = (sqlite3.Error, UnicodeDecodeError, OSError)

_DAMAGE = frozenset(
    (
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_NOTADB,
    )
)


class NewerVersion(Exception):
    """The file was written by a newer program; the text says which version is known."""


class ForeignFile(Exception):
    """Something else lies at that path; the text says so. It was not touched."""


def require_ours(database: Path, *beside: str) -> None:
    """Make sure that a file may be opened, and set aside when it is damaged.

    It may when it is absent or empty, when one of the names `<database><beside>` shows that we
    had it before, or when it is an SQLite file that holds nothing yet or our table `meta`.

    Raises:
        ForeignFile: it is somebody's other file, such as a misspelt path.
        OSError: it cannot be read.
    """
    if not database.is_file() or any(Path(f"{database}{one}").exists() for one in beside):
        return
    with database.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start not in (b"", _MAGIC) or (start and _is_of_another_program(database)):
        raise ForeignFile(f"{database} is not a Kentongan store; it is left as it is")


def _is_of_another_program(database: Path) -> bool:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        ) as sql:
            tables = {name for (name,) in sql.execute("SELECT name FROM sqlite_master")}
    except FILE_ERRORS:
        return False  # damaged, or in use: what that means is for its owner to say
    return bool(tables) and "meta" not in tables


def bring_up(
    sql: sqlite3.Connection,
    steps: Sequence[str],
    *,
    made: Callable[[], None] = lambda: None,
) -> None:
    """Bring a file to the version that `steps` lead to; nothing when it has it already.

    `steps[n]` are the statements that turn version n (`PRAGMA user_version`) into n + 1; version 0
    is the empty file. `made` is called in the transaction that makes the file what it is, before
    its end. The connection must be in autocommit mode (`isolation_level=None`).

    Raises:
        NewerVersion: the file is of a version beyond `steps`; it was not touched.
        FILE_ERRORS: a step failed; nothing of any step is in the file.
    """
    if _version(sql) == len(steps):
        return
    sql.execute("BEGIN IMMEDIATE")
    try:
        version = _version(sql)  # another process may have been faster
        if version > len(steps):
            raise NewerVersion(f"it is of version {version}; this program knows {len(steps)}")
        for step in steps[version:]:
            for statement in step.split(";"):
                sql.execute(statement)
        if version == 0:
            made()
        sql.execute(f"PRAGMA user_version = {len(steps)}")
        sql.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(*FILE_ERRORS):
            sql.execute("ROLLBACK")
        raise


def read_only(database: Path) -> str:
    """The URI by which a database is read, beside its owner or without one, and nothing left there.

    A reader of a database in WAL mode would leave `-wal` and `-shm` behind. Where there is no
    `-wal` nobody writes and the file is all there is, so none is needed.
    """
    nobody_writes = not Path(f"{database}-wal").exists()
    return f"{database.absolute().as_uri()}?mode=ro{'&immutable=1' if nobody_writes else ''}"


def is_damage(error: BaseException) -> bool:
    """Whether the file is at fault; a disk that is full, read-only, absent or busy is not damage.

    Every statement that we send is right for the version that the file claims, so an SQL error
    says that it is not what it claims.
    """
    if isinstance(error, UnicodeDecodeError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "Could not decode" in str(error) or "malformed" in str(error)
    return code & 0xFF in _DAMAGE  # the rest of it says where SQLite noticed


def note_corrupt(database: Path, error: BaseException) -> bool:
    """Whether a read or write found the file corrupt; if so, the next opening sets it aside.

    The check at an opening reads every page and not every meaning: some damage shows only in use.
    """
    text = str(error)
    if "malformed" not in text and "not a database" not in text:
        return False
    with contextlib.suppress(OSError):
        Path(f"{database}{_CORRUPT}").touch()
    return True


def found_corrupt(database: Path) -> bool:
    """Whether `note_corrupt` said so and the file has not been set aside since."""
    return Path(f"{database}{_CORRUPT}").exists()


def set_aside(database: Path) -> Path:
    """Rename a damaged file, with what SQLite keeps beside it, to `<database>.damaged-<n>`.

    The newest three stay. They are numbered, because a post's clock may stand at 1970.

    Raises:
        OSError: it could not be renamed; it is still there.
    """
    kept = _set_aside_before(database)
    aside = _aside(database, max(kept, default=0) + 1)
    database.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            Path(f"{database}{suffix}").rename(f"{aside}{suffix}")
    # The commits it counts and the damage it notes are those of a file that is no longer there.
    for suffix in (".seq", _CORRUPT):
        with contextlib.suppress(OSError):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
    for number in kept[: len(kept) + 1 - SET_ASIDE_MAX]:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(f"{_aside(database, number)}{suffix}").unlink(missing_ok=True)
    return aside


def set_aside_before(database: Path) -> list[Path]:
    """The files that were set aside from here and are there still, the oldest first."""
    return [_aside(database, number) for number in _set_aside_before(database)]


def _aside(database: Path, number: int) -> Path:
    return Path(f"{database}.damaged-{number}")


def _set_aside_before(database: Path) -> list[int]:
    """Their numbers, the oldest first."""
    name = re.compile(re.escape(database.name) + r"\.damaged-([0-9]{1,18})(?:-wal|-shm)?")
    found = (name.fullmatch(entry.name) for entry in database.parent.iterdir())
    return sorted({int(match[1]) for match in found if match is not None})


def _version(sql: sqlite3.Connection) -> int:
    return int(sql.execute("PRAGMA user_version").fetchone()[0])
