"""`kentongan-device doctor`: every part of a post looked at in order, from the settings to the MCC.

It only looks. Beside a running post it touches nothing that the post holds (pins, serial line, its
name at the broker) and takes the post's own word from its status file; without one it does what a
post would do, and leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from device.feedback import ACKNOWLEDGED
from device.held import Held, in_heartbeat
from device.outbox import look_into
from device.settings import LocationSettings, PostFile
from device.status import PostStatus
from hardware.buzzer import Buzzer
from hardware.clock import SystemClock
from hardware.inputs import PAIR
from hardware.lamp import Lamp, Pattern
from hardware.loopback import Loopback
from hardware.pins import MockPins, Pins, PinsUnavailable, open_pins
from process import install
from process.database import FILE_ERRORS, NewerVersion, is_damage
from process.findings import Finding, found
from process.link import LinkSettings, Received, Subscription, TlsFiles, Will
from process.probes import (
    Session,
    SessionEnded,
    Unit,
    bounded,
    left,
    left_after,
    probe_disk,
    probe_identity,
    probe_network,
    probe_rights,
    probe_service,
    probe_settings,
)
from process.settings import parse_mqtt_url
from process.status import runtime_directory
from protocol.codec import Refused, decode_at, encode
from protocol.messages import HELD_MAX, Answer, Health, Presence
from protocol.topics import Topics
from protocol.values import timestamp, wall_ms

if TYPE_CHECKING:
    from hardware.gps import Sample

(UNIT,) = install.DEVICE.units
SECOND = "2"  # what is said of the second broker
RUNTIME_DIRECTORY = Path("/run/kentongan-device")
HARDWARE_S = 20.0
GPS_S = 8.0
WAY_S = 40.0
ANSWER_S = 10.0
ASK_EVERY_S = 3.0
CLOCK_DIFFERS_S = 5.0
BUTTON_LOOK_S = 1.0
BUTTON_STEP_S = 0.05
# A phone surveys to some 5 m, a receiver without sky to some 100 m.
GPS_FAR_M = 500
EARTH_RADIUS_M = 6_371_000

LAMP_TEST: Pattern = ((True, False, 700), (False, True, 700), (True, True, 700), (False, False, 0))
LAMP_TEST_S = 2.2

# A fault that a running post reports -> the check and code that say the same.
FAULTS = {
    "button_stuck": ("button", "button_closed"),
    "button_wire_cut": ("button", "button_cut"),
    "button_wire_short": ("button", "button_short"),
    "button_circuit_dead": ("button", "button_circuit_dead"),
    "button_worn": ("button", "button_worn"),
    "tamper": ("inputs", "lid_open"),
    "mains_lost": ("inputs", "mains_lost"),
    "disk_hanging": ("disk", "disk_hanging"),
    "gps_lost": ("gps", "gps_lost"),
}
# Said by a check of its own.
SEEN_ELSEWHERE = frozenset(
    ("gps_lost", "certificate_expiring", "clock_unsynchronised", "disk_full")
)

OpenPins = Callable[[PostFile], Pins]


def examine(
    config: Path,
    *,
    quiet: bool = False,
    open_pins_of: OpenPins | None = None,
    gps_s: float = GPS_S,
) -> Iterator[Finding]:
    """Look at everything, in order; each finding as soon as it is known.

    `quiet` keeps the buzzer silent; `gps_s` is how long a receiver is listened to.
    """
    settings = probe_settings(config, PostFile)
    if isinstance(settings, list):
        yield from settings
        return
    yield found("settings", "settings_ok", str(settings.post_id), file=str(config))
    store = Path(settings.store.path)
    with contextlib.ExitStack() as stack:
        standing = probe_service(
            UNIT,
            runtime_directory() or RUNTIME_DIRECTORY,
            PostStatus,
            store=store,
            now_us=SystemClock().now().uptime_us,
            held=stack,
        )
        status = standing.status
        if status is not None and status.post != settings.post_id:
            why = f"it is {status.post}, the settings say {settings.post_id}"
            yield found("service", "service_unheard", unit=UNIT, why=why)
            status = None
        else:
            yield standing.finding
        yield from _examine_machine(settings, standing.unit, write=not standing.is_busy)
        if settings.hardware.pins == "mock":
            yield found("pins", "pins_mock")
        if standing.is_busy:
            yield from _what_the_service_holds(settings, status)
            yield from _network(settings)
            yield from _what_the_service_hears(status)
            return
        opener = open_pins_of or _open_pins
        yield from bounded("pins", lambda: probe_hardware(settings, opener, quiet), "", HARDWARE_S)
        location = settings.location
        yield from bounded("gps", lambda: probe_gps(location, gps_s), "", gps_s + 5.0)
        failed = None
        for finding in _network(settings):
            yield finding
            if finding.verdict == "failure" and finding.about != SECOND:
                failed = finding.check
        if failed is not None:
            yield from (left_after(check, failed) for check in ("mqtt", "gateway", "mcc"))
            return
        yield from bounded("mqtt", lambda: probe_way(settings), "", WAY_S)


def _examine_machine(settings: PostFile, unit: Unit | None, *, write: bool) -> Iterator[Finding]:
    mqtt, now = settings.mqtt, SystemClock().now()
    broker = parse_mqtt_url(mqtt.url)
    files = TlsFiles(mqtt.ca, mqtt.certificate, mqtt.key)
    yield from bounded(
        "identity",
        lambda: probe_identity(
            broker,
            files,
            expected=settings.post_id,
            wall_s=now.wall_ms / 1000,
            dated=now.synchronised,
        ),
    )
    named = [file for file in (files.ca, files.certificate, files.key) if file is not None]
    yield from bounded("identity", lambda: probe_rights("identity", unit, named, write=False))
    code = "clock_ok" if now.synchronised else "clock_unsynchronised"
    yield found("clock", code, at=timestamp(now.wall_ms))
    store = Path(settings.store.path)
    yield from bounded("disk", lambda: probe_disk(store.absolute().parent, write=write))
    yield from bounded("outbox", lambda: probe_outbox(store))
    yield from bounded("outbox", lambda: _outbox_rights(store, unit))


def _outbox_rights(store: Path, unit: Unit | None) -> list[Finding]:
    return probe_rights("outbox", unit, [str(store)] if store.exists() else [], write=True)


def _network(settings: PostFile) -> Iterator[Finding]:
    mqtt = settings.mqtt
    files = TlsFiles(mqtt.ca, mqtt.certificate, mqtt.key)
    dated = SystemClock().now().synchronised
    yield from probe_network(parse_mqtt_url(mqtt.url), files, dated=dated)
    if mqtt.second_url is not None:
        second = parse_mqtt_url(mqtt.second_url)
        yield from probe_network(second, files, dated=dated, about=SECOND)


# --- beside a running post -------------------------------------------------------------------


def _what_the_service_holds(settings: PostFile, status: PostStatus | None) -> Iterator[Finding]:
    yield found("pins", "pins_held")
    if status is None:
        yield from (left(check, UNIT) for check in ("button", "lamp", "buzzer", "gps"))
        return
    faults = [fault for fault in status.faults if fault not in SEEN_ELSEWHERE]
    told = [_of_fault(fault, settings) for fault in faults]
    if not any(finding.check == "button" for finding in told):
        yield found("button", "button_ok")
    yield from told
    yield left("lamp", UNIT)
    yield left("buzzer", UNIT)
    if settings.location.source == "fixed":
        yield found("gps", "gps_not_used")
    else:
        yield found("gps", "gps_served" if status.location == "gps" else "gps_lost")


def _of_fault(fault: str, settings: PostFile) -> Finding:
    if fault == "disk_failing":
        directory = str(Path(settings.store.path).parent)
        return found("disk", "disk_failing", directory=directory, why=fault)
    if fault in FAULTS:
        return found(*FAULTS[fault])
    return found("service", "fault_reported", fault=fault)


def _what_the_service_hears(status: PostStatus | None) -> Iterator[Finding]:
    if status is None:
        yield from (left(check, UNIT) for check in ("mqtt", "gateway", "mcc"))
        return
    if not status.connected:
        yield found("mqtt", "mqtt_down", unit=UNIT)
        yield from (left_after(check, "mqtt") for check in ("gateway", "mcc"))
        return
    yield found("mqtt", "mqtt_ok", client=status.post)
    if not status.gateway_answers:
        yield found("gateway", "gateway_silent")
        yield left_after("mcc", "gateway")
        return
    yield found("gateway", "gateway_served")
    yield found("mcc", "mcc_answers" if status.mcc_answers else "mcc_silent")


# --- the outbox ------------------------------------------------------------------------------


def probe_outbox(path: Path) -> list[Finding]:
    """The outbox file: is it whole, is it ours, has there been damage before?"""
    if not path.exists():
        return [found("outbox", "outbox_new")]
    file = str(path)
    try:
        with path.open("rb") as opened:
            start = opened.read(len(_MAGIC))
        if start not in (b"", _MAGIC) and not Path(f"{path}.lock").exists():
            return [found("outbox", "store_foreign", file=file)]
        held = look_into(path)
    except NewerVersion:
        return [found("outbox", "store_newer", file=file)]
    except FILE_ERRORS as error:
        why = getattr(error, "strerror", None) or str(error)
        code = "outbox_damaged" if is_damage(error) else "store_unreadable"
        return [found("outbox", code, file=file, why=why)]
    aside = len(list(path.parent.glob(f"{path.name}.damaged-*[0-9]")))
    if aside:
        return [found("outbox", "store_set_aside", file=file, count=aside)]
    return [found("outbox", "outbox_ok", alarms=len(held))]


_MAGIC = b"SQLite format 3\x00"


# --- pins ------------------------------------------------------------------------------------


def _open_pins(settings: PostFile) -> Pins:
    """As the post opens them."""
    pins = open_pins(settings.hardware.pins, settings.hardware.chip)
    if isinstance(pins, MockPins):
        loops = (settings.button.nc_pin, settings.tamper.pin, settings.mains.pin)
        pins.close_loops(number for number in loops if number is not None)
    return pins


def probe_hardware(settings: PostFile, opener: OpenPins, quiet: bool) -> list[Finding]:
    """Claim every line of the settings, read the inputs, work lamp and buzzer, give them back."""
    pins = None
    try:
        pins = opener(settings)
        inputs = {
            name: pins.input(number, role, pins)
            for name, number, role in (
                ("no", settings.button.pin, "button"),
                ("nc", settings.button.nc_pin, "button's normally closed contact"),
                ("cancel", settings.cancel.pin, "cancel key"),
                ("tamper", settings.tamper.pin, "lid switch"),
                ("mains", settings.mains.pin, "mains input"),
            )
            if number is not None
        }
        lamp = Lamp(pins, settings.lamp.red, settings.lamp.green, settings.lamp.blue)
        buzzer = Buzzer(pins, settings.buzzer.pin)
        Loopback(pins, settings.button.loop_pin)
    except PinsUnavailable as error:
        if pins is not None:
            pins.close()
        checks = ("button", "lamp", "buzzer")
        return [
            found("pins", "pins_unavailable", why=str(error)),
            *(left_after(check, "pins") for check in checks),
        ]
    try:
        optional = (settings.lamp.blue, settings.buzzer.pin, settings.button.loop_pin)
        outputs = 2 + sum(number is not None for number in optional)
        return [
            found("pins", "pins_ok", count=len(inputs) + outputs),
            *_inputs({name: _always(pin) for name, pin in inputs.items()}),
            *_lamp_and_buzzer(settings, lamp, buzzer, quiet),
        ]
    finally:
        lamp.close()
        buzzer.close()
        pins.close()


def _always(pin: object) -> Callable[[], bool]:
    """Whether this contact is closed now (low)."""
    return lambda: not pin.state  # type: ignore[attr-defined]


def _inputs(closed: dict[str, Callable[[], bool]]) -> list[Finding]:
    """What stays so for a second: a finger that passes is no fault."""
    seen: list[dict[str, bool]] = []
    until_s = time.monotonic() + BUTTON_LOOK_S
    while time.monotonic() < until_s:
        seen.append({name: is_closed() for name, is_closed in closed.items()})
        time.sleep(BUTTON_STEP_S)

    def always(name: str, level: bool) -> bool:
        return name in closed and all(one[name] == level for one in seen)

    findings = []
    if "nc" in closed:
        meanings = {PAIR[one["no"], one["nc"]] for one in seen}
        codes = {"pressed": "button_closed", "cut": "button_cut", "short": "button_short"}
        only = next(iter(meanings)) if len(meanings) == 1 else "rest"
        findings.append(found("button", codes.get(only, "button_ok")))
    else:
        findings.append(found("button", "button_closed" if always("no", True) else "button_ok"))
    if always("cancel", True):
        findings.append(found("inputs", "cancel_closed"))
    if always("tamper", False):
        findings.append(found("inputs", "lid_open"))
    if always("mains", False):
        findings.append(found("inputs", "mains_lost"))
    return findings


def _lamp_and_buzzer(settings: PostFile, lamp: Lamp, buzzer: Buzzer, quiet: bool) -> list[Finding]:
    """Both at once, so that it is soon over; what came of it only eyes and ears can tell."""
    sounds = settings.buzzer.pin is not None and not settings.buzzer.silent and not quiet
    sounded = threading.Event()
    if sounds:
        buzzer.sound(ACKNOWLEDGED, sounded.set)
    lamp.show(LAMP_TEST)
    time.sleep(LAMP_TEST_S)
    if sounds:
        sounded.wait(LAMP_TEST_S)
    findings = [
        found("lamp", "lamp_refused", count=lamp.failures)
        if lamp.failures
        else found("lamp", "lamp_shown")
    ]
    if settings.buzzer.pin is None:
        findings.append(found("buzzer", "buzzer_none"))
    elif settings.buzzer.silent:
        findings.append(found("buzzer", "buzzer_silent"))
    elif quiet:
        findings.append(found("buzzer", "buzzer_quiet"))
    elif buzzer.failures:
        findings.append(found("buzzer", "buzzer_refused", count=buzzer.failures))
    else:
        findings.append(found("buzzer", "buzzer_sounded"))
    return findings


# --- GPS -------------------------------------------------------------------------------------


def probe_gps(location: LocationSettings, seconds: float) -> list[Finding]:
    """Listen to the receiver's line, which nobody else has."""
    if location.source == "fixed":
        return [found("gps", "gps_not_used")]
    from hardware.gps import sample  # brings Blinka; a post without a receiver does without it

    try:
        heard = sample(location.device, location.baud, seconds)
    except OSError as error:
        why = error.strerror or str(error)
        return [found("gps", "gps_port", device=location.device, why=why)]
    return [_of_sample(heard, location)]


