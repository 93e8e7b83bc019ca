"""What the board says of itself: supply, heat, and room on the disk. It only reads.

Nothing is decided here. A read may hang with the disk or the firmware under it: never on a loop
that somebody waits for (`device/fitness.py` has a thread of its own).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import msgspec

VCGENCMD_S = 5.0
SYS = Path("/sys")
# Raspberry Pi documentation, "vcgencmd get_throttled": bits 0 to 3 say what is, 16 to 19 what has
# been since the boot.
UNDER_VOLTAGE_BIT = 0
THROTTLED_BITS = 0b1110  # frequency capped, throttled, soft temperature limit
SINCE_BOOT_SHIFT = 16


class Readings(msgspec.Struct, frozen=True):
    """One look; None where this board does not say.

    `throttled` are the bits of `vcgencmd get_throttled`; where a board only says that its voltage
    is too low, bit 0.
    """

    throttled: int | None = None
    temperature_c: float | None = None
    disk_free_mb: int | None = None


def look(directory: Path, sys: Path = SYS) -> Readings:
    """Read everything once. `directory` lies on the disk in question, `sys` is sysfs."""
    return Readings(_throttled(sys), _temperature_c(sys), _disk_free_mb(directory))


def _throttled(sys: Path) -> int | None:
    # The firmware's driver (drivers/firmware/raspberrypi.c, Raspberry Pi's kernel) has it in sysfs;
    # kernel.org's kernels have the under-voltage alarm of drivers/hwmon/raspberrypi-hwmon.c.
    with contextlib.suppress(OSError, ValueError):
        return int((sys / "devices/platform/soc/soc:firmware/get_throttled").read_text(), 16)
    for name in sorted(sys.glob("class/hwmon/hwmon*/name")):
        with contextlib.suppress(OSError, ValueError):
            if name.read_text().strip() == "rpi_volt":
                return int(name.with_name("in0_lcrit_alarm").read_text())
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get_throttled"],
            capture_output=True,
            text=True,
            timeout=VCGENCMD_S,
            check=False,
        )
        return int(done.stdout.strip().removeprefix("throttled="), 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _temperature_c(sys: Path) -> float | None:
    """Of the processor: thermal zone 0 on every Pi, in thousandths of a degree."""
    with contextlib.suppress(OSError, ValueError):
        return int((sys / "class/thermal/thermal_zone0/temp").read_text()) / 1000
    return None


def _disk_free_mb(directory: Path) -> int | None:
    with contextlib.suppress(OSError):
        room = os.statvfs(directory)
        if room.f_files and not room.f_favail:
            return 0  # no file can be made, however much room there is
        return room.f_bavail * room.f_frsize // 1_000_000
    return None
