"""The part `intake`: durable alarms a second through the gateway, and a thousand posts at once.

The peer of the first is a bare paho subscriber that counts the same messages of the same sender.
Durable means that the journal's file holds the row, which another process reads in it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import paho.mqtt.client as mqtt

from benchmarks.centre import NotMeasured
from benchmarks.figures import percentile
from benchmarks.firmware import cpu_s
from benchmarks.floor import client
from benchmarks.ground import Ground, with_broker
from benchmarks.kept import an_alarm
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, Plot, table
from hardware.clock import uptime_us
from process.database import read_only
from protocol.codec import encode
from protocol.topics import Topics

GATEWAY = "intake-gw"
ALARMS = 5_000
POSTS = 1_000  # each says less than its pace
STORM = 1_000
STORM_S = 1.0
WAIT_S = 40.0
LOOK_S = 0.02
RATIO, STORM_LIMIT_S = 0.5, 3.0


def part(setting: Setting) -> Outcome:
    """Throughput of the gateway and of the bare subscriber, then the storm."""
    count = setting.sized(ALARMS, 300)
    bare_per_s, bare_cpu_s = _bare(setting, count)
    durable_per_s, gateway_cpu_s = _durable(setting, count)
    storm = setting.sized(STORM, 100)
    at_mcc_us, listed_us = _storm(setting, storm)
    rows = [
        ("alarms of one sender, as fast as they go", "a second", "CPU ms each"),
        (
            "gateway: in the journal, synced, then receipted",
            f"{durable_per_s:.0f}",
            f"{1000 * gateway_cpu_s / count:.3f}",
        ),
        (
            "bare paho subscriber: received",
            f"{bare_per_s:.0f}",
            f"{1000 * bare_cpu_s / count:.3f}",
        ),
    ]
    storm_rows = [
        (f"{storm} posts raise within {STORM_S:g} s; s since the first", "half", "99 %", "all"),
        *(
            (name, *(f"{percentile(found, share) / 1e6:.2f}" for share in (0.5, 0.99, 1.0)))
            for name, found in (("at the MCC", at_mcc_us), ("listed for its post", listed_us))
        ),
    ]
    return Outcome(
        text=f"{table(rows)}\n\n{table(storm_rows)}",
        goals=(
            Goal(
                what="durable alarms a second, times a bare subscriber",
                found=durable_per_s / bare_per_s,
                limit=RATIO,
                unit="x",
                at_least=True,
                why_not=(
                    "processor time, not the disk: each alarm costs the gateway"
                    f" {1000 * gateway_cpu_s / count:.2f} ms of Python (reading, the record, two"
                    " documents out, their PUBACKs), the subscriber"
                    f" {1000 * bare_cpu_s / count:.2f} ms; commits are shared and cost it less"
                ),
            ),
            Goal(
                what=f"storm of {storm}: all at the MCC",
                found=max(at_mcc_us) / 1e6,
                limit=STORM_LIMIT_S,
                unit="s",
            ),
            Goal(
                what=f"storm of {storm}: all listed",
                found=max(listed_us) / 1e6,
                limit=STORM_LIMIT_S,
                unit="s",
            ),
        ),
        plots=(
            Plot(
                name="bench-storm",
                title=f"{storm} posts raise within {STORM_S:g} s: share that arrived",
                unit="s",
                series={
                    "at the MCC": [us / 1e6 for us in at_mcc_us],
                    "listed": [us / 1e6 for us in listed_us],
                },
            ),
        ),
    )


def _bare(setting: Setting, count: int) -> tuple[float, float]:
    with ExitStack() as ending:
        ground = _ground(setting, "bare", ending)
        left = ground.directory / "bare.json"
        ground.start(
            "subscriber", "benchmarks.intake", "subscribe", str(ground.port), str(count), left
        )
        ground.until_said("subscriber", "ready")
        began_us = _send(ground, count, 0.0)
        _until(ground, left.exists, "the subscriber did not receive all")
        found = json.loads(left.read_text())
    return count / (found["over_us"] - began_us) * 1e6, found["cpu_s"]


def _durable(setting: Setting, count: int) -> tuple[float, float]:
    with ExitStack() as ending:
        ground = _ground(setting, "durable", ending)
        process_id = _start_gateway(ground)
        before_s = cpu_s(process_id)
        reading = sqlite3.connect(
            read_only(ground.directory / f"{GATEWAY}.db"), uri=True, isolation_level=None
        )
        ending.callback(reading.close)
        began_us = _send(ground, count, 0.0)

        def all_there() -> bool:
            return bool(reading.execute("SELECT count(*) FROM alarms").fetchone()[0] >= count)

        _until(ground, all_there, "the journal does not hold all")
        over_us = uptime_us()
        used_s = cpu_s(process_id) - before_s
    return count / (over_us - began_us) * 1e6, used_s


def _storm(setting: Setting, count: int) -> tuple[list[int], list[int]]:
    """For every alarm: from the first raise to the MCC, and to its post's state document."""
    topics = Topics()
    with ExitStack() as ending:
        ground = _ground(setting, "storm", ending)
        _start_gateway(ground)
        at_mcc = _Arrivals(ground.port, topics.mcc("alarms", "+"))
        listed = _Arrivals(ground.port, topics.post("+", "state"))
        ending.callback(at_mcc.close)
        ending.callback(listed.close)
        began_us = _send(ground, count, STORM_S)
        _until(
            ground,
            lambda: min(len(at_mcc.first_us), len(listed.first_us)) >= count,
            "not every alarm arrived",
        )
    return (
        [us - began_us for us in at_mcc.first_us.values()],
        [us - began_us for us in listed.first_us.values()],
    )


