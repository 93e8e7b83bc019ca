"""One post as the gateway watches it: is it there, is it practising, what does it need to read.

Pure values and their documents; when something here changes is decided in `core.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from gateway.faults import FaultLives
from gateway.record import AlarmRecord, Span, listing
from gateway.selftests import fault_of
from hardware.clock import Now
from protocol.messages import (
    HELD_MAX,
    Health,
    Maintenance,
    MccPost,
    Place,
    PostState,
    Selftest,
    TestWindow,
)
from protocol.values import timestamp

Presence = Literal["online", "silent", "unknown"]
_VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){1,3}")
# Of so many boots of a post the last heartbeat is remembered, to know those that come late.
BOOTS_MAX = 4
SAME_PLACE_DEGREES = 0.00001  # 1.1 m; what a technician writes down has five decimals


@dataclass(frozen=True)
class Window:
    """An open test window; in memory only, so that a restart ends it."""

    opened_us: int
    ends_us: int
    shown: TestWindow


@dataclass(frozen=True)
class Maintained:
    """A planned silence as the register has it: Unix ms, and who wanted it, why."""

    from_ms: int
    until_ms: int
    by: str
    why: str = ""

    @property
    def shown(self) -> Maintenance:
        """As the command centre reads it."""
        return Maintenance(until=timestamp(self.until_ms), by=self.by, why=self.why)


@dataclass(slots=True)
class Post:
    """What is known of one post. `listed` are committed records, the latest offered last."""

    post: str
    since: str
    presence: Presence = "unknown"
    connection: str | None = None  # of the last heartbeat
    heartbeat: int | None = None  # its number
    # The latest boots, each with the last heartbeat heard of it: uptime (ms) and number.
    boots: tuple[tuple[str, tuple[int, int]], ...] = ()
    firmware: str | None = None
    wanted_firmware: str | None = None  # or a newer one
    faults: tuple[str, ...] = ()  # as it said last
    lives: FaultLives = field(default_factory=FaultLives)
    name: str | None = None  # what people call it; from the register, like its place
    place: Place | None = None
    claims: Place | None = None  # the surveyed place by the post's own settings, if it said
    maintained: Maintained | None = None  # by the register, perhaps over by now
    maintained_until_us: int | None = None  # while it lasts
    flooding: bool = False
    is_too_slow: bool = False  # its heartbeat, for this gateway's window
    last_seen_ms: int | None = None
    shown_last_seen: str | None = None
    silent_since: str | None = None  # before this gateway's start, by the document of the last run
    silent_with: str | None = None
    restored: bool = False  # that document has been read
    listed: dict[str, AlarmRecord] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)  # by its last heartbeat and its offers since
    unresolved: set[str] = field(default_factory=set)  # also what is on its way to the journal
    window: Window | None = None
    last_practice: Span | None = None
    closed_wall_ms: int | None = None
    said_us: int | None = None
    selftest: Selftest | None = None  # the latest that has ended
    selftest_due: str | None = None
    # Of the post's boot: what has to be added to its uptime (us) at most, as noted when.
    boot_id: str | None = None
    offset_us: int = 0
    noted_us: int = 0

    def beats(self, health: Health) -> bool:
        """Note a heartbeat; False: it was heard already, or a later one of its boot was.

        A broker may deliver again, and in another order, what it delivered minutes ago. That is no
        sign of life, nor does it bring back a connection that is over.
        """
        boot_id, now = health.boot_id, (health.uptime_ms, health.n)
        last = next((heard for boot, heard in self.boots if boot == boot_id), None)
        if last is not None and now <= last:
            return False
        others = tuple(one for one in self.boots if one[0] != boot_id)
        self.boots = ((boot_id, now), *others)[:BOOTS_MAX]
        self.connection, self.heartbeat = health.connection, health.n
        return True

    def note_uptime(self, boot_id: str, uptime_us: int, now_us: int) -> None:
        """A heartbeat says what the post's uptime was; the quickest one says it best.

        A bound that grows by 500 ppm, because no two clocks run alike.
        """
        offset_us = now_us - uptime_us
        if self.boot_id == boot_id:
            grown_us = self.offset_us + (now_us - self.noted_us) // 2000
            offset_us = min(offset_us, grown_us)
        self.boot_id, self.offset_us, self.noted_us = boot_id, offset_us, now_us

    def lag_us(self, boot_id: str, sent_uptime_ms: int | None, now_us: int) -> int | None:
        """How long a message of this boot was on its way; None when that is not known.

        A connection can hold an offer back for half a minute. Without this, a call from before a
        test window would be placed inside it.
        """
        if sent_uptime_ms is None or boot_id != self.boot_id:
            return None
        return max(0, now_us - sent_uptime_ms * 1000 - self.offset_us)

    @property
    def misplaced(self) -> bool:
        """The post's own settings say that it hangs elsewhere than the register does."""
        return (
            self.place is not None
            and self.claims is not None
            and not is_same_place(self.place, self.claims.lat, self.claims.lon)
        )

    def becomes(self, presence: Presence, wall_ms: int) -> bool:
        """Note a transition; False when there is none."""
        if presence == self.presence:
            return False
        self.presence = presence
        self.since = timestamp(wall_ms)
        if self.last_seen_ms is not None:
            self.shown_last_seen = timestamp(self.last_seen_ms)
        return True

    @property
    def present(self) -> tuple[str, ...]:
        """What is wrong with it at this moment: what the gateway sees first, then what it says."""
        own = (
            ("flooding", self.flooding),
            ("place_differs", self.misplaced),
            ("heartbeat_too_slow", self.is_too_slow),
            ("firmware_old", is_older(self.firmware, self.wanted_firmware)),
        )
        tested = fault_of(self.selftest)
        return (
            *(fault for fault, present in own if present),
            *(() if tested is None else (tested,)),
            *self.faults,
        )

    def restore(self, shown: MccPost, now: Now) -> None:
        """Take up what an earlier run of this gateway has shown of it, once."""
        self.restored = True
        self.firmware = self.firmware or shown.firmware
        if self.last_seen_ms is None:
            self.faults, self.shown_last_seen = shown.faults, shown.last_seen
            self.lives.see(self.present, now)
            if shown.connection == "silent":
                self.silent_since, self.silent_with = shown.at, shown.silent_with
        once = (1,) * len(shown.faults)
        self.lives.restore(shown.faults, shown.faults_since, shown.faults_count or once)

    def practice(self, now_us: int) -> Span | None:
        """When presses are practice, while the window is open."""
        return None if self.window is None else (self.window.opened_us, now_us)

    def any_practice(self, now_us: int) -> Span | None:
        """The last test window, open or closed; a repeat is placed against it."""
        return self.practice(now_us) or self.last_practice

    def close_window(self, now_us: int, wall_ms: int) -> bool:
        """End the test window; also without one, so that an older `open_test` stays out."""
        self.closed_wall_ms = wall_ms
        if self.window is None:
            return False
        self.last_practice = (self.window.opened_us, min(now_us, self.window.ends_us))
        self.window = None
        return True

    def state_document(self, wall_ms: int) -> PostState:
        """posts/{post}/state: at most 20 alarms, those the post holds first."""
        chosen = list(self.listed.values())
        if len(chosen) > HELD_MAX:
            # More than a post can hold: its card was replaced, or it was away for long.
            chosen.reverse()
            chosen.sort(key=lambda record: (record.alarm_id not in self.holds, record.resolved))
            del chosen[HELD_MAX:]
        return PostState(
            post=self.post,
            at=timestamp(wall_ms),
            alarms=tuple(listing(record) for record in chosen),
            test_window=None if self.window is None else self.window.shown,
            selftest_due=self.selftest_due,
        )

    def mcc_document(self, gateway: str) -> MccPost:
        """mcc/posts/{post}."""
        maintained = None if self.maintained_until_us is None else self.maintained
        return MccPost(
            post=self.post,
            gateway=gateway,
            connection=self.presence,
            at=self.since,
            name=self.name,
            place=self.place,
            faults=self.lives.shown,
            faults_since=self.lives.since,
            faults_count=self.lives.count,
            silent_with=self.silent_with if self.presence == "silent" else None,
            last_seen=self.shown_last_seen,
            firmware=self.firmware,
            test_window=None if self.window is None else self.window.shown,
            maintenance=None if maintained is None else maintained.shown,
            selftest=self.selftest,
        )

    def has_read(self, health: Health) -> bool:
        """Whether the post holds exactly what its state document lists."""
        if len(health.alarms) != len(self.listed):
            return False
        for held in health.alarms:
            record = self.listed.get(held.alarm_id)
            if record is None or (
                held.state,
                held.repeats,
                held.cancel_requested,
                held.answered_repeats,
            ) != (
                record.state,
                record.repeats,
                record.cancel_requested_at is not None,
                record.answered_repeats,
            ):
                return False
        return True

    def confirmed(self, health: Health) -> list[str]:
        """The listed alarms that are over and that the post holds as over, or not at all."""
        if not self.listed:
            return []
        held = {one.alarm_id: one.state for one in health.alarms}
        return [
            alarm_id
            for alarm_id, record in self.listed.items()
            if record.resolved and held.get(alarm_id, "resolved") == "resolved"
        ]


def is_same_place(place: Place, lat: float, lon: float) -> bool:
    """Whether two surveys mean one place: within about a metre."""
    return abs(place.lat - lat) <= SAME_PLACE_DEGREES and abs(place.lon - lon) <= SAME_PLACE_DEGREES


def is_older(firmware: str | None, wanted: str | None) -> bool:
    """Whether a post's firmware, such as `kentongan 1.4.0`, is of an older version than is wanted.

    One whose version cannot be read is: nobody knows what it does.
    """
    if firmware is None or wanted is None:
        return False
    return _version(firmware) < _version(wanted)


def _version(text: str) -> tuple[int, ...]:
    found = _VERSION.search(text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
