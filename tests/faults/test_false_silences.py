"""Many posts under restarts of broker and gateway: not one is called silent that is there.

Light clients, several posts on one connection: 1,000 posts and 3 restarts, 50 in `make soak`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from demo.stage import Stage, until
from protocol.codec import decode, encode
from protocol.messages import Health, MccGateway, MccPost
from protocol.topics import Topics
from protocol.values import new_id, timestamp
from tests.broker import Mosquitto

TOPICS = Topics()
CONNECTIONS = 8
HEARTBEAT_S = 5.0
STRICT_S = 20
POSTS = 1_000
SCALE_SOAK = 400
GONE = 1  # so many of the connections fall silent at the end: their posts are missed


class Crowd:
    """The posts of one connection, which comes back by itself and then beats at once."""

    def __init__(self, port: int, names: list[str]) -> None:
        self.names = names
        self._connection, self._boot = new_id(), new_id()
        self._up = threading.Event()
        self._stopped = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = lambda *_: self._up.set()
        self._client.on_disconnect = lambda *_: self._up.clear()
        self._client.connect("127.0.0.1", port, keepalive=10)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fall silent."""
        self._stopped.set()
        self._up.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _beat(self) -> None:
        expiring = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        expiring.MessageExpiryInterval = int(HEARTBEAT_S)
        n = 0
        while not self._stopped.is_set():
            if not self._up.wait(1.0):
                continue
            n += 1
            for name in self.names:
                health = Health(
                    post=name,
                    n=n,
                    boot_id=self._boot,
                    connection=self._connection,
                    at=timestamp(time.time_ns() // 1_000_000),
                    clock="synchronised",
                    uptime_ms=time.monotonic_ns() // 1_000_000,
                )
                topic = TOPICS.post(name, "health")
                if self._up.is_set():
                    self._client.publish(topic, encode(health), qos=1, properties=expiring)
            # A disconnection ends the pause: who is back says so at once.
            until_s = time.monotonic() + HEARTBEAT_S
            while time.monotonic() < until_s and self._up.is_set():
                if self._stopped.wait(0.25):
                    return


class Ears:
    """Every document of a post or gateway, as the command centre's broker brings them."""

    def __init__(self, port: int) -> None:
        self.posts: dict[str, MccPost] = {}
        self.gateway: MccGateway | None = None
        self.silences: list[str] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        wanted = [(TOPICS.mcc("posts", "+"), 0), (TOPICS.mcc("gateways", "+"), 0)]
        self._client.on_connect = lambda client, *_: client.subscribe(wanted)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port, keepalive=10)
        self._client.loop_start()

    def _hear(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if not payload:
            return
        if "/gateways/" in message.topic:
            self.gateway = decode(MccGateway, payload)
            return
        document = decode(MccPost, payload)
        self.posts[document.post] = document
        if document.connection == "silent":
            self.silences.append(document.post)

    def all_are(self, names: list[str], connection: str) -> bool:
        """Whether each of these is shown so."""
        shown = (self.posts.get(name) for name in names)
        return all(one is not None and one.connection == connection for one in shown)

    @property
    def grouped(self) -> list[int]:
        """How many posts are silent together, of each group."""
        return [] if self.gateway is None else [one.posts for one in self.gateway.silent_groups]

    def close(self) -> None:
        """Listen no more."""
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def standing(broker: Mosquitto, directory: Path) -> Iterator[tuple[Stage, list[Crowd]]]:
    """A gateway at its strict setting, and the posts."""
    names = [f"mlg-rw{n:04}" for n in range(POSTS)]
    with ExitStack() as stack:
        stage = Stage(directory, broker.url)
        file = directory / "gateway.toml"
        strict = f"[posts]\nsilent_after_s = {STRICT_S}\n"
        file.write_text(file.read_text().replace("[posts]\n", strict))
        stack.callback(stage.close)
        stage.start_gateway()
        crowds = [Crowd(broker.port, names[n::CONNECTIONS]) for n in range(CONNECTIONS)]
        for crowd in crowds:
            stack.callback(crowd.stop)
        yield stage, crowds


def test_restarts_of_broker_and_gateway_make_nobody_silent_who_is_there(
    broker: Mosquitto, tmp_path: Path, scale: int
) -> None:
    restarts = 50 if scale >= SCALE_SOAK else 3
    with standing(broker, tmp_path) as (stage, crowds), ExitStack() as stack:
        ears = Ears(broker.port)
        stack.callback(ears.close)
        everybody = [name for crowd in crowds for name in crowd.names]
        until("all are online", lambda: ears.all_are(everybody, "online") or None, 60)
        for n in range(restarts):
            if n % 2 == 0:
                stage.kill("gateway")
                stage.start_gateway()
            if n % 2 == 1 or n == restarts - 1:
                broker.kill()
                broker.start()
            ears.posts.clear()
            until("all are online again", lambda: ears.all_are(everybody, "online") or None, 60)
        time.sleep(STRICT_S + 2)  # a window that was not begun anew would end within it
        assert ears.silences == []
        gone = [name for crowd in crowds[:GONE] for name in crowd.names]
        for crowd in crowds[:GONE]:
            crowd.stop()
        until("the dead are missed", lambda: ears.all_are(gone, "silent") or None, STRICT_S + 8)
        until("as one group", lambda: ears.grouped == [len(gone)] or None, 5)
        assert set(ears.silences) == set(gone)
        if restarts > 4:
            assert ears.gateway is not None
            assert "restart_loop" in ears.gateway.faults