class _Arrivals:
    """When a document came on each topic for the first time."""

    def __init__(self, port: int, topic: str) -> None:
        self.first_us: dict[str, int] = {}
        ready = threading.Event()
        self._client = client(f"arrivals-{topic[-5:-2]}", port)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda one, *_: one.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.loop_start()
        if not ready.wait(WAIT_S):
            raise NotMeasured("the broker did not take a subscription")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        self.first_us.setdefault(message.topic, uptime_us())


def _ground(setting: Setting, name: str, ending: ExitStack) -> Ground:
    directory = setting.directory / name
    directory.mkdir()
    return with_broker(directory, setting.mosquitto, ending)


def _start_gateway(ground: Ground) -> int:
    process = ground.start(GATEWAY, "gateway.cli", "run", "--config", ground.write_gateway(GATEWAY))
    for link in ("posts", "mcc"):
        ground.until_said(GATEWAY, f"event=link_up link={link}")
    return process.pid


def _send(ground: Ground, count: int, seconds: float) -> int:
    """Let the sender begin; the uptime (us) of its first message."""
    left = ground.directory / "sender.json"
    ground.start(
        "sender", "benchmarks.intake", "send", str(ground.port), str(count), str(seconds), left
    )
    _until(ground, left.exists, "the sender did not begin")
    return int(json.loads(left.read_text()))


def _until(ground: Ground, is_so: Callable[[], bool], why: str) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > give_up_s:
            raise NotMeasured(why)
        ground.look_whole()
        time.sleep(LOOK_S)


def send(port: int, count: int, seconds: float, left: Path) -> None:
    """Publish so many alarms, evenly over these seconds or at once; LEFT is when it began."""
    topics = Topics()
    alarms = [an_alarm(f"intake-{number % POSTS:04}") for number in range(count)]
    packets = [(topics.post(alarm.post, "alarms"), encode(alarm)) for alarm in alarms]
    sender = client("intake-sender", port)
    sender.loop_start()
    while not sender.is_connected():
        time.sleep(0.01)
    began_us = uptime_us()
    _leave(left, began_us)
    sent = []
    for number, (topic, payload) in enumerate(packets):
        due_us = began_us + int(number * seconds * 1e6 / count)
        time.sleep(max(0, due_us - uptime_us()) / 1e6)
        sent.append(sender.publish(topic, payload, qos=1))
    for one in sent:
        one.wait_for_publish(WAIT_S)
    sys.stdin.read()  # it ends with the measurement


def subscribe(port: int, count: int, left: Path) -> None:
    """Be the bare subscriber until so many have come; LEFT says when, and the CPU it took."""
    over = threading.Event()
    received = 0

    def on_message(*_: object) -> None:
        nonlocal received
        received += 1
        if received == count:
            over.set()

    bare = client("intake-bare", port)
    bare.on_message = on_message
    bare.on_connect = lambda one, *_: one.subscribe(Topics().post("+", "alarms"), qos=1)
    bare.on_subscribe = lambda *_: _say_ready()
    before_s = time.process_time()
    bare.loop_start()
    if over.wait(WAIT_S):
        _leave(left, {"over_us": uptime_us(), "cpu_s": time.process_time() - before_s})
    sys.stdin.read()


def _say_ready() -> None:
    sys.stderr.write("ready\n")
    sys.stderr.flush()


def _leave(path: Path, found: object) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(found))
    new.rename(path)


def main(role: str, port: str, count: str, *more: str) -> None:
    """One of the two processes beside the gateway."""
    with contextlib.suppress(KeyboardInterrupt):
        if role == "send":
            send(int(port), int(count), float(more[0]), Path(more[1]))
        else:
            subscribe(int(port), int(count), Path(more[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
