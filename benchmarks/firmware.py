"""What one resting post costs: memory, processor time, and the way from its start to listening.

Measured on the command that a post really runs, on mock pins; nothing in it is changed.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks.figures import Firmware
from benchmarks.ground import Ground
from hardware.clock import uptime_us

POST = "bench-resting"
STARTS = 5
SETTLED_S = 5.0  # caches filled, first heartbeats answered
IDLE_S = 30.0


def measure(ground: Ground) -> Firmware:
    """Start a post five times, and let the last one rest for 30 s; a gateway must run.

    Raises:
        NotMeasured: it does not start, its lamp is not armed, or it ends.
    """
    settings = ground.write_post(POST)
    starts_us = []
    for start in range(STARTS):
        if start > 0:
            ground.stop(POST)
        began_us = uptime_us()
        ground.start(POST, "device.cli", "run", "--config", settings)
        ground.until_said(POST, "event=listening")
        starts_us.append(uptime_us() - began_us)
    ground.until_shown(POST, "lamp", "armed")
    time.sleep(SETTLED_S)
    process_id = ground.process(POST).pid
    began_s, used_s = time.monotonic(), cpu_s(process_id)
    time.sleep(IDLE_S)
    span_s, used_s = time.monotonic() - began_s, cpu_s(process_id) - used_s
    ground.until_shown(POST, "lamp", "armed")
    memory = _memory(Path(f"/proc/{process_id}/smaps_rollup").read_text())
    ground.stop(POST)
    return Firmware(memory["Rss"], memory["Pss"], used_s / span_s, span_s, tuple(starts_us))


def cpu_s(process_id: int) -> float:
    """Processor time of all threads of a process, in seconds, to the nanosecond."""
    # As clock_getcpuclockid(3) makes it of the pid; 2 is the kernel's CPUCLOCK_SCHED.
    return time.clock_gettime((~process_id << 3) | 2)


def _memory(rollup: str) -> dict[str, int]:
    """The fields of smaps_rollup (proc(5)) in bytes."""
    fields = re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in fields}