def _of_sample(heard: Sample, location: LocationSettings) -> Finding:
    device = location.device
    if heard.received_bytes == 0:
        return found("gps", "gps_silent", device=device)
    if heard.sentences == 0:
        return found(
            "gps", "gps_garbage", device=device, bytes=heard.received_bytes, baud=location.baud
        )
    place = heard.position
    if place is None:
        return found("gps", "gps_no_fix", sentences=heard.sentences)
    distance_m = round(_distance_m(place.lat, place.lon, location.lat, location.lon))
    if distance_m > GPS_FAR_M:
        return found("gps", "gps_far", distance_m=distance_m)
    satellites = "?" if place.satellites is None else place.satellites
    return found("gps", "gps_fix", satellites=satellites, distance_m=distance_m)


def _distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """On a sphere; good to half a per cent."""
    one, other = math.radians(lat), math.radians(other_lat)
    half_lat, half_lon = (other - one) / 2, math.radians(other_lon - lon) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(one) * math.cos(other) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


# --- MQTT, gateway, MCC ----------------------------------------------------------------------


def probe_way(settings: PostFile) -> list[Finding]:
    """Connect as the post does, send a heartbeat, and see who answers.

    Never while the post runs: a broker lets its name be connected once.
    """
    mqtt, topics, clock = settings.mqtt, Topics(settings.mqtt.topic_root), SystemClock()
    post = settings.post_id
    link = LinkSettings(
        broker=parse_mqtt_url(mqtt.url),
        client_id=post,
        keepalive_s=mqtt.keepalive_s,
        tls=TlsFiles(mqtt.ca, mqtt.certificate, mqtt.key),
    )
    subscription = Subscription(topics.post(post, "answer"), live_only=True)
    dated = clock.now().synchronised
    with Session(link, (subscription,), dated=dated) as session:
        connected = session.connected()
        if connected.verdict != "ok":
            return [connected, left_after("gateway", "mqtt"), left_after("mcc", "mqtt")]
        connection = session.link.connection
        if connection is None:
            lost = found("mqtt", "mqtt_cut", client=post)
            return [lost, left_after("gateway", "mqtt"), left_after("mcc", "mqtt")]
        # The heartbeat makes us online at the gateway; this ends it at once, not after 90 s.
        gone = Presence(
            post=post,
            online=False,
            boot_id=clock.boot_id(),
            connection=connection,
            at=timestamp(clock.now().wall_ms),
            firmware="doctor",
        )
        session.farewell = (Will(topics.post(post, "presence"), encode(gone), retain=True),)
        try:
            return [connected, *_ask_gateway(settings, session, connection, topics, clock)]
        except SessionEnded as ended:
            return [ended.finding, left_after("gateway", "mqtt"), left_after("mcc", "mqtt")]


