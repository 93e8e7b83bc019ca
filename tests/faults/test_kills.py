"""`kill -9` at random instants in a storm of alarms: here PUBACKed alarms were lost by others."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.broker import Mosquitto
from tests.faults.ground import REPEAT_PAUSE_S, Ground, Part, Row

POSTS = 4
KILLS_AT_SCALE_1 = 2  # for each of the victims


@contextlib.contextmanager
def storm(ground: Ground, chance: random.Random) -> Iterator[None]:
    """Somebody presses at every post again and again."""
    over = threading.Event()

    def press(post: Part, first_s: float) -> None:
        over.wait(first_s)
        while not over.is_set():
            ground.press(post)
            over.wait(REPEAT_PAUSE_S)

    pressing = [
        threading.Thread(target=press, args=(post, chance.uniform(0, REPEAT_PAUSE_S)))
        for post in ground.posts
    ]
    for thread in pressing:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in pressing:
            thread.join()


@pytest.mark.parametrize("victims", ["post", "gateway", "broker", "mcc", "two of them"])
def test_kill_9_in_a_storm_of_alarms(
    ground: Ground, broker: Mosquitto, victims: str, scale: int, table: Callable[[Row], None]
) -> None:
    chance = random.Random(f"{victims} {scale}")
    killable = ("post", "gateway", "broker", "mcc")
    kills = KILLS_AT_SCALE_1 * scale
    ground.start(POSTS)

    def both(name: str) -> tuple[Callable[[], None], Callable[[], None]]:
        if name == "broker":
            return broker.kill, broker.start
        parts = {"gateway": ground.gateway, "mcc": ground.mcc}
        part = parts.get(name) or chance.choice(ground.posts)
        return part.end, part.start

    with storm(ground, chance):
        for _ in range(kills):
            until_s = time.monotonic() + chance.uniform(0.3, 1.5)
            while time.monotonic() < until_s:
                ground.note()
                time.sleep(0.02)
            names = chance.sample(killable, 2) if victims == "two of them" else [victims]
            pairs = [both(name) for name in names]
            for kill, _ in pairs:
                kill()
                ground.kills += 1
            time.sleep(chance.uniform(0.0, 0.5))
            for _, bring_back in pairs:
                bring_back()
            ground.resolve_open()
    row = ground.settle(f"kill -9 of {victims}, at {kills} instants", 120)
    assert row.raised >= min(kills, POSTS)
    table(row)
