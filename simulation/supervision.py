"""The supervision of posts alone, for a hundred post-years: no false silence, none missed.

`python -m simulation.supervision --post-years 100 --seed 1`. Every heartbeat is one call of the
real `gateway.supervision.Supervision`; around it virtual posts beat, lose heartbeats, leave a will
behind and come back, die and are mended, while the gateway restarts, is deaf and is frozen. Wall
clocks may step as they like: supervision has no way to see one. A post is known to be there or not;
what supervision says is held against that.

It must never decide who is silent itself, nor know a window other than the setting.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from gateway.core import OVERSLEPT_US
from gateway.supervision import SECOND_US, Supervision

HEARTBEAT_US = 30 * SECOND_US
SILENT_AFTER_S = 90
YEAR_S = 365 * 86_400
POSTS = 200
# How often things happen to one post, and to the gateway (mean pause, s).
POST_DIES_S = 3 * 86_400
LINK_BREAKS_S = 8 * 3600
HEARTBEATS_LOST = 0.002
GATEWAY_RESTARTS_S = 4 * 3600
GATEWAY_DEAF_S = 4 * 3600
GATEWAY_FROZEN_S = 2 * 3600
DEAF_S = (1.0, 600.0)
FROZEN_S = (5.0, 300.0)
DEAD_S = (300.0, 7200.0)
BACK_S = (1.0, 15.0)  # after a broken link; a will stands meanwhile
KEPT_US = 15 * SECOND_US // 2  # a connection outlives shorter freezes: 1.5 x the least keep-alive
READ_US = SECOND_US // 20  # after a freeze, until what waited in the sockets is read


@dataclass
class _Post:
    """`heard_us`: its last heartbeat that came through, or the start of its window."""

    name: str
    alive: bool = True
    away: bool = False
    heard_us: int = 0
    died_us: int = 0
    lost_us: int = 0  # of the time since `heard_us`, what the gateway could not hear
    lost: int = 0  # heartbeats since then that the network has lost
    shown_silent: bool = False
    beat: int = 0


@dataclass
class Outcome:
    """What has been found; `counts` says what happened."""

    post_years: float
    false_silences: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> bool:
        """Whether anything was found."""
        return bool(self.false_silences or self.missed)


class World:
    """Posts, a gateway that hears them, and what goes wrong."""

    def __init__(
        self, seed: int, posts: int, make: Callable[[], Supervision] | None = None
    ) -> None:
        """`make`: the supervision that every start of the gateway has; None: the real one."""
        self._rng = Random(seed)
        self._make = make or (lambda: Supervision(SILENT_AFTER_S))
        self._posts = [_Post(f"rw{n}") for n in range(posts)]
        self._by_name = {post.name: post for post in self._posts}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self.now_us = 0
        self._hears = False
        self._frozen_since_us = self._frozen_until_us = 0
        self._unread: list[Callable[[], None]] = []
        self.outcome = Outcome(0.0)
        self._supervision = self._make()
        self._window_us = SILENT_AFTER_S * SECOND_US

    def run(self, for_s: float) -> Outcome:
        """Let it go on for so long."""
        end_us = int(for_s * SECOND_US)
        self._start()
        for post in self._posts:
            self._at(self._rng.random() * HEARTBEAT_US, self._beats(post, post.beat))
            self._later(POST_DIES_S, lambda post=post: self._dies(post))  # type: ignore[misc]
            self._later(LINK_BREAKS_S, lambda post=post: self._breaks(post))  # type: ignore[misc]
        self._later(GATEWAY_RESTARTS_S, self._restarts)
        self._later(GATEWAY_DEAF_S, self._deaf)
        self._later(GATEWAY_FROZEN_S, self._freezes)
        while True:
            wake_us = self._supervision.next_us()
            if wake_us is not None:
                wake_us = max(wake_us, self._frozen_until_us)
            if wake_us is not None and wake_us < self._heap[0][0]:
                self.now_us = wake_us
                if self.now_us > end_us:
                    break
                self._tick()
                continue
            self.now_us, _order, what = heapq.heappop(self._heap)
            if self.now_us > end_us:
                break
            what()
        self.outcome.post_years = len(self._posts) * for_s / YEAR_S
        return self.outcome

    # --- time ---------------------------------------------------------------------------------

    def _at(self, in_us: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now_us + int(in_us), self._order, what))

    def _later(self, mean_s: float, what: Callable[[], None]) -> None:
        """At some time; and again and again after that."""

        def again() -> None:
            what()
            self._later(mean_s, what)

        self._at(self._rng.expovariate(1 / mean_s) * SECOND_US, again)

    def _between(self, span_s: tuple[float, float]) -> float:
        return self._rng.uniform(*span_s) * SECOND_US

    # --- posts --------------------------------------------------------------------------------

    def _beats(self, post: _Post, beat: int) -> Callable[[], None]:
        def one() -> None:
            if post.beat != beat or not post.alive:
                return
            if not post.away and self._hears:
                if self._rng.random() < HEARTBEATS_LOST:
                    post.lost += 1
                else:
                    self._arrives(lambda: self._heard(post))
            self._at(HEARTBEAT_US, one)

        return one

    @property
    def _frozen(self) -> bool:
        return self.now_us < self._frozen_until_us

    def _arrives(self, what: Callable[[], None]) -> None:
        """Something reaches a gateway that hears; one that is frozen reads it later, or never."""
        if not self._hears:
            return
        if self._frozen:
            self._unread.append(what)
        else:
            what()

    def _heard(self, post: _Post) -> None:
        self.outcome.counts["heartbeats"] += 1
        self._supervision.heard(post.name, self.now_us)
        post.heard_us, post.lost_us, post.lost = self.now_us, 0, 0
        post.shown_silent = False

    def _dies(self, post: _Post) -> None:
        if not post.alive:
            return
        self.outcome.counts["deaths"] += 1
        post.alive, post.died_us = False, self.now_us
        post.beat += 1
        if self._rng.random() < 0.5:  # a killed process; a cut cable leaves none
            self._arrives(lambda: self._supervision.left(post.name, self.now_us))
        self._at(self._between(DEAD_S), lambda: self._mended(post))

    def _mended(self, post: _Post) -> None:
        self._check_missed(post)
        post.alive, post.away = True, False
        self._arrives(lambda: self._heard(post))
        self._at(HEARTBEAT_US, self._beats(post, post.beat))

    def _breaks(self, post: _Post) -> None:
        """Its connection breaks: a will, and soon it is back and beats at once."""
        if not post.alive or post.away:
            return
        self.outcome.counts["wills"] += 1
        post.away = True
        self._arrives(lambda: self._supervision.left(post.name, self.now_us))
        self._at(self._between(BACK_S), lambda: self._back(post))

    def _back(self, post: _Post) -> None:
        post.away = False
        if post.alive:
            self._arrives(lambda: self._heard(post))

    # --- the gateway --------------------------------------------------------------------------

    def _start(self) -> None:
        self._supervision = self._make()
        for post in self._posts:
            self._supervision.watch(post.name, self.now_us)
        self._hears_again()

    def _hears_again(self) -> None:
        self._hears = True
        watched = [post for post in self._posts if not post.shown_silent]
        for post in watched:
            post.heard_us, post.lost_us, post.lost = self.now_us, 0, 0
        self._supervision.hears((post.name for post in watched), self.now_us)
        # Who is there comes back within seconds.
        for post in self._posts:
            if post.alive:
                post.beat += 1
                self._at(self._between(BACK_S), self._beats(post, post.beat))

    def _restarts(self) -> None:
        self.outcome.counts["restarts"] += 1
        self._frozen_until_us = self.now_us
        self._unread.clear()
        for post in self._posts:
            post.shown_silent = False
        self._start()

    def _deaf(self) -> None:
        if not self._hears or self._frozen:
            return
        self.outcome.counts["deaf"] += 1
        self._hears = False
        self._supervision.deaf()
        self._at(self._between(DEAF_S), lambda: None if self._hears else self._hears_again())

    def _freezes(self) -> None:
        """The process does not run.

        What came meanwhile is read right after it has looked at its windows; or, after a long one,
        the connection is gone and all of it with it.
        """
        if not self._hears or self._frozen:
            return
        self.outcome.counts["frozen"] += 1
        began_us = self.now_us
        for_us = int(self._between(FROZEN_S))
        self._frozen_since_us, self._frozen_until_us = began_us, began_us + for_us
        is_kept = for_us < KEPT_US or self._rng.random() < 0.5
        supervision = self._supervision

        def thaw() -> None:
            if self._supervision is not supervision or not self._hears:
                return
            # As the core: it is late at the first moment for which it wanted to be woken, and that
            # was its own beat within 10 s at the latest.
            beat_us = began_us + int(self._rng.uniform(0, 10) * SECOND_US)
            late_us = self.now_us - min(supervision.next_us() or beat_us, beat_us)
            for post in self._posts:
                post.lost_us += for_us
            if late_us >= OVERSLEPT_US:
                supervision.stalled(late_us)
            self._at(READ_US, self._read if is_kept else self._loses_its_connection)

        self._order -= 2_000_000_000  # before whatever else is due in that instant
        self._at(for_us, thaw)
        self._order += 2_000_000_000

    def _loses_its_connection(self) -> None:
        self._unread.clear()
        self._deaf()

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for what in unread:
            what()

    def _tick(self) -> None:
        for name in self._supervision.due(self.now_us):
            post = self._by_name[name]
            post.shown_silent = True
            self.outcome.counts["silences"] += 1
            # Two in a row that the network has lost, or one beside what we could not hear.
            if post.alive and post.lost + (post.lost_us > 0) < 2:
                ago_s = (self.now_us - post.heard_us) / SECOND_US
                at_s = self.now_us / SECOND_US
                self.outcome.false_silences.append(
                    f"{name} at {at_s:.1f} s, heard {ago_s:.1f} s ago"
                )

    def _check_missed(self, post: _Post) -> None:
        """It has been dead for five minutes at least: was it shown?"""
        could_hear_us = self.now_us - max(post.died_us, post.heard_us) - post.lost_us
        if self._frozen:
            could_hear_us -= self.now_us - self._frozen_since_us
        if not self._hears or could_hear_us < self._window_us:
            self.outcome.counts["excused"] += 1
        elif not post.shown_silent:
            self.outcome.missed.append(f"{post.name}, dead since {post.died_us / SECOND_US:.1f} s")
        else:
            self.outcome.counts["found"] += 1


def main(arguments: list[str]) -> int:
    """Run it and print what was found; 1 when anything is broken."""
    parser = argparse.ArgumentParser(prog="python -m simulation.supervision")
    parser.add_argument("--post-years", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    outcome = World(options.seed, POSTS).run(options.post_years * YEAR_S / POSTS)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(outcome.counts.items()))
    sys.stdout.write(
        f"{outcome.post_years:.1f} post-years: {len(outcome.false_silences)} false silences,"
        f" {len(outcome.missed)} missed\n{counts}\n"
    )
    for line in (*outcome.false_silences[:10], *outcome.missed[:10]):
        sys.stdout.write(f"{line}\n")
    return int(outcome.broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
