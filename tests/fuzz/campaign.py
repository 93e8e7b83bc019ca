"""`make fuzz`: the whole campaign, on two processes, with what was sent and what became of it.

`python -m tests.fuzz --seed N` repeats one; without it the day's date is the seed. Log lines are
made as ever and thrown away: what they would hold is part of what is tried.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.fuzz import databases, payloads, sentences, settings_files
from tests.fuzz.payloads import Outcome

PAYLOADS = 1_000_000
SENTENCES = 200_000
SETTINGS_FILES = 1_000
DATABASE_FILES = 1_000  # of each of the three
PROCESSES = 2
# Pools of names and ids are full long before a third of the payloads are through.
GROWN_BYTES_MAX = 16 * 1024 * 1024


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def some_sentences(seed: int, count: int) -> Outcome:
    """NMEA sentences."""
    return Outcome(sentences.run(seed, count), 0)


def some_settings(seed: int, count: int) -> Outcome:
    """Settings files, in a directory that goes away."""
    with tempfile.TemporaryDirectory(prefix="kentongan-fuzz-") as directory:
        return Outcome(settings_files.run(seed, count, Path(directory)), 0)


def some_databases(seed: int, count: int) -> Outcome:
    """Database files, in a directory that goes away."""
    with tempfile.TemporaryDirectory(prefix="kentongan-fuzz-") as directory:
        return Outcome(databases.run(seed, count, Path(directory)), 0)


JOBS: list[tuple[str, Callable[[int, int], Outcome], int]] = [
    ("payloads", payloads.run, PAYLOADS // 4),
    ("payloads", payloads.run, PAYLOADS // 4),
    ("payloads", payloads.run, PAYLOADS // 4),
    ("payloads", payloads.run, PAYLOADS // 4),
    ("databases", some_databases, DATABASE_FILES // 2),
    ("databases", some_databases, DATABASE_FILES // 2),
    ("sentences", some_sentences, SENTENCES),
    ("settings", some_settings, SETTINGS_FILES),
]


def _mute() -> None:
    sys.stderr = _Nowhere()


def main() -> int:
    """Run it; 1 where something broke, with the command that brings it back."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.strftime("%Y%m%d")))
    parser.add_argument("--divide", type=int, default=1, help="run one N-th of everything")
    options = parser.parse_args()
    seed, part = options.seed, options.divide
    began_s = time.monotonic()
    broken = 0
    totals: Counter[str] = Counter()
    # A fresh process for each: what one leaves behind is not the growth of the next.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, fresh, _mute, max_tasks_per_child=1) as pool:
        running = [
            (name, pool.submit(job, seed + n, max(1, count // part)))
            for n, (name, job, count) in enumerate(JOBS)
        ]
        for name, future in running:
            error = future.exception()
            if error is None and future.result().grown_bytes > GROWN_BYTES_MAX:
                error = AssertionError(f"grown by {future.result().grown_bytes:,} bytes")
            if error is not None:
                broken += 1
                _say(f"{name}: {type(error).__name__}: {error}")
                continue
            counts = future.result().counts
            totals += counts
            _say(f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    _say("in all: " + ", ".join(f"{count:,} {what}" for what, count in sorted(totals.items())))
    _say(f"{time.monotonic() - began_s:.0f} s, seed {seed}, {broken} of {len(JOBS)} jobs broken")
    if broken:
        _say(f"again: python -m tests.fuzz --seed {seed} --divide {part}")
    return 1 if broken else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
