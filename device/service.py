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
    CommitFailed,
    Committed,
    Edge,
    Effect,
    Located,
    LocationLost,
    PinName,
    Post,
    PostSettings,
    Pulse,
    ShowLamp,
    Sound,
    Sounded,
)
from device.feedback import ACKNOWLEDGED, LAMP
from device.fitness import Fitness
from device.outbox import Outbox
from device.renewal import CertificateKeeper, Renewed, previous_of
from device.settings import MqttSettings, PostFile
from device.status import PostStatus
from hardware.button import Button
from hardware.buzzer import Buzzer
from hardware.clock import SystemClock
from hardware.lamp import Lamp
from hardware.loopback import Loopback
from hardware.nmea import Fix, GpsLost, GpsState
from hardware.panel import Panel, PanelError
from hardware.pins import MockPins, open_pins
from process.core import Drop, Log, Publish
from process.disk import Writes
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
from process.log import begin, log, write_line
from process.loop import run as run_loop
from process.loop import stop_on_signals
from process.notify import Notifier
from process.settings import parse_mqtt_url
from process.status import StatusFile
from protocol.codec import encode
from protocol.messages import Certificate, Presence, Renewal
from protocol.topics import Topics
from protocol.values import new_id, timestamp

if TYPE_CHECKING:
    from hardware.gps import Gps

