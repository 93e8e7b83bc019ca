"""The post decides here: events in, effects out, time passed in. No clock, no I/O, no threads.

An alarm goes through three doors, and each rule stands at one of them:

1. `_call`, `_repeat`, `_request_cancel`, `_learn` change what the post *holds* (`Track.held`).
2. The outbox commits it; or, when the disk fails or takes longer than 1 s, memory has to do. From
   then on it is *told* (`Track.told`): only what is told is offered, shown, or sounded.
3. The gateway's state document, as seen on the present connection, *lists* it (`Track.listed`).

The lamp is computed from that and nothing else (`_meaning`); what its meanings look like and what
they sound like is in `device/feedback.py`.

The daily self-test goes through the same doors as an alarm of its own kind. It is no call: it has
no part in the lamp, the buzzer, the 16 places or the counting of presses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import msgspec

from device.conditions import Conditions
from device.held import (
    Held,
    carry_excess,
    excess_alarm,
    excess_id,
    in_heartbeat,
    learn,
    lists_all_of,
    read,
    repeat,
    request_cancel,
)
from device.location import LocationPolicy
from device.presses import CLOSED_US, STUCK_US, CallCounter, Contact, ContactSignal
from hardware.board import Readings
from hardware.clock import Now
from hardware.inputs import ButtonPair, Loop, mains_loop, tamper_loop
from hardware.nmea import Fix
from process.core import Drop, Heard, LinkDown, LinkUp, Log, Publish, Stop, Tick
from protocol.messages import (
    HELD_MAX,
    Alarm,
    Answer,
    Circuit,
    Health,
    ListedAlarm,
    PostState,
    Presence,
    SelftestReport,
    TestWindow,
)
from protocol.messages import Sounded as SoundedMessage
from protocol.states import is_answered
from protocol.topics import Topics
from protocol.values import FAULTS_MAX, REPEATS_MAX, timestamp

LINK = "gateway"
SECOND_US = 1_000_000

UNRESOLVED_MAX = 16
# Resolved, and the gateway has not yet stopped listing them; one place is a self-test's.
RESOLVED_KEPT_MAX = HELD_MAX - UNRESOLVED_MAX - 1
DISK_PATIENCE_US = 1 * SECOND_US  # then the call goes out from memory
DISK_RETRY_US = 5 * SECOND_US
UNLISTED_US = 20 * SECOND_US  # a call not listed for so long: out of order
OFFER_FIRST_PAUSE_S = 1.0
OFFER_PAUSE_MAX_S = 10.0
CANCEL_HOLD_US = 3 * SECOND_US
WORN_SHOWN_US = 24 * 3600 * SECOND_US
DOUBT_SHOWN_US = 600 * SECOND_US  # after the last time that a twin took our connection
RING_EVENTS_MAX = 500  # EN 50131-1 grade 3 asks for 500 events
# What a worn button, a flapping link or a receiver at its limit brings about again and again has
# so many places of each kind in this time: it must not push alarms out of the ring.
ROUTINE_EVENTS_MAX = 30
ROUTINE_SPAN_US = 600 * SECOND_US
ROUTINE_EVENTS = frozenset(("press", "fault_raised", "fault_cleared", "link_up", "link_down"))
# The ring waits this long to be written (with an alarm's write it costs nothing). It is written
# even when it is empty: a card that has died is found before the next alarm needs it.
PROBE_US = 900 * SECOND_US
PROBE_AGAIN_US = 60 * SECOND_US  # after one that failed
PROBE_PATIENCE_US = 10 * SECOND_US
HEARTBEATS_REMEMBERED = 8
READINGS_EVERY_BEATS = 10  # temperature and disk; a post on a SIM card pays for each byte
# A self-test begins when nobody has touched the button for so long, and not more often than this,
# which is longer than any press window: were its pulses presses, they would not make a call.
SELFTEST_QUIET_US = 10 * SECOND_US
SELFTEST_PAUSE_US = 90 * SECOND_US
SELFTEST_INTERRUPTIONS_MAX = 2  # by a press in the very moment of the pulse
# The loop-back closes the line for some 5 ms (hardware/loopback.py): less than any press, so that
# it can neither count as one nor hide one. An edge may be handed over late.
PULSE_MAX_US = CLOSED_US
PULSE_PATIENCE_US = SECOND_US // 4
PULSES_MAX = 3  # a circuit that is dead stays dead
GATEWAY_DEAF_US = 60 * SECOND_US  # connected, and what is offered is not listed
DEAF_HEARTBEATS = 4  # unanswered on a connection: it is opened anew, with its subscriptions

Meaning = Literal["armed", "calling", "answered", "out_of_order"]
PinName = Literal["button", "button_nc", "cancel", "tamper", "mains"]
# With one of these the next call may not be seen; a button that cannot call must not look alive.
DEAF_FAULTS = ("button_stuck", "button_wire_cut", "button_wire_short", "button_circuit_dead")


# --- events that only a post knows ---------------------------------------------------------


class Edge(msgspec.Struct, frozen=True):
    """A pin changed: which one, when (us of uptime), and whether the contact is closed now."""

    pin: PinName
    at_us: int
    closed: bool


class Located(msgspec.Struct, frozen=True):
    """The GPS receiver has a fix."""

    fix: Fix


class LocationLost(msgspec.Struct, frozen=True):
    """The GPS receiver has none, and why."""

    reason: str


class Committed(msgspec.Struct, frozen=True):
    """The outbox has this write on disk, with fsync."""

    write: int


class CommitFailed(msgspec.Struct, frozen=True):
    """The outbox could not make this write; nothing of it is on disk."""

    write: int
    why: str


class Loaded(msgspec.Struct, frozen=True):
    """What the outbox held, oldest first; at the start, or later when the disk answers late.

    `fault`: what was wrong with it. `unread`: it takes no write, and may hold more than this.
    """

    held: tuple[Held, ...]
    fault: str | None = None
    unread: bool = False


class Sounded(msgspec.Struct, frozen=True):
    """The buzzer has finished for this alarm."""

    alarm_id: str


class FaultSeen(msgspec.Struct, frozen=True):
    """An edge has found, or no longer finds, a fault of its own."""

    fault: str
    present: bool


class Restarts(msgspec.Struct, frozen=True):
    """So often the process has started, this time included, without one run that lasted."""

    starts: int


# --- effects that only a post has ----------------------------------------------------------


class RingEvent(msgspec.Struct, frozen=True):
    """One of the last 500 events of the post."""

    at: str
    uptime_ms: int
    what: str
    detail: str = ""


class Commit(msgspec.Struct, frozen=True):
    """Write to the outbox in one transaction. One is under way at a time."""

    write: int
    puts: tuple[Held, ...]
    deletes: tuple[str, ...]
    ring: tuple[RingEvent, ...]


class Click(msgspec.Struct, frozen=True):
    """Answer a press: click and flash."""


class ShowLamp(msgspec.Struct, frozen=True):
    """Let the lamp say this until told otherwise."""

    meaning: Meaning


class Sound(msgspec.Struct, frozen=True):
    """Sound the buzzer for an acknowledgement; `Sounded` when it is over."""

    alarm_id: str


class Pulse(msgspec.Struct, frozen=True):
    """Let the loop-back close the button's line for some 5 ms."""


