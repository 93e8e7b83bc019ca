"""Supervision alone over years of posts: what it says is true, and a broken one is caught."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from gateway.supervision import Supervision
from simulation.supervision import POSTS, YEAR_S, World

YEARS = 0.1


class ForgetsNoWill(Supervision):
    """A will counts though its post has come back."""

    def heard(self, name: str, now_us: int) -> None:
        kept = self._wills.get(name)
        super().heard(name, now_us)
        if kept is not None:
            self._wills[name] = kept


class AccusesWhenFrozen(Supervision):
    """What the gateway could not hear while it did not run is the posts' fault."""

    def stalled(self, for_us: int) -> None:
        return


class AccusesWhenDeaf(Supervision):
    """After it was deaf the old windows go on."""

    def hears(self, names: Iterable[str], now_us: int) -> None:
        windows = self._windows.copy()
        super().hears(names, now_us)
        self._windows.update((name, windows[name]) for name in self._windows if name in windows)
        self._windows = type(windows)(sorted(self._windows.items(), key=lambda one: one[1]))


class MissesOne(Supervision):
    """Who is due together with others is forgotten."""

    def due(self, now_us: int) -> list[str]:
        return [name for name in super().due(now_us) if not name.endswith("7")]


class NeverWatches(Supervision):
    """Only who was heard since the start is listened for."""

    def hears(self, names: Iterable[str], now_us: int) -> None:
        super().hears((), now_us)


def run(kind: type[Supervision], years: float = YEARS) -> World:
    world = World(1, POSTS, kind)
    world.run(years * YEAR_S / POSTS)
    return world


def test_no_silence_is_false_and_none_is_missed() -> None:
    outcome = run(Supervision, 0.3).outcome
    assert (outcome.false_silences, outcome.missed) == ([], [])
    counts = outcome.counts
    assert min(counts[what] for what in ("found", "wills", "restarts", "deaf", "frozen")) > 0


@pytest.mark.parametrize("kind", [ForgetsNoWill, AccusesWhenFrozen, AccusesWhenDeaf])
def test_a_supervision_that_accuses_the_innocent_is_caught(kind: type[Supervision]) -> None:
    assert run(kind).outcome.false_silences


@pytest.mark.parametrize("kind", [MissesOne, NeverWatches])
def test_a_supervision_that_overlooks_the_dead_is_caught(kind: type[Supervision]) -> None:
    assert run(kind, 0.3).outcome.missed
