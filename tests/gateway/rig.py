"""A gateway without brokers or disk: drives the core through virtual time, keeps what it did.

Its journal and its brokers' retained documents are dictionaries that a test can copy, lose and
bring back.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from gateway.core import (
    MCC_LINK,
    POSTS_LINK,
    SECOND_US,
    Commit,
    CommitFailed,
    Committed,
    Effect,
    Found,
    Gateway,
    GatewaySettings,
    Lookup,
    Recall,
    Recalled,
    Sound,
)
from gateway.record import AlarmRecord
from hardware.clock import Now
from process.core import Acknowledge, Heard, LinkDown, LinkUp, Log, Publish, Tick
from protocol.codec import decode, encode
from protocol.messages import (
    Action,
    Alarm,
    Command,
    CommandAnswer,
    Health,
    HeldAlarm,
    ListedAlarm,
    Location,
    MccAlarm,
    MccGateway,
    MccPost,
    Message,
    PostState,
    Presence,
    SelftestReport,
)
from protocol.topics import Address, Topics
from protocol.values import timestamp

GATEWAY = "mlg-test"
POST = "mlg-test-rw01"
STORE = "00000000-0000-4000-8000-000000005701"
BOOT = "00000000-0000-4000-8000-0000000000b0"
WALL_MS = 1_790_000_000_000
DAY_S = 86_400
E = TypeVar("E")
M = TypeVar("M", bound=Message)
TOPICS = Topics()


def some_id(n: int) -> str:
    """An id that a reader can tell from another."""
    return f"{n:08x}-0000-4000-8000-000000000000"


ALARM = some_id(0xA1)


@dataclass
class Rig:
    """`disk`: "good" commits at once, "hanging" never answers, "failing" fails."""

    journal: dict[str, AlarmRecord] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    retained: dict[str, Message] = field(default_factory=dict)
    journal_id: str = some_id(0x10)
    at_us: int = 1000 * SECOND_US
    settings: GatewaySettings = field(default_factory=lambda: GatewaySettings(GATEWAY))
    disk: str = "good"
    synchronised: bool = True
    connected: bool = True

    def __post_init__(self) -> None:
        """Start the gateway, and connect it unless told otherwise."""
        self._ids = itertools.count(0x1000)
        self.effects: list[Effect] = []
        self.said: Health | None = None  # the last heartbeat
        self.restart(connect=self.connected)

    # --- the world around the core ---------------------------------------------------------

    @property
    def now(self) -> Now:
        """The virtual time."""
        return Now(self.at_us, WALL_MS + self.at_us // 1000, self.synchronised)

    def new_id(self) -> str:
        """An id that was not there before."""
        return some_id(next(self._ids))

    def next_n(self) -> int:
        """The number of a heartbeat, higher than those before."""
        return next(self._ids)

    def restart(
        self,
        *,
        connect: bool = True,
        journal_id: str | None = None,
        faults: tuple[str, ...] = (),
    ) -> None:
        """Kill the process and start it on what the journal holds."""
        self.journal_id = journal_id or self.journal_id
        self._events: deque[object] = deque()
        self.waiting: list[Commit] = []
        self.connections: dict[str, str] = {}
        self.gateway = Gateway(
            self.settings,
            now=self.now,
            journal_id=self.journal_id,
            records=[record for record in self.journal.values() if record.live],
            meta=self.meta,
            faults=faults,
            rng=Random(1),
        )
        if connect:
            self.connect()

    def connect(self, *links: str) -> None:
        """Connect; the broker replays what is retained."""
        for link in links or (POSTS_LINK, MCC_LINK):
            self.connections[link] = self.new_id()
            self.send(LinkUp(link, self.connections[link]))
            for topic, message in list(self.retained.items()):
                address = TOPICS.parse(topic)
                side = POSTS_LINK if address.side == "posts" else MCC_LINK
                if side == link and address.what != "gateways":
                    self.hear(message, address, retained=True)

    def disconnect(self, link: str) -> None:
        """Lose one connection."""
        self.send(LinkDown(link, self.connections[link], "test"))

    def send(self, event: object) -> None:
        """Hand over one event and carry out what journal and broker would, in order."""
        self._events.append(event)
        if len(self._events) > 1:
            return  # from within the carrying out below
        while self._events:
            self._carry_out(self.gateway.handle(self._events[0], self.now))
            self._events.popleft()

    def _carry_out(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            match effect:
                case Publish(_, topic, message, True):
                    if message is None:
                        self.retained.pop(topic, None)
                    else:
                        encode(message)  # raises when it is over its bound
                        self.retained[topic] = message
                case Commit():
                    self.waiting.append(effect)
                    if self.disk == "good":
                        self.finish_commits()
                    elif self.disk == "failing":
                        self.waiting.remove(effect)
                        self.send(CommitFailed((effect.token,), "disk is full"))
                case Lookup(alarm_id):
                    self.send(Found(alarm_id, self.journal.get(alarm_id)))
                case Recall(cursor, since_ms, limit):
                    self.send(self._page(cursor, since_ms, limit))

    def _page(self, cursor: str, since_ms: int, limit: int) -> Recalled:
        since = timestamp(since_ms)
        rows = sorted(
            (r for r in self.journal.values() if not r.live and r.raised.at >= since),
            key=lambda record: record.alarm_id,
        )
        page = [record for record in rows if record.alarm_id > cursor][:limit]
        return Recalled(tuple(page), page[-1].alarm_id if len(page) == limit else None)

    def finish_commits(self) -> None:
        """Let the journal finish what waits, all in one group."""
        while self.waiting:
            commits, self.waiting = self.waiting, []
            existing = []
            for commit in commits:
                self.meta.update(commit.meta)
                for alarm_id in commit.deletes:
                    self.journal.pop(alarm_id, None)
                for put in commit.puts:
                    known = self.journal.get(put.record.alarm_id)
                    if put.is_new and known is not None:
                        existing.append(known)
                    else:
                        self.journal[put.record.alarm_id] = put.record
            tokens = tuple(commit.token for commit in commits)
            self.send(Committed(tokens, tuple(existing)))

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the gateway exactly when it asks for it."""
        end_us = self.at_us + int(seconds * SECOND_US)
        for _ in range(200_000):
            wake_us = self.gateway.wake_at_us()
            if wake_us is None or wake_us > end_us:
                break
            self.at_us = max(self.at_us, wake_us)
            self.send(Tick())
        else:
            raise AssertionError("the gateway asks to be woken without end")
        self.at_us = end_us
        self.send(Tick())

    def pass_days(self, days: float) -> None:
        """Let days pass in one step, as a suspended machine would."""
        self.at_us += int(days * DAY_S * SECOND_US)
        self.send(Tick())

    # --- what comes in ---------------------------------------------------------------------

    def hear(self, message: Message, address: Address, *, retained: bool = False) -> str:
        """A message arrives; what it is acknowledged by."""
        link = POSTS_LINK if address.side == "posts" else MCC_LINK
        receipt = self.new_id()
        connection = self.connections.get(link, "")
        self.send(Heard(link, connection, address, message, retained, receipt))
        return receipt

    def is_acknowledged(self, receipt: str) -> bool:
        """Whether the broker was told that this message need not come again."""
        return any(receipt in done.receipts for done in self.done(Acknowledge))

    def offer(
        self,
        alarm_id: str = ALARM,
        *,
        post: str = POST,
        age_s: float = 1.0,
        repeat_ages_s: tuple[float | None, ...] = (),
        same_boot: bool = True,
        kind: str = "panic",
        clock: str = "synchronised",
        cancel: bool = False,
        follows: str | None = None,
    ) -> str:
        """A post offers an alarm that was raised `age_s` ago; returns the receipt."""
        return self.hear(
            decode(
                Alarm,
                encode(
                    make_alarm(
                        self.at_us // 1000,
                        alarm_id,
                        post=post,
                        age_s=age_s,
                        repeat_ages_s=repeat_ages_s,
                        same_boot=same_boot,
                        kind=kind,
                        clock=clock,
                        cancel=cancel,
                        follows=follows,
                    )
                ),
            ),
            Address("posts", "alarms", post),
        )

    def heartbeat(
        self,
        *held: HeldAlarm,
        post: str = POST,
        connection: str = some_id(0xC1),
        faults: tuple[str, ...] = (),
        selftest: SelftestReport | None = None,
    ) -> None:
        """A post's heartbeat with the alarms that it holds."""
        health = Health(
            post=post,
            n=self.next_n(),
            boot_id=BOOT,
            connection=connection,
            at=timestamp(self.now.wall_ms),
            clock="synchronised",
            uptime_ms=self.at_us // 1000,
            alarms=held,
            faults=faults,
            selftest=selftest,
        )
        self.said = health
        self.hear(health, Address("posts", "health", post))

    def presence(
        self,
        *,
        online: bool,
        connection: str = some_id(0xC1),
        retained: bool = False,
        post: str = POST,
        firmware: str = "test 1",
        heartbeat_s: int | None = None,
    ) -> None:
        """A post's presence, or its will."""
        message = Presence(
            post=post,
            online=online,
            boot_id=BOOT,
            connection=connection,
            at=timestamp(self.now.wall_ms),
            firmware=firmware,
            heartbeat_s=heartbeat_s,
        )
        self.hear(message, Address("posts", "presence", post), retained=retained)

    def command(
        self,
        action: Action,
        *,
        command_id: str | None = None,
        console: str = "console",
        store_id: str = STORE,
        age_s: float = 0.0,
        **fields: object,
    ) -> str:
        """A console's command; returns its id."""
        command_id = command_id or self.new_id()
        defaults: dict[str, object] = {
            "alarm_id": ALARM,
            "operator": "Sari",
            "repeats": 0,
            "kind": "panic",
            "post": POST,
            "minutes": 10,
            "unit": "Polsek Klojen",
            "outcome": "real",
        }
        wanted = {
            "beat": (),
            "receive": ("alarm_id",),
            "acknowledge": ("alarm_id", "operator", "repeats", "kind"),
            "dispatch": ("alarm_id", "operator", "unit"),
            "resolve": ("alarm_id", "operator", "repeats", "kind", "outcome"),
            "panic": ("alarm_id", "operator"),
            "open_test": ("post", "operator", "minutes"),
            "close_test": ("post", "operator"),
        }[action]
        values = {name: defaults[name] for name in wanted} | fields
        message = Command(
            command_id=command_id,
            action=action,
            store_id=store_id,
            at=timestamp(self.now.wall_ms - int(age_s * 1000)),
            **values,  # type: ignore[arg-type]
        )
        self.hear(message, Address("mcc", "commands", console))
        return command_id

    def beat(self, store_id: str = STORE) -> None:
        """The MCC says that it is there."""
        self.command("beat", store_id=store_id)

    def receive(self, alarm_id: str = ALARM, store_id: str = STORE) -> None:
        """The MCC receipts what the latest document of the alarm says."""
        content = self.alarm_document(alarm_id).content
        self.command("receive", alarm_id=alarm_id, content=content, store_id=store_id)

    def settle(self, alarm_id: str = ALARM) -> None:
        """From offered to resolved, receipted and confirmed by the post."""
        self.receive(alarm_id)
        self.command("acknowledge", alarm_id=alarm_id)
        self.command("resolve", alarm_id=alarm_id)
        self.receive(alarm_id)
        self.heartbeat()

    # --- what went out ---------------------------------------------------------------------

    def forget(self) -> None:
        """Look only at what comes from here on."""
        self.effects.clear()

    def done(self, kind: type[E]) -> list[E]:
        """All effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def published(self, kind: type[M]) -> list[M]:
        """All messages of one kind."""
        return [p.message for p in self.done(Publish) if isinstance(p.message, kind)]

    @property
    def cleared(self) -> list[str]:
        """The topics that were cleared."""
        return [p.topic for p in self.done(Publish) if p.message is None]

    @property
    def sounds(self) -> list[str]:
        """What the gateway's buzzer has sounded."""
        return [sound.name for sound in self.done(Sound)]

    @property
    def refusals(self) -> list[CommandAnswer]:
        """What consoles were told."""
        return self.published(CommandAnswer)

    def state_document(self, post: str = POST) -> PostState:
        """The retained state document of a post."""
        message = self.retained[TOPICS.post(post, "state")]
        assert isinstance(message, PostState)
        return message

    def listed(self, alarm_id: str = ALARM, post: str = POST) -> ListedAlarm | None:
        """What the state document says of one alarm."""
        found = [one for one in self.state_document(post).alarms if one.alarm_id == alarm_id]
        return found[0] if found else None

    def alarm_document(self, alarm_id: str = ALARM) -> MccAlarm:
        """The latest document of an alarm at the MCC's broker, retained or live."""
        topic = TOPICS.mcc("alarms", alarm_id)
        if topic in self.retained:
            message = self.retained[topic]
        else:
            message = [d for d in self.published(MccAlarm) if d.alarm_id == alarm_id][-1]
        assert isinstance(message, MccAlarm)
        return message

    def is_shown(self, alarm_id: str = ALARM) -> bool:
        """Whether a retained document of the alarm stands at the MCC's broker."""
        return TOPICS.mcc("alarms", alarm_id) in self.retained

    def post_document(self, post: str = POST) -> MccPost:
        """The retained document of a post at the MCC's broker."""
        message = self.retained[TOPICS.mcc("posts", post)]
        assert isinstance(message, MccPost)
        return message

    def gateway_document(self) -> MccGateway:
        """The gateway's own retained document."""
        message = self.retained[TOPICS.mcc("gateways", GATEWAY)]
        assert isinstance(message, MccGateway)
        return message

    def logged(self, event: str) -> list[Log]:
        """The log lines of one event."""
        return [line for line in self.done(Log) if line.event == event]


