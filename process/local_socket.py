"""A Unix socket by which somebody at this machine asks a running process: a line in, a line out.

What panel and control socket share: it is the owner's alone, a stale one is replaced and nothing
else is, a line has a bound and a time. What a line means is the owner's.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

# sun_path is 108 bytes with its terminating zero (unix(7)).
PATH_BYTES_MAX = 107
_PORTION_BYTES = 65_536


class LocalSocketError(Exception):
    """There can be no socket at this path; the text says why."""


def check_path(path: Path) -> None:
    """Raises LocalSocketError when no socket can have this name."""
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise LocalSocketError(
            f"the path of the socket has {size} bytes, at most {PATH_BYTES_MAX} are possible"
        )


def listen(path: Path, waiting_max: int) -> socket.socket:
    """A socket that listens there, of mode 0600; at most `waiting_max` wait for their turn.

    Raises:
        LocalSocketError: it cannot; what is there and is no stale socket stays.
    """
    check_path(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        server.bind(str(path))
        # Before listen() nobody can connect, so nobody does with wider rights.
        path.chmod(0o600)
        server.listen(waiting_max)
    except OSError as error:
        server.close()
        raise LocalSocketError(error.strerror or str(error)) from None
    except LocalSocketError:
        server.close()
        raise
    return server


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens at, and nothing else."""
    if not path.exists() and not path.is_symlink():
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise LocalSocketError("it is there and is no socket; it is not removed")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise LocalSocketError("another process listens there")


def read_line(connection: socket.socket, bytes_max: int, until_s: float) -> bytes:
    """One line without its end; raises OSError at `until_s` (monotonic), ValueError if long."""
    held = bytearray()
    while b"\n" not in held:
        connection.settimeout(max(0.001, until_s - time.monotonic()))
        portion = connection.recv(_PORTION_BYTES)
        if not portion:
            break
        held += portion
        if len(held) > bytes_max:
            raise ValueError(f"more than {bytes_max} bytes")
    return bytes(held.partition(b"\n")[0])


def answer(connection: socket.socket, line: bytes, timeout_s: float) -> None:
    """Send a line; nothing comes of it when the asker has gone."""
    try:
        connection.settimeout(timeout_s)
        connection.sendall(line + b"\n")
    except OSError:
        return  # nobody is left to tell
