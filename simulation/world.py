"""One world: posts, brokers, a gateway, a command centre, people, and a day on which much fails.

`run_seed` is a whole run: everything in it follows from the seed. `World` without a plan is for
scripted traces. It must never use any chance but the seed's.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest import mock

import mcc.core as centre_core
import process.intake as intake_room
from gateway.core import MCC_LINK, POSTS_LINK
from mcc.alarms import AlarmRecord
from protocol.messages import Alarm, Command, Message
from protocol.topics import NEVER_RETAINED
from simulation.broker import Broker, Packet
from simulation.checkers import Checkers
from simulation.disks import Disk, Journal, MccDisk, PostDisk
from simulation.faults import KINDS
from simulation.hosts import Host, Weather
from simulation.people import Operators, Resident, Truth
from simulation.processes import SECOND_CONSOLE, CentreProcess, GatewayProcess, PostProcess
from simulation.timeline import HOUR_US, MINUTE_US, SECOND_US, TRACE_LINES_MAX, Timeline, Violation

DAY_ENDS_US = 6 * HOUR_US
FAULTS_END_US = 5 * HOUR_US + 10 * MINUTE_US
# When the faults have stopped, every call is at the MCC this soon ...
DELIVERED_WITHIN_US = 6 * MINUTE_US
# ... and by the end of the day everything is answered, un-listed and armed: 15 minutes of it are
# those that a command waits for an alarm that nobody has.
DESK_EVERY_US = 20 * SECOND_US
LOOK_EVERY_US = 10 * SECOND_US
# So long after the last fault (a deaf link is noticed after 2 minutes) posts and gateway agree.
CALM_AFTER_US = 5 * MINUTE_US
RECONNECT_BEFORE_END_US = 5 * MINUTE_US
CALLS_MIN, CALLS_MAX = 12, 16
FAULTS_MIN, FAULTS_MAX = 24, 36
OVERHEARD_MAX = 40
POWER_TO_LISTENING_US = 20 * SECOND_US
SELFTEST_ENDS_US = 10 * MINUTE_US


class World:
    """Everything there is, connected and quiet at 0."""

    def __init__(
        self,
        seed: int,
        *,
        posts: int = 3,
        brokers: int = 1,
        silent: bool = False,
        consoles: int = 1,
    ) -> None:
        """Two brokers are one for the posts and one for the MCC; `silent`: the last post is.

        A second console has a store of its own, and is not the receiver.
        """
        self.seed = seed
        self.rng = Random(seed)
        self.timeline = timeline = Timeline()
        self.counts: Counter[str] = Counter()
        self.truth = Truth()
        self.checkers = Checkers(timeline, self.truth, self.counts)
        self.disturbed_us = 0  # until when something fails, as far as is known now
        setattr(self.checkers, "disturbed_us", lambda: self.disturbed_us)  # noqa: B010 - a hook
        self.meddles = False  # people press and processes die in the middle of self-tests
        self.overheard: deque[Packet] = deque(maxlen=OVERHEARD_MAX)
        self.until_us = DAY_ENDS_US
        self.faults_end_us = FAULTS_END_US
        self._ids = 0
        names = ("posts", "mcc") if brokers == 2 else ("posts mcc",)
        self.brokers = [Broker(timeline, name, self._rng(), self.counts) for name in names]
        self.broker_of_posts, self.broker_of_centre = self.brokers[0], self.brokers[-1]
        for broker in self.brokers:
            broker.watch = self._overhear
        self.hosts: dict[str, Host] = {}
        self.posts: dict[str, PostProcess] = {}
        self.residents: dict[str, Resident] = {}
        for n in range(posts):
            self._add_post(f"mlg-rw{n + 1:02d}", silent=silent and n == posts - 1)
        by_link = {POSTS_LINK: self.broker_of_posts, MCC_LINK: self.broker_of_centre}
        journal = Journal(timeline, "journal", self._rng(), self.new_id)
        self.gateway = GatewayProcess(
            timeline,
            "gateway",
            self._host("gateway", has_rtc=True),
            journal,
            by_link,
            self.checkers,
            self._rng(),
            self.new_id,
        )
        store = MccDisk(timeline, "store", self._rng(), self.new_id)
        self.centre = CentreProcess(
            timeline,
            "centre",
            self._host("centre", has_rtc=True),
            store,
            self.broker_of_centre,
            self.checkers,
            self._rng(),
            self.new_id,
        )
        self.operators = Operators(timeline, self._rng(), self.centre, self.truth, self.new_id)
        self.seconds: Operators | None = None
        self.checkers.watch(journal, store)
        setattr(self.checkers, "operators_see", self._operators_see)  # noqa: B010 - a hook
        setattr(self.checkers, "busy_until_us", lambda post: self.residents[post].busy_until_us)  # noqa: B010
        self.centres = [self.centre]
        self.processes = [*self.posts.values(), self.gateway, self.centre]
        if consoles == 2:
            self._add_second_console()
        self.disks: list[Disk] = [*(post.disk for post in self.posts.values()), journal, store]

    def _rng(self) -> Random:
        return Random(self.rng.getrandbits(64))

    def new_id(self) -> str:
        """Ids in the order of their making."""
        self._ids += 1
        return f"{self.seed & 0xFFFFFFFF:08x}-0000-4000-8000-{self._ids:012x}"

    def _host(self, name: str, *, has_rtc: bool) -> Host:
        host = self.hosts[name] = Host(self.timeline, name, self._rng(), has_rtc=has_rtc)
        return host

    def _add_post(self, name: str, *, silent: bool) -> None:
        post = PostProcess(
            self.timeline,
            name,
            self._host(name, has_rtc=False),
            PostDisk(self.timeline, name, self._rng()),
            self.broker_of_posts,
            self.checkers,
            self._rng(),
            self.new_id,
            silent=silent,
            loop=len(self.posts) % 2 == 0,
        )
        self.posts[name] = post
        resident = Resident(self.timeline, self._rng(), post, self.truth)
        setattr(post, "pulsed", lambda: self._during_selftest(post))  # noqa: B010 - a hook
        self.residents[name] = resident
        self.checkers.watch_post(post)

    def _add_second_console(self) -> None:
        store = MccDisk(self.timeline, "store 2", self._rng(), self.new_id)
        second = CentreProcess(
            self.timeline,
            "centre 2",
            self._host("centre 2", has_rtc=True),
            store,
            self.broker_of_centre,
            self.checkers,
            self._rng(),
            self.new_id,
            SECOND_CONSOLE,
        )
        self.processes.append(second)
        self.centres.append(second)
        self.seconds = Operators(self.timeline, self._rng(), second, self.truth, self.new_id)
        self.checkers.watch_second(store)
        setattr(self.checkers, "second_sees", self._seconds_see)  # noqa: B010 - a hook

    def _overhear(self, packet: Packet) -> None:
        message = packet.message
        if isinstance(message, Alarm) or (
            isinstance(message, Command) and message.action != "beat" and not packet.retain
        ):
            self.timeline.note("wire", f"{packet.topic[13:]} {_short(message)}")
            if self.timeline.events % 3 == 0:
                self.overheard.append(packet)

    def _operators_see(self, alarm: AlarmRecord, is_new: bool) -> None:
        self.operators.sees(alarm, is_new=is_new)

    def _seconds_see(self, alarm: AlarmRecord, is_new: bool) -> None:
        assert self.seconds is not None
        self.seconds.sees(alarm, is_new=is_new)

    # --- a day -----------------------------------------------------------------------------

    def start(self) -> None:
        """Let every process start, and somebody look at the lamps."""
        with _own_chance(self.new_id):
            for process in self.processes:
                process.start()
        self._look()

    def _look(self) -> None:
        self.checkers.look_at_lamps()
        if self.timeline.now_us - self.disturbed_us > CALM_AFTER_US and all(
            process.fuse is None for process in self.processes
        ):
            self.checkers.agree(self.gateway, self.centre)
        self.timeline.after(LOOK_EVERY_US, self._look)

    def run_until(self, until_us: int) -> None:
        """Let virtual time pass, up to this moment (us)."""
        with _own_chance(self.new_id):
            self.timeline.run_until(until_us)

    def run_for(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        self.run_until(self.timeline.now_us + int(seconds * SECOND_US))

    def later(self, delay_us: int, act: Callable[..., None], *arguments: Any) -> None:
        """So much later, but not after the faults have stopped."""
        at_us = min(self.timeline.now_us + delay_us, self.faults_end_us)
        self.disturbed_us = max(self.disturbed_us, at_us)
        self.timeline.at(at_us, act, *arguments)

    def call(self, post: str, presses: int = 3) -> None:
        """A resident calls; 26 s later the lamp must say so if nobody has listed it."""
        self.residents[post].call(presses)
        process = self.posts[post]
        self.timeline.after(
            32 * SECOND_US,
            self.checkers.call_is_listed,
            process,
            self.timeline.now_us,
            process.life,
        )

    def _during_selftest(self, post: PostProcess) -> None:
        """The loop-back pulses: a resident may press in this moment, a process die soon after."""
        self.counts["selftest_pulses"] += 1
        if not self.meddles or self.timeline.now_us > FAULTS_END_US - MINUTE_US:
            return
        what = self.rng.random()
        soon_us = self.rng.randrange(8_000)
        if what < 0.35:
            self.counts["pressed_during_selftest"] += 1
            self.timeline.after(soon_us, self.call, post.name)
        elif what < 0.6:
            process = self.rng.choice((post, self.gateway, self.centre))
            self.later(soon_us * 100, self._kill, process)

    def _kill(self, process: PostProcess | GatewayProcess | CentreProcess) -> None:
        process.die(power=False)

    # --- what faults need ------------------------------------------------------------------

    def power_on(self, host: Host, tells_time: bool = True) -> None:
        """The power is back: boot, a new boot id, and after a while the right time."""
        if host.powered:
            return
        host.boot()
        for process in self.processes:
            if process.host is host:
                self.timeline.after(POWER_TO_LISTENING_US, process.start)
        if tells_time:
            self.timeline.after(self.rng.randrange(5, 90) * SECOND_US, self.set_right, host)

    def set_right(self, host: Host) -> None:
        """Somebody sets the wall clock."""
        if host.powered:
            host.set_wall(0, synchronised=True)

    def skew(self, host: Host, offset_ms: int) -> None:
        """A wall clock jumps."""
        if host in (self.gateway.host, self.centre.host):
            self.checkers.clocks_skewed = True
        self.timeline.note(host.name, f"clock steps by {offset_ms} ms")
        host.set_wall(host.offset_ms + offset_ms, synchronised=True)

    def set_weather(self, disk: Disk, weather: Weather) -> None:
        """A disk fails, hangs, or is well again."""
        self.disk_was_bad(disk)
        disk.set_weather(weather)

    def fast_again(self, disk: Disk) -> None:
        """A slow disk is itself again."""
        self.disk_was_bad(disk)
        disk.slow_us = 0

    def disk_was_bad(self, disk: Disk) -> None:
        """Remember it for the checkers."""
        for post in self.posts.values():
            if post.disk is disk:
                self.checkers.disk_was_bad(post.name)

    def replaced(self, disk: Disk, replace: Callable[[], object]) -> None:
        """A disk is replaced; what is gone with it is counted."""
        before = self.checkers.held()
        replace()
        self.timeline.note(disk.name, "disk replaced")
        self.checkers.disk_replaced(before)

    def notice_in_time(self) -> None:
        """Brokers notice broken connections after 1.5 keepalives again."""
        for broker in self.brokers:
            broker.keeps_zombies_us = 30 * SECOND_US

    def stop_faults(self) -> None:
        """From here on nothing fails any more."""
        self.timeline.note("world", "the faults stop")
        self.disturbed_us = self.timeline.now_us
        self.notice_in_time()
        for broker in self.brokers:
            broker.loses = broker.loses_documents = broker.repeats = broker.delays = 0.0
            broker.queue_max = 1_000
            if not broker.up:
                broker.start("all")
            for link in broker.links:
                link.slow_us = 0
                link.heal()
        for disk in self.disks:
            if disk.weather != "ok":
                self.set_weather(disk, "ok")
            self.fast_again(disk)
        for process in self.processes:
            process.fuse = None
            process.thaw()
        for host in self.hosts.values():
            self.power_on(host)
            self.set_right(host)
        for post in self.posts.values():
            if post.button_closed:
                post.edge("button", False)

    def let_selftests_end(self) -> None:
        """One may have begun just now; each ends, or what stays of it is a fault.

        Raises:
            Violation: one goes on.
        """
        for _ in range(SELFTEST_ENDS_US // LOOK_EVERY_US):
            if self.checkers.selftests_are_over():
                return
            self.run_until(self.timeline.now_us + LOOK_EVERY_US)
        raise Violation("P3 a self-test does not end")

    # --- the plan of a seed ----------------------------------------------------------------

    def plan(self) -> None:
        """Draw the whole day: calls, faults around them, copies, and what people do."""
        rng = self.rng
        self.meddles = True
        names = list(self.posts)
        crowded = rng.random() < 0.15
        calls = self._plan_calls(names, crowded)
        self.operators.resolves = not crowded
        if self.seconds is not None:
            self.seconds.resolves = not crowded
        focus = calls + [(at_us + rng.randrange(4, 120) * SECOND_US, post) for at_us, post in calls]
        kinds = list(KINDS)
        for _ in range(rng.randint(FAULTS_MIN, FAULTS_MAX)):
            if rng.random() < 0.7:
                near_us, post = rng.choice(focus)
                at_us = near_us + rng.randrange(-25 * SECOND_US, 15 * SECOND_US)
                if rng.random() < 0.2:
                    post = rng.choice(names)
            else:
                at_us, post = rng.randrange(FAULTS_END_US), rng.choice(names)
            at_us = min(max(at_us, MINUTE_US), FAULTS_END_US - SECOND_US)
            self.timeline.at(at_us, self._inject, rng.choice(kinds), post)
        for disk in self.disks:
            for _ in range(8):
                near_us, _ = rng.choice(focus)
                at_us = rng.choice((rng.randrange(FAULTS_END_US), near_us))
                self.timeline.at(at_us, disk.copy)
        for broker in self.brokers:
            for _ in range(8):
                self.timeline.at(rng.randrange(FAULTS_END_US), broker.remember)
        self.timeline.at(FAULTS_END_US, self.stop_faults)
        self.timeline.at(FAULTS_END_US + DELIVERED_WITHIN_US, self.checkers.delivered)
        self.timeline.at(DAY_ENDS_US - RECONNECT_BEFORE_END_US, self._reconnect)
        desk_us = FAULTS_END_US + DELIVERED_WITHIN_US
        while desk_us < DAY_ENDS_US - 20 * MINUTE_US:
            self.timeline.at(desk_us, self._desk)
            desk_us += DESK_EVERY_US

    def _plan_calls(self, names: list[str], crowded: bool) -> list[tuple[int, str]]:
        rng = self.rng
        calls = []
        last_us = FAULTS_END_US - MINUTE_US
        for _ in range(rng.randint(CALLS_MIN, CALLS_MAX)):
            at_us, post = rng.randrange(2 * MINUTE_US, last_us), rng.choice(names)
            calls.append((at_us, post))
            while rng.random() < 0.35:  # and again, soon
                at_us += rng.choice((4, 8, 20, 45, 200)) * SECOND_US + rng.randrange(3 * SECOND_US)
                calls.append((min(at_us, last_us), post))
        if crowded:
            post = rng.choice(names)
            calls += [(rng.randrange(30 * MINUTE_US, 4 * HOUR_US), post) for _ in range(22)]
        for at_us, post in calls:
            presses = rng.choice((3, 3, 3, 4, 10))
            self.timeline.at(at_us, self.call, post, presses)
        return calls

    def _inject(self, kind: str, post: str) -> None:
        self.counts[f"fault {kind}"] += 1
        self.disturbed_us = max(self.disturbed_us, self.timeline.now_us)
        self.timeline.note("fault", f"{kind} {post}")
        KINDS[kind](self, self.rng, post)

    def _reconnect(self) -> None:
        """The owner of what a broker has lost repairs it when it connects, and not before."""
        for link in self.gateway.links.values():
            link.reset()

    def _desk(self) -> None:
        self.operators.attends = False
        if self.seconds is not None:
            self.seconds.attends = False
        self.operators.clear_the_desk()


@dataclass(frozen=True)
class Outcome:
    """What one seed came to. `broken` is None when every promise held."""

    seed: int
    broken: str | None
    trace_hash: str
    lines: tuple[str, ...]
    counts: Counter[str]
    post_days: float


def run_seed(seed: int, *, trace_lines_max: int | None = TRACE_LINES_MAX) -> Outcome:
    """A whole day of one seed; never raises for what a core does wrong."""
    rng = Random(~seed)
    posts = rng.choice((3, 4, 6))
    world = World(
        seed,
        posts=posts,
        brokers=rng.choice((1, 2)),
        silent=rng.random() < 0.3,
        consoles=2 if rng.random() < 0.25 else 1,
    )
    world.timeline.lines = deque(maxlen=trace_lines_max)
    broken = None
    try:
        world.plan()
        world.start()
        world.run_until(DAY_ENDS_US)
        world.let_selftests_end()
        world.checkers.settled()
        for broker in world.brokers:
            world.checkers.retained(_kept_for_ever(broker))
    except Violation as violation:
        broken = str(violation)
    except Exception as error:  # noqa: BLE001 - whatever a core raises is a broken promise
        broken = _raised(error)
    world.counts["calls"] += sum(len(calls) for calls in world.truth.calls.values())
    world.counts["alarms"] += len(world.centre.disk.alarms)
    world.counts["events"] += world.timeline.events
    return Outcome(
        seed,
        broken,
        world.timeline.trace_hash,
        tuple(world.timeline.lines),
        world.counts,
        posts * DAY_ENDS_US / (24 * HOUR_US),
    )


def _raised(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"
    return f"{type(error).__name__} in {where}: {error}"


def _kept_for_ever(broker: Broker) -> dict[str, Packet]:
    """Retained documents, without what was forged."""
    return {
        topic: packet
        for topic, packet in broker.retained.items()
        if (packet.address.side, packet.address.what) not in NEVER_RETAINED
    }


@contextlib.contextmanager
def _own_chance(new_id: Callable[[], str]) -> Iterator[None]:
    """The command centre takes its ids from us, and the intake's log lines go nowhere."""
    with (
        mock.patch.object(centre_core, "new_id", new_id),
        mock.patch.object(intake_room, "log", _no_log),
    ):
        yield


def _no_log(_event: str, **_fields: object) -> None:
    """A simulated process has no standard error."""


def _short(message: Message) -> str:
    if isinstance(message, Alarm):
        return f"{message.alarm_id[-12:]} repeats={len(message.repeat_uptimes_ms)}"
    assert isinstance(message, Command)
    return f"{message.action} {(message.alarm_id or '')[-12:]} {message.command_id[-12:]}"
