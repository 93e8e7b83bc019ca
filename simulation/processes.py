"""The three kinds of process: the real cores, started and served as their services do it.

A service's own decisions are few (what to read at the start, what an effect leads to); they stand
here once more, against modelled edges. Nothing is decided for a core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Literal

from device.core import (
    LINK,
    Click,
    Edge,
    Meaning,
    Post,
    PostSettings,
    Pulse,
    ShowLamp,
    Sounded,
)
from device.core import Commit as PostCommit
from device.core import Sound as PostSound
from gateway.core import (
    LINKS,
    MCC_LINK,
    Commit,
    Gateway,
    GatewaySettings,
    Lookup,
    NotSent,
    Recall,
    Sound,
)
from gateway.service import ALLOWED
from mcc.core import LINK as CENTRE_LINK
from mcc.core import Commit as MccCommit
from mcc.core import Core as MccCore
from mcc.core import DocumentCleared, NewCommands, Show
from process.core import Acknowledge, Drop, LinkDown, Log, Publish
from protocol.messages import Health, MccGateway, Presence
from protocol.topics import Topics
from protocol.values import timestamp
from simulation.broker import Broker, Filter, Link, Packet, address_of
from simulation.disks import Journal, MccDisk, PostDisk
from simulation.hosts import Host, Process
from simulation.timeline import SECOND_US, Timeline

if TYPE_CHECKING:
    from simulation.checkers import Checkers

GATEWAY_ID = "gw-malang"
CONSOLE = "console"  # the receiver
SECOND_CONSOLE = "console-2"
SOUND_US = 2_600_000  # device/feedback.py: how long the acknowledgement sounds
OUTBOX_POLL_US = 20_000
OPEN_PATIENCE_US = 10 * SECOND_US  # device/outbox.py
PULSE_BEGINS_US, PULSE_ENDS_US = 300, 5_300  # hardware/loopback.py
TOPICS = Topics()


class PostProcess(Process):
    """The firmware of one post on its Pi."""

    def __init__(
        self,
        timeline: Timeline,
        name: str,
        host: Host,
        disk: PostDisk,
        broker: Broker,
        checkers: Checkers,
        rng: Random,
        new_id: Callable[[], str],
        *,
        silent: bool,
        loop: bool,
    ) -> None:
        """`silent`: it never makes a sound; `loop`: its button's line has a loop-back."""
        super().__init__(timeline, name, host)
        self.disk = disk
        self.silent = silent
        self.loop = loop
        self.is_cut = False  # the button's circuit is dead
        self.lamp: Meaning | None = None
        self.button_closed = False
        self.cancel_closed = False
        self._finger = self._pulsing = False  # either closes the button's line
        self.clicks = 0
        self.sounding: str | None = None
        self.sounded: tuple[int, str] | None = None
        self._edge_us = 0
        self._waited_us = 0
        self._checkers = checkers
        self._rng = rng
        self._new_id = new_id
        self.link = Link(
            timeline,
            rng,
            self,
            broker,
            name=LINK,
            client_id=name,
            filters=(Filter("posts", "state", name), Filter("posts", "answer", name)),
            will=self._will,
            new_id=new_id,
        )

    def edge(self, pin: Literal["button", "cancel"], closed: bool, late_us: int = 0) -> None:
        """A contact of the box moves; the process hears of it up to `late_us` later."""
        if pin == "button":
            self._finger = closed
            self._line_moves(late_us)
            return
        self.cancel_closed = closed
        self._heard_of(pin, closed, late_us)

    def _line_moves(self, late_us: int = 0) -> None:
        closed = (self._finger or self._pulsing) and not self.is_cut
        if closed != self.button_closed:
            self.button_closed = closed
            self._heard_of("button", closed, late_us)

    def _pulse(self, begins: bool) -> None:
        self._pulsing = begins
        self._line_moves()

    def _heard_of(self, pin: Literal["button", "cancel"], closed: bool, late_us: int) -> None:
        if self.alive:
            now_us = self.timeline.now_us
            # Late, but never out of order: the kernel queues them.
            self._edge_us = max(self._edge_us, now_us + late_us)
            self.timeline.at(
                self._edge_us, self._edge, self.life, self.host.boots, pin, now_us, closed
            )

    def _edge(
        self,
        life: int,
        boots: int,
        pin: Literal["button", "cancel"],
        at_us: int,
        closed: bool,
    ) -> None:
        if self.alive and life == self.life and boots == self.host.boots:
            self.offer(Edge(pin, self.host.uptime_at_us(at_us), closed))

    def _will(self, connection: str) -> Packet:
        topic = TOPICS.post(self.name, "presence")
        presence = Presence(
            post=self.name,
            online=False,
            boot_id=self.host.boot_id,
            connection=connection,
            at=timestamp(self.host.now().wall_ms),
            firmware="simulated",
        )
        return Packet(topic, address_of(topic), presence, retain=True)

    def not_ready_us(self) -> int:
        """A hanging card holds up the start, for so long."""
        if self.disk.weather != "hanging" or self._waited_us >= OPEN_PATIENCE_US:
            self._waited_us = 0
            return 0
        self._waited_us += SECOND_US
        return SECOND_US

    def begin(self) -> Iterable[object]:
        """As `device.service.Service`."""
        loaded = self.disk.open(self._loader(self.life))
        self.lamp = None
        self.sounding = None
        self.core = Post(
            PostSettings(
                post_id=self.name,
                lat=-7.97,
                lon=112.63,
                firmware="simulated",
                silent=self.silent,
                loop=self.loop,
            ),
            boot_id=self.host.boot_id,
            now=self.host.now(),
            held=loaded.held,
            button_closed=self.button_closed,
            cancel_closed=self.cancel_closed,
            rng=Random(self._rng.getrandbits(32)),
            new_id=self._new_id,
        )
        self.link.start()
        if loaded.fault is None:
            return ()
        effects: list[object] = list(self.core.handle(loaded, self.host.now()))
        return effects

    def _loader(self, life: int) -> Callable[[object], None]:
        def deliver(event: object) -> None:
            if life == self.life:
                self.offer(event)

        return deliver

    def perform(self, effect: object) -> None:
        """As `device.service.Service`."""
        match effect:
            case Publish(message=message):
                if isinstance(message, Health):
                    self._checkers.post_beats(message)
                self.link.publish(effect)
            case PostCommit():
                self.disk.commit(effect, self.offer)
            case Click():
                self.clicks += 1
            case Pulse():
                self.timeline.after(PULSE_BEGINS_US, self._pulse, True)
                self.timeline.after(PULSE_ENDS_US, self._pulse, False)
                self.pulsed()
            case ShowLamp(meaning):
                self.lamp = meaning
                self.timeline.note(self.name, f"lamp {meaning}")
                self._checkers.lamp(self)
            case PostSound(alarm_id):
                self.sounding = alarm_id
                self._checkers.sound(self, alarm_id)
                self.timeline.after(SOUND_US, self._sound_over, self.life, alarm_id)
            case Drop(_, reason):
                self.link.drop(reason)

    @staticmethod
    def pulsed() -> None:
        """Replaced by the world: somebody may press in this very moment."""

    def _sound_over(self, life: int, alarm_id: str) -> None:
        if not self.alive or life != self.life or self.sounding != alarm_id:
            return
        if self.frozen:
            self.timeline.after(SECOND_US, self._sound_over, life, alarm_id)
        else:
            self.sounding = None
            self.sounded = (self.timeline.now_us, alarm_id)
            self.offer(Sounded(alarm_id))

    def ended(self, *, power: bool) -> None:
        """Sockets, the write under way, a sound cut short."""
        self._checkers.sound_cut(self)
        self.sounding = self.sounded = None
        self.lamp = None
        self.disk.crash(power=power)
        self.link.end(power=power)
        self._checkers.post_died(self)

    def after_link_down(self, event: LinkDown) -> None:
        """The lamp may not say armed now."""
        self._checkers.link_is_down(self)


