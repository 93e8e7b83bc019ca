"""Machines with their clocks and power, and the life of a process on one.

A process here is a real core between modelled edges. It can be killed between any two effects,
frozen, and started again with nothing but what its disk holds; it never sees the timeline.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from random import Random
from typing import Any, Literal

from hardware.clock import Now
from process.core import LinkDown, Log, Tick
from simulation.timeline import SECOND_US, Timeline, Violation

# 2026-01-15T00:00:00Z
TRUE_EPOCH_MS = 1_768_435_200_000
MILLION = 1_000_000
RESTART_US = 2 * SECOND_US  # as systemd does (RestartSec)
FROZEN_INBOX_MAX = 20_000

_TICK = Tick()


class Host:
    """One machine: uptime that restarts at boot and runs a little fast or slow, a wall clock."""

    def __init__(self, timeline: Timeline, name: str, rng: Random, *, has_rtc: bool) -> None:
        """`has_rtc`: it knows the wall time at boot; else it is 1970 until it is told."""
        self.timeline = timeline
        self.name = name
        self.has_rtc = has_rtc
        self.powered = True
        self.boots = 0
        self.boot_id = ""
        self.boot_us = 0
        self.offset_ms = 0  # of the wall clock from the true time
        self.synchronised = True
        self._rng = rng
        self._ppm = rng.randint(-60, 60)
        self.boot()
        self.set_wall(0, synchronised=True)

    def boot(self) -> None:
        """Power on: another boot id, uptime from 0, and 1970 where there is no clock chip."""
        self.boots += 1
        self.powered = True
        self.boot_id = f"{self._rng.getrandbits(32):08x}-b007-4000-8000-{self.boots:012x}"
        self.boot_us = self.timeline.now_us
        if not self.has_rtc:
            self.set_wall(-(TRUE_EPOCH_MS + self.timeline.now_us // 1000), synchronised=False)

    def set_wall(self, offset_ms: int, *, synchronised: bool) -> None:
        """Step the wall clock so far from the true time (ms)."""
        self.offset_ms = offset_ms
        self.synchronised = synchronised

    def now(self) -> Now:
        """What the clocks of this machine say."""
        now_us = self.timeline.now_us
        passed_us = now_us - self.boot_us
        return Now(
            passed_us * (MILLION + self._ppm) // MILLION,
            max(0, TRUE_EPOCH_MS + now_us // 1000 + self.offset_ms),
            self.synchronised,
        )

    def when_us(self, uptime_us: int) -> int:
        """The virtual time (us) at which this uptime is reached."""
        return self.boot_us - (-uptime_us * MILLION // (MILLION + self._ppm))

    def uptime_at_us(self, at_us: int) -> int:
        """The uptime (us) at this virtual time of the present boot."""
        return (at_us - self.boot_us) * (MILLION + self._ppm) // MILLION


class Process(abc.ABC):
    """One process: alive or not, frozen or not, with a fuse that kills it between two effects."""

    def __init__(self, timeline: Timeline, name: str, host: Host) -> None:
        """On this machine; not started yet."""
        self.timeline = timeline
        self.name = name
        self.host = host
        self.core: Any = None
        self.alive = False
        self.life = 0
        self.started_us = 0
        self.died_us = 0
        self.frozen = False
        self.thawed_us = -SECOND_US
        self.wanted = True  # systemd starts it again
        self.fuse: int | None = None  # so many effects until it dies
        self.inbox: list[object] = []
        self._wish_us: int | None = None  # when the core wants to wake (virtual time)
        self._wake_us: int | None = None  # the same on its own clock
        self._alarm_us: int | None = None  # when it will be woken

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, if the machine is on and nothing runs yet."""
        if self.alive or not self.host.powered or not self.wanted:
            return
        wait_us = self.not_ready_us()
        if wait_us:
            self.timeline.after(wait_us, self.start)
            return
        self.life += 1
        self.alive = True
        self.frozen = False
        self.fuse = None
        self.inbox.clear()
        self._wish_us = self._wake_us = self._alarm_us = None
        self.started_us = self.timeline.now_us
        self.timeline.note(self.name, f"starts, life {self.life}")
        self.perform_all(self.begin())
        if self.alive:
            self.turn(_TICK)

    def die(self, *, power: bool) -> None:
        """Be killed, by kill -9 or with the power; nothing more is carried out."""
        if not self.alive:
            return
        self.alive = False
        self.frozen = False
        self.died_us = self.timeline.now_us
        self.timeline.note(self.name, "loses power" if power else "is killed")
        self.ended(power=power)
        self.core = None
        if not power:
            self.timeline.after(RESTART_US, self.start)

    def freeze(self) -> None:
        """SIGSTOP: it hears and says nothing, and its machine goes on."""
        if self.alive:
            self.frozen = True
            self.timeline.note(self.name, "is frozen")

    def thaw(self) -> None:
        """SIGCONT: everything that came in meanwhile comes at once."""
        if not self.alive or not self.frozen:
            return
        self.frozen = False
        self.thawed_us = self.timeline.now_us
        self.timeline.note(self.name, f"goes on, {len(self.inbox)} waiting")
        waiting, self.inbox = self.inbox, []
        life = self.life
        for event in waiting:
            if self.alive and self.life == life and not self.frozen:
                self.offer(event)
        if self.alive and self.life == life:
            self.turn(_TICK)

    # --- the loop --------------------------------------------------------------------------

    def offer(self, event: object) -> None:
        """An edge enqueues an event; the loop takes it at once, unless it is frozen."""
        if not self.alive:
            return
        if self.frozen:
            if len(self.inbox) >= FROZEN_INBOX_MAX:
                raise Violation(f"{self.name}: the event queue grows without bound")
            self.inbox.append(event)
            return
        self.turn(event)

    def turn(self, event: object) -> None:
        """One turn of the loop: an event in, its effects carried out."""
        self.perform_all(self.core.handle(event, self.host.now()))
        if not self.alive:
            return
        if type(event) is LinkDown:
            self.after_link_down(event)
        wake_us = self.core.wake_at_us()
        if wake_us == self._wake_us and self._alarm_us is not None:
            return
        self._wake_us = wake_us
        if wake_us is None:
            self._wish_us = None
            return
        self._wish_us = wish_us = self.host.when_us(wake_us)
        if self._alarm_us is None or wish_us < self._alarm_us:
            self._alarm_us = wish_us
            self.timeline.at(wish_us, self._wake, self.life, wish_us)

    def _wake(self, life: int, alarm_us: int) -> None:
        if life != self.life or alarm_us != self._alarm_us or not self.alive:
            return
        self._alarm_us = None
        if self.frozen or self._wish_us is None:
            return
        if self._wish_us > self.timeline.now_us:
            self._alarm_us = self._wish_us
            self.timeline.at(self._wish_us, self._wake, self.life, self._wish_us)
            return
        self.turn(_TICK)

    def perform_all(self, effects: Iterable[object]) -> None:
        """Carry the effects out in order, until the fuse is burnt."""
        for effect in effects:
            if type(effect) is Log:
                continue
            if self.fuse is not None:
                self.fuse -= 1
                if self.fuse < 0:
                    self.timeline.note(self.name, f"dies before {type(effect).__name__}")
                    self.fuse = None
                    self.die(power=False)
                    return
            self.perform(effect)

    # --- for each kind of process ----------------------------------------------------------

    def not_ready_us(self) -> int:
        """How long (us) the start has to wait; 0 when it need not."""
        return 0

    @abc.abstractmethod
    def begin(self) -> Iterable[object]:
        """Make the core from what the disk holds; its first effects."""

    @abc.abstractmethod
    def perform(self, effect: object) -> None:
        """Carry one effect out."""

    @abc.abstractmethod
    def ended(self, *, power: bool) -> None:
        """The process is gone: sockets, what was under way to the disk."""

    @abc.abstractmethod
    def after_link_down(self, event: LinkDown) -> None:
        """The core has just heard that a connection is gone."""


Weather = Literal["ok", "failing", "hanging"]
