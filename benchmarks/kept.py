"""The part `kept`: what is left of a hundred acknowledged alarms after SIGKILL, with defaults.

Acknowledged is what each calls so: the gateway lists the alarm; the broker of a bridge sends its
PUBACK; the store of thingsboard-gateway says that it took the event. The kill follows at once.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import paho.mqtt.client as mqtt

from benchmarks.centre import NotMeasured
from benchmarks.floor import client
from benchmarks.ground import Ground, with_broker
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, Plot, table
from demo.broker import free_port
from protocol.codec import encode
from protocol.messages import Alarm, Location
from protocol.topics import Topics
from protocol.values import new_id, timestamp

ALARMS = 100
GATEWAY = "kept-gw"
WAIT_S = 20.0
QUIET_S = 5.0  # so long nothing more comes: what is not there by then is lost
THINGSBOARD = "thingsboard-gateway 3.8.5"
STORES = ("memory", "file", "sqlite")
# Debian's mosquitto.conf turns persistence on; everything else is the program's default.
FIRST_BROKER = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {directory}/
user root
connection onward
address 127.0.0.1:{onward}
topic alarms out 1
cleansession false
"""
SECOND_BROKER = """\
listener {port} 127.0.0.1
allow_anonymous true
user root
"""


def part(setting: Setting) -> Outcome:
    """Ours, a bridge, and the peer's three stores."""
    ours = _ours(setting)
    bridge = _bridge(setting)
    rows = [
        ("of 100 acknowledged alarms, after SIGKILL", "acknowledged", "kept"),
        ("kentongan: gateway and broker killed", str(ALARMS), str(ours)),
        ("mosquitto bridge, Debian's configuration", str(ALARMS), str(bridge)),
    ]
    series: dict[str, list[float]] = {"kentongan": [ours], "mosquitto bridge": [bridge]}
    python = setting.peers / "thingsboard-gateway" / "bin" / "python"
    lines = []
    for kind in STORES if python.exists() else ():
        taken, kept = _store(setting.directory / f"store-{kind}", python, kind)
        name = "its default" if kind == "memory" else "by its setting"
        rows.append((f"{THINGSBOARD}, {kind} store ({name})", str(taken), str(kept)))
        series[f"thingsboard {kind}"] = [kept]
    if not python.exists():
        lines.append(f"{THINGSBOARD} is not installed: {_why_not(setting.peers)}")
    return Outcome(
        text="\n".join([table(rows), *lines]),
        goals=(
            Goal(
                what="100 acknowledged alarms, then SIGKILL: kept",
                found=ours,
                limit=ALARMS,
                unit="alarms",
                at_least=True,
            ),
        ),
        plots=(
            Plot(
                name="bench-kept",
                title="Kept of 100 acknowledged alarms after SIGKILL",
                unit="alarms",
                series=series,
            ),
        ),
    )


