"""An older copy of a database is told from the database, whatever the disk does to the sidecar."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from process.restored import SEQUENCE_MAX, Sequence


def sidecar(tmp_path: Path) -> Path:
    return tmp_path / "post.db.seq"


def noted(tmp_path: Path, seq: int) -> None:
    sequence = Sequence.open(tmp_path / "post.db")
    assert sequence.note(seq)
    sequence.close()


def test_a_new_database_without_sidecar_is_not_restored(tmp_path: Path) -> None:
    assert not Sequence.open(tmp_path / "post.db").is_behind(0, is_new=True)


def test_a_database_that_is_as_new_as_its_sidecar_is_not_restored(tmp_path: Path) -> None:
    noted(tmp_path, 7)
    assert not Sequence.open(tmp_path / "post.db").is_behind(7, is_new=False)


def test_a_database_newer_than_its_sidecar_is_not_restored(tmp_path: Path) -> None:
    """A power cut may lose the last notes, which are not synced."""
    noted(tmp_path, 7)
    assert not Sequence.open(tmp_path / "post.db").is_behind(9, is_new=False)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_database_older_than_its_sidecar_is_restored(tmp_path: Path, is_new: bool) -> None:
    noted(tmp_path, 7)
    assert Sequence.open(tmp_path / "post.db").is_behind(6, is_new=is_new)


def test_a_database_without_its_sidecar_is_restored(tmp_path: Path) -> None:
    assert Sequence.open(tmp_path / "post.db").is_behind(6, is_new=False)


@pytest.mark.parametrize("content", [b"", b"12\n", b"x" * 20, b"-000000000000000007\n", b"9" * 40])
def test_a_sidecar_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    sidecar(tmp_path).write_bytes(content)
    sequence = Sequence.open(tmp_path / "post.db")
    assert sequence.is_behind(6, is_new=False)
    assert sequence.note(6)
    assert not sequence.is_behind(6, is_new=False)


def test_an_owner_that_took_a_new_id_may_note_a_lower_number(tmp_path: Path) -> None:
    noted(tmp_path, SEQUENCE_MAX)
    noted(tmp_path, 3)
    assert not Sequence.open(tmp_path / "post.db").is_behind(3, is_new=False)
    assert Sequence.open(tmp_path / "post.db").is_behind(2, is_new=False)


def test_a_directory_that_takes_no_file_stops_nobody(tmp_path: Path) -> None:
    sequence = Sequence.open(tmp_path / "absent" / "post.db")
    assert not sequence.is_behind(0, is_new=True)
    assert sequence.note(1) is False
    assert sequence.failures == 2
    sequence.close()


def test_a_full_disk_is_counted_and_stops_nobody(tmp_path: Path, mocker: MockerFixture) -> None:
    sequence = Sequence.open(tmp_path / "post.db")
    assert sequence.note(1)
    full = mocker.patch.object(os, "pwrite", side_effect=OSError(errno.ENOSPC, "full"))
    assert sequence.note(2) is False
    mocker.stop(full)
    assert sequence.failures == 1
    assert sequence.note(3)


def test_only_the_first_note_waits_for_the_disk(tmp_path: Path, mocker: MockerFixture) -> None:
    sync = mocker.spy(os, "fsync")
    sequence = Sequence.open(tmp_path / "post.db")
    sequence.note(1)
    at_first = sync.call_count
    sequence.note(2)
    assert (at_first, sync.call_count) == (2, 2)  # the file and its directory


@pytest.mark.parametrize("seq", [-1, SEQUENCE_MAX + 1])
def test_what_is_no_commit_number_is_refused(tmp_path: Path, seq: int) -> None:
    with pytest.raises(ValueError, match="no commit number"):
        Sequence.open(tmp_path / "post.db").note(seq)