class GatewayProcess(Process):
    """The gateway."""

    def __init__(
        self,
        timeline: Timeline,
        name: str,
        host: Host,
        disk: Journal,
        brokers: dict[str, Broker],
        checkers: Checkers,
        rng: Random,
        new_id: Callable[[], str],
    ) -> None:
        """`brokers` by link."""
        super().__init__(timeline, name, host)
        self.disk = disk
        self._checkers = checkers
        self._rng = rng
        self.sounds = 0
        self._turned_away: set[object] = set()
        self.links = {
            link: Link(
                timeline,
                rng,
                self,
                brokers[link],
                name=link,
                client_id=f"{name}-{link}",
                filters=[Filter(side, what, None) for side, what in ALLOWED[link]],
                will=self._will if link == MCC_LINK else _no_will,
                new_id=new_id,
                manual=True,
            )
            for link in LINKS
        }

    def _will(self, _connection: str) -> Packet:
        topic = TOPICS.mcc("gateways", GATEWAY_ID)
        gone = MccGateway(
            gateway=GATEWAY_ID, online=False, at=timestamp(self.host.now().wall_ms), journal_id=None
        )
        return Packet(topic, address_of(topic), gone, retain=True)

    def not_ready_us(self) -> int:
        """Without its journal it does not start; systemd tries again."""
        return 0 if self.disk.weather == "ok" else 2 * SECOND_US

    def begin(self) -> Iterable[object]:
        """As `gateway.service.Service`."""
        journal_id, records, meta, faults = self.disk.open()
        self.core = Gateway(
            GatewaySettings(gateway_id=GATEWAY_ID, receiver=CONSOLE, selftests=True),
            now=self.host.now(),
            journal_id=journal_id,
            records=records,
            meta=meta,
            faults=faults,
            rng=Random(self._rng.getrandbits(32)),
        )
        self._checkers.gateway_started(self)
        for link in self.links.values():
            link.start()
        return ()

    def turn(self, event: object) -> None:
        """The checkers see what it has really heard."""
        self._checkers.gateway_hears(event)
        super().turn(event)

    def perform_all(self, effects: Iterable[object]) -> None:
        """An offer over its post's bound is acknowledged, with a word in the log."""
        effects = list(effects)
        self._turned_away.clear()
        if effects and type(effects[-1]) is Log:  # lines come last
            self._turned_away.update(
                effect.fields.get("alarm")
                for effect in effects
                if type(effect) is Log and effect.fields.get("what") == "offer_too_many_of_post"
            )
        super().perform_all(effects)

    def perform(self, effect: object) -> None:
        """As `gateway.service.Service`."""
        match effect:
            case Publish(link=name):
                self._checkers.gateway_says(self, effect)
                link = self.links[name]
                if not link.publish(effect) and effect.retain and link.up:
                    self.timeline.after(0, self._not_sent, self.life, NotSent(name, effect.topic))
            case Acknowledge(link, _):
                self._checkers.gateway_acknowledges(effect, self._turned_away)
                self.links[link].acknowledge(effect)
            case Commit() | Lookup() | Recall():
                self.disk.submit(effect, self.offer)
            case Sound():
                self.sounds += 1
            case Drop(link, reason):
                self.links[link].drop(reason)

    def _not_sent(self, life: int, event: NotSent) -> None:
        if life == self.life:
            self.offer(event)

    def after_link_down(self, event: LinkDown) -> None:
        """Nobody looks at a lamp here."""

    def ended(self, *, power: bool) -> None:
        """Sockets and the write under way."""
        self.disk.crash()
        for link in self.links.values():
            link.end(power=power)


