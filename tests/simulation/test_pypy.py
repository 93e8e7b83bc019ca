"""A seed is the same day with the stand-in for msgspec, and on PyPy, to the last event."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.world import run_seed

ROOT = Path(__file__).parents[2]
PYPY = ROOT / "build/pypy/bin/pypy"
SEED = 8
RUN = f"""
import sys
from simulation.structs import install
install()
from simulation.world import run_seed
import msgspec
assert msgspec.Struct.__module__ == "simulation.structs"
print(run_seed({SEED}).trace_hash)
"""


@functools.cache
def _really() -> str:
    return run_seed(SEED).trace_hash


def _with_stand_in(python: str) -> str:
    libraries = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    ran = subprocess.run(
        [python, "-c", RUN],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": libraries},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_seed_is_the_same_day_with_the_stand_in() -> None:
    assert _with_stand_in(sys.executable) == _really()


@pytest.mark.skipif(not PYPY.exists(), reason="no PyPy: make pypy")
def test_a_seed_is_the_same_day_on_pypy() -> None:
    assert _with_stand_in(str(PYPY)) == _really()
