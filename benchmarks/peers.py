"""The part `peers`: press to publish beside mqtt-io, and what either delivers over a dead broker.

mqtt-io reads its pin by interrupt, the quickest way it has, and publishes each edge; a post counts
three presses, and has the alarm on its disk before it publishes it.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import paho.mqtt.client as mqtt

from benchmarks.alarms import EDGES_US, Alarms
from benchmarks.centre import Centre, NotMeasured
from benchmarks.figures import percentile
from benchmarks.floor import client
from benchmarks.ground import Ground, with_broker
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, Plot, table
from hardware.clock import uptime_us
from protocol.topics import Topics

MQTT_IO = "mqtt-io 2.7.0"
POSTS = tuple(f"peer-{number}" for number in range(1, 6))
ALARMS = 60
PRESSES = 200
MEASURING_S = 40.0
PIN = 17
PAUSE_S = 0.06  # longer than the 20 ms that a contact stays closed
PRESSES_AT_DEAD = 5
BACK_WAIT_S = 20.0
READY_S = 20.0
CONFIG = """\
mqtt: {{host: 127.0.0.1, port: {port}, user: "", password: "", topic_prefix: mqttio}}
gpio_modules: [{{name: pins, module: gpiozero}}]
digital_inputs: [{{name: button, module: pins, pin: {pin}, pullup: true, interrupt: both}}]
options: {{install_requirements: false}}
"""


class Watcher:
    """A bare subscriber that notes when something came first; it comes back by itself."""

    def __init__(self, port: int, topics: list[str]) -> None:
        """Connect and subscribe."""
        self.alarms_us: dict[str, int] = {}  # alarm id -> on its post's topic
        self.at_mcc: set[str] = set()
        self.edges_us: list[int] = []  # of mqtt-io: a closed contact
        self._topics = topics
        self._subscribed = threading.Event()
        self._client = client("bench-watcher", port)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.loop_start()
        if not self._subscribed.wait(READY_S):
            raise NotMeasured("the broker did not take the watcher's subscriptions")

    def close(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, subscriber: mqtt.Client, *_: object) -> None:
        subscriber.subscribe([(topic, 1) for topic in self._topics])

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        at_us = uptime_us()
        if message.topic.endswith("/alarms"):
            alarm_id = json.loads(message.payload)["alarm_id"]
            self.alarms_us.setdefault(alarm_id, at_us)
        elif "/mcc/alarms/" in message.topic:
            if message.payload:
                self.at_mcc.add(message.topic.rsplit("/", 1)[1])
        elif message.payload == b"ON":
            self.edges_us.append(at_us)


def part(setting: Setting) -> Outcome:
    """Both against one broker, one after the other; then the broker dies under both."""
    topics = Topics()
    watched = [topics.post("+", "alarms"), topics.mcc("alarms", "+"), "mqttio/input/button"]
    with ExitStack() as ending:
        ground = with_broker(setting.directory, setting.mosquitto, ending)
        centre = ending.enter_context(Centre(ground.port))
        watcher = Watcher(ground.port, watched)
        ending.callback(watcher.close)
        path = Alarms(ground, centre, Random(), POSTS)
        path.start()
        python = setting.peers / "mqtt-io" / "bin" / "python"
        peer = None
        if python.exists():
            peer = _Peer(ground, python)
            ending.callback(peer.kill)
            peer.until_it_publishes(watcher)
            peer.press(setting.sized(PRESSES, 20), watcher)
        path.measure(setting.sized(ALARMS, 5), setting.say, MEASURING_S)
        path.stop_floor()
        setting.say("the broker dies")
        before_peer, before_ours = len(watcher.edges_us), len(watcher.at_mcc)
        published_us = dict(watcher.alarms_us)
        assert ground.broker is not None
        ground.broker.kill()
        time.sleep(1.0)
        for post in POSTS[:PRESSES_AT_DEAD]:
            ground.panel(post, "edges", edges=EDGES_US)
            if peer is not None:
                peer.press_once()
            time.sleep(0.2)
        time.sleep(1.0)
        ground.broker.start()
        give_up_s = time.monotonic() + setting.sized(int(BACK_WAIT_S), 15)
        while time.monotonic() < give_up_s:
            time.sleep(0.2)
        ours = len(watcher.at_mcc) - before_ours
        theirs = len(watcher.edges_us) - before_peer
        pressed_us = [] if peer is None else peer.stop()
        measured = path.stop()
    return _outcome(
        ours_us=[at_us - measured.accepted[alarm_id] for alarm_id, at_us in published_us.items()],
        theirs_us=_paired(pressed_us, watcher.edges_us[:before_peer]),
        ours=ours,
        theirs=None if peer is None else theirs,
        why_no_peer=f"{MQTT_IO} is not installed: {_why_not(setting.peers / 'mqtt-io.log')}",
    )


class _Peer:
    """mqtt-io in its own environment, on mock pins."""

    def __init__(self, ground: Ground, python: Path) -> None:
        config = ground.directory / "mqtt-io.yml"
        config.write_text(CONFIG.format(port=ground.port, pin=PIN))
        self._left = ground.directory / "mqtt-io.json"
        driver = Path(__file__).with_name("peer_mqttio.py")
        with (ground.directory / "mqtt-io.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(driver), str(config), str(PIN), str(self._left)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.tried = 0

    def until_it_publishes(self, watcher: Watcher) -> None:
        """Press until the first press comes through: only then is it ready."""
        give_up_s = time.monotonic() + READY_S
        while not watcher.edges_us:
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                raise NotMeasured("mqtt-io does not publish")
            self.press_once()
            self.tried += 1
            time.sleep(0.5)

    def press_once(self) -> None:
        """Close the contact, and open it again 20 ms later."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def press(self, count: int, watcher: Watcher) -> None:
        """Press so often, one after the other."""
        self._seen_before = len(watcher.edges_us)
        for _ in range(count):
            self.press_once()
            time.sleep(PAUSE_S)
        time.sleep(1.0)
        if len(watcher.edges_us) != self._seen_before + count:
            raise NotMeasured(f"of {count} presses mqtt-io published {len(watcher.edges_us)}")

    def stop(self) -> list[int]:
        """When the measured contacts closed (us of uptime)."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(READY_S)
        return [int(us) for us in json.loads(self._left.read_text())[self.tried :]]

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()


def _paired(pressed_us: list[int], seen_us: list[int]) -> list[int]:
    """The presses that were measured are the last that were seen before the broker died."""
    measured = pressed_us[: len(pressed_us) - PRESSES_AT_DEAD]
    last = seen_us[len(seen_us) - len(measured) :]
    return [seen - pressed for pressed, seen in zip(measured, last, strict=True)]


def _why_not(log: Path) -> str:
    if not log.exists():
        return "make bench installs it; this command was started by hand"
    lines = [line for line in log.read_text().splitlines() if "ERROR" in line]
    return (lines or ["pip did not say why"])[-1][:300]


def _outcome(
    *,
    ours_us: list[int],
    theirs_us: list[int],
    ours: int,
    theirs: int | None,
    why_no_peer: str,
) -> Outcome:
    rows: list[tuple[str, ...]] = [("milliseconds", "samples", "p50", "p99", "max")]
    series = {}
    for name, samples in (
        ("kentongan: third press to publish", ours_us),
        (f"{MQTT_IO}: press to publish", theirs_us),
    ):
        if samples:
            cells = [f"{percentile(samples, share) / 1000:.2f}" for share in (0.5, 0.99, 1.0)]
            rows.append((name, str(len(samples)), *cells))
            series[name.split(":")[0]] = [us / 1000 for us in samples]
    of = f"of {PRESSES_AT_DEAD}"
    lines = [
        table(rows),
        "",
        f"broker killed, {PRESSES_AT_DEAD} calls, broker back: kentongan delivered {ours} {of}",
    ]
    if theirs is None:
        lines.append(why_no_peer)
    else:
        lines.append(
            f"broker killed, {PRESSES_AT_DEAD} presses, broker back:"
            f" {MQTT_IO} delivered {theirs} {of}"
        )
    return Outcome(
        text="\n".join(lines),
        goals=(
            Goal(
                what="broker killed, 5 calls, broker back: delivered",
                found=ours,
                limit=PRESSES_AT_DEAD,
                unit="calls",
                at_least=True,
            ),
        ),
        plots=(
            Plot(
                name="bench-publish",
                title="Press to publish, share of presses",
                unit="ms",
                series=series,
            ),
        ),
    )