def make_alarm(
    uptime_ms: int,
    alarm_id: str = ALARM,
    *,
    post: str = POST,
    age_s: float = 1.0,
    repeat_ages_s: tuple[float | None, ...] = (),
    same_boot: bool = True,
    kind: str = "panic",
    clock: str = "synchronised",
    cancel: bool = False,
    follows: str | None = None,
) -> Alarm:
    """An alarm as a post sends it at its uptime `uptime_ms` (here the gateway's own)."""
    raised_ms = uptime_ms - int(age_s * 1000)
    return Alarm(
        post=post,
        alarm_id=alarm_id,
        kind=kind,  # type: ignore[arg-type]
        raised_at=timestamp(WALL_MS + raised_ms),
        clock=clock,  # type: ignore[arg-type]
        boot_id=BOOT,
        raised_uptime_ms=raised_ms,
        presses_ms=(-800, -400, 0),
        location=Location(lat=-7.944, lon=112.611, source="surveyed"),
        sent_uptime_ms=uptime_ms if same_boot else None,
        repeat_uptimes_ms=tuple(
            None if age is None else uptime_ms - int(age * 1000) for age in repeat_ages_s
        ),
        follows=follows,
        cancel_requested_at=timestamp(WALL_MS + uptime_ms) if cancel else None,
    )


def held(
    alarm_id: str = ALARM,
    state: str = "received",
    *,
    repeats: int = 0,
    cancel: bool = False,
    answered: int | None = None,
) -> HeldAlarm:
    """An alarm as a post's heartbeat names it."""
    return HeldAlarm(
        alarm_id=alarm_id,
        state=state,  # type: ignore[arg-type]
        repeats=repeats,
        cancel_requested=cancel,
        answered_repeats=answered,
    )
