"""Detects that a database file is an older copy of itself (a card put back, a backup restored).

Beside the database lies `<database>.seq` with the number of its newest commit. It never decides
anything for its owner, who takes a new id when the database is behind, and it never stops the
owner: when the sidecar cannot be written, that is counted and the work goes on.

It is not synced after each commit: a power cut may leave it older than the database, which is not
taken for a restored copy; it is only ever written after the commit, so it is never ahead of one.
A copy of the whole directory, sidecar included, cannot be told from the original here.
"""

from __future__ import annotations

import os
from pathlib import Path

SEQUENCE_MAX = 2**63 - 1
_DIGITS = len(str(SEQUENCE_MAX))


class Sequence:
    """The sidecar of one database file. Use from the thread that commits."""

    def __init__(self, path: Path, file: int | None, highest: int | None) -> None:
        self._path = path
        self._file = file
        self._highest = highest
        self._failures = 0 if file is not None else 1

    @classmethod
    def open(cls, database: Path) -> Sequence:
        """Open or make the sidecar of `database`; never raises for what a disk does."""
        path = database.with_name(database.name + ".seq")
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return cls(path, None, _read(path))
        return cls(path, file, _parse(file))

    def is_behind(self, db_seq: int, is_new: bool) -> bool:
        """Is the database older than what was once committed in it?

        `db_seq` is the highest commit number in the database, `is_new` that it was just made. A
        database that is not new and has no readable sidecar counts as restored: a new id too many
        only makes everything be offered again.
        """
        if self._highest is None:
            return not is_new
        return db_seq < self._highest

    def note(self, seq: int) -> bool:
        """Remember the number of a commit, after it; False (and counted) when that failed.

        Raises:
            ValueError: the number is negative or beyond 63 bits.
        """
        if not 0 <= seq <= SEQUENCE_MAX:
            raise ValueError(f"no commit number: {seq}")
        if self._file is None:
            self._failures += 1
            return False
        # Always the same length in place: a torn write within one sector cannot happen.
        line = b"%0*d\n" % (_DIGITS, seq)
        try:
            if os.pwrite(self._file, line, 0) != len(line):
                self._failures += 1
                return False
            if self._highest is None:
                # The file itself must outlive a power cut, or its absence would look like a copy.
                os.fsync(self._file)
                _sync(self._path.parent)
        except OSError:
            self._failures += 1
            return False
        self._highest = seq
        return True

    @property
    def failures(self) -> int:
        """How often the sidecar could not be opened or written."""
        return self._failures

    def close(self) -> None:
        """Release the file; `note` fails from here on."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _parse(file)
    finally:
        os.close(file)


def _parse(file: int) -> int | None:
    try:
        line = os.pread(file, _DIGITS + 2, 0)
    except OSError:
        return None
    digits = line.removesuffix(b"\n")
    if len(digits) != _DIGITS or len(line) != _DIGITS + 1 or not digits.isdigit():
        return None
    return int(digits)


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
