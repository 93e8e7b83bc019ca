"""A command centre's core at a desk: virtual time, a store that can be told to fail, builders."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mcc.alarms import AlarmRecord, Verdict
from mcc.core import (
    LINK,
    AlarmShown,
    CommandShown,
    Commit,
    CommitFailed,
    Committed,
    Core,
    GatewayShown,
    Memory,
    NewCommands,
    PostShown,
    Show,
)
from process.core import Heard, LinkDown, LinkUp, Log, Publish, Tick
from protocol.codec import content_of
from protocol.messages import (
    Command,
    CommandAnswer,
    Location,
    MccAlarm,
    MccGateway,
    MccPost,
    Message,
    Raised,
    Receipted,
    Step,
    Steps,
    TestWindow,
)
from protocol.topics import Address, Topics
from protocol.values import timestamp

START_MS = 1_800_000_000_000
STORE_ID = "5ca1ab1e-0000-4000-8000-000000000001"
JOURNAL_ID = "70aded00-0000-4000-8000-000000000001"
POST = "mlg-lowokwaru-dinoyo-rw05"
GATEWAY = "mlg"
STATES = ("received", "delivered", "acknowledged", "dispatched", "resolved")


@dataclass(frozen=True)
class Moment:
    """A moment of virtual time."""

    uptime_us: int = 1_000_000_000
    wall_ms: int = START_MS

    def after(self, seconds: float) -> Moment:
        return Moment(self.uptime_us + int(seconds * 1e6), self.wall_ms + int(seconds * 1e3))


def uid(n: int) -> str:
    """A well-formed id that a reader can tell from others."""
    return str(uuid.UUID(int=n, version=4))


def step(command: Command | None = None, operator: str | None = None, at: int = 0) -> Step:
    return Step(
        at=timestamp(START_MS + at),
        operator=operator or (command.operator if command else None),
        console="console" if command else None,
        command_id=command.command_id if command else None,
    )


def document(n: int = 1, state: str = "received", **fields: Any) -> MccAlarm:
    """A gateway's document; every step up to `state` is there unless `reached` says otherwise."""
    steps: dict[str, Step | None] = {
        name: step(operator=None if name in ("received", "delivered") else "sari")
        for name in STATES[: STATES.index(state) + 1]
    }
    if state == "acknowledged" or "dispatched" in steps or "resolved" in steps:
        fields.setdefault("answered_repeats", fields.get("repeats", 0))
    if "dispatched" in steps:
        fields.setdefault("unit", "Polsek Klojen")
    if state == "resolved":
        fields.setdefault("outcome", "real")
    steps |= fields.pop("reached", {})
    defaults: dict[str, Any] = {
        "post": POST,
        "alarm_id": uid(n),
        "gateway": GATEWAY,
        "journal_id": JOURNAL_ID,
        "kind": "panic",
        "state": state,
        "raised": Raised(at=timestamp(START_MS), known="computed"),
        "reached": Steps(**{k: v for k, v in steps.items() if v is not None}),
        "presses_ms": (-900, -400, 0),
        "location": Location(lat=-7.94, lon=112.61, source="surveyed"),
        "content": "0" * 16,
    }
    built = MccAlarm(**(defaults | fields))
    return msgspec.structs.replace(built, content=content_of(built))


def receipted(shown: MccAlarm, store_id: str = STORE_ID) -> MccAlarm:
    return msgspec.structs.replace(
        shown, receipted=Receipted(store_id=store_id, content=shown.content)
    )


def command(n: int, action: str, **fields: Any) -> Command:
    needs: dict[str, dict[str, Any]] = {
        "acknowledge": {"repeats": 0, "kind": "panic"},
        "dispatch": {"unit": "Polsek Klojen"},
        "resolve": {"repeats": 0, "kind": "panic", "outcome": "real"},
        "panic": {},
        "open_test": {"minutes": 10},
        "close_test": {},
    }
    defaults: dict[str, Any] = {
        "command_id": uid(n),
        "action": action,
        "store_id": STORE_ID,
        "at": timestamp(START_MS),
        "operator": "budi",
    }
    target = {"post": POST} if action.endswith("_test") else {"alarm_id": uid(1)}
    return Command(**(defaults | target | needs[action] | fields))


def post(**fields: Any) -> MccPost:
    defaults: dict[str, Any] = {
        "post": POST,
        "gateway": GATEWAY,
        "connection": "online",
        "at": timestamp(START_MS),
    }
    return MccPost(**(defaults | fields))


def window(of: Command) -> TestWindow:
    return TestWindow(
        until=timestamp(START_MS + 600_000), opened_by="budi", command_id=of.command_id
    )


def gateway(name: str = GATEWAY, **fields: Any) -> MccGateway:
    defaults: dict[str, Any] = {"gateway": name, "online": True, "at": timestamp(START_MS)}
    return MccGateway(**(defaults | fields))


