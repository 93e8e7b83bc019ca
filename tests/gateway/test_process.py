"""The real process with a real broker: in from a post, out to the command centre."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TypeVar

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocol.codec import decode_at, encode
from protocol.messages import (
    Action,
    Alarm,
    Answer,
    Command,
    Health,
    MccAlarm,
    MccGateway,
    Message,
    PostState,
)
from protocol.values import new_id, timestamp
from tests.broker import Mosquitto
from tests.gateway.rig import BOOT, POST, STORE, TOPICS, make_alarm

WAIT_S = 10.0
ROOT = Path(__file__).parents[2]
M = TypeVar("M", bound=Message)
NOT_A_MESSAGE = b"{not json"

SETTINGS = """
gateway_id = "mlg-test"
[posts]
url = "{url}"
[mcc]
url = "{url}"
[journal]
url = "sqlite:///{directory}/journal.db"
"""


class Process:
    """`kentongan-gateway run` with its log."""

    def __init__(self, url: str, directory: Path) -> None:
        self._config = directory / "gateway.toml"
        self._config.write_text(SETTINGS.format(url=url, directory=directory))
        self._log = directory / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", "--config", str(self._config)],
                stderr=log,
                cwd=ROOT,
            )

    def signal(self, number: signal.Signals) -> tuple[int, float]:
        """Send it; the exit code and how long it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(WAIT_S)
        return code, time.monotonic() - began

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_for_log(self, text: str) -> None:
        until = time.monotonic() + WAIT_S
        while text not in self.log:
            assert time.monotonic() < until, f"no {text!r} in:\n{self.log}"
            time.sleep(0.01)

    def __enter__(self) -> Process:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(WAIT_S)


