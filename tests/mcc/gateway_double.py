"""A gateway for the tests of the command line: a bare MQTT client that does as it is told.

It keeps documents the way the contract says (merging only upwards) and is not the real gateway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from protocol.codec import content_of, decode, encode
from protocol.messages import (
    Command,
    CommandAnswer,
    MccAlarm,
    MccPost,
    Message,
    Receipted,
    Step,
    Steps,
    TestWindow,
)
from protocol.states import RANK
from protocol.topics import MccTopic, Topics
from protocol.values import timestamp
from tests.mcc.rig import gateway, post

STEP = {"acknowledge": "acknowledged", "dispatch": "dispatched", "resolve": "resolved"}


class GatewayDouble:
    """`with GatewayDouble(port) as double:` is connected and beats each second."""

    def __init__(self, port: int, topics: Topics | None = None) -> None:
        self._topics = topics or Topics()
        self.documents: dict[str, MccAlarm] = {}
        self.commands: list[Command] = []
        self.heard_at_s: list[float] = []
        self.deaf = False
        self.console = "console"
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="double", protocol=mqtt.MQTTv5
        )
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._connected = threading.Event()
        self._port = port
        self._beats = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> GatewayDouble:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._connected.wait(5)
        self._beats.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._beats.join()
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, message: Message, *, retain: bool = True) -> None:
        """Publish a document."""
        what, name = self._place(message)
        if isinstance(message, MccAlarm):
            self.documents[message.alarm_id] = message
        self._client.publish(self._topics.mcc(what, name), encode(message), qos=1, retain=retain)

    def wait_for(self, found: Callable[[list[Command]], bool], seconds: float = 10) -> None:
        """Until the commands heard so far are as wanted; fails when they are not in time."""
        with self._changed:
            assert self._changed.wait_for(lambda: found(self.commands), seconds), self.commands[-5:]

    def actions(self) -> list[str]:
        return [one.action for one in self.commands if one.action not in ("beat", "receive")]

    def _place(self, message: Message) -> tuple[MccTopic, str]:
        if isinstance(message, MccAlarm):
            return "alarms", message.alarm_id
        if isinstance(message, MccPost):
            return "posts", message.post
        if isinstance(message, CommandAnswer):
            return "answers", message.console
        return "gateways", str(getattr(message, "gateway"))  # noqa: B009

    def _beat(self) -> None:
        while not self._ending.is_set():
            if not self.deaf:
                self.say(gateway(at=timestamp(time.time_ns() // 1_000_000)))
            self._ending.wait(1.0)

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(self._topics.mcc("commands", self.console), qos=1)
        self._connected.set()

    def _on_message(self, _client: object, _data: object, received: mqtt.MQTTMessage) -> None:
        command = decode(Command, bytes(received.payload))
        if not self.deaf:
            self._obey(command)
        with self._changed:
            self.commands.append(command)
            self.heard_at_s.append(time.perf_counter())
            self._changed.notify_all()

    def _obey(self, command: Command) -> None:
        if command.action == "open_test":
            assert command.post is not None
            assert command.operator is not None
            window = TestWindow(
                until=timestamp(time.time_ns() // 1_000_000 + 600_000),
                opened_by=command.operator,
                command_id=command.command_id,
            )
            self.say(post(post=command.post, test_window=window))
        elif command.action == "close_test":
            assert command.post is not None
            self.say(post(post=command.post))
        shown = self.documents.get(command.alarm_id or "")
        if shown is None:
            return
        if command.action == "receive":
            assert command.content is not None
            word = Receipted(store_id=command.store_id, content=command.content)
            self.say(msgspec.structs.replace(shown, receipted=word))
        elif command.action == "panic":
            self._put(shown, kind="panic")
        elif command.action in STEP:
            self._answer(command, shown, STEP[command.action])

    def _answer(self, command: Command, shown: MccAlarm, name: str) -> None:
        if RANK[shown.state] >= RANK[name]:  # type: ignore[index]
            first: Step | None = getattr(shown.reached, name)
            if first is None or first.command_id != command.command_id:
                self.say(
                    CommandAnswer(
                        console=self.console,
                        command_id=command.command_id,
                        refused="already",
                        why=f"already {name}",
                        first_operator=first.operator if first else None,
                        first_at=first.at if first else None,
                    ),
                    retain=False,
                )
            return
        taken = Step(
            at=timestamp(time.time_ns() // 1_000_000),
            operator=command.operator,
            console=self.console,
            command_id=command.command_id,
        )
        steps: Steps = msgspec.structs.replace(shown.reached, **{name: taken})
        answered = shown.answered_repeats
        self._put(
            shown,
            state=name,
            reached=steps,
            answered_repeats=command.repeats if answered is None else answered,
            unit=command.unit or shown.unit,
            outcome=command.outcome or shown.outcome,
            note=command.note or shown.note,
        )

    def _put(self, shown: MccAlarm, **fields: object) -> None:
        changed = msgspec.structs.replace(shown, **fields)
        self.say(msgspec.structs.replace(changed, content=content_of(changed)))