class CentreProcess(Process):
    """The command centre's `watch`."""

    def __init__(
        self,
        timeline: Timeline,
        name: str,
        host: Host,
        disk: MccDisk,
        broker: Broker,
        checkers: Checkers,
        rng: Random,
        new_id: Callable[[], str],
        console: str = CONSOLE,
    ) -> None:
        """One console."""
        super().__init__(timeline, name, host)
        self.disk = disk
        self.console = console
        self._checkers = checkers
        self.link = Link(
            timeline,
            rng,
            self,
            broker,
            name=CENTRE_LINK,
            client_id=f"mcc-{console}",
            filters=(
                Filter("mcc", "answers", console),
                Filter("mcc", "gateways", None),
                Filter("mcc", "posts", None),
                Filter("mcc", "alarms", None),
            ),
            will=_no_will,
            new_id=new_id,
            cleared=lambda address: DocumentCleared(address.name),
        )

    def not_ready_us(self) -> int:
        """It does not start without its store."""
        return 0 if self.disk.weather == "ok" else 2 * SECOND_US

    def begin(self) -> Iterable[object]:
        """As `mcc.session.Session`."""
        self.disk.claim()
        self.core = MccCore(self.disk.load(), console=self.console, topics=TOPICS, watching=True)
        self.link.start()
        effects: list[object] = list(self.core.begin(self.host.now()))
        return effects

    def new_commands(self) -> None:
        """An operator has put something into the outbox; it is read within 20 ms."""
        self.timeline.after(OUTBOX_POLL_US, self._read_outbox)

    def _read_outbox(self) -> None:
        if self.alive and self.disk.weather != "hanging":
            self.offer(NewCommands(self.disk.sending()))

    def perform(self, effect: object) -> None:
        """As `mcc.session.Session`."""
        match effect:
            case Publish():
                self._checkers.centre_says(self, effect)
                self.link.publish(effect)
            case MccCommit():
                outcome = self.disk.commit(effect)
                self.timeline.after(self.disk.latency_us(), self._committed, self.life, outcome)
            case Show():
                pass
            case Drop(_, reason):
                self.link.drop(reason)

    def _committed(self, life: int, outcome: object) -> None:
        if life == self.life:
            self.offer(outcome)

    def after_link_down(self, event: LinkDown) -> None:
        """Nobody looks at a lamp here."""

    def ended(self, *, power: bool) -> None:
        """Its socket; commits were on the loop."""
        self.link.end(power=power)


def _no_will(_connection: str) -> None:
    return None