QUEUE_LIMIT = 4096
# Places that only edges, outbox and buzzer may take: a flood of messages never costs a press.
QUEUE_RESERVED = 2048
QUEUE_FULL_PAUSE_S = 0.01
EXIT_RESTART = 70
# A write that got no answer for so long: the outbox's thread, or the card under it.
OUTBOX_SILENT_US = 300_000_000


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
        self._intake = Intake(
            self._topics, {("posts", "answer"), ("posts", "state"), ("posts", "certificate")}
        )
        self._firmware = "kentongan " + importlib.metadata.version("kentongan")
        self._buzzes = 0
        self._levels_differed: set[PinName] = set()

        hardware = settings.hardware
        self._pins = open_pins(hardware.pins, hardware.chip)
        if isinstance(self._pins, MockPins):
            loops = (settings.button.nc_pin, settings.tamper.pin, settings.mains.pin)
            self._pins.close_loops(number for number in loops if number is not None)
        self._inputs: dict[PinName, Button] = {}
        self._claim("button", settings.button.pin, "button")
        self._claim("button_nc", settings.button.nc_pin, "button's normally closed contact")
        self._claim("cancel", settings.cancel.pin, "cancel key")
        self._claim("tamper", settings.tamper.pin, "lid switch")
        self._claim("mains", settings.mains.pin, "mains input")
        # The post begins here: what is pressed while a slow disk opens waits in the queue.
        began = self._clock.now()
        levels = {pin: contact.closed for pin, contact in self._inputs.items()}
        lamp = settings.lamp
        self._lamp = Lamp(self._pins, lamp.red, lamp.green, lamp.blue)
        self._buzzer = Buzzer(self._pins, settings.buzzer.pin)
        self._loopback = Loopback(self._pins, settings.button.loop_pin)
        if isinstance(self._pins, MockPins) and settings.button.loop_pin is not None:
            self._pins.couple(settings.button.loop_pin, settings.button.pin)
        self._closing = threading.Event()
        self._outbox = Outbox(Path(settings.store.path), self._deliver_surely)
        self._loaded = loaded = self._outbox.open()
        self._writes = Writes(self._clock.now().uptime_us)
        self._notifier = Notifier.from_environment()
        self._status_file = StatusFile.from_environment()
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
                loop=settings.button.loop_pin is not None,
                topic_root=settings.mqtt.topic_root,
            ),
            boot_id=self._clock.boot_id(),
            now=began,
            held=loaded.held,
            button_closed=levels["button"],
            cancel_closed=levels.get("cancel"),
            rng=Random(),
            new_id=new_id,
            nc_closed=levels.get("button_nc"),
            tamper_closed=levels.get("tamper"),
            mains_closed=levels.get("mains"),
        )
        self._link = Link(
            LINK,
            _link_settings(settings.post_id, settings.mqtt),
            subscriptions=(
                Subscription(self._topics.post(settings.post_id, "state"), live_only=False),
                Subscription(self._topics.post(settings.post_id, "answer"), live_only=True),
                Subscription(self._topics.post(settings.post_id, "certificate"), live_only=True),
            ),
            will=self._will,
            deliver=self._from_link,
            synchronised=lambda: self._clock.now().synchronised,
            may_leave=lambda: not self._core.held,  # not in the middle of a call
        )
        self._certificate = self._certificate_keeper()
        self._fitness = Fitness(Path(settings.store.path), self._deliver)
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
                button_nc=settings.button.nc_pin,
                tamper=settings.tamper.pin,
                mains=settings.mains.pin,
            )

    # --- sources: each only enqueues -------------------------------------------------------

    def _deliver(self, event: object) -> None:
        self._queue.offer(event, droppable=False)

    def _deliver_surely(self, event: object) -> None:
        """An outcome is never lost: a full queue holds up whoever has it, until the end."""
        while not self._queue.offer(event, droppable=False):
            if self._closing.wait(QUEUE_FULL_PAUSE_S):
                return

    def _claim(self, pin: PinName, number: int | None, role: str) -> None:
        """Take one input, where it is fitted; from now on its edges are enqueued."""
        if number is None:
            return

        def on_edge(at_us: int, closed: bool) -> None:
            self._queue.offer(Edge(pin, at_us, closed), droppable=False)

        self._inputs[pin] = Button(self._pins, number, on_edge, role)

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

    def _certificate_keeper(self) -> CertificateKeeper | None:
        """None where there is no certificate, or its key is not in the same file."""
        mqtt = self._settings.mqtt
        if mqtt.ca is None or mqtt.certificate is None or mqtt.key not in (None, mqtt.certificate):
            return None
        return CertificateKeeper(
            self._settings.post_id,
            ca=Path(mqtt.ca),
            identity=Path(mqtt.certificate),
            deliver=self._deliver,
            synchronised=lambda: self._clock.now().synchronised,
        )

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
        self._begin()
        log("listening", post=self._settings.post_id, firmware=self._firmware)
        self._notifier.ready(f"listening, lamp: {self._core.lamp}")
        self._link.start()
        if self._gps is not None:
            self._gps.start()
        if self._certificate is not None:
            self._certificate.start()
        self._fitness.start()
        wrong = run_loop(
            self._core,
            self._queue,
            self._clock,
            self._perform,
            read=self._read,
            watch=self._notifier.feeding(self._watch),
        )
        if wrong is None:
            self._notifier.stopping()
        else:
            log("restarting", level="error", why=wrong)
        self._close()
        return 0 if wrong is None else EXIT_RESTART

    def _begin(self) -> None:
        """What the outbox said at first goes before all that it may have said since.

        Nor is it a Tick, which would say that no edge waits: some may have come meanwhile.
        """
        for effect in self._core.handle(self._loaded, self._clock.now()):
            self._perform(effect)

    def _read(self, event: object) -> object | None:
        match event:
            case Received():
                heard = self._intake.read(event)
                if heard is not None and isinstance(heard.message, Certificate):
                    if self._certificate is not None:
                        self._certificate.take(heard.message)
                    return None
                return heard
            case Renewal(post=post):
                self._link.publish(self._topics.post(post, "renewal"), encode(event), expiry_s=60)
                return None
            case Renewed():
                # It is to prove itself now, while nobody calls; else at the next connection.
                if not self._core.held:
                    self._link.drop("a new certificate")
                return None
            case PublishRefused(_, topic, reason):
                # The lamp tells the resident by itself: nothing that is refused gets listed.
                log("publish_refused", level="error", topic=topic, reason=reason)
                return None
            case Committed(write) | CommitFailed(write):
                self._writes.answered((write,))
                return event
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
            case Commit(write):
                self._writes.asked(write, self._clock.now().uptime_us)
                self._outbox.commit(effect)
            case Publish(_, topic, message, retain, expiry_s):
                payload = b"" if message is None else encode(message)
                self._link.publish(topic, payload, retain=retain, expiry_s=expiry_s)
            case ShowLamp(meaning):
                self._lamp.show(LAMP[meaning])
                self._notifier.status(f"listening, lamp: {meaning}")
            case Sound(alarm_id):
                self._buzzes += 1
                self._buzzer.sound(ACKNOWLEDGED, lambda: self._deliver_surely(Sounded(alarm_id)))
            case Pulse():
                self._loopback.pulse()
            case Drop(_, reason):
                self._link.drop(reason, deaf=True)
            case Log():
                write_line(effect)

    # --- what must not die in silence ------------------------------------------------------

    def _watch(self) -> str | None:
        """Every 2 s: do threads and disk answer, does the core know each input's true level?

        What it returns ends the process; while it returns None the watchdog is fed.
        """
        for name, lives in (
            ("button", self._pins.notify_thread_alive()),
            ("lamp", self._lamp.alive()),
            ("buzzer", self._buzzer.alive()),
            ("outbox", self._outbox.alive()),
            ("link", self._link.alive()),
        ):
            if not lives:
                return f"the {name} thread has died"
        silent = self._outbox_silent()
        if silent is not None:
            return silent
        # An edge that was lost on its way must not leave the post deaf: two looks, 2 s apart.
        differ: set[PinName] = set()
        for pin, known in self._core.levels.items():
            closed = self._inputs[pin].closed
            if closed == known:
                continue
            if pin in self._levels_differed:
                log("edge_was_lost", level="warning", pin=pin, closed=closed)
                edge = Edge(pin, self._clock.now().uptime_us, closed)
                self._queue.offer(edge, droppable=False)
            differ.add(pin)
        self._levels_differed = differ
        self._write_status()
        return None

    def _write_status(self) -> None:
        """For `doctor`, which so need not touch what this process holds."""
        now, core = self._clock.now(), self._core
        self._status_file.write(
            PostStatus(
                uptime_us=now.uptime_us,
                post=self._settings.post_id,
                lamp=core.lamp or "off",
                listening=core.listening,
                connected=core.connected,
                gateway_answers=core.gateway_answers(now),
                mcc_answers=core.mcc_answers(now),
                faults=core.faults,
                location=core.location_source(now),
                held=len(core.held),
            )
        )

    def _outbox_silent(self) -> str | None:
        """Why a new start would mend the outbox; never while an alarm is in memory alone.

        A new start heals a thread that hangs. It does not heal a card that hangs, so there is one
        at most: a process that never had an answer goes on without a disk, and says so.
        """
        if not all(committed for _, committed in self._core.held):
            return None
        silent_us = self._writes.silent_us(self._clock.now().uptime_us)
        if self._writes.has_answered and silent_us >= OUTBOX_SILENT_US:
            return f"the outbox has not answered for {silent_us // 1_000_000} s"
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
            "button_level": int(not self._inputs["button"].closed),
            "listening": self._core.listening,
            "alarms": [
                {"id": held.alarm_id, "state": held.state, "committed": committed}
                for held, committed in self._core.held
            ],
            "faults": list(self._core.faults),
            "practice_until": self._core.practice_until,
            "location": self._core.location_source(self._clock.now()),
        }

    def _close(self) -> None:
        """End everything within 2 s."""
        self._closing.set()
        if self._panel is not None:
            self._panel.close()
        if self._gps is not None:
            self._gps.stop()
        if self._certificate is not None:
            self._certificate.stop(0.2)
        self._fitness.stop()
        connection = self._link.connection
        self._link.stop(0.5, (self._will(connection),) if connection else ())
        self._outbox.close(0.5)
        self._buzzer.close()
        self._lamp.close()
        self._pins.close()
        self._notifier.close()
        self._status_file.remove()
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
    previous = None if mqtt.certificate is None else str(previous_of(Path(mqtt.certificate)))
    tls = TlsFiles(mqtt.ca, mqtt.certificate, mqtt.key, previous)
    return LinkSettings(
        broker=parse_mqtt_url(mqtt.url),
        client_id=post_id,
        keepalive_s=mqtt.keepalive_s,
        tls=tls,
        second=None if mqtt.second_url is None else parse_mqtt_url(mqtt.second_url),
    )


def run(settings: PostFile) -> int:
    """Be the post; when a thread has died, start the whole process anew."""
    begin("post", settings.log.format)
    code = Service(settings).run()
    if code == EXIT_RESTART:
        time.sleep(1.0)
        os.execv(sys.executable, [sys.executable, "-m", "device.cli", *sys.argv[1:]])
    return code
