"""Whole days under every fault: each promise holds, each kind of fault happens, seeds replay."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from simulation.__main__ import EFFECTS, is_easy, main, never_happened, outcomes
from simulation.faults import KINDS
from simulation.mutations import mutated
from simulation.world import run_seed
from tests.simulation.interpreters import PYPY, run

SEEDS = range(1, 201)


def test_every_promise_holds_in_every_seed_and_every_kind_of_fault_happens() -> None:
    """On PyPy where it is, in half the time; `test_pypy.py` holds that the days are the same."""
    python = str(PYPY) if PYPY.exists() else sys.executable
    ran = run(python, "-m", "simulation", "--seeds", str(len(SEEDS)), "--first", str(SEEDS[0]))
    last = ran.stdout.strip().splitlines()[-1]
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert last.startswith(f"{len(SEEDS)} seeds, 0 broken; "), last


def test_the_seeds_that_run_are_all_of_them_and_each_is_a_day() -> None:
    days = list(outcomes(range(5, 8)))
    assert [day.seed for day in days] == [5, 6, 7]
    for day in days:
        assert (day.broken, is_easy(day)) == (None, False)
        assert day.post_days >= 3 * 6 / 24


def test_a_kind_of_fault_that_never_happened_is_named() -> None:
    everything = Counter([*(f"fault {kind}" for kind in KINDS), *EFFECTS])
    assert never_happened(everything) == []
    assert never_happened(everything - Counter(["fault post_killed", "will_late"])) == [
        "post_killed",
        "will_late",
    ]


def test_a_seed_replays_to_the_same_trace_and_another_one_does_not() -> None:
    first, again, other = run_seed(7), run_seed(7), run_seed(8)
    assert (first.trace_hash, first.lines) == (again.trace_hash, again.lines)
    assert first.trace_hash != other.trace_hash


def test_a_broken_promise_shows_the_seed_the_trace_and_how_to_replay_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mutated("say_before_commit"):
        assert main(["--seeds", "1", "--first", "3"]) == 1
        shown = capsys.readouterr().out
        assert main(["--seed", "3"]) == 1
        replayed = capsys.readouterr().out
    assert "replay: make simulate SEED=3" in shown
    (hashed,) = {line.split()[1].strip(":;") for line in shown.splitlines() if "; replay" in line}
    assert f"trace {hashed}" in replayed


@pytest.mark.parametrize("arguments", [["--seeds", "many"], ["--first", "-1"], ["--seed", ""]])
def test_a_wrong_number_is_refused_with_what_is_allowed(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "a number from 0 to" in capsys.readouterr().err


def test_no_room_but_the_tests_imports_the_mutations() -> None:
    root = Path(__file__).parents[2]
    importers = [
        path.relative_to(root).as_posix()
        for room in ("device", "gateway", "hardware", "protocol", "process", "mcc", "simulation")
        for path in (root / room).glob("*.py")
        if "simulation.mutations" in path.read_text(encoding="utf-8")
    ]
    assert importers == []
