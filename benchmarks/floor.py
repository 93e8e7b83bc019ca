"""The floor: what two hops by a broker and two synced appends cost when nothing else is done.

Bare paho clients with one thread each, run as `python -m benchmarks.floor post|gateway PORT
DIRECTORY`. They check nothing, retry nothing and remember nothing: never to be taken for a design.
At the end each leaves its stamps (uptime in microseconds, by alarm) in DIRECTORY.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from hardware.clock import uptime_us

ALARMS = "floor/alarms"
ARRIVALS = "floor/mcc/"
# As many as the product sends on each hop, for an alarm without repeats at a surveyed place.
ALARM_BYTES = 341
DOCUMENT_BYTES = 416
ID_BYTES = 36


def client(name: str, port: int) -> mqtt.Client:
    """An MQTT 5 client that is connecting, and sends small packets at once."""
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    made.on_socket_open = _without_delay
    made.connect("127.0.0.1", port, clean_start=True)
    return made


def _without_delay(_client: mqtt.Client, _userdata: object, transport: object) -> None:
    assert isinstance(transport, socket.socket)
    transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Appended:
    """A file that is synced after each line."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, line: bytes) -> None:
        os.write(self._file, line + b"\n")
        os.fdatasync(self._file)


def post(port: int, directory: Path) -> None:
    """Each line on stdin is the id of an alarm to send; the end of stdin is the end."""
    stamps: dict[str, dict[str, int]] = {}
    appended = _Appended(directory / "floor-post.data")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link = client("floor-post", port)
    while not link.is_connected():
        link.loop(0.1)
    transport = link.socket()
    assert isinstance(transport, socket.socket)
    watched: list[int | socket.socket] = [0, transport]
    _say_ready()
    while True:
        ready, _, _ = select.select(watched, [], [], 1.0)
        if 0 in ready:
            accepted_us = uptime_us()
            alarm_id = os.read(0, ID_BYTES + 1).rstrip()
            if not alarm_id:
                break
            payload = alarm_id.ljust(ALARM_BYTES, b".")
            appended.append(payload)
            offered_us = uptime_us()
            link.publish(ALARMS, payload, qos=1)
            stamps[alarm_id.decode()] = {"accepted_us": accepted_us, "offered_us": offered_us}
        if transport in ready:
            link.loop_read()
        link.loop_misc()
    link.disconnect()
    _leave(directory / "floor-post.json", stamps)


def gateway(port: int, directory: Path) -> None:
    """Every alarm goes on to the MCC; SIGTERM is the end."""
    stamps: dict[str, dict[str, int]] = {}
    appended = _Appended(directory / "floor-gateway.data")
    link = client("floor-gateway", port)

    def on_message(_client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        heard_us = uptime_us()
        payload = bytes(message.payload)
        appended.append(payload)
        told_us = uptime_us()
        alarm_id = payload[:ID_BYTES].decode()
        link.publish(ARRIVALS + alarm_id, payload.ljust(DOCUMENT_BYTES, b"."), qos=1)
        stamps[alarm_id] = {"heard_us": heard_us, "told_us": told_us}

    def on_connect(*_: Any) -> None:
        link.subscribe(ALARMS, qos=1)

    def end(_number: int, _frame: FrameType | None) -> None:
        link.disconnect()

    link.on_message = on_message
    link.on_subscribe = lambda *_: _say_ready()
    link.on_connect = on_connect
    signal.signal(signal.SIGTERM, end)
    link.loop_forever()
    _leave(directory / "floor-gateway.json", stamps)


def _say_ready() -> None:
    sys.stderr.write("ready\n")
    sys.stderr.flush()


def _leave(path: Path, stamps: dict[str, dict[str, int]]) -> None:
    path.write_text(json.dumps(stamps))


if __name__ == "__main__":
    {"post": post, "gateway": gateway}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