def an_alarm(post: str) -> Alarm:
    """A call as a post offers it."""
    return Alarm(
        post=post,
        alarm_id=new_id(),
        kind="panic",
        raised_at=timestamp(time.time_ns() // 1_000_000),
        clock="synchronised",
        boot_id=new_id(),
        raised_uptime_ms=1_000,
        sent_uptime_ms=1_010,
        presses_ms=(-104, -52),
        location=Location(lat=-7.944, lon=112.611, source="surveyed"),
    )


def _ours(setting: Setting) -> int:
    topics = Topics()
    alarms = [an_alarm(f"kept-{number:03}") for number in range(ALARMS)]
    ids = {alarm.alarm_id for alarm in alarms}
    directory = setting.directory / "ours"
    directory.mkdir()
    with ExitStack() as ending:
        ground = with_broker(directory, setting.mosquitto, ending)
        _start_gateway(ground)
        listed = _Seen(ground.port, topics.post("+", "state"), _listed)
        for alarm in alarms:
            listed.client.publish(topics.post(alarm.post, "alarms"), encode(alarm), qos=1)
        if listed.until(ids) != ids:
            raise NotMeasured(f"the gateway listed {len(listed.found & ids)} of {ALARMS} alarms")
        ground.kill(GATEWAY)
        assert ground.broker is not None
        ground.broker.kill()
        listed.close()
        ground.broker.start()
        shown = _Seen(ground.port, topics.mcc("alarms", "+"), _shown)
        _start_gateway(ground)
        kept = len(shown.until(ids) & ids)
        shown.close()
    return kept


def _start_gateway(ground: Ground) -> None:
    ground.start(GATEWAY, "gateway.cli", "run", "--config", ground.write_gateway(GATEWAY))
    ground.until_said(GATEWAY, "event=link_up link=posts")


def _listed(message: mqtt.MQTTMessage) -> list[str]:
    return [one["alarm_id"] for one in json.loads(message.payload or b'{"alarms": []}')["alarms"]]


def _shown(message: mqtt.MQTTMessage) -> list[str]:
    return [message.topic.rsplit("/", 1)[1]] if message.payload else []


class _Seen:
    """A bare subscriber that gathers names."""

    def __init__(
        self, port: int, topic: str, names: Callable[[mqtt.MQTTMessage], list[str]]
    ) -> None:
        self.found: set[str] = set()
        self._names = names
        self._subscribed = threading.Event()
        self._heard = threading.Event()
        self.client = client(f"kept-{new_id()[:8]}", port)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda one, *_: one.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.loop_start()
        if not self._subscribed.wait(WAIT_S):
            raise NotMeasured(f"the broker did not take the subscription to {topic}")

    def until(self, wanted: set[str]) -> set[str]:
        """What was found when all wanted was, or nothing more came for a while."""
        give_up_s = time.monotonic() + WAIT_S
        while not wanted <= self.found and time.monotonic() < give_up_s:
            self._heard.clear()
            if not self._heard.wait(QUIET_S) and self.found:
                break
        return set(self.found)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        self.found.update(self._names(message))
        self._heard.set()


def _bridge(setting: Setting) -> int:
    """A broker that bridges to one that is away; killed; then both are there."""
    directory = setting.directory / "bridge"
    directory.mkdir()
    first, second = free_port(), free_port()
    (directory / "first.conf").write_text(
        FIRST_BROKER.format(port=first, onward=second, directory=directory)
    )
    (directory / "second.conf").write_text(SECOND_BROKER.format(port=second))
    wanted = {str(number) for number in range(ALARMS)}
    with ExitStack() as ending:

        def start(name: str, port: int) -> subprocess.Popen[bytes]:
            with (directory / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(
                    [setting.mosquitto, "-c", str(directory / f"{name}.conf")],
                    stdout=log,
                    stderr=log,
                )
            ending.callback(process.wait)
            ending.callback(process.kill)
            _until_listening(port)
            return process

        broker = start("first", first)
        sender = client("bridge-sender", first)
        sender.loop_start()
        for number in range(ALARMS):
            sender.publish("alarms", str(number), qos=1).wait_for_publish(WAIT_S)
        broker.kill()
        broker.wait()
        sender.disconnect()
        sender.loop_stop()
        start("second", second)
        seen = _Seen(second, "alarms", lambda message: [message.payload.decode()])
        start("first", first)
        kept = len(seen.until(wanted) & wanted)
        seen.close()
    return kept


def _until_listening(port: int) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_s:
        try:
            client("bridge-probe", port).disconnect()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NotMeasured(f"no broker listens on port {port}")


def _store(directory: Path, python: Path, kind: str) -> tuple[int, int]:
    """How many events a store took, and how many it gives after SIGKILL."""
    directory.mkdir()
    driver = str(Path(__file__).with_name("peer_stores.py"))
    command = [str(python), driver, kind, str(directory)]
    with subprocess.Popen(
        [*command, "put", str(ALARMS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        taken = int(process.stdout.readline() or b"0")
        process.kill()
    read = subprocess.run(
        [*command, "read", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=WAIT_S,
        check=True,
    )
    return taken, int(read.stdout.split()[-1])


def _why_not(peers: Path) -> str:
    log = peers / "thingsboard-gateway.log"
    if not log.exists():
        return "make bench installs it; this command was started by hand"
    lines = [line for line in log.read_text().splitlines() if "ERROR" in line]
    return (lines or ["pip did not say why"])[-1][:300]