Effect = Commit | Click | ShowLamp | Sound | Pulse | Publish | Drop | Log


class PostSettings(msgspec.Struct, frozen=True):
    """What the core needs of the settings."""

    post_id: str
    lat: float
    lon: float
    firmware: str
    presses: int = 3
    window_us: int = 5 * SECOND_US
    heartbeat_s: float = 30.0
    silent: bool = False
    loop: bool = False  # the button's line has a loop-back
    topic_root: str = "kentongan/v1"


@dataclass
class Track:
    """One alarm on its way through the three doors."""

    held: Held
    told: Held | None = None
    on_disk: bool = False
    untold_since_us: int | None = None
    listed: ListedAlarm | None = None  # on this connection, in the latest document
    unlisted_since_us: int = 0
    attempts: int = 0
    offer_at_us: int | None = None
    # Whether every repeat of it is held: a card that forgot one gives the next the same number.
    whole: bool = False


@dataclass
class _Pulsed:
    """A pulse of the loop-back that is under way, and what the button's line said since."""

    since_us: int
    pulses: int
    closed_us: int | None = None
    lasted_us: int | None = None


@dataclass
class _Selftest:
    """The latest self-test of this process; uptimes in us."""

    due: str
    began_us: int
    interrupted: int = 0
    alarm_id: str | None = None
    on_disk_us: int | None = None


@dataclass
class _Link:
    """The present connection, and what has been heard on it."""

    connection: str
    since_us: int
    beats: dict[int, int] = field(default_factory=dict)  # heartbeat -> sent at (us)
    heartbeat_at_us: int = 0
    state_seen: bool = False
    heard_beat: int = -1
    heard_sent_us: int | None = None  # when the newest answered heartbeat was sent
    mcc_answers: bool = False
    eager_us: int = SECOND_US  # the pause to the next heartbeat until one is answered
    dropped_us: int = 0


