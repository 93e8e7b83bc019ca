"""The status file of a service: written beside its work, read by whoever looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from process.status import NAME, STATUS_BYTES_MAX, ServiceStatus, StatusFile, read_status


class Word(ServiceStatus, frozen=True, kw_only=True):
    said: str


def test_what_was_written_last_is_read_and_goes_with_the_service(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.write(Word(uptime_us=1, said="one"))
    file.write(Word(uptime_us=2, said="two"))
    assert read_status(tmp_path, Word) == Word(uptime_us=2, said="two")
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_status_that_cannot_be_written_costs_the_service_nothing(tmp_path: Path) -> None:
    nowhere, missing = StatusFile(None), StatusFile(tmp_path / "missing")
    for file in (nowhere, missing):
        file.write(Word(uptime_us=1, said="one"))
        file.remove()
    assert (nowhere.failures, missing.failures) == (0, 1)


@pytest.mark.parametrize(
    "content", [b"", b"[", b"{}", b'{"uptime_us": "x"}', b"[" * 5_000, b"x" * STATUS_BYTES_MAX * 2]
)
def test_what_is_no_status_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_status(tmp_path, Word)