def _ask_gateway(
    settings: PostFile, session: Session, connection: str, topics: Topics, clock: SystemClock
) -> list[Finding]:
    held = _held(Path(settings.store.path))
    until_s = time.monotonic() + ANSWER_S
    answer = None
    n = 0
    while answer is None and time.monotonic() < until_s:
        n += 1
        now = clock.now()
        health = Health(
            post=settings.post_id,
            n=n,
            boot_id=clock.boot_id(),
            connection=connection,
            at=timestamp(now.wall_ms),
            clock="synchronised" if now.synchronised else "unsynchronised",
            uptime_ms=now.uptime_us // 1000,
            # What the outbox holds, so that the gateway unlists nothing that is still ours.
            alarms=tuple(in_heartbeat(one) for one in held[-HELD_MAX:]),
        )
        sent_s = time.monotonic()
        session.link.publish(
            topics.post(settings.post_id, "health"), encode(health), expiry_s=round(ANSWER_S)
        )
        event = session.wait_for(
            lambda event: _answer(event, topics, connection) is not None,
            min(ASK_EVERY_S, max(0.1, until_s - time.monotonic())),
        )
        answer = None if event is None else _answer(event, topics, connection)
    if answer is None:
        return [found("gateway", "gateway_silent"), left_after("mcc", "gateway")]
    ms = round((time.monotonic() - sent_s) * 1000)
    findings = [
        found("gateway", "gateway_answers", ms=ms),
        found("mcc", "mcc_answers" if answer.mcc_answers else "mcc_silent"),
    ]
    apart_s = abs(clock.now().wall_ms - wall_ms(answer.at)) / 1000
    if apart_s > CLOCK_DIFFERS_S:
        findings.append(found("clock", "clock_differs", seconds=round(apart_s)))
    return findings


def _answer(event: object, topics: Topics, connection: str) -> Answer | None:
    if not isinstance(event, Received):
        return None
    try:
        message = decode_at(topics.parse(event.topic), event.payload)
    except (Refused, ValueError):
        return None
    ours = isinstance(message, Answer) and message.connection == connection
    return message if ours and isinstance(message, Answer) else None


def _held(path: Path) -> tuple[Held, ...]:
    try:
        return look_into(path)
    except (*FILE_ERRORS, NewerVersion):
        return ()  # said by its own check; a disk that is gone is met by the contract
