"""A running service's word on itself, in a file that anybody at the machine may look at.

The main loop writes it every 2 s beside its other looks, below the runtime directory, which is
memory: no card wears out. `doctor` reads it, so that it need not touch what the service holds.
It never raises for the service: a status that cannot be written costs nothing but itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

NAME = "status.json"
STATUS_BYTES_MAX = 64 * 1024
# Written every 2 s: a file older than this was left by a loop that turns no more.
FRESH_US = 10_000_000


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What every service says: when, in microseconds of uptime."""

    uptime_us: int


Status = TypeVar("Status", bound=ServiceStatus)


class StatusFile:
    """Where this process leaves its status; nowhere without a runtime directory."""

    def __init__(self, directory: Path | None) -> None:
        """Take the runtime directory, as systemd makes it."""
        self.failures = 0
        self._path = None if directory is None else directory / NAME

    @classmethod
    def from_environment(cls) -> StatusFile:
        """Where systemd says (`RuntimeDirectory=`)."""
        directory = runtime_directory()
        return cls(directory)

    def write(self, status: ServiceStatus) -> None:
        """Replace what is there; a failure is counted."""
        if self._path is None:
            return
        new = self._path.with_name(f".{NAME}.new")
        try:
            new.write_bytes(msgspec.json.encode(status) + b"\n")
            new.replace(self._path)
        except OSError:
            self.failures += 1

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError:
                self.failures += 1


def runtime_directory() -> Path | None:
    """The first of $RUNTIME_DIRECTORY."""
    first = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(first) if first else None


def read_status(directory: Path, kind: type[Status]) -> Status:
    """What the service said last.

    Raises:
        OSError: there is none, or this user may not read it.
        ValueError: it is no status of this kind.
    """
    with (directory / NAME).open("rb") as file:
        content = file.read(STATUS_BYTES_MAX + 1)
    if len(content) > STATUS_BYTES_MAX:
        raise ValueError(f"more than {STATUS_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
