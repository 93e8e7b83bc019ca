"""The part `firmware`: what one resting post costs in memory, processor time, wake-ups and writes.

Measured on the command that a post really runs, on mock pins; nothing in it is changed.
"""

from __future__ import annotations

import queue
import re
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.alarms import GATEWAY
from benchmarks.centre import Centre, NotMeasured
from benchmarks.figures import Firmware, firmware_report
from benchmarks.ground import Ground, with_broker
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome
from device.core import PROBE_US, Commit, Committed
from device.outbox import Outbox
from hardware.clock import uptime_us

POST = "bench-resting"
STARTS = 5
SETTLED_S = 5.0  # caches filled, first heartbeats answered
IDLE_S = 60.0
PROOFS = 96  # as many as in a day
WRITE_WAIT_S = 10.0

MEMORY_MB, CPU_PERCENT, DAY_MB, LISTENING_S = 40.0, 0.5, 1.0, 2.0


def part(setting: Setting) -> Outcome:
    """A broker, a gateway and a command centre that beats, so that the lamp is armed."""
    with ExitStack() as ending:
        ground = with_broker(setting.directory, setting.mosquitto, ending)
        ending.enter_context(Centre(ground.port))
        ground.start(GATEWAY, "gateway.cli", "run", "--config", ground.write_gateway(GATEWAY))
        ground.until_said(GATEWAY, "gateway_ready")
        found = measure(ground, setting.sized(int(IDLE_S), 6))
    slowest_s = max(found.starts_us) / 1e6
    return Outcome(
        text=firmware_report(found),
        goals=(
            Goal(
                what="firmware: memory (RSS)",
                found=found.rss_bytes / 1e6,
                limit=MEMORY_MB,
                unit="MB",
            ),
            Goal(
                what="firmware: idle CPU of one core",
                found=found.cpu_share * 100,
                limit=CPU_PERCENT,
                unit="%",
            ),
            Goal(
                what="firmware: written in an idle day",
                found=found.day_bytes / 1e6,
                limit=DAY_MB,
                unit="MB",
            ),
            Goal(
                what="firmware: start to listening, slowest",
                found=slowest_s,
                limit=LISTENING_S,
                unit="s",
            ),
        ),
    )


def measure(ground: Ground, idle_s: float) -> Firmware:
    """Start a post five times, and let the last one rest for `idle_s`; a gateway must run.

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
    before = _counted(process_id)
    began_s = time.monotonic()
    time.sleep(idle_s)
    span_s = time.monotonic() - began_s
    cpu, wakes, written = (
        after - earlier for after, earlier in zip(_counted(process_id), before, strict=True)
    )
    ground.until_shown(POST, "lamp", "armed")
    memory = _memory(Path(f"/proc/{process_id}/smaps_rollup").read_text())
    ground.stop(POST)
    return Firmware(
        rss_bytes=memory["Rss"],
        pss_bytes=memory["Pss"],
        cpu_share=cpu / span_s,
        span_s=span_s,
        wakes_per_s=wakes / span_s,
        written_bytes=int(written),
        proof_bytes=_proof_bytes(ground.directory / "proofs.db"),
        proof_every_s=PROBE_US / 1e6,
        starts_us=tuple(starts_us),
    )


def cpu_s(process_id: int) -> float:
    """Processor time of all threads of a process, in seconds, to the nanosecond."""
    # As clock_getcpuclockid(3) makes it of the pid; 2 is the kernel's CPUCLOCK_SCHED.
    return time.clock_gettime((~process_id << 3) | 2)


def _counted(process_id: int) -> tuple[float, int, int]:
    """Processor seconds, times that a thread went to sleep of itself, bytes sent to the disk."""
    sleeps = sum(
        int(_field(status.read_text(), "voluntary_ctxt_switches"))
        for status in Path(f"/proc/{process_id}/task").glob("*/status")
    )
    return cpu_s(process_id), sleeps, _written(process_id)


def _written(process_id: int | str) -> int:
    return int(_field(Path(f"/proc/{process_id}/io").read_text(), "write_bytes"))


def _proof_bytes(path: Path) -> int:
    """What a proof writes, on the mean of a day's, with the checkpoints among them."""
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    outbox = Outbox(path, answers.put)
    outbox.open()
    before = _written("self")
    for write in range(1, PROOFS + 1):
        outbox.commit(Commit(write, (), (), ()))
        if answers.get(timeout=WRITE_WAIT_S) != Committed(write):
            raise NotMeasured("the outbox could not be written")
    outbox.close(WRITE_WAIT_S)
    return (_written("self") - before) // PROOFS


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    if found is None:
        raise NotMeasured(f"proc(5) shows no {name}")
    return found[1]


def _memory(rollup: str) -> dict[str, int]:
    """The fields of smaps_rollup (proc(5)) in bytes."""
    fields = re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in fields}
