"""A seed is the same day with the stand-in for msgspec, and on PyPy, to the last event."""

from __future__ import annotations

import functools
import sys

from simulation.world import run_seed
from tests.simulation.interpreters import PYPY, run

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
    ran = run(python, "-c", RUN)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_seed_is_the_same_day_with_the_stand_in() -> None:
    assert _with_stand_in(sys.executable) == _really()


def test_a_seed_is_the_same_day_on_pypy() -> None:
    assert PYPY.exists(), "no PyPy: make pypy"
    assert _with_stand_in(str(PYPY)) == _really()
