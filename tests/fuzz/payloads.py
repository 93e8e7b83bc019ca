"""Hostile MQTT payloads through codec, intake and the cores of post, gateway and command centre.

Names and ids come from small pools, so that what is accepted meets what is held, and so that the
cores have no reason to grow. Everything that a core publishes must be of the contract itself.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from gateway.core import MCC_LINK, POSTS_LINK
from gateway.service import ALLOWED
from process.core import Heard, Log, Publish
from process.intake import Intake
from process.link import Receipt, Received
from process.log import log
from protocol.codec import decode_at, encode
from protocol.messages import Command, Health
from protocol.topics import DEFAULT_ROOT, Topics
from protocol.values import timestamp
from tests.device import rig as post_rig
from tests.fuzz.mutations import spoil_bytes, spoil_value
from tests.gateway import rig as gateway_rig
from tests.mcc import rig as mcc_rig
from tests.protocol.specimens import ALL

TOPICS = Topics()
POSTS = (post_rig.POST_ID, *(f"mlg-fuzz-rw{n:02}" for n in range(9)))
GATEWAYS = (gateway_rig.GATEWAY, mcc_rig.GATEWAY)
CONSOLES = ("console", "other")
IDS = tuple(f"{n:08x}-0000-4000-8000-0000000000f2" for n in range(48))
STORES = (gateway_rig.STORE, mcc_rig.STORE_ID)
CONTENTS = tuple(f"{n:016x}" for n in range(4))
_POOLS: dict[str, tuple[str, ...]] = {
    "post": POSTS,
    "gateway": GATEWAYS,
    "console": CONSOLES,
    "alarm_id": IDS,
    "follows": IDS,
    "command_id": IDS,
    "store_id": STORES,
    "content": CONTENTS,
    "connection": IDS[:3],
    "state": ("received", "delivered", "acknowledged", "dispatched", "resolved"),
    "kind": ("panic", "panic", "test", "selftest"),
}
_LINK_EVERY = 5_000  # so often a connection is lost and made again
_TIME_EVERY = 8


@dataclass(frozen=True)
class Outcome:
    """What became of the payloads, and by how much the process grew after it was warm (bytes)."""

    counts: Counter[str]
    grown_bytes: int


def resident_bytes() -> int:
    """The memory that this process has now."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def run(seed: int, count: int, said: Callable[[int], None] = lambda _done: None) -> Outcome:
    """Send `count` payloads; every tenth part `said` is called with how many are through.

    Raises:
        Exception: whatever a core or an intake raised; the seed and count bring it back.
    """
    chance = Random(seed)
    parties: list[_Party] = [_GatewayParty(chance), _CentreParty(chance), _PostParty(chance)]
    counts: Counter[str] = Counter()
    warm_bytes = 0
    for n in range(count):
        party = chance.choice(parties)
        party.take(*_message(chance, party))
        if n % _TIME_EVERY == 0:
            party.pass_time(chance.choice((0.01, 0.3, 1.0, 1.0, 11.0)))
        if n % _LINK_EVERY == _LINK_EVERY - 1:
            party.lose_link()
        if n == count // 3:
            warm_bytes = resident_bytes()
        if (n + 1) % max(1, count // 10) == 0:
            said(n + 1)
    for party in parties:
        counts += party.counts
    return Outcome(counts, resident_bytes() - warm_bytes)


def _message(chance: Random, party: _Party) -> tuple[str, bytes, bool]:
    """A topic, a payload, and whether it comes with the retained flag."""
    word, specimen = chance.choice(party.specimens)
    value: dict[str, Any] = msgspec.to_builtins(specimen)
    _draw(value, chance)
    if isinstance(specimen, Command):
        value["at"] = party.now_text()
        if value["action"] == "beat":
            value["store_id"] = STORES[chance.random() < 0.02]
    if isinstance(specimen, Health):
        value["alarms"] = [one for one in value["alarms"] if chance.random() < 0.8]
    topic = _topic(word, value, chance)
    throw = chance.random()
    if throw < 0.4:
        payload = msgspec.json.encode(value)
    elif throw < 0.7:
        payload = json.dumps(spoil_value(value, chance)).encode()
    elif throw < 0.95:
        payload = spoil_bytes(msgspec.json.encode(value), chance)
    else:
        payload = chance.randbytes(chance.choice((0, 1, 40, 400, 5_000)))
    return topic, payload, chance.random() < 0.2


def _draw(value: Any, chance: Random) -> None:
    """Replace names and ids, at any depth, by some of the pools."""
    if isinstance(value, list):
        for one in value:
            _draw(one, chance)
    if isinstance(value, dict):
        for key, one in value.items():
            if key in _POOLS and isinstance(one, str):
                value[key] = chance.choice(_POOLS[key])
            else:
                _draw(one, chance)


def _topic(word: str, value: dict[str, Any], chance: Random) -> str:
    if chance.random() < 0.03:
        return chance.choice(("", "#", "kentongan/v1", "kentongan/v1/posts//alarms", "x" * 5_000))
    side, what = word.split("/")
    if side == "posts":
        return f"{DEFAULT_ROOT}/posts/{value['post']}/{what}"
    names = {"alarms": "alarm_id", "posts": "post", "gateways": "gateway", "answers": "console"}
    name = value[names[what]] if what in names else chance.choice(CONSOLES)
    return f"{DEFAULT_ROOT}/mcc/{what}/{name}"


class _Party:
    """One of the three, with the intake of each of its links."""

    def __init__(self, chance: Random, intakes: dict[str, Intake]) -> None:
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.intakes = intakes
        allowed = {word for intake in intakes.values() for word in intake._allowed}
        words = {f"{side}/{what}" for side, what in allowed}
        self.specimens = [(word, message) for word, message in ALL if word in words]

    def take(self, topic: str, payload: bytes, retained: bool) -> None:
        side = MCC_LINK if "/mcc/" in topic else POSTS_LINK
        link = side if side in self.intakes else next(iter(self.intakes))
        received = Received(link, self.connection(link), topic, payload, retained, Receipt("c", 1))
        heard = self.intakes[link].read(received)
        self.counts["payloads"] += 1
        self.counts["accepted" if heard else "refused"] += 1
        if heard is not None:
            self.hear(heard)
            self.look()

    def look(self) -> None:
        """What it says is of the contract, what it logs can be written."""
        for effect in self.effects():
            if isinstance(effect, Publish):
                self.counts["published"] += 1
                if effect.message is not None:
                    decode_at(TOPICS.parse(effect.topic), encode(effect.message))
            elif isinstance(effect, Log):
                log(effect.event, level=effect.level, **effect.fields)
        self.effects().clear()

    def pass_time(self, seconds: float) -> None:
        self.advance(seconds)
        self.look()

    def connection(self, link: str) -> str:
        raise NotImplementedError

    def hear(self, heard: Heard) -> None:
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        raise NotImplementedError

    def lose_link(self) -> None:
        raise NotImplementedError

    def effects(self) -> list[Any]:
        raise NotImplementedError

    def now_text(self) -> str:
        raise NotImplementedError


class _GatewayParty(_Party):
    def __init__(self, chance: Random) -> None:
        super().__init__(chance, {link: Intake(TOPICS, pairs) for link, pairs in ALLOWED.items()})
        self.rig = gateway_rig.Rig()

    def connection(self, link: str) -> str:
        return self.rig.connections[link]

    def hear(self, heard: Heard) -> None:
        self.rig.send(heard)

    def advance(self, seconds: float) -> None:
        if self.chance.random() < 0.01:
            # Days, so that what is settled leaves memory, and now and then a disk that fails.
            self.rig.pass_days(3)
            self.rig.disk = self.chance.choice(("good", "good", "failing"))
        self.rig.advance(seconds)

    def lose_link(self) -> None:
        link = self.chance.choice((POSTS_LINK, MCC_LINK))
        self.rig.disconnect(link)
        self.rig.connect(link)
        self.look()

    def effects(self) -> list[Any]:
        return self.rig.effects

    def now_text(self) -> str:
        return timestamp(self.rig.now.wall_ms)


class _CentreParty(_Party):
    def __init__(self, chance: Random) -> None:
        pairs = {("mcc", "alarms"), ("mcc", "posts"), ("mcc", "gateways"), ("mcc", "answers")}
        super().__init__(chance, {MCC_LINK: Intake(TOPICS, pairs)})
        self.desk = mcc_rig.Desk().up()

    def connection(self, link: str) -> str:
        return "c1"

    def hear(self, heard: Heard) -> None:
        self.desk.send(heard)

    def advance(self, seconds: float) -> None:
        if self.chance.random() < 0.02:
            self.desk.disk_works = not self.desk.disk_works
            action = self.chance.choice(("acknowledge", "dispatch", "resolve", "panic"))
            ours = mcc_rig.command(0, action, alarm_id=self.chance.choice(IDS))
            named = msgspec.structs.replace(ours, command_id=self.chance.choice(IDS))
            self.desk.type(named)
        self.desk.run(seconds)
        self.desk.reasons.clear()

    def lose_link(self) -> None:
        self.desk.down()
        self.desk.up()
        self.look()

    def effects(self) -> list[Any]:
        return self.desk.effects

    def now_text(self) -> str:
        return timestamp(self.desk.now.wall_ms)


class _PostParty(_Party):
    def __init__(self, chance: Random) -> None:
        super().__init__(
            chance, {POSTS_LINK: Intake(TOPICS, {("posts", "answer"), ("posts", "state")})}
        )
        self.rig = post_rig.Rig()
        self.rig.connect()

    def connection(self, link: str) -> str:
        return self.rig.connection

    def hear(self, heard: Heard) -> None:
        self.rig.send(heard)

    def advance(self, seconds: float) -> None:
        if self.chance.random() < 0.05:
            self.rig.disk = self.chance.choice(("good", "good", "failing"))
            ids = self.rig.ids
            self.rig.ids = (one for one in self.chance.sample(IDS, len(IDS)))
            self.rig.press3()
            self.rig.ids = ids
        self.rig.advance(seconds)

    def lose_link(self) -> None:
        self.rig.disconnect()
        self.rig.connect(answering=False)
        self.look()

    def effects(self) -> list[Any]:
        return self.rig.effects

    def now_text(self) -> str:
        return timestamp(self.rig.now.wall_ms)
