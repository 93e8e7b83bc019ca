"""A post without a Pi: drives the core through virtual time and keeps what it did."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from device.core import (
    LINK,
    SECOND_US,
    Commit,
    CommitFailed,
    Committed,
    Edge,
    Effect,
    Post,
    PostSettings,
    Pulse,
    Sound,
    Sounded,
)
from device.held import Held
from hardware.clock import Now
from process.core import Heard, LinkDown, LinkUp, Publish, Tick
from protocol.messages import Alarm, Answer, Health, ListedAlarm, PostState, TestWindow
from protocol.states import State
from protocol.topics import Address
from protocol.values import timestamp

POST_ID = "mlg-test-rw01"
BOOT = "00000000-0000-4000-8000-0000000000b0"
WALL_MS = 1_790_000_000_000
E = TypeVar("E")


@dataclass
class Rig:
    """`disk`: "good" commits at once, "hanging" never answers, "failing" fails."""

    held: dict[str, Held] = field(default_factory=dict)
    boot_id: str = BOOT
    at_us: int = 100 * SECOND_US
    settings: PostSettings = field(
        default_factory=lambda: PostSettings(POST_ID, -7.944, 112.611, "test")
    )
    disk: str = "good"
    buzzer: str = "good"
    synchronised: bool = True
    button_closed: bool = False
    nc_closed: bool | None = None
    tamper_closed: bool | None = None
    mains_closed: bool | None = None
    loop: str = "good"  # what a pulse of the loop-back does; "dead": nothing

    def __post_init__(self) -> None:
        """Start the post on what its disk holds."""
        self.effects: list[Effect] = []
        self.ids = (f"{n:08x}-0000-4000-8000-{self.boot_id[-12:]}" for n in itertools.count(1))
        self.connection = ""
        self._connections = itertools.count(1)
        self.waiting: list[Commit] = []
        self.post = Post(
            self.settings,
            boot_id=self.boot_id,
            now=self.now,
            held=tuple(self.held.values()),
            button_closed=self.button_closed,
            cancel_closed=False,
            rng=Random(1),
            new_id=lambda: next(self.ids),
            nc_closed=self.nc_closed,
            tamper_closed=self.tamper_closed,
            mains_closed=self.mains_closed,
        )
        self.send(Tick())

    @property
    def now(self) -> Now:
        """The virtual time."""
        return Now(self.at_us, WALL_MS + self.at_us // 1000, self.synchronised)

    def send(self, event: object) -> list[Effect]:
        """Hand over one event and carry out what disk and buzzer would."""
        effects = self.post.handle(event, self.now)
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Commit):
                self.waiting.append(effect)
                if self.disk == "good":
                    self.finish_commits()
                elif self.disk == "failing":
                    self.waiting.remove(effect)
                    self.send(CommitFailed(effect.write, "disk is full"))
            elif isinstance(effect, Sound) and self.buzzer == "good":
                self.send(Sounded(effect.alarm_id))
            elif isinstance(effect, Pulse) and self.loop == "good":
                self.send(Edge("button", self.at_us + 300, closed=True))
                self.send(Edge("button", self.at_us + 5_300, closed=False))
        return effects

    def lamp(self) -> str | None:
        """What the lamp says now; a method, so that a test may ask twice."""
        return self.post.lamp

    def finish_commits(self) -> None:
        """Let the disk finish what waits."""
        while self.waiting:
            commit = self.waiting.pop(0)
            for held in commit.puts:
                self.held[held.alarm_id] = held
            for alarm_id in commit.deletes:
                self.held.pop(alarm_id, None)
            self.send(Committed(commit.write))

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the post exactly when it asks for it."""
        end_us = self.at_us + int(seconds * SECOND_US)
        for _ in range(100_000):
            wake_us = self.post.wake_at_us()
            if wake_us is None or wake_us > end_us:
                break
            self.at_us = max(self.at_us, wake_us)
            self.send(Tick())
        else:
            raise AssertionError("the post asks to be woken without end")
        self.at_us = end_us
        self.send(Tick())

    def press(self, closed_s: float = 0.1, open_s: float = 0.2) -> None:
        """One clean press."""
        self.send(Edge("button", self.at_us, closed=True))
        self.advance(closed_s)
        self.send(Edge("button", self.at_us, closed=False))
        self.advance(open_s)

    def press3(self) -> str:
        """Three presses; the id of the newest alarm held."""
        for _ in range(3):
            self.press()
        return self.newest.alarm_id

    @property
    def newest(self) -> Held:
        """The newest alarm held."""
        return self.post.held[-1][0]

    def connect(self, *, answering: bool = True) -> None:
        """Connect; `answering`: gateway and MCC answer the first heartbeat."""
        self.connection = f"{next(self._connections):08x}-0000-4000-8000-00000000c000"
        self.send(LinkUp(LINK, self.connection))
        if answering:
            self.answer()

    def disconnect(self) -> None:
        """Lose the connection."""
        self.send(LinkDown(LINK, self.connection, "test"))

    def answer(self, *, mcc: bool = True, beat: int | None = None) -> None:
        """Answer one heartbeat, by default the newest."""
        if beat is None:
            beat = self.published(Health)[-1].n
        message = Answer(
            post=POST_ID,
            n=beat,
            connection=self.connection,
            mcc_answers=mcc,
            at=timestamp(self.now.wall_ms),
        )
        self.send(Heard(LINK, self.connection, Address("posts", "answer", POST_ID), message))

    def document(
        self,
        *listed: ListedAlarm,
        connection: str | None = None,
        window: TestWindow | None = None,
        due: str | None = None,
    ) -> None:
        """The gateway's state document arrives."""
        message = PostState(
            post=POST_ID,
            at=timestamp(self.now.wall_ms),
            alarms=listed,
            test_window=window,
            selftest_due=due,
        )
        self.send(
            Heard(
                LINK,
                connection or self.connection,
                Address("posts", "state", POST_ID),
                message,
                retained=True,
            )
        )

    def done(self, kind: type[E]) -> list[E]:
        """All effects of one kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def published(self, kind: type[E]) -> list[E]:
        """All messages of one kind so far."""
        return [p.message for p in self.done(Publish) if isinstance(p.message, kind)]

    def offers(self, alarm_id: str) -> list[Alarm]:
        """Every offer of one alarm so far."""
        return [alarm for alarm in self.published(Alarm) if alarm.alarm_id == alarm_id]


def listed(
    alarm_id: str, state: State, repeats: int = 0, answered: int | None = None
) -> ListedAlarm:
    """A listing such as the gateway makes."""
    return ListedAlarm(
        alarm_id=alarm_id,
        kind="panic",
        state=state,
        at=timestamp(WALL_MS),
        repeats=repeats,
        answered_repeats=answered,
    )
