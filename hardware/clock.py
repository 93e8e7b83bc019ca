"""Time facts of this machine: uptime, wall time, whether the wall time can be believed, the boot.

Nothing here ever waits, and no deadline is ever computed from wall time: it can be stepped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

SYNCHRONISED_CACHE_US = 10_000_000
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
# systemd-timesyncd touches this file at its first synchronisation (systemd-timesyncd.service(8)).
TIMESYNC_FILE = Path("/run/systemd/timesync/synchronized")
# A suspended machine moves the two clocks apart by whole seconds; less than this is our own jitter.
OFFSET_STEP_US = 50_000
OFFSET_BRACKET_US = 1_000
# An edge is handed over within milliseconds. A stamp further off belongs to another clock.
EDGE_AGE_MAX_US = 60_000_000
EDGE_AHEAD_MAX_US = 1_000_000

# linux/prctl.h
_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_TIME_ERROR = 5  # adjtimex(2): "the system clock is not synchronized to a reliable server"
_STA_UNSYNC = 0x0040


class Now(msgspec.Struct, frozen=True):
    """One instant, as the cores get it.

    `uptime_us` is CLOCK_BOOTTIME in microseconds: it counts suspended time and is never stepped.
    `wall_ms` is Unix time in milliseconds; `synchronised` says whether it can be believed.
    """

    uptime_us: int
    wall_ms: int
    synchronised: bool


class Clock(Protocol):
    """Where the edges take their time from; the simulator has another one."""

    def now(self) -> Now:
        """This instant."""
        ...

    def boot_id(self) -> str:
        """The boot that `uptime_us` belongs to: a lower-case UUID."""
        ...


class _Timex(ctypes.Structure):
    # The head of struct timex up to the field read here; the kernel writes the whole of it.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def kernel_says_synchronised() -> bool | None:
    """What adjtimex(2) says of the system clock; None where the call is missing or refused."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    timex = _Timex()  # modes = 0: only reads
    state = adjtimex(ctypes.byref(timex))
    if state < 0:
        return None
    return state != _TIME_ERROR and not timex.status & _STA_UNSYNC


@contextlib.contextmanager
def timer_slack(us: int) -> Iterator[None]:
    """A thread that is begun meanwhile may be woken by its timers up to `us` microseconds late.

    What it waits for otherwise wakes it as soon as ever: see prctl(2), PR_SET_TIMERSLACK. Nothing
    happens where there is no such call.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
        before_ns = prctl(_PR_GET_TIMERSLACK)
    except (OSError, AttributeError):
        before_ns = -1
    if before_ns >= 0:
        prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(us * 1000))
    try:
        yield
    finally:
        if before_ns >= 0:
            prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(before_ns))


def uptime_us() -> int:
    """Microseconds since the boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class SystemClock:
    """The machine's own clocks.

    Whether wall time is synchronised is asked of the kernel, at most every 10 s; where the kernel
    refuses, systemd-timesyncd's file decides; where that is absent the answer is no. The
    environment variable KENTONGAN_CLOCK=synchronised|unsynchronised overrides both (laptops,
    tests); any other value is ignored.
    """

    def __init__(self) -> None:
        override = os.environ.get("KENTONGAN_CLOCK")
        self._override = {"synchronised": True, "unsynchronised": False}.get(override or "")
        self._synchronised = False
        self._asked_us: int | None = None
        self._boot_id = _read_boot_id()

    def now(self) -> Now:
        """This instant; costs a few microseconds."""
        at_us = uptime_us()
        return Now(at_us, time.time_ns() // 1_000_000, self._is_synchronised(at_us))

    def boot_id(self) -> str:
        """The kernel's boot id, lower case; one made for this process where the kernel has none."""
        return self._boot_id

    def _is_synchronised(self, at_us: int) -> bool:
        if self._override is not None:
            return self._override
        if self._asked_us is None or at_us - self._asked_us >= SYNCHRONISED_CACHE_US:
            says = kernel_says_synchronised()
            self._synchronised = TIMESYNC_FILE.exists() if says is None else says
            self._asked_us = at_us
        return self._synchronised


def _read_boot_id() -> str:
    try:
        return str(uuid.UUID(BOOT_ID_FILE.read_text(encoding="ascii").strip()))
    except (OSError, ValueError):
        return str(uuid.uuid4())


class EdgeTimes:
    """Turns the stamp of an edge (CLOCK_MONOTONIC, seconds) into uptime (CLOCK_BOOTTIME).

    The distance of the two clocks is kept, not measured anew for each edge: a measurement jitters
    by microseconds and could put two edges into the wrong order. It changes only after a suspend.
    """

    def __init__(self) -> None:
        self.misstamped = 0
        self._offset_us = min(
            (_measure_offset() for _ in range(5)), key=lambda measured: measured[1]
        )[0]

    def uptime_us(self, tick_s: float) -> int:
        """The uptime of an edge stamped `tick_s`; the time of receipt when that cannot be right.

        (GPIO stamps before Linux 5.7 were wall time. Such an edge is counted in `misstamped`.)
        """
        offset_us, bracket_us = _measure_offset()
        if abs(offset_us - self._offset_us) > OFFSET_STEP_US and bracket_us < OFFSET_BRACKET_US:
            self._offset_us = offset_us
        stamped_us = round(tick_s * 1_000_000) + self._offset_us
        now_us = uptime_us()
        if now_us - EDGE_AGE_MAX_US <= stamped_us <= now_us + EDGE_AHEAD_MAX_US:
            return stamped_us
        self.misstamped += 1
        return now_us


def _measure_offset() -> tuple[int, int]:
    before_ns = time.monotonic_ns()
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after_ns = time.monotonic_ns()
    offset_us = (boot_ns - (before_ns + after_ns) // 2) // 1000
    return offset_us, (after_ns - before_ns) // 1000
