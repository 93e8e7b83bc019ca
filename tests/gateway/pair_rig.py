"""Two real gateways at one PostgreSQL journal and one broker, a load of alarms, and the account."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType

import msgspec
import paho.mqtt.client as mqtt
import sqlalchemy as sa
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy.pool import NullPool

from device.core import OFFER_PAUSE_MAX_S
from protocol.codec import decode_at, encode
from protocol.messages import Command, MccAlarm, MccGateway, MccPost, PostState
from protocol.values import new_id, timestamp
from tests.broker import Mosquitto, free_port
from tests.gateway.rig import STORE, TOPICS, make_alarm

ROOT = Path(__file__).parents[2]
GATEWAY = "mlg-pair"
NAMES = ("mlg-pair-a", "mlg-pair-b")
WAIT_S = 30.0
OFFER_AGAIN_S = 2.0
BEAT_S = 5.0

SETTINGS = """
gateway_id = "{gateway}"
[posts]
url = "{broker}"
[mcc]
url = "{broker}"
[journal]
url = "{journal}"
[pair]
name = "{name}"
[metrics]
listen = "127.0.0.1:{port}"
"""


class Machine:
    """One of the two: `kentongan-gateway run`, started again when it ends, as by its unit."""

    def __init__(self, name: str, broker: str, journal: str, directory: Path) -> None:
        self.name = name
        self.metrics_port = free_port()
        self._config = directory / f"{name}.toml"
        self._config.write_text(
            SETTINGS.format(
                gateway=GATEWAY, broker=broker, journal=journal, name=name, port=self.metrics_port
            )
        )
        self._log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", "--config", str(self._config)],
                stderr=log,
                cwd=ROOT,
            )

    def revive(self) -> None:
        """As its unit does: one that has ended by itself is started again."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        return process.wait(WAIT_S)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class Town:
    """Posts that call and a command centre that receipts, both in one client; and what it heard."""

    def __init__(self, port: int) -> None:
        # Alarm -> post, when it is offered again (s), and how long that pause is: it grows, as a
        # post's does.
        self.pending: dict[str, tuple[str, float, float]] = {}
        self.listed: dict[str, float] = {}  # alarm -> how long it took, seconds
        self.shown: Counter[str] = Counter()  # alarm -> documents of it
        self.journals: set[str] = set()
        self.silent: set[str] = set()  # posts that were ever called silent
        self.members: dict[str, MccGateway] = {}
        self.spoke: SimpleQueue[float] = SimpleQueue()  # when the gateway said that it is there
        self._raised: dict[str, float] = {}
        self._messages: SimpleQueue[tuple[str, bytes, bool]] = SimpleQueue()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(200)
        self._client.on_message = lambda _c, _u, one: self._messages.put(
            (one.topic, bytes(one.payload), one.retain)
        )
        self._client.on_connect = lambda client, *_: client.subscribe("kentongan/v1/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        # Who speaks is heard by a client of its own, which no storm of documents keeps waiting.
        self._watcher = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._watcher.on_message = lambda _c, _u, one: self._watch(one.payload, one.retain)
        presence = TOPICS.mcc("gateways", "+")
        self._watcher.on_connect = lambda client, *_: client.subscribe(presence, qos=1)
        self._watcher.connect("127.0.0.1", port)
        self._watcher.loop_start()
        self._threads = [threading.Thread(target=one) for one in (self._hear, self._repeat)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        for client in (self._client, self._watcher):
            client.disconnect()
            client.loop_stop()

    def call(self, post: str) -> str:
        """A post raises an alarm, and offers it until it is listed."""
        alarm_id = new_id()
        with self._lock:
            self._raised[alarm_id] = time.monotonic()
            self._offer(alarm_id, post, OFFER_AGAIN_S)
        return alarm_id

    def _offer(self, alarm_id: str, post: str, pause_s: float) -> None:
        pause_s *= random.uniform(0.75, 1.25)
        self.pending[alarm_id] = (post, time.monotonic() + pause_s, pause_s)
        alarm = make_alarm(1_000_000, alarm_id, post=post)
        self._client.publish(TOPICS.post(post, "alarms"), encode(alarm), qos=1)

    def _repeat(self) -> None:
        beat_s = 0.0
        while not self._ending.wait(0.1):
            now_s = time.monotonic()
            with self._lock:
                for alarm_id, (post, due_s, pause_s) in list(self.pending.items()):
                    if now_s >= due_s:
                        self._offer(alarm_id, post, min(2 * pause_s, OFFER_PAUSE_MAX_S))
            if now_s - beat_s >= BEAT_S:
                beat_s = now_s
                self._command(
                    Command(command_id=new_id(), action="beat", store_id=STORE, at=_now())
                )

    def _command(self, command: Command) -> None:
        self._client.publish(TOPICS.mcc("commands", "console"), encode(command), qos=1)

    def _hear(self) -> None:
        while not self._ending.is_set():
            try:
                topic, payload, _ = self._messages.get(timeout=0.1)
            except Empty:
                continue
            address = TOPICS.parse(topic)
            if not payload or address.what not in ("state", "alarms", "posts"):
                continue
            match decode_at(address, payload):
                case PostState(alarms=alarms):
                    with self._lock:
                        for one in alarms:
                            if self.pending.pop(one.alarm_id, None) is not None:
                                took_s = time.monotonic() - self._raised[one.alarm_id]
                                self.listed[one.alarm_id] = took_s
                case MccAlarm() as alarm:
                    self.shown[alarm.alarm_id] += 1
                    self.journals.add(alarm.journal_id)
                    if alarm.receipted is None or alarm.receipted.content != alarm.content:
                        self._command(
                            Command(
                                command_id=new_id(), action="receive", store_id=STORE, at=_now(),
                                alarm_id=alarm.alarm_id, content=alarm.content,
                            )
                        )  # fmt: skip
                case MccPost(post=post, connection="silent"):
                    self.silent.add(post)
                case _:
                    pass

    def _watch(self, payload: bytes | bytearray, retained: bool) -> None:
        if not payload or retained:
            return
        said = msgspec.json.decode(payload, type=MccGateway)
        if said.gateway != GATEWAY:
            self.members[said.gateway] = said
        elif said.online:
            self.spoke.put(time.monotonic())


def _now() -> str:
    return timestamp(time.time_ns() // 1_000_000)


class Pair:
    """Both machines, the town, and who of the two is the gateway."""

    def __init__(self, directory: Path, broker: Mosquitto, journal: str) -> None:
        self.journal = journal
        self.machines = {name: Machine(name, broker.url, journal, directory) for name in NAMES}
        self.town = Town(broker.port)

    def __enter__(self) -> Pair:
        for machine in self.machines.values():
            machine.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for machine in self.machines.values():
            machine.end()
        self.town.close()

    def until_spoken(self, after_s: float = 0.0, timeout_s: float = WAIT_S) -> float:
        """When the gateway next says that it is there; what it said before is forgotten.

        `after_s`: what one that has just been ended had said may still be on its way.
        """
        time.sleep(after_s)
        while not self.town.spoke.empty():
            self.town.spoke.get()
        return self.town.spoke.get(timeout=timeout_s)

    def active(self, timeout_s: float = WAIT_S) -> Machine:
        """The one that is the gateway, while the other says that it stands by."""
        until_s = time.monotonic() + timeout_s
        while True:
            for machine in self.machines.values():
                machine.revive()
            said = dict(self.town.members)
            actives = [one for one in said if not said[one].standing_by]
            here = [one for one in said if said[one].online]
            if len(here) == len(NAMES) and len(actives) == 1:
                return self.machines[actives[0]]
            assert time.monotonic() < until_s, f"who is it? {said}\n{self.logs}"
            time.sleep(0.05)

    def other(self, machine: Machine) -> Machine:
        return next(one for one in self.machines.values() if one is not machine)

    @property
    def logs(self) -> str:
        return "\n".join(f"--- {one.name}\n{one.log[-4000:]}" for one in self.machines.values())

    def until_listed(self, timeout_s: float = 60.0) -> None:
        """Everything that was called is listed, and at the command centre."""
        until_s = time.monotonic() + timeout_s
        while self.town.pending or set(self.town.listed) - set(self.town.shown):
            assert time.monotonic() < until_s, f"{len(self.town.pending)} wait\n{self.logs}"
            time.sleep(0.1)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What stands in the journal."""
        engine = sa.create_engine(self.journal, poolclass=NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]
