"""The command centre of the measurement: takes the time of each arrival, then ends the alarm.

One bare subscriber serves product and floor alike. It decides nothing that the contract leaves
open, and it speaks only between two measured alarms, but for its beat.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt

from benchmarks.floor import ARRIVALS, client
from hardware.clock import uptime_us
from protocol.codec import decode, encode
from protocol.messages import Action, Command, MccAlarm
from protocol.topics import Topics
from protocol.values import new_id, timestamp

CONSOLE = "console"
BEAT_S = 8.0  # the contract asks for one every 10 s
ARRIVAL_TIMEOUT_S = 15.0


class NotMeasured(RuntimeError):
    """The measurement cannot go on; the text says what did not happen."""


@dataclass(frozen=True)
class Arrival:
    """A document of an alarm, and the uptime (us) at which the subscriber had it."""

    topic: str
    payload: bytes
    at_us: int


class Centre:
    """`with Centre(port) as centre:` subscribes and beats until the end of the block."""

    def __init__(self, port: int) -> None:
        """Connect to the broker on this loopback port."""
        self._topics = Topics()
        self._store_id = new_id()
        self._arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._subscribed = threading.Event()
        self._ending = threading.Event()
        self._client = client("bench-mcc", port)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_connect = self._on_connect
        self._beating = threading.Thread(target=self._beat, name="beat", daemon=True)

    def __enter__(self) -> Centre:
        self._client.loop_start()
        if not self._subscribed.wait(ARRIVAL_TIMEOUT_S):
            raise NotMeasured("the broker did not take the subscriptions")
        self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._beating.join()
        self._client.disconnect()
        self._client.loop_stop()

    def floor_arrival(self, alarm_id: str) -> int:
        """When the floor's alarm arrived (us of uptime).

        Raises:
            NotMeasured: it did not, within 15 s.
        """
        return self._next(f"the floor's alarm {alarm_id}", ARRIVALS + alarm_id).at_us

    def product_arrival(self, post: str) -> tuple[MccAlarm, int]:
        """The next new alarm, and when it arrived (us of uptime); it must be of `post`.

        Raises:
            NotMeasured: no alarm within 15 s, or another post's.
        """
        while True:
            arrival = self._next(f"the alarm of {post}", self._topics.mcc("alarms", ""))
            document = decode(MccAlarm, arrival.payload)
            if not self._is_over(arrival):
                break
        if document.post != post or document.state != "received":
            raise NotMeasured(f"not a new alarm of {post}: {document.state} of {document.post}")
        return document, arrival.at_us

    def receive(self, alarm: MccAlarm) -> None:
        """Give the receipt; done when the gateway shows it.

        Raises:
            NotMeasured: it does not, within 15 s.
        """
        self._command("receive", alarm_id=alarm.alarm_id, content=alarm.content)
        self._until(alarm.alarm_id, "delivered")

    def resolve(self, alarm: MccAlarm) -> None:
        """End the alarm; done when the gateway shows it.

        Raises:
            NotMeasured: it does not, within 15 s.
        """
        self._command(
            "resolve",
            alarm_id=alarm.alarm_id,
            operator="bench",
            repeats=0,
            kind="panic",
            outcome="test",
        )
        shown = self._until(alarm.alarm_id, "resolved")
        self._command("receive", alarm_id=shown.alarm_id, content=shown.content)
        # The receipt is shown by one more document, in which nothing else has changed.
        self._until(alarm.alarm_id, "resolved")

    def _until(self, alarm_id: str, state: str) -> MccAlarm:
        while True:
            topic = self._topics.mcc("alarms", alarm_id)
            document = decode(MccAlarm, self._next(f"{alarm_id} {state}", topic).payload)
            if document.state == state:
                return document

    def _next(self, what: str, topic: str) -> Arrival:
        while True:
            try:
                arrival = self._arrivals.get(timeout=ARRIVAL_TIMEOUT_S)
            except queue.Empty:
                raise NotMeasured(f"{what}: not seen within {ARRIVAL_TIMEOUT_S:g} s") from None
            if arrival.topic.startswith(topic):
                return arrival
            if not self._is_over(arrival):
                raise NotMeasured(f"{what}: {arrival.topic} came instead")

    def _is_over(self, arrival: Arrival) -> bool:
        # A post says afterwards when it made the answer heard: one more document of its alarm.
        if not arrival.topic.startswith(self._topics.mcc("alarms", "")):
            return False
        return decode(MccAlarm, arrival.payload).state == "resolved"

    def _command(self, action: Action, **more: Any) -> None:
        command = Command(
            command_id=new_id(),
            action=action,
            store_id=self._store_id,
            at=timestamp(time.time_ns() // 1_000_000),
            **more,
        )
        self._client.publish(self._topics.mcc("commands", CONSOLE), encode(command), qos=1)

    def _beat(self) -> None:
        self._command("beat")
        while not self._ending.wait(BEAT_S):
            self._command("beat")

    def _on_connect(self, subscriber: mqtt.Client, *_: object) -> None:
        subscriber.subscribe([(self._topics.mcc("alarms", "+"), 1), (ARRIVALS + "+", 1)])

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        at_us = uptime_us()
        self._arrivals.put(Arrival(message.topic, bytes(message.payload), at_us))
