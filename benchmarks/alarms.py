"""From the third press to the MCC's subscriber: product and floor in turn, on one broker.

An alarm is over, and everything about it quiet, before the next press begins. A post is not
pressed within 2 s of its last press: that would be hammering, which is one call.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.centre import Centre
from benchmarks.figures import Passage, Press
from benchmarks.ground import Ground
from protocol.messages import MccAlarm
from protocol.values import new_id

BLOCK = 50
POSTS = tuple(f"bench-{number:02}" for number in range(1, 26))
GATEWAY = "bench-gw"
FLOOR = ("floor-post", "floor-gateway")
# Before each alarm; the phase against every timer of the product is left to chance.
PAUSE_S = (0.0, 0.05)
# The floor has rests too: a processor that has slept wakes up slowly.
FLOOR_PAUSE_S = (0.05, 0.1)
# A hasty hand. The third press lasts long enough that its end does not disturb its alarm.
EDGES_US = [[0, 0], [16_000, 1], [52_000, 0], [68_000, 1], [104_000, 0], [164_000, 1]]
HAMMERING_S = 2.1


@dataclass
class Measured:
    """What was measured: `fresh` are the first alarms of their posts.

    `accepted`: of every alarm, the uptime (us) at which its third press was accepted.
    """

    product: list[Passage] = field(default_factory=list)
    fresh: list[Passage] = field(default_factory=list)
    floor: list[Passage] = field(default_factory=list)
    presses: list[Press] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)


class Alarms:
    """Posts, gateway and the floor's two processes on the ground, started and stopped here."""

    def __init__(
        self, ground: Ground, centre: Centre, rng: Random, posts: tuple[str, ...] = POSTS
    ) -> None:
        """Touches nothing yet."""
        self._posts = posts
        self._has_floor = True
        self._ground = ground
        self._centre = centre
        self._rng = rng
        self._pressed_s: dict[str, float] = {}
        self._arrived: dict[str, dict[str, int]] = {"product": {}, "fresh": {}, "floor": {}}

    def start(self) -> None:
        """Start everything; done when every lamp is armed.

        Raises:
            NotMeasured: with what did not start.
        """
        ground = self._ground
        for name in FLOOR:
            role = name.removeprefix("floor-")
            ground.start(name, "benchmarks.floor", role, str(ground.port), ground.directory)
        self._start_stamped(GATEWAY, "gateway", ground.write_gateway(GATEWAY))
        for name in FLOOR:
            ground.until_said(name, "ready")
        ground.until_said(GATEWAY, "gateway_ready")
        for post in self._posts:
            self._start_stamped(post, "post", ground.write_post(post))
        for post in self._posts:
            ground.until_said(post, "event=listening")
            ground.until_shown(post, "lamp", "armed")

    def measure(self, alarms: int, say: Callable[[str], None], within_s: float = math.inf) -> None:
        """First one alarm of each post, which are told apart; then the blocks in turn.

        `say` hears after each block how far it is. After `within_s` no block begins: a machine that
        is busy with others gets through fewer alarms, and the report says how many.

        Raises:
            NotMeasured: an alarm did not arrive, or a process died.
        """
        self._product("fresh", len(self._posts))
        self._floor(len(self._posts))
        self._arrived["floor"].clear()
        left = alarms
        until_s = time.monotonic() + within_s
        while left > 0 and time.monotonic() < until_s:
            block = min(BLOCK, left)
            self._product("product", block)
            self._floor(block)
            self._ground.look_whole()
            left -= block
            say(f"{alarms - left} of {alarms} alarms")

    def stop_floor(self) -> None:
        """End the floor's two processes before the rest: they do not outlive their broker.

        Raises:
            NotMeasured: one does not end.
        """
        self._ground.stop(*FLOOR)
        self._has_floor = False

    def stop(self) -> Measured:
        """End every process and read their stamps.

        Raises:
            NotMeasured: a process does not end.
        """
        if self._has_floor:
            self.stop_floor()
        self._ground.stop(*self._posts, GATEWAY)
        posts = [self._stamps(name) for name in self._posts]
        by_post = {one: stamps for post in posts for one, stamps in post["alarms"].items()}
        by_gateway = self._stamps(GATEWAY)["alarms"]
        floor_post, floor_gateway = (self._stamps(name) for name in FLOOR)
        return Measured(
            product=_joined(by_post, by_gateway, self._arrived["product"]),
            fresh=_joined(by_post, by_gateway, self._arrived["fresh"]),
            floor=_joined(floor_post, floor_gateway, self._arrived["floor"]),
            accepted={one: stamps["accepted_us"] for one, stamps in by_post.items()},
            presses=[Press(**press) for post in posts for press in post["presses"]],
        )

    def _start_stamped(self, name: str, role: str, settings: Path) -> None:
        self._ground.start(name, "benchmarks.stamped", role, settings, self._left(name))

    def _product(self, what: str, alarms: int) -> None:
        for first in range(0, alarms, len(self._posts)):
            posts = self._posts[: min(len(self._posts), alarms - first)]
            documents = [self._press(what, post) for post in posts]
            for document in documents:
                self._centre.resolve(document)
            for post in posts:
                self._ground.until_shown(post, "alarms", [])

    def _press(self, what: str, post: str) -> MccAlarm:
        since_s = time.monotonic() - self._pressed_s.get(post, 0.0)
        time.sleep(max(0.0, HAMMERING_S - since_s) + self._rng.uniform(*PAUSE_S))
        self._ground.panel(post, "edges", edges=EDGES_US)
        self._pressed_s[post] = time.monotonic()
        document, at_us = self._centre.product_arrival(post)
        self._arrived[what][document.alarm_id] = at_us
        self._centre.receive(document)
        return document

    def _floor(self, alarms: int) -> None:
        process = self._ground.process("floor-post")
        assert process.stdin is not None
        for _ in range(alarms):
            time.sleep(self._rng.uniform(*FLOOR_PAUSE_S))
            alarm_id = new_id()
            process.stdin.write(alarm_id.encode() + b"\n")
            process.stdin.flush()
            self._arrived["floor"][alarm_id] = self._centre.floor_arrival(alarm_id)

    def _left(self, name: str) -> Path:
        return self._ground.directory / f"{name}.json"

    def _stamps(self, name: str) -> Any:
        return json.loads(self._left(name).read_text())


def _joined(
    by_post: dict[str, dict[str, int]],
    by_gateway: dict[str, dict[str, int]],
    arrived: dict[str, int],
) -> list[Passage]:
    return [
        Passage(**by_post[alarm_id], **by_gateway[alarm_id], arrived_us=at_us)
        for alarm_id, at_us in arrived.items()
    ]
