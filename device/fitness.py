"""The edge of `device/conditions.py`: looks at the board once a minute, and counts starts on disk.

On a thread of its own: what hangs here hangs alone. How often the process has started without ever
lasting stands in a file beside the outbox, because a process that dies cannot remember it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from device.conditions import STABLE_US
from device.core import Restarts
from hardware.board import look
from process.files import replace_file
from process.log import log

LOOK_EVERY_S = 60.0
MODE = 0o640
STARTS_MAX = 99


class Fitness:
    """One thread; `deliver` gets `Restarts` once and `Readings` again and again."""

    def __init__(
        self, store: Path, deliver: Callable[[object], None], every_s: float = LOOK_EVERY_S
    ) -> None:
        """`store` is the outbox's file. Nothing is read yet."""
        self._directory = store.absolute().parent
        self._starts = store.with_name(store.name + ".starts")
        self._deliver = deliver
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fitness", daemon=True)

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._thread.start()

    def stop(self) -> None:
        """The process ends as asked, which is no start too many; a look that hangs is left."""
        self._stopping.set()

    def _run(self) -> None:
        began_s = time.monotonic()
        starts = min(self._read() + 1, STARTS_MAX)
        self._write(starts)
        self._deliver(Restarts(starts))
        while True:
            self._deliver(look(self._directory))
            is_over = self._stopping.wait(self._every_s)
            if starts and (is_over or time.monotonic() - began_s >= STABLE_US / 1_000_000):
                starts = 0
                self._write(starts)
            if is_over:
                return

    def _read(self) -> int:
        try:
            text = self._starts.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return 0  # the first start, or a disk that says so itself
        return int(text) if text.isdecimal() and len(text) < 4 else 0

    def _write(self, starts: int) -> None:
        try:
            replace_file(self._starts, f"{starts}\n".encode("ascii"), MODE)
        except OSError as error:
            log("starts_not_counted", level="warning", why=error)