class Desk:
    """A core, its clock and a store that commits at once unless `disk_works` is False."""

    def __init__(
        self,
        *,
        alarms: Sequence[AlarmRecord] = (),
        commands: Sequence[Command] = (),
        watching: bool = True,
        store_id: str = STORE_ID,
        begin: bool = True,
        topics: Topics | None = None,
    ) -> None:
        self.now = Moment()
        self.stored = {alarm.alarm_id: alarm for alarm in alarms}
        self.verdicts: dict[str, Verdict] = {}
        self.reasons: list[str] = []
        self.disk_works = True
        self.disk_answers = True
        self.effects: list[object] = []
        self.core = Core(
            Memory(store_id=store_id, alarms=list(alarms), commands=commands),
            console="console",
            topics=topics or Topics(),
            watching=watching,
        )
        if begin:
            self._perform(self.core.begin(self.now))

    # --- driving ---

    def up(self, seconds: float = 0) -> Desk:
        """Connect, with the gateway alive."""
        self.send(LinkUp(LINK, "c1"), seconds)
        self.hear(gateway())
        return self

    def down(self) -> None:
        self.send(LinkDown(LINK, "c1", "connection refused"))

    def send(self, event: object, seconds: float = 0) -> None:
        self.now = self.now.after(seconds)
        self._perform(self.core.handle(event, self.now))

    def hear(
        self, message: Message, *, retained: bool = False, district: str | None = None
    ) -> None:
        what, name = {
            MccAlarm: ("alarms", "alarm_id"),
            MccPost: ("posts", "post"),
            MccGateway: ("gateways", "gateway"),
            CommandAnswer: ("answers", "console"),
        }[type(message)]
        address = Address("mcc", what, getattr(message, name), district)
        self.send(Heard(LINK, "c1", address, message, retained))

    def type(self, *commands: Command) -> None:
        """Operators' commands appear in the outbox."""
        self.send(NewCommands(commands))

    def refuse(self, of: Command, refused: str, **fields: Any) -> None:
        self.hear(
            CommandAnswer(
                console="console",
                command_id=of.command_id,
                refused=refused,  # type: ignore[arg-type]
                why=refused,
                **fields,
            )
        )

    def run(self, seconds: float) -> None:
        """Let time pass, waking exactly when the core asks."""
        end = self.now.after(seconds)
        while (due_us := self.core.wake_at_us()) is not None and due_us <= end.uptime_us:
            ahead_s = max(0.0, (due_us - self.now.uptime_us) / 1e6)
            self.send(Tick(), ahead_s)
        self.now = end

    def _perform(self, effects: Sequence[object]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Commit) and self.disk_answers:
                self._commit(effect)

    def _commit(self, effect: Commit) -> None:
        if not self.disk_works:
            self.send(CommitFailed("disk full"))
            return
        existing = []
        for alarm in effect.alarms:
            if alarm.alarm_id in effect.fresh and alarm.alarm_id in self.stored:
                existing.append(self.stored[alarm.alarm_id])
            else:
                self.stored[alarm.alarm_id] = alarm
        self.verdicts |= dict(effect.verdicts)
        if effect.reason is not None:
            self.reasons.append(effect.reason)
        self.send(Committed(tuple(existing)))

    # --- looking ---

    def forget(self) -> None:
        """Look only at what comes from here on."""
        self.effects.clear()

    def published(self, *actions: str) -> list[Command]:
        commands = [e.message for e in self.effects if isinstance(e, Publish)]
        found = [c for c in commands if isinstance(c, Command)]
        return [c for c in found if not actions or c.action in actions]

    def expiries(self, action: str) -> list[int | None]:
        return [
            e.expiry_s
            for e in self.effects
            if isinstance(e, Publish) and isinstance(e.message, Command)
            if e.message.action == action
        ]

    def shown(self) -> list[AlarmShown]:
        changes = [e.change for e in self.effects if isinstance(e, Show)]
        return [change for change in changes if isinstance(change, AlarmShown)]

    def rings(self) -> list[str]:
        return [one.alarm.alarm_id for one in self.shown() if one.rings]

    def gateways(self) -> list[tuple[str, str]]:
        changes = [e.change for e in self.effects if isinstance(e, Show)]
        return [(c.gateway, c.liveness) for c in changes if isinstance(c, GatewayShown)]

    def posts(self) -> list[MccPost]:
        changes = [e.change for e in self.effects if isinstance(e, Show)]
        return [c.post for c in changes if isinstance(c, PostShown)]

    def outcomes(self) -> list[tuple[str, Verdict | None]]:
        changes = [e.change for e in self.effects if isinstance(e, Show)]
        return [(c.command.action, c.verdict) for c in changes if isinstance(c, CommandShown)]

    def logs(self) -> list[str]:
        return [e.event for e in self.effects if isinstance(e, Log)]

    def alarm(self, n: int = 1) -> AlarmRecord:
        found = self.core.alarm(uid(n))
        assert found is not None
        return found
