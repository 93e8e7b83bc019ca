"""Files that are replaced as a whole: after a crash there is the old one or the new one.

Never leaves a half-written file under its name, and never widens who may read a secret.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644


def replace_file(path: Path, content: bytes, mode: int = SECRET_MODE) -> None:
    """Write `content` beside `path`, sync it, and put it in its place.

    A file that was there keeps its owner where we may give it away.

    Raises:
        OSError: it could not be written; what was there is still there.
    """
    new = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(file, mode)  # whatever the umask says
            _keep_owner(file, path)
            view = memoryview(content)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory outlive a power cut.

    Raises:
        OSError: the disk failed.
    """
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _keep_owner(file: int, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        was = path.stat()
        os.fchown(file, was.st_uid, was.st_gid)