class Client:
    """A post and a console at once: subscribed to everything, decoding what is of the contract."""

    def __init__(self, port: int) -> None:
        self._messages: SimpleQueue[tuple[str, bytes, bool]] = SimpleQueue()
        self._unread: list[Message] = []
        self._cleared: set[str] = set()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self._messages.put(
            (message.topic, bytes(message.payload), message.retain)
        )
        self._client.on_connect = lambda client, *_: client.subscribe("kentongan/v1/#", qos=1)
        ready: SimpleQueue[bool] = SimpleQueue()
        self._client.on_subscribe = lambda *_: ready.put(True)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        ready.get(timeout=WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, payload: bytes | Message, *, retain: bool = False) -> None:
        if isinstance(payload, Message):
            payload = encode(payload)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = 30
        self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)

    def command(self, action: Action, **fields: object) -> None:
        command = Command(
            command_id=new_id(),
            action=action,
            store_id=STORE,
            at=timestamp(time.time_ns() // 1_000_000),
            **fields,  # type: ignore[arg-type]
        )
        self.send(TOPICS.mcc("commands", "console"), command)

    def expect(self, kind: type[M], which: Callable[[M], bool] = lambda _: True) -> M:
        """The first message of this kind that satisfies and was not expected before; within 10 s.

        Two links have no common order, so what was passed over is kept.
        """
        until = time.monotonic() + WAIT_S
        looked_at = 0
        while True:
            for message in self._unread[looked_at:]:
                if isinstance(message, kind) and which(message):
                    self._unread.remove(message)
                    return message
            looked_at = len(self._unread)
            try:
                topic, payload, _ = self._messages.get(timeout=max(0.01, until - time.monotonic()))
            except Empty:
                raise AssertionError(f"no such {kind.__name__} came") from None
            self._take(topic, payload)

    def expect_cleared(self, topic: str) -> None:
        """The retained document of this topic is cleared, within 10 s."""
        while topic not in self._cleared:
            came, payload, _ = self._messages.get(timeout=WAIT_S)
            self._take(came, payload)

    def _take(self, topic: str, payload: bytes) -> None:
        if not payload:
            self._cleared.add(topic)
        elif payload != NOT_A_MESSAGE:
            self._unread.append(decode_at(TOPICS.parse(topic), payload))


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture
def client(broker: Mosquitto) -> Iterator[Client]:
    one = Client(broker.port)
    yield one
    one.close()


def press(client: Client, alarm_id: str) -> Alarm:
    alarm = make_alarm(1_000_000, alarm_id)
    client.send(TOPICS.post(POST, "alarms"), alarm)
    return alarm


def heartbeat(client: Client) -> None:
    health = Health(
        post=POST,
        n=7,
        boot_id=BOOT,
        connection=new_id(),
        at=timestamp(time.time_ns() // 1_000_000),
        clock="synchronised",
        uptime_ms=5,
    )
    client.send(TOPICS.post(POST, "health"), health)


def test_an_alarm_goes_up_and_its_answer_comes_down(
    broker: Mosquitto, client: Client, tmp_path: Path
) -> None:
    with Process(broker.url, tmp_path) as gateway:
        client.expect(MccGateway, lambda document: document.online)
        gateway.wait_for_log("link=posts connection")
        alarm_id = new_id()
        press(client, alarm_id)
        listed = client.expect(PostState)
        assert [one.alarm_id for one in listed.alarms] == [alarm_id]
        document = client.expect(MccAlarm)
        client.command("receive", alarm_id=alarm_id, content=document.content)
        client.expect(MccAlarm, lambda one: one.state == "delivered" and one.receipted is not None)
        client.command("acknowledge", alarm_id=alarm_id, operator="Sari", repeats=0, kind="panic")
        answered = client.expect(PostState, lambda one: one.alarms[0].state == "acknowledged")
        assert answered.alarms[0].by == "Sari"
        client.command("beat")
        heartbeat(client)
        client.expect(Answer, lambda one: one.mcc_answers)

        code, took_s = gateway.signal(signal.SIGTERM)
        assert code == 0
        assert took_s < 2
        assert not client.expect(MccGateway, lambda document: not document.online).online


def test_what_is_not_of_the_contract_is_counted_and_harms_nothing(
    broker: Mosquitto, client: Client, tmp_path: Path
) -> None:
    with Process(broker.url, tmp_path) as gateway:
        gateway.wait_for_log("link=posts connection")
        client.send(TOPICS.post(POST, "alarms"), NOT_A_MESSAGE)
        forged = make_alarm(1_000_000, new_id())
        client.send(TOPICS.post(POST, "alarms"), forged, retain=True)  # scenario 18
        alarm_id = new_id()
        press(client, alarm_id)
        listed = client.expect(PostState)
        assert [one.alarm_id for one in listed.alarms] == [alarm_id]
        assert "reason=refused_content" in gateway.log
        assert "reason=refused_retained" in gateway.log
        assert "refused=2" in gateway.log
        assert "Traceback" not in gateway.log


def test_kill_9_of_broker_and_gateway_loses_nothing(
    broker: Mosquitto, client: Client, tmp_path: Path
) -> None:
    with Process(broker.url, tmp_path) as gateway:
        gateway.wait_for_log("link=posts connection")
        alarm_id = new_id()
        press(client, alarm_id)
        client.expect(PostState)
        broker.kill()
        gateway.signal(signal.SIGKILL)
        broker.start()
        fresh = Client(broker.port)
        try:
            gateway.start()
            assert fresh.expect(PostState).alarms[0].alarm_id == alarm_id
            assert fresh.expect(MccAlarm).alarm_id == alarm_id
        finally:
            fresh.close()


def test_documents_that_a_broker_kept_are_mended_when_the_journal_does_not_know_them(
    broker: Mosquitto, client: Client, tmp_path: Path
) -> None:
    with Process(broker.url, tmp_path) as gateway:
        gateway.wait_for_log("link=posts connection")
        alarm_id = new_id()
        press(client, alarm_id)
        client.expect(PostState, lambda state: len(state.alarms) == 1)
        client.expect(MccAlarm)
        gateway.signal(signal.SIGKILL)
        for file in tmp_path.glob("journal.db*"):
            file.unlink()
        gateway.start()
        assert client.expect(PostState).alarms == ()
        client.expect_cleared(TOPICS.mcc("alarms", alarm_id))


def test_sigterm_ends_it_within_2_s_though_no_broker_answers(tmp_path: Path) -> None:
    with Process("mqtt://127.0.0.1:9", tmp_path) as gateway:
        gateway.wait_for_log("gateway_ready")
        code, took_s = gateway.signal(signal.SIGTERM)
        assert code == 0
        assert took_s < 2
        assert "Traceback" not in gateway.log


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=False,
        env=os.environ | environment,
    )


def test_a_journal_that_cannot_be_used_is_a_message_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = tmp_path / "gateway.toml"
    config.write_text(SETTINGS.format(url="mqtt://127.0.0.1", directory=tmp_path / "file"))
    done = run_cli("run", "--config", str(config))
    assert done.returncode == 2
    assert "the journal sqlite:///" in done.stderr
    assert "Traceback" not in done.stderr


def test_pins_that_are_not_there_are_a_message_and_exit_2(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    settings = SETTINGS.format(url="mqtt://127.0.0.1", directory=tmp_path)
    config.write_text('pins = "rpigpio"\n' + settings + "[buzzer]\npin = 24\n")
    done = run_cli("run", "--config", str(config))
    assert done.returncode == 2
    assert "RPi" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ModuleNotFoundError('x', name='sqlalchemy')")
    config = tmp_path / "gateway.toml"
    config.write_text(SETTINGS.format(url="mqtt://127.0.0.1", directory=tmp_path))
    done = run_cli("run", "--config", str(config), PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "kentongan[gateway]" in done.stderr
    assert "Traceback" not in done.stderr