class Post:
    """The post's state machine."""

    def __init__(
        self,
        settings: PostSettings,
        *,
        boot_id: str,
        now: Now,
        held: Iterable[Held],
        button_closed: bool,
        cancel_closed: bool | None,
        rng: Random,
        new_id: Callable[[], str],
        nc_closed: bool | None = None,
        tamper_closed: bool | None = None,
        mains_closed: bool | None = None,
    ) -> None:
        """Start with what the outbox held.

        The levels of cancel key, normally closed contact, lid and mains are None where not fitted.
        """
        self._settings = settings
        self._topics = Topics(settings.topic_root)
        self._boot_id = boot_id
        self._rng = rng
        self._new_id = new_id
        at_us = now.uptime_us
        self._pair = None if nc_closed is None else ButtonPair(button_closed, nc_closed, at_us)
        pressed = button_closed if self._pair is None else self._pair.pressed
        # Stuck is shown within 20 s at the strict setting: after 10 s, and a heartbeat to say it.
        stuck_us = min(STUCK_US, int(2 * settings.heartbeat_s * SECOND_US))
        self._button = Contact(closed=pressed, at_us=at_us, hold_us=stuck_us)
        self._cancel = (
            None
            if cancel_closed is None
            else Contact(closed=cancel_closed, at_us=at_us, hold_us=CANCEL_HOLD_US)
        )
        # A key that was closed at the start was not pressed by anyone.
        self._cancel_ignored_us = at_us if cancel_closed else None
        self._loops: dict[
            str, tuple[Loop, str]
        ] = {}  # pin -> its loop, the fault when it is broken
        if tamper_closed is not None:
            self._loops["tamper"] = tamper_loop(closed=tamper_closed, at_us=at_us), "tamper"
        if mains_closed is not None:
            self._loops["mains"] = mains_loop(closed=mains_closed, at_us=at_us), "mains_lost"
        self._untold: dict[str, int] = {}  # fault of an input -> the first heartbeat to name it
        self._counter = CallCounter(settings.presses, settings.window_us)
        self._location = LocationPolicy(settings.lat, settings.lon)
        self._conditions = Conditions(at_us, settings.lat, settings.lon)
        self._synchronised = True  # as the conditions know it
        self._tracks: dict[str, Track] = {
            one.alarm_id: Track(one, told=one, on_disk=True, unlisted_since_us=at_us)
            for one in held
        }
        self._foreign: dict[str, ListedAlarm] = {}  # listed, and not held here
        self._practice_until: str | None = None
        self._touched_us = at_us  # when the button last moved
        self._selftest_due: str | None = None
        self._selftest: _Selftest | None = None
        self._pulsed: _Pulsed | None = None
        self._is_put_off = False
        self._report: tuple[SelftestReport, int] | None = None  # and the first heartbeat with it
        self._link: _Link | None = None
        self._beat = 0
        self._faults: set[str] = set()
        self._worn_until_us: int | None = None
        self._doubted_until_us: int | None = None  # another device seems to use our identity
        self._write = 0
        self._under_way: Commit | None = None
        self._commit_since_us = at_us
        self._retry_at_us: int | None = None
        self._unread = False  # alarms may lie on a disk that did not let itself be read yet
        self._dirty: set[str] = set()
        self._deleted: set[str] = set()
        self._stored = set(self._tracks)  # on disk in some version; only these need deleting
        self._ring: list[RingEvent] = []
        self._ring_owed = False  # held back so that an alarm need not wait for it
        self._routine: Counter[str] = Counter()
        self._routine_since_us = at_us
        self._probe_at_us = at_us + PROBE_US
        self._sounding: str | None = None
        self._unsaid: tuple[str, int, int] | None = None  # sounded: alarm, at (us), first heartbeat
        self._stopping = False
        self._shown: Meaning | None = None
        self._seen_us = at_us
        self._effects: list[Effect] = []
        self._record(now, "started", settings.firmware)

    # --- what others may ask ---------------------------------------------------------------

    @property
    def held(self) -> tuple[tuple[Held, bool], ...]:
        """Each alarm with whether its present content is on disk or receipted."""
        return tuple((t.held, t.on_disk or _receipted(t)) for t in self._tracks.values())

    @property
    def lamp(self) -> Meaning | None:
        """What the lamp was last told to say; None before the first event."""
        return self._shown

    @property
    def practice_until(self) -> str | None:
        """When the test window ends, by what the gateway says on this connection; None: none.

        Shown to a technician, and nothing else: the gateway alone decides what is a test.
        """
        return self._practice_until

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults that the next heartbeat will name."""
        return tuple(sorted(self._faults, key=_by_weight))[:FAULTS_MAX]

    @property
    def levels(self) -> dict[PinName, bool]:
        """Each fitted input: whether it is closed after its last edge."""
        levels: dict[PinName, bool] = {"button": self._button.closed}
        if self._pair is not None:
            levels["button"] = self._pair.no_closed
            levels["button_nc"] = self._pair.nc_closed
        if self._cancel is not None:
            levels["cancel"] = self._cancel.closed
        if "tamper" in self._loops:
            levels["tamper"] = self._loops["tamper"][0].closed
        if "mains" in self._loops:
            levels["mains"] = self._loops["mains"][0].closed
        return levels

    @property
    def listening(self) -> bool:
        """Whether a third press reaches the disk."""
        return self._faults.isdisjoint(("disk_failing", "disk_hanging"))

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._link is not None

    def gateway_answers(self, now: Now) -> bool:
        """Whether the gateway has answered a heartbeat, lately enough to be believed."""
        link = self._link
        return (
            link is not None
            and link.heard_sent_us is not None
            and now.uptime_us - link.heard_sent_us < self._out_of_order_after_us()
        )

    def mcc_answers(self, now: Now) -> bool:
        """Whether it has said, as lately, that the command centre answers it."""
        return self.gateway_answers(now) and self._link is not None and self._link.mcc_answers

    def location_source(self, now: Now) -> str:
        """How the post knows where it is: `gps`, `last_known` or `surveyed`."""
        return self._location.where(now.uptime_us).source

    def wake_at_us(self) -> int | None:
        """The uptime (us) at which time alone changes something, or None."""
        moments = [
            self._button.wake_at_us(),
            self._pair.wake_at_us() if self._pair else None,
            self._cancel.wake_at_us() if self._cancel else None,
            *(loop.wake_at_us() for loop, _ in self._loops.values()),
            self._worn_until_us,
            self._doubted_until_us,
            self._retry_at_us if self._under_way is None else None,
            self._probe_at_us if self._under_way is None else None,
            self._disk_hangs_at_us(),
            self._selftest_at_us(),
            self._conditions.wake_at_us(),
        ]
        # The lamp shows already what came of the moments that have passed.
        for track in self._tracks.values():
            if track.told is not None:  # before that there is nothing to offer
                moments.append(track.offer_at_us)
            if track.untold_since_us is not None and track.told is not track.held:
                moments.append(track.untold_since_us + DISK_PATIENCE_US)
            lamp_at_us = track.unlisted_since_us + UNLISTED_US
            if lamp_at_us > self._seen_us and self._waits_for_listing(track):
                moments.append(lamp_at_us)
            moments.append(self._deaf_at_us(track))
        if self._link is not None:
            moments.append(self._link.heartbeat_at_us)
            if self._link.heard_sent_us is not None:
                lamp_at_us = self._link.heard_sent_us + self._out_of_order_after_us()
                if lamp_at_us > self._seen_us:
                    moments.append(lamp_at_us)
        return min([moment for moment in moments if moment is not None], default=None)

    # --- the one entrance ------------------------------------------------------------------

    def handle(self, event: object, now: Now) -> list[Effect]:
        """Take one event; the effects are to be carried out in their order."""
        self._effects = []
        self._seen_us = now.uptime_us
        match event:
            case Edge("button" | "button_nc" as pin, at_us, closed):
                self._button_edge(pin, at_us, closed, now)
            case Edge("cancel", at_us, closed) if self._cancel is not None:
                self._cancel_signals(self._cancel.edge(at_us, closed), now)
            case Edge(pin, at_us, closed) if pin in self._loops:
                self._loops[pin][0].edge(at_us, closed)
            case Committed(write):
                self._committed(write, now)
            case CommitFailed(write, why):
                self._commit_failed(write, why, now)
            case LinkUp():
                self._link_up(event, now)
            case LinkDown():
                self._link_down(event, now)
            case Heard(message=PostState() as document) if self._is_now(event.connection):
                self._state_document(document, now)
            case Heard(message=Answer() as answer) if self._is_now(event.connection):
                self._answered(answer)
            case Sounded(alarm_id):
                self._sounded(alarm_id, now)
            case Located(fix):
                self._location.located(fix)
                self._conditions.located(fix)
                self._set_fault("gps_lost", False, now)
            case Restarts(starts):
                self._conditions.restarted(starts, now.uptime_us)
            case Readings():
                self._conditions.measured(event, now.uptime_us)
            case LocationLost(reason):
                self._location.lost()
                self._set_fault("gps_lost", True, now, reason)
            case Loaded():
                self._loaded(event, now)
            case Stop():
                self._stop(now)
            case FaultSeen(fault, present):
                self._set_fault(fault, present, now)
            case Tick():
                # Only now is it known that no edge until `now` still waits in the queue.
                if self._pair is not None:
                    self._pair.tick(now.uptime_us)
                for loop, _ in self._loops.values():
                    loop.tick(now.uptime_us)
                self._button_signals(self._button.tick(now.uptime_us), now)
                if self._cancel is not None:
                    self._cancel_signals(self._cancel.tick(now.uptime_us), now)
            case _:
                pass  # a message that came too late for its connection
        self._time_passes(now)
        # A call is handed over before anything else is done: the click follows in microseconds,
        # and a line of the log takes longer than all the rest.
        return sorted(self._effects, key=_haste)

    def _time_passes(self, now: Now) -> None:
        now_us = now.uptime_us
        if self._worn_until_us is not None and now_us >= self._worn_until_us:
            self._worn_until_us = None
            self._set_fault("button_worn", False, now)
        if self._doubted_until_us is not None and now_us >= self._doubted_until_us:
            self._doubted_until_us = None
            self._set_fault("identity_in_doubt", False, now)
        self._show_inputs(now)
        if now.synchronised != self._synchronised:
            self._synchronised = now.synchronised
            self._conditions.clock(now.synchronised, now_us)
        if self._conditions.tick(now_us):
            for fault, present in self._conditions.present.items():
                self._set_fault(fault, present, now)
        hangs_at_us = self._disk_hangs_at_us()
        if hangs_at_us is not None and now_us >= hangs_at_us:
            self._set_fault("disk_hanging", True, now)
        self._go_on_with_selftest(now)
        if self._tracks:
            self._tell_from_memory(now)
            self._raise_excess(now)
            self._forget(now)
            self._start_sound(now)
        self._notice_deaf_gateway(now)
        self._commit(now)
        self._offer(now)
        self._heartbeat(now)
        self._show(now)

    def _tell_from_memory(self, now: Now) -> None:
        """A disk that fails or hangs holds no call back."""
        disk_faulty = not self._faults.isdisjoint(("disk_failing", "disk_hanging"))
        for track in self._tracks.values():
            if track.told is track.held or track.untold_since_us is None:
                continue
            if not disk_faulty:
                if now.uptime_us - track.untold_since_us < DISK_PATIENCE_US:
                    continue
                self._set_fault("disk_hanging", True, now)
            self._log("alarm_told_from_memory", level="warning", alarm_id=track.held.alarm_id)
            self._tell(track, now)

    # --- presses ---------------------------------------------------------------------------

    def _button_edge(
        self, pin: Literal["button", "button_nc"], at_us: int, closed: bool, now: Now
    ) -> None:
        """One contact moved; only what the pair as a whole says is debounced and counted."""
        self._touched_us = now.uptime_us
        if self._pulsed is not None and pin == "button":
            _note_pulse(self._pulsed, at_us, closed)
        if self._pair is not None:
            self._pair.edge(pin, at_us, closed)
            closed = self._pair.pressed
        elif pin == "button_nc":
            return
        self._button_signals(self._button.edge(at_us, closed), now)

    def _button_signals(self, signals: list[ContactSignal], now: Now) -> None:
        for signal in signals:
            match signal.what:
                case "pressed":
                    self._effects.append(Click())
                    self._set_fault("button_circuit_dead", False, now)
                    self._interrupt_selftest()
                    call = self._counter.press(signal.at_us)
                    self._record(now, "press")
                    self._log("press_counted", at_us=signal.at_us)
                    if call is not None:
                        self._call(call, now)
                case "worn":
                    self._worn_until_us = now.uptime_us + WORN_SHOWN_US
                    self._set_fault("button_worn", True, now)
                case "held":
                    self._set_fault("button_stuck", True, now)
                case "released":
                    self._set_fault("button_stuck", False, now)

    def _call(self, presses_us: tuple[int, ...], now: Now) -> None:
        """Three presses: a new alarm, or a repeat of the one that nobody has answered yet.

        One that was read from the card is repeated only once the gateway has said what it knows.
        """
        unresolved = self._open_calls()
        unanswered = [t for t in unresolved if not t.held.answered and t.whole]
        has_room = len(unresolved) < UNRESOLVED_MAX
        if unanswered and (unanswered[-1].held.repeats < REPEATS_MAX or not has_room):
            self._repeat(unanswered[-1], presses_us[-1], now)
        elif not has_room:
            self._repeat(unresolved[-1], presses_us[-1], now)
        else:
            self._raise(presses_us, unresolved[-1].held.alarm_id if unresolved else None, now)

    def _raise(self, presses_us: tuple[int, ...], follows: str | None, now: Now) -> None:
        third_us = presses_us[-1]
        alarm = Alarm(
            post=self._settings.post_id,
            alarm_id=self._new_id(),
            kind="panic",
            raised_at=timestamp(now.wall_ms - (now.uptime_us - third_us) // 1000),
            clock="synchronised" if now.synchronised else "unsynchronised",
            boot_id=self._boot_id,
            raised_uptime_ms=third_us // 1000,
            presses_ms=tuple((press_us - third_us) // 1000 for press_us in presses_us),
            location=self._location.where(now.uptime_us),
            follows=follows,
        )
        self._add(Held(alarm=alarm), now)

    def _add(self, held: Held, now: Now) -> None:
        since_us = now.uptime_us
        track = Track(held, untold_since_us=since_us, unlisted_since_us=since_us, whole=True)
        self._tracks[held.alarm_id] = track
        self._dirty.add(held.alarm_id)
        if held.is_call:
            self._record(now, "raised", held.alarm_id)
            self._log(
                "alarm_raised",
                alarm_id=held.alarm_id,
                presses_ms=",".join(map(str, held.alarm.presses_ms)),
                follows=held.alarm.follows,
            )

    def _repeat(self, track: Track, at_us: int, now: Now) -> None:
        same_boot = track.held.alarm.boot_id == self._boot_id
        self._change(track, repeat(track.held, at_us // 1000 if same_boot else None), now)
        self._record(now, "repeat", track.held.alarm_id)
        self._log("alarm_repeated", alarm_id=track.held.alarm_id, repeats=track.held.repeats)

    def _cancel_signals(self, signals: list[ContactSignal], now: Now) -> None:
        for signal in signals:
            if signal.what == "released":
                self._cancel_ignored_us = None
            if signal.what == "held" and self._cancel_ignored_us is None:
                self._request_cancel(now)

    def _request_cancel(self, now: Now) -> None:
        unresolved = self._open_calls()
        if not unresolved:
            return
        track = unresolved[-1]
        self._effects.append(Click())
        self._change(track, request_cancel(track.held, timestamp(now.wall_ms)), now)
        self._record(now, "cancel_requested", track.held.alarm_id)
        self._log("cancel_requested", alarm_id=track.held.alarm_id)

    def _raise_excess(self, now: Now) -> None:
        """Calls that came too late to be seen become an alarm of their own, in one write."""
        for track in [track for track in self._tracks.values() if track.held.excess]:
            if len(self._open_calls()) >= UNRESOLVED_MAX:
                return
            alarm_id = excess_id(track.held, self._new_id)
            alarm = excess_alarm(track.held, alarm_id, now.wall_ms)
            self._change(track, carry_excess(track.held), now)
            self._add(Held(alarm=alarm), now)

    def _open_calls(self) -> list[Track]:
        return [t for t in self._tracks.values() if t.held.is_call and not t.held.over]

    # --- the daily self-test ---------------------------------------------------------------

    def _selftest_at_us(self) -> int | None:
        """When there is something to do for a self-test, or None."""
        if self._pulsed is not None:
            return self._pulsed.since_us + PULSE_PATIENCE_US
        return self._quiet_at_us() if self._is_selftest_wanted() else None

    def _is_selftest_wanted(self) -> bool:
        """It is due, this process has not made it yet, and there is no call that it could disturb.

        Nor while a technician's test window is open: then his presses are the test.
        """
        due = self._selftest_due
        if due is None or self._practice_until is not None or self._stopping:
            return False
        if self._selftest is not None and self._selftest.due == due and not self._is_put_off:
            return False
        return all(t.held.over for t in self._tracks.values())

    def _quiet_at_us(self) -> int | None:
        """When nobody will have touched the button for 10 s; None while something closes it."""
        if self._button.closed and "button_stuck" not in self._faults:
            return None  # it opens, or it is stuck
        again_us = 0 if self._selftest is None else self._selftest.began_us + SELFTEST_PAUSE_US
        return max(self._touched_us + SELFTEST_QUIET_US, again_us)

    def _go_on_with_selftest(self, now: Now) -> None:
        pulsed = self._pulsed
        if pulsed is not None:
            if now.uptime_us >= pulsed.since_us + PULSE_PATIENCE_US:
                self._pulse_over(pulsed, now)
            return
        if not self._is_selftest_wanted():
            return
        quiet_us = self._quiet_at_us()
        if quiet_us is None or now.uptime_us < quiet_us:
            return
        assert self._selftest_due is not None
        interrupted = 0 if self._selftest is None else self._selftest.interrupted
        self._selftest = _Selftest(
            self._selftest_due, now.uptime_us, interrupted if self._is_put_off else 0
        )
        self._is_put_off = False
        if not self._faults.isdisjoint(DEAF_FAULTS) and "button_circuit_dead" not in self._faults:
            self._raise_selftest("dead", now)
        elif self._settings.loop:
            self._pulse(1, now)
        else:
            self._raise_selftest("unproven" if self._pair is None else "levels", now)

    def _pulse(self, nth: int, now: Now) -> None:
        self._pulsed = _Pulsed(now.uptime_us, nth)
        self._effects.append(Pulse())

    def _interrupt_selftest(self) -> None:
        """Somebody presses just now: whatever the line says is his. Later, when he is done."""
        selftest = self._selftest
        if self._pulsed is None or selftest is None:
            return
        selftest.interrupted += 1
        if selftest.interrupted <= SELFTEST_INTERRUPTIONS_MAX:
            self._pulsed, self._is_put_off = None, True

    def _pulse_over(self, pulsed: _Pulsed, now: Now) -> None:
        self._pulsed = None
        if pulsed.lasted_us is not None and pulsed.lasted_us < PULSE_MAX_US:
            self._raise_selftest("looped", now)
        elif pulsed.pulses < PULSES_MAX:
            self._pulse(pulsed.pulses + 1, now)
        else:
            self._raise_selftest("dead", now)

    def _raise_selftest(self, circuit: Circuit, now: Now) -> None:
        assert self._selftest is not None
        if circuit == "looped":
            self._set_fault("button_circuit_dead", False, now)
        elif circuit == "dead" and self._faults.isdisjoint(DEAF_FAULTS):
            self._set_fault("button_circuit_dead", True, now)
        alarm = Alarm(
            post=self._settings.post_id,
            alarm_id=self._new_id(),
            kind="selftest",
            raised_at=timestamp(now.wall_ms),
            clock="synchronised" if now.synchronised else "unsynchronised",
            boot_id=self._boot_id,
            raised_uptime_ms=now.uptime_us // 1000,
            presses_ms=(),
            location=self._location.where(now.uptime_us),
            circuit=circuit,
        )
        self._selftest.alarm_id = alarm.alarm_id
        self._report = None
        self._record(now, "selftest", f"{circuit} {alarm.alarm_id}")
        self._log("selftest", alarm_id=alarm.alarm_id, circuit=circuit)
        self._add(Held(alarm=alarm), now)

    def _selftest_on_disk(self, track: Track, now: Now) -> None:
        selftest = self._selftest
        if selftest is None or selftest.alarm_id != track.held.alarm_id:
            return
        if selftest.on_disk_us is None:
            selftest.on_disk_us = now.uptime_us

    def _selftest_answered(self, track: Track, now: Now) -> None:
        """The command centre's answer has come back: say so in the heartbeats from now on."""
        alarm = track.held.alarm
        if not track.held.over:
            return
        raised_us = alarm.raised_uptime_ms * 1000
        is_ours = self._selftest is not None and self._selftest.alarm_id == alarm.alarm_id
        disk_us = self._selftest.on_disk_us if is_ours and self._selftest is not None else None
        report = SelftestReport(
            alarm_id=alarm.alarm_id,
            on_disk=disk_us is not None or (not is_ours and alarm.alarm_id in self._stored),
            lamp=self._meaning(now),
            disk_ms=None if disk_us is None else (disk_us - raised_us) // 1000,
            answered_ms=(now.uptime_us - raised_us) // 1000 if is_ours else None,
        )
        self._report = report, self._beat + 1
        self._log("selftest_answered", alarm_id=alarm.alarm_id, lamp=report.lamp)

    def _deaf_at_us(self, track: Track) -> int | None:
        """When it is clear that the gateway does not take this alarm, though we are connected."""
        link = self._link
        if link is None or "gateway_deaf" in self._faults:
            return None
        if track.told is None or track.held.over or self._is_listed(track):
            return None
        return max(link.since_us, track.unlisted_since_us) + GATEWAY_DEAF_US

    def _notice_deaf_gateway(self, now: Now) -> None:
        """Raised by one alarm that is not listed; cleared when all are."""
        moments_us = [self._deaf_at_us(track) for track in self._tracks.values()]
        if any(at_us is not None and now.uptime_us >= at_us for at_us in moments_us):
            self._set_fault("gateway_deaf", True, now)
        elif "gateway_deaf" in self._faults and all(
            track.held.over or self._is_listed(track) for track in self._tracks.values()
        ):
            self._set_fault("gateway_deaf", False, now)

    # --- the outbox ------------------------------------------------------------------------

    def _loaded(self, event: Loaded, now: Now) -> None:
        """Take up what the disk held, as older than all that has come since the start."""
        self._unread = event.unread
        if event.fault is not None:
            self._set_fault(event.fault, True, now)
        if event.unread:
            self._probe_at_us = min(self._probe_at_us, now.uptime_us + DISK_RETRY_US)
        self._stored.update(held.alarm_id for held in event.held)
        if event.fault == "disk_replaced":
            # The new file has only what could be read of the old one.
            self._dirty.update(self._tracks)
        deleted = self._deleted | set(self._under_way.deletes if self._under_way else ())
        since_us = now.uptime_us
        older = {
            held.alarm_id: Track(held, told=held, on_disk=True, unlisted_since_us=since_us)
            for held in event.held
            if held.alarm_id not in self._tracks and held.alarm_id not in deleted
        }
        self._tracks = {**older, **self._tracks}
        for alarm_id, track in older.items():
            self._foreign.pop(alarm_id, None)
            if self._link is not None:
                track.offer_at_us = now.uptime_us
            self._log("alarm_loaded", alarm_id=alarm_id, state=track.held.state)

    def _stop(self, now: Now) -> None:
        """The process ends as asked: a sound that it cuts short does not come again."""
        self._stopping = True
        if self._sounding is not None:
            self._sounded(self._sounding, now)

    def _disk_hangs_at_us(self) -> int | None:
        """When the write under way, whatever is in it, makes a hanging disk a fault."""
        if self._under_way is None or "disk_hanging" in self._faults:
            return None
        return self._commit_since_us + PROBE_PATIENCE_US

    def _change(self, track: Track, held: Held, now: Now) -> None:
        if held is track.held:
            return
        track.held = held
        track.on_disk = False
        if track.untold_since_us is None:
            track.untold_since_us = now.uptime_us
        self._dirty.add(held.alarm_id)

    def _commit(self, now: Now) -> None:
        """One write is under way at a time, so what waits is bounded by what is held."""
        if self._under_way is not None:
            return
        now_us = now.uptime_us
        if self._retry_at_us is not None and now_us < self._retry_at_us:
            return
        self._retry_at_us = None
        if not (self._dirty or self._deleted or self._ring_owed or now_us >= self._probe_at_us):
            return
        # Nobody waits for the ring, and its rows make a write half as slow again: what an alarm
        # has become goes alone, and the ring with the next write, which follows at once.
        self._ring_owed = bool(self._dirty and self._ring)
        ring = () if self._dirty else tuple(self._ring)
        self._write += 1
        commit = Commit(
            self._write,
            tuple(self._tracks[one].held for one in self._tracks if one in self._dirty),
            tuple(sorted(self._deleted)),
            ring,
        )
        self._under_way = commit
        self._commit_since_us = now_us
        self._dirty.clear()
        self._deleted.clear()
        del self._ring[: len(ring)]
        self._probe_at_us = now_us + PROBE_US
        self._effects.append(commit)

    def _committed(self, write: int, now: Now) -> None:
        commit = self._under_way
        if commit is None or commit.write != write:
            return
        self._under_way = None
        self._set_fault("disk_failing", False, now)
        self._set_fault("disk_hanging", False, now)
        self._stored.difference_update(commit.deletes)
        for held in commit.puts:
            self._stored.add(held.alarm_id)
            if held.alarm_id not in self._tracks:
                self._deleted.add(held.alarm_id)
            track = self._tracks.get(held.alarm_id)
            if track is not None and track.held is held:
                track.on_disk = True
                self._log("alarm_committed", alarm_id=held.alarm_id, state=held.state)
                self._selftest_on_disk(track, now)
                self._tell(track, now)

    def _commit_failed(self, write: int, why: str, now: Now) -> None:
        commit = self._under_way
        if commit is None or commit.write != write:
            return
        self._under_way = None
        self._retry_at_us = now.uptime_us + DISK_RETRY_US
        again_us = DISK_RETRY_US if self._unread else PROBE_AGAIN_US
        self._probe_at_us = now.uptime_us + again_us
        self._set_fault("disk_failing", True, now, why)
        self._dirty.update(one.alarm_id for one in commit.puts if one.alarm_id in self._tracks)
        self._deleted.update(one for one in commit.deletes if one not in self._tracks)
        self._ring = [*commit.ring, *self._ring][-RING_EVENTS_MAX:]
        for track in self._tracks.values():
            if track.told is not track.held:
                self._tell(track, now)

    def _tell(self, track: Track, now: Now) -> None:
        """From here on the world may know what is held: it is on disk, or memory has to do."""
        first = track.told is None
        was_listed = self._is_listed(track)
        track.told = track.held
        track.untold_since_us = None
        if first or was_listed:
            # A repeat has its own 20 s, however long the alarm has been listed.
            track.unlisted_since_us = now.uptime_us
        if self._link is not None and not self._is_listed(track):
            track.attempts = 0
            track.offer_at_us = now.uptime_us
        if not first and self._link is not None:
            # The gateway learns from the next heartbeat that it is held so; let that be soon.
            self._link.heartbeat_at_us = min(
                self._link.heartbeat_at_us, now.uptime_us + SECOND_US // 4
            )

    def _forget(self, now: Now) -> None:
        """Drop what is over: confirmed to the gateway, and no longer listed by it."""
        done = [
            t
            for t in self._tracks.values()
            if t.held.over and t.held.sound != "due" and t.held.excess == 0 and t.told is t.held
        ]
        unlisted = [t for t in done if self._link and self._link.state_seen and t.listed is None]
        for track in unlisted + done[: max(0, len(done) - RESOLVED_KEPT_MAX)]:
            if self._tracks.pop(track.held.alarm_id, None) is not None:
                self._dirty.discard(track.held.alarm_id)
                if track.held.alarm_id in self._stored:
                    self._deleted.add(track.held.alarm_id)
                self._log("alarm_forgotten", alarm_id=track.held.alarm_id)

    # --- the link --------------------------------------------------------------------------

    def _is_now(self, connection: str) -> bool:
        return self._link is not None and self._link.connection == connection

    def _link_up(self, event: LinkUp, now: Now) -> None:
        if event.link != LINK:
            return
        self._link = _Link(event.connection, now.uptime_us, heartbeat_at_us=now.uptime_us)
        self._foreign.clear()
        for track in self._tracks.values():
            track.listed = None
            track.attempts = 0
            # An alarm that was listed before will probably be listed again in a moment.
            known = track.held.state != "raised"
            track.offer_at_us = now.uptime_us + (SECOND_US if known else 0)
        presence = Presence(
            post=self._settings.post_id,
            online=True,
            boot_id=self._boot_id,
            connection=event.connection,
            at=timestamp(now.wall_ms),
            firmware=self._settings.firmware,
            heartbeat_s=math.ceil(self._settings.heartbeat_s),
        )
        self._publish("presence", presence, retain=True)
        self._record(now, "link_up")
        self._log("link_up", connection=event.connection)

    def _link_down(self, event: LinkDown, now: Now) -> None:
        if event.is_in_doubt:
            self._doubted_until_us = now.uptime_us + DOUBT_SHOWN_US
            self._set_fault("identity_in_doubt", True, now, event.reason)
        if self._link is None or event.connection != self._link.connection:
            return
        self._link = None
        self._foreign.clear()
        self._selftest_due = None
        self._practice(None)  # what was said on a connection that is gone proves nothing
        for track in self._tracks.values():
            if self._is_listed(track):
                track.unlisted_since_us = now.uptime_us
            track.listed = None
            track.offer_at_us = None
        self._record(now, "link_down", event.reason)
        self._log("link_down", level="warning", reason=event.reason)

    def _state_document(self, document: PostState, now: Now) -> None:
        """The whole truth about what the gateway has committed of this post's alarms."""
        assert self._link is not None
        self._link.state_seen = True
        self._practice(document.test_window)
        self._selftest_due = document.selftest_due
        listed = {one.alarm_id: one for one in document.alarms}
        self._foreign = {
            one.alarm_id: one for one in document.alarms if one.alarm_id not in self._tracks
        }
        for track in self._tracks.values():
            was_listed = self._is_listed(track)
            track.listed = listed.get(track.held.alarm_id)
            if track.listed is not None:
                before = track.held
                self._change(track, learn(track.held, track.listed), now)
                if track.held is not before:
                    self._record(now, track.held.state, track.held.alarm_id)
                    self._log("alarm_state", alarm_id=track.held.alarm_id, state=track.held.state)
                    if not track.held.is_call:
                        self._selftest_answered(track, now)
                    elif track.held.over and not self._open_calls():
                        self._counter.call_over()
            if self._is_listed(track):
                track.offer_at_us = None
                if not was_listed:
                    self._log("alarm_listed", alarm_id=track.held.alarm_id)
            elif was_listed:
                track.unlisted_since_us = now.uptime_us
                track.attempts, track.offer_at_us = 0, now.uptime_us
        self._see_what_is_whole()

    def _see_what_is_whole(self) -> None:
        """What is listed once a heartbeat was answered has every repeat offered before that."""
        if self._link is not None and self._link.heard_beat >= 0:
            for track in self._tracks.values():
                track.whole = track.whole or track.listed is not None

    def _practice(self, window: TestWindow | None) -> None:
        until = None if window is None else window.until
        if until == self._practice_until:
            return
        self._practice_until = until
        self._log("test_window", until=until, by=None if window is None else window.opened_by)

    def _answered(self, answer: Answer) -> None:
        link = self._link
        assert link is not None
        sent_us = link.beats.get(answer.n)
        if answer.connection != link.connection or sent_us is None or answer.n < link.heard_beat:
            return
        if link.heard_sent_us is None:
            link.heartbeat_at_us = sent_us + int(self._settings.heartbeat_s * SECOND_US)
        self._untold = {fault: n for fault, n in self._untold.items() if n > answer.n}
        if self._unsaid is not None and self._unsaid[2] <= answer.n:
            self._unsaid = None
        if self._report is not None and self._report[1] <= answer.n:
            self._report = None
        link.heard_beat = answer.n
        link.heard_sent_us = sent_us
        link.mcc_answers = answer.mcc_answers
        self._see_what_is_whole()

    def _offer(self, now: Now) -> None:
        if self._link is None:
            return
        for track in self._tracks.values():
            if track.told is None or track.offer_at_us is None:
                continue
            if now.uptime_us < track.offer_at_us:
                continue
            if self._is_listed(track):
                track.offer_at_us = None
                continue
            pause_s = min(OFFER_PAUSE_MAX_S, OFFER_FIRST_PAUSE_S * 2 ** min(track.attempts, 6))
            pause_s *= 0.75 + 0.5 * self._rng.random()
            track.attempts += 1
            track.offer_at_us = now.uptime_us + int(pause_s * SECOND_US)
            alarm = track.told.alarm
            if alarm.boot_id == self._boot_id:
                alarm = msgspec.structs.replace(alarm, sent_uptime_ms=now.uptime_us // 1000)
            self._publish("alarms", alarm, expiry_s=math.ceil(pause_s))
            # The 1st, 2nd, 4th, 8th, ...: a gateway may be away for weeks.
            if track.attempts.bit_count() == 1:
                self._log("alarm_offered", alarm_id=alarm.alarm_id, attempt=track.attempts)

    def _is_listed(self, track: Track) -> bool:
        """The receipt: all that is told stands in the latest document of this connection."""
        return (
            track.listed is not None
            and track.told is not None
            and lists_all_of(track.listed, track.told)
        )

    def _heartbeat(self, now: Now) -> None:
        link = self._link
        if link is None or now.uptime_us < link.heartbeat_at_us:
            return
        heartbeat_us = int(self._settings.heartbeat_s * SECOND_US)
        heard_us = link.since_us if link.heard_sent_us is None else link.heard_sent_us
        if now.uptime_us - max(heard_us, link.dropped_us) >= DEAF_HEARTBEATS * heartbeat_us:
            # A broker that has lost our subscriptions still answers pings. Ask it again.
            self._effects.append(Drop(LINK, "heartbeats are not answered"))
            self._log("link_deaf", level="warning")
            link.dropped_us = now.uptime_us
        self._beat += 1
        link.beats[self._beat] = now.uptime_us
        if len(link.beats) > HEARTBEATS_REMEMBERED:
            del link.beats[min(link.beats)]
        link.heartbeat_at_us = now.uptime_us + heartbeat_us
        if link.heard_sent_us is None:
            # Perhaps the gateway has not come yet: soon again, then less and less often.
            link.heartbeat_at_us = now.uptime_us + min(heartbeat_us, link.eager_us)
            link.eager_us *= 2
        told = [t.told for t in self._tracks.values() if t.told is not None]
        told.sort(key=lambda held: held.over)  # what is over may wait for a place
        # What was read of others is told as well, so that the gateway sees what was not read.
        said = [
            *(in_heartbeat(held) for held in told),
            *(read(one) for one in self._foreign.values() if one.state != "resolved"),
        ]
        says_readings = self._beat % READINGS_EVERY_BEATS == 1
        health = Health(
            post=self._settings.post_id,
            n=self._beat,
            boot_id=self._boot_id,
            connection=link.connection,
            at=timestamp(now.wall_ms),
            clock="synchronised" if now.synchronised else "unsynchronised",
            uptime_ms=now.uptime_us // 1000,
            alarms=tuple(said[:HELD_MAX]),
            faults=self.faults,
            sounded=self._latest_sound(),
            selftest=None if self._report is None else self._report[0],
            location=self._location.where(now.uptime_us),
            temperature_c=self._temperature_c() if says_readings else None,
            disk_free_mb=self._conditions.readings.disk_free_mb if says_readings else None,
        )
        self._publish("health", health, expiry_s=math.ceil(self._settings.heartbeat_s))

    def _temperature_c(self) -> float | None:
        """Within the contract's range; a sensor that says more is broken."""
        celsius = self._conditions.readings.temperature_c
        return None if celsius is None or not -80.0 <= celsius <= 200.0 else round(celsius, 1)

    def _publish(
        self,
        what: Literal["alarms", "presence", "health"],
        message: Alarm | Presence | Health,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
    ) -> None:
        topic = self._topics.post(self._settings.post_id, what)
        self._effects.append(Publish(LINK, topic, message, retain, expiry_s))

    # --- lamp, buzzer, faults --------------------------------------------------------------

    def _out_of_order_after_us(self) -> int:
        """45 s at the default heartbeat of 30 s, 10 s at the strict one of 5 s."""
        heartbeat_s = self._settings.heartbeat_s
        return int((heartbeat_s + max(5.0, heartbeat_s / 2)) * SECOND_US)

    def _waits_for_listing(self, track: Track) -> bool:
        told = track.told
        return told is not None and told.is_call and _cries(told) and not self._is_listed(track)

    def _meaning(self, now: Now) -> Meaning:
        """What the lamp may say, from what is known and nothing else.

        A call that nobody has answered is never outshone by an older one that was.
        """
        told = [t for t in self._tracks.values() if t.told is not None and t.told.is_call]
        crying = [t for t in told if t.told is not None and _cries(t.told)]
        listed = [one for one in self._foreign.values() if one.kind != "selftest"]
        foreign = [one.state for one in listed if one.state != "resolved"]
        unanswered = bool(crying) or not all(map(is_answered, foreign))
        if not unanswered and (
            foreign or any(t.told is not None and not t.told.over for t in told)
        ):
            return "answered"
        if any(
            now.uptime_us - t.unlisted_since_us >= UNLISTED_US and not self._is_listed(t)
            for t in crying
        ):
            return "out_of_order"
        if unanswered:
            return "calling"
        if self._unread or not self.mcc_answers(now):
            return "out_of_order"
        if not self._faults.isdisjoint(DEAF_FAULTS):
            return "out_of_order"
        return "armed"

    def _show(self, now: Now) -> None:
        meaning = self._meaning(now)
        if meaning != self._shown:
            self._shown = meaning
            self._effects.append(ShowLamp(meaning))
            self._log("lamp", meaning=meaning)

    def _start_sound(self, now: Now) -> None:
        if self._sounding is not None or self._stopping:
            return
        for track in self._tracks.values():
            if track.told is None or track.told.sound != "due" or track.held.sound != "due":
                continue
            if self._settings.silent:
                self._change(track, msgspec.structs.replace(track.held, sound="sounded"), now)
                continue
            self._sounding = track.held.alarm_id
            self._effects.append(Sound(track.held.alarm_id))
            self._log("buzzer_sounds", alarm_id=track.held.alarm_id)
            return

    def _sounded(self, alarm_id: str, now: Now) -> None:
        if self._sounding != alarm_id:
            return
        self._sounding = None
        track = self._tracks.get(alarm_id)
        if track is not None:
            self._change(track, msgspec.structs.replace(track.held, sound="sounded"), now)
            self._record(now, "sounded", alarm_id)
            self._log("buzzer_sounded", alarm_id=alarm_id)
            self._unsaid = alarm_id, now.uptime_us, self._beat + 1

    def _latest_sound(self) -> SoundedMessage | None:
        """What a technician's result card ends with; no promise rests on it, so it is in memory."""
        if self._unsaid is None:
            return None
        alarm_id, at_us, _ = self._unsaid
        return SoundedMessage(alarm_id=alarm_id, uptime_ms=at_us // 1000)

    def _show_inputs(self, now: Now) -> None:
        """The faults of the inputs; none is withdrawn before a heartbeat that names it is answered.

        Otherwise a lid that is opened and shut between two heartbeats, or while the cable is out,
        would never be known.
        """
        present = {fault: loop.broken for loop, fault in self._loops.values()}
        if self._pair is not None:
            present["button_wire_cut"] = self._pair.cut
            present["button_wire_short"] = self._pair.short
        for fault, broken in present.items():
            if broken and fault not in self._faults:
                self._untold[fault] = self._beat + 1
                self._set_fault(fault, True, now)
            elif not broken and fault not in self._untold:
                self._set_fault(fault, False, now)

    def _set_fault(self, fault: str, present: bool, now: Now, why: str = "") -> None:
        if present == (fault in self._faults):
            return
        if present:
            self._faults.add(fault)
        else:
            self._faults.discard(fault)
        self._record(now, f"fault_{'raised' if present else 'cleared'}", fault)
        level: Literal["warning", "info"] = "warning" if present else "info"
        self._log("fault", level=level, fault=fault, present=present, why=why)

    # --- records ---------------------------------------------------------------------------

    def _record(self, now: Now, what: str, detail: str = "") -> None:
        if what in ROUTINE_EVENTS and not self._has_place(what, now):
            return
        self._ring.append(
            RingEvent(timestamp(now.wall_ms), now.uptime_us // 1000, what, detail[:200])
        )
        del self._ring[:-RING_EVENTS_MAX]

    def _has_place(self, what: str, now: Now) -> bool:
        if now.uptime_us - self._routine_since_us >= ROUTINE_SPAN_US:
            before, self._routine = self._routine, Counter()
            self._routine_since_us = now.uptime_us
            for kind, count in before.items():
                if count > ROUTINE_EVENTS_MAX:
                    self._record(now, "unrecorded", f"{kind} {count - ROUTINE_EVENTS_MAX}")
        self._routine[what] += 1
        return self._routine[what] <= ROUTINE_EVENTS_MAX

    def _log(
        self, event: str, level: Literal["info", "warning", "error"] = "info", **fields: object
    ) -> None:
        self._effects.append(Log(event, level, fields))


def _haste(effect: Effect) -> int:
    """What is carried out first, what last; within one rank the order stays."""
    match effect:
        case Commit() | Publish():
            return 0
        case Log():
            return 2
        case _:
            return 1


def _by_weight(fault: str) -> tuple[bool, str]:
    """What makes a post deaf comes first: at the bound the others are left out."""
    return fault not in DEAF_FAULTS, fault


def _note_pulse(pulsed: _Pulsed, at_us: int, closed: bool) -> None:
    """The first closing since the pulse, and how long it lasted."""
    if closed and pulsed.closed_us is None and at_us >= pulsed.since_us:
        pulsed.closed_us = at_us
    elif not closed and pulsed.closed_us is not None and pulsed.lasted_us is None:
        pulsed.lasted_us = at_us - pulsed.closed_us


def _cries(told: Held) -> bool:
    """Nobody has answered it, or not all of its calls (at the bound of 16 those have to wait)."""
    return not told.answered or told.excess > 0


def _receipted(track: Track) -> bool:
    return track.listed is not None and lists_all_of(track.listed, track.held)
