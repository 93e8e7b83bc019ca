"""The simulator's own test: every promise that is broken on purpose is caught.

Each within `SEEDS_MAX` seeds from its first one, which stands here only to save time.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from functools import cache
from multiprocessing.pool import AsyncResult, Pool

import pytest

from simulation.__main__ import PROCESSES
from simulation.mutations import MUTATIONS, mutated
from simulation.world import run_seed

SEEDS_MAX = 60
FIRST = {
    "skip_the_fsync": 6,
    "trust_puback": 14,
    "answer_unseen_calls": 9,
    "wall_clock_in_the_window": 8,
    "never_ask_a_deaf_link_again": 6,
    "acknowledge_whatever_number": 9,
    "offer_upwards_once": 40,
    "tests_by_arrival": 27,
    "believe_any_will": 25,
    "do_not_mend_documents": 8,
    "do_not_publish_what_differs": 9,
    "do_not_repair_a_gateway": 8,
}


def _caught(name: str) -> tuple[int | None, str]:
    """The seed that caught it, and what it said."""
    first = FIRST.get(name, 1)
    with mutated(name):
        for seed in range(first, first + SEEDS_MAX):
            broken = run_seed(seed, trace_lines_max=1).broken
            if broken is not None:
                return seed, broken
    return None, ""


@cache
def _without(seed: int) -> str | None:
    return run_seed(seed, trace_lines_max=1).broken


@pytest.fixture(scope="module")
def hunts() -> Iterator[dict[str, AsyncResult[tuple[int | None, str]]]]:
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        yield _start(pool)


def _start(pool: Pool) -> dict[str, AsyncResult[tuple[int | None, str]]]:
    return {name: pool.apply_async(_caught, (name,)) for name in MUTATIONS}


def test_there_are_enough_of_them() -> None:
    assert len(MUTATIONS) >= 18


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_promise_is_caught(
    name: str, hunts: dict[str, AsyncResult[tuple[int | None, str]]]
) -> None:
    seed, broken = hunts[name].get(timeout=600)
    assert seed is not None, f"{name} survived {SEEDS_MAX} seeds: a hole in the checkers"
    assert broken.startswith("P"), f"{name} was caught by a crash: {broken}"
    assert _without(seed) is None
