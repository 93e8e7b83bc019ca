"""The edges of a post around its core: pins, lamp, buzzer, GPS, outbox and link, on one loop.

Nothing is decided here. Every source only enqueues; the loop takes one event at a time, hands it
to `device.core.Post` and carries the effects out. Listening comes first: pins and outbox before
link and GPS, so that a press during a slow start is not lost.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import threading
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from device.core import (
    LINK,
    Click,
    Commit,
    Edge,
    Effect,
    FaultSeen,
    Located,
    LocationLost,
    Post,
    PostSettings,
    ShowLamp,
    Sound,
    Sounded,
)
from device.feedback import ACKNOWLEDGED, LAMP
from device.outbox import Outbox
from device.settings import MqttSettings, PostFile
from hardware.button import Button
from hardware.buzzer import Buzzer
from hardware.clock import SystemClock
from hardware.lamp import Lamp
from hardware.nmea import Fix, GpsLost, GpsState
from hardware.panel import Panel, PanelError
from hardware.pins import MockPins, open_pins
from process.core import Drop, Log, Publish, Tick
from process.events import EventQueue
from process.intake import Intake
from process.link import (
    Link,
    LinkSettings,
    PublishRefused,
    Received,
    Subscription,
    TlsFiles,
    Will,
)
from process.log import log
from process.loop import run as run_loop
from process.loop import stop_on_signals
from process.settings import parse_mqtt_url
from protocol.codec import encode
from protocol.messages import Presence
from protocol.topics import Topics
from protocol.values import new_id, timestamp

if TYPE_CHECKING:
    from hardware.gps import Gps

QUEUE_LIMIT = 4096
# Places that only edges, outbox and buzzer may take: a flood of messages never costs a press.
QUEUE_RESERVED = 2048
EXIT_RESTART = 70


class Service:
    """One post on this machine."""

    def __init__(self, settings: PostFile) -> None:
        """Claim pins and open the outbox; from `run` on it listens.

        Raises:
            PinsUnavailable: with what is missing and what to do.
            PanelError: the panel's socket cannot be made.
        """
        self._settings = settings
        self._queue = EventQueue(QUEUE_LIMIT, QUEUE_RESERVED)
        self._clock = SystemClock()
        self._topics = Topics(settings.mqtt.topic_root)
        self._intake = Intake(self._topics, {("posts", "answer"), ("posts", "state")})
        self._firmware = "kentongan " + importlib.metadata.version("kentongan")
        self._buzzes = 0
        self._level_differed = False

        hardware = settings.hardware
        self._pins = open_pins(hardware.pins, hardware.chip)
        self._button = Button(self._pins, settings.button.pin, self._on_button)
        self._cancel = (
            Button(self._pins, settings.cancel.pin, self._on_cancel, "cancel key")
            if settings.cancel.pin is not None
            else None
        )
        lamp = settings.lamp
        self._lamp = Lamp(self._pins, lamp.red, lamp.green, lamp.blue)
        self._buzzer = Buzzer(self._pins, settings.buzzer.pin)
        self._outbox = Outbox(Path(settings.store.path), self._deliver)
        held, fault = self._outbox.open()
        self._core = Post(
            PostSettings(
                post_id=settings.post_id,
                lat=settings.location.lat,
                lon=settings.location.lon,
                firmware=self._firmware,
                presses=settings.button.presses,
                window_us=int(settings.button.window_s * 1_000_000),
                heartbeat_s=settings.mqtt.heartbeat_s,
                silent=settings.buzzer.silent,
                topic_root=settings.mqtt.topic_root,
            ),
            boot_id=self._clock.boot_id(),
            now=self._clock.now(),
            held=held,
            button_closed=self._button.closed,
            cancel_closed=None if self._cancel is None else self._cancel.closed,
            rng=Random(),
            new_id=new_id,
        )
        if fault is not None:
            self._deliver(FaultSeen(fault, present=True))
        self._link = Link(
            LINK,
            _link_settings(settings.post_id, settings.mqtt),
            subscriptions=(
                Subscription(self._topics.post(settings.post_id, "state"), live_only=False),
                Subscription(self._topics.post(settings.post_id, "answer"), live_only=True),
            ),
            will=self._will,
            deliver=self._from_link,
        )
        self._gps = self._receiver() if settings.location.source == "gps" else None
        self._panel = None
        if hardware.panel_socket is not None:
            if not isinstance(self._pins, MockPins):
                raise PanelError('[hardware] panel_socket needs pins = "mock"')
            self._panel = Panel(
                hardware.panel_socket,
                self._pins,
                button=settings.button.pin,
                cancel=settings.cancel.pin,
                status=self._ask_status,
            )

    # --- sources: each only enqueues -------------------------------------------------------

    def _deliver(self, event: object) -> None:
        self._queue.offer(event, droppable=False)

    def _on_button(self, at_us: int, closed: bool) -> None:
        self._queue.offer(Edge("button", at_us, closed), droppable=False)

    def _on_cancel(self, at_us: int, closed: bool) -> None:
        self._queue.offer(Edge("cancel", at_us, closed), droppable=False)

    def _from_link(self, event: object, droppable: bool) -> bool:
        return self._queue.offer(event, droppable=droppable)

    def _on_gps(self, event: Fix | GpsState | GpsLost) -> None:
        match event:
            case Fix():
                self._queue.offer(Located(event), droppable=True)
            case GpsState(fixed=False):
                self._queue.offer(LocationLost("the receiver has no fix"), droppable=False)
            case GpsLost(reason):
                self._queue.offer(LocationLost(reason), droppable=False)

    def _receiver(self) -> Gps:
        from hardware.gps import Gps  # brings Blinka; a post without a receiver does without it

        location = self._settings.location
        return Gps(location.device, location.baud, self._on_gps, self._clock)

    def _will(self, connection: str) -> Will:
        presence = Presence(
            post=self._settings.post_id,
            online=False,
            boot_id=self._clock.boot_id(),
            connection=connection,
            at=timestamp(self._clock.now().wall_ms),
            firmware=self._firmware,
        )
        return Will(
            self._topics.post(self._settings.post_id, "presence"), encode(presence), retain=True
        )

    # --- the loop --------------------------------------------------------------------------

    def run(self) -> int:
        """Be the post until SIGTERM; the exit code, `EXIT_RESTART` when it must start anew."""
        stop_on_signals(self._queue)
        for effect in self._core.handle(Tick(), self._clock.now()):
            self._perform(effect)
        log("listening", post=self._settings.post_id, firmware=self._firmware)
        self._link.start()
        if self._gps is not None:
            self._gps.start()
        wrong = run_loop(
            self._core,
            self._queue,
            self._clock,
            self._perform,
            read=self._read,
            watch=self._watch,
        )
        if wrong is not None:
            log("restarting", level="error", why=wrong)
        self._close()
        return 0 if wrong is None else EXIT_RESTART

    def _read(self, event: object) -> object | None:
        match event:
            case Received():
                return self._intake.read(event)
            case PublishRefused(_, topic, reason):
                # The lamp tells the resident by itself: nothing that is refused gets listed.
                log("publish_refused", level="error", topic=topic, reason=reason)
                return None
            case _StatusAsked():
                event.answer(self._status())
                return None
            case _:
                return event

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Click():
                self._lamp.flash()
                if not self._settings.buzzer.silent:
                    self._buzzer.click()
            case Commit():
                self._outbox.commit(effect)
            case Publish(_, topic, message, retain, expiry_s):
                payload = b"" if message is None else encode(message)
                self._link.publish(topic, payload, retain=retain, expiry_s=expiry_s)
            case ShowLamp(meaning):
                self._lamp.show(LAMP[meaning])
            case Sound(alarm_id):
                self._buzzes += 1
                self._buzzer.sound(ACKNOWLEDGED, lambda: self._deliver(Sounded(alarm_id)))
            case Drop(_, reason):
                self._link.drop(reason)
            case Log(event, level, fields):
                log(event, level=level, **fields)

    # --- what must not die in silence ------------------------------------------------------

    def _watch(self) -> str | None:
        """Every 2 s: do the threads live, and does the core know the button's true level?"""
        for name, lives in (
            ("button", self._pins.notify_thread_alive()),
            ("outbox", self._outbox.alive()),
            ("link", self._link.alive()),
        ):
            if not lives:
                return f"the {name} thread has died"
        # An edge that was lost on its way must not leave the post deaf: two looks, 2 s apart.
        closed = self._button.closed
        differs = closed != self._core.button_closed
        if differs and self._level_differed:
            log("edge_was_lost", level="warning", closed=closed)
            self._on_button(self._clock.now().uptime_us, closed)
        self._level_differed = differs
        return None

    # --- the panel -------------------------------------------------------------------------

    def _ask_status(self) -> dict[str, object]:
        """Called on the panel's thread; answered by the loop, which so proves that it runs."""
        asked = _StatusAsked()
        self._queue.offer(asked, droppable=False)
        return asked.wait(2.0)

    def _status(self) -> dict[str, object]:
        return {
            "post": self._settings.post_id,
            "lamp": self._core.lamp or "off",
            "buzzer_sounding": self._buzzer.sounding,
            "acknowledgement_buzzes": self._buzzes,
            "button_level": int(not self._button.closed),
            "listening": True,
            "alarms": [
                {"id": held.alarm_id, "state": held.state, "committed": committed}
                for held, committed in self._core.held
            ],
            "faults": list(self._core.faults),
            "location": self._core.location_source(self._clock.now()),
        }

    def _close(self) -> None:
        """End everything within 2 s."""
        if self._panel is not None:
            self._panel.close()
        if self._gps is not None:
            self._gps.stop()
        connection = self._link.connection
        self._link.stop(0.5, (self._will(connection),) if connection else ())
        self._outbox.close(0.5)
        self._buzzer.close()
        self._lamp.close()
        self._pins.close()
        log("stopped", post=self._settings.post_id)


class _StatusAsked:
    """A question from the panel's thread to the loop."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._answer: dict[str, object] = {}

    def answer(self, status: dict[str, object]) -> None:
        self._answer = status
        self._answered.set()

    def wait(self, timeout_s: float) -> dict[str, object]:
        if not self._answered.wait(timeout_s):
            return {"error": f"the post's main loop did not answer within {timeout_s} s"}
        return self._answer


def _link_settings(post_id: str, mqtt: MqttSettings) -> LinkSettings:
    tls = TlsFiles(mqtt.ca, mqtt.certificate, mqtt.key) if mqtt.ca else None
    return LinkSettings(
        broker=parse_mqtt_url(mqtt.url), client_id=post_id, keepalive_s=mqtt.keepalive_s, tls=tls
    )


def run(settings: PostFile) -> int:
    """Be the post; when a thread has died, start the whole process anew."""
    code = Service(settings).run()
    if code == EXIT_RESTART:
        time.sleep(1.0)
        os.execv(sys.executable, [sys.executable, "-m", "device.cli", *sys.argv[1:]])
    return code
