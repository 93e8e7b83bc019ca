"""What the command centre does with what it hears: the decisions, without clock, disk or link.

Events in, effects out. A receipt never leaves before its content is committed, an operator's
command is repeated until a document shows it, and a retained message proves nobody alive. Posts'
self-tests are answered here, by no person, and are on no list of alarms and on no screen.
It must never lower what is held, drop an open alarm, or raise for what a network or disk does.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from mcc.alarms import (
    DONE,
    AlarmRecord,
    Verdict,
    answered_test,
    calls_again,
    closed_here,
    judge_on_alarm,
    judge_on_post,
    merge,
    record_of,
    repairs,
    unanswered_repeats,
)
from process.core import Drop, Heard, LinkDown, LinkUp, Log, Publish, Stop, Tick
from protocol.messages import Command, CommandAnswer, MccAlarm, MccGateway, MccPost
from protocol.topics import Topics
from protocol.values import new_id, timestamp

LINK = "mcc"

BEAT_S = 10
GATEWAY_SILENT_S = 25  # two beats missed and half a pause
RECEIPT_PAUSES_S = (2, 30)  # first and longest pause between two attempts
COMMAND_PAUSES_S = (1, 30)
# A broker can forget what a connected client has subscribed to. When no gateway that is known has
# been heard for so long, the connection is opened anew; then after longer and longer pauses.
DEAF_PAUSES_S = (60, 600)
RECOMMIT_S = 1

# Bounds. At each the newest is refused and logged, unless it says otherwise here.
ALARMS_MAX = 10_000  # in memory; closed ones make room first and stay in the store
POSTS_MAX = 100_000
GATEWAYS_MAX = 1_000
COMMANDS_MAX = 1_000  # the operators'; the store refuses the next one
SELFTESTS_MAX = 1_000  # of all gateways, each for about a minute

Liveness = Literal["unknown", "online", "silent", "offline"]


class Now(Protocol):
    """The moment: microseconds since the boot, and Unix milliseconds."""

    @property
    def uptime_us(self) -> int:
        """Microseconds since the boot; deadlines are computed on this alone."""

    @property
    def wall_ms(self) -> int:
        """Unix milliseconds, for people and messages."""


@dataclass(frozen=True)
class DocumentCleared:
    """A gateway has cleared the retained document of an alarm.

    `district`: which one, where it can be only that one's to clear.
    """

    alarm_id: str
    district: str | None = None


@dataclass(frozen=True)
class PostCleared:
    """A gateway has cleared the document of a post: it is retired. Its alarms stay."""

    post: str
    district: str | None = None


@dataclass(frozen=True)
class SendingRefused:
    """The broker threw away what this console published."""

    topic: str
    reason: str


@dataclass(frozen=True)
class NewCommands:
    """Every operator's command that the store's outbox holds as still being sent."""

    commands: Sequence[Command]


@dataclass(frozen=True)
class Committed:
    """The commit is on disk. `existing`: alarms that were in the store though not in memory;
    they were left as they are."""

    existing: Sequence[AlarmRecord] = ()


@dataclass(frozen=True)
class CommitFailed:
    """Nothing of the commit is on disk."""

    reason: str


@dataclass(frozen=True)
class Commit:
    """Put all of this on disk at once; one is under way at a time.

    `fresh`: ids of alarms that memory did not hold: where the store has them, it says so and
    keeps its own. `selftests`: one of each post is kept. `verdicts`: by command id. `reason`: why
    nothing gets through just now.
    """

    alarms: Sequence[AlarmRecord] = ()
    fresh: frozenset[str] = frozenset()
    posts: Sequence[MccPost] = ()
    gone_posts: Sequence[str] = ()
    gateways: Sequence[MccGateway] = ()
    verdicts: Sequence[tuple[str, Verdict]] = ()
    reason: str | None = None
    selftests: Sequence[AlarmRecord] = ()


@dataclass(frozen=True)
class AlarmShown:
    """An alarm to put on the screen; `rings`: with sound.

    `sending`: operators' actions on their way; `late_repeats`: calls that no answer covers.
    """

    alarm: AlarmRecord
    rings: bool
    sending: tuple[str, ...] = ()
    late_repeats: int = 0


@dataclass(frozen=True)
class PostShown:
    """A post whose connection, faults, test window or maintenance have changed."""

    post: MccPost


@dataclass(frozen=True)
class GatewayShown:
    """A gateway and whether it lives, as far as this connection knows."""

    gateway: str
    liveness: Liveness
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinkShown:
    """The own link; `reason` when it is down."""

    up: bool
    reason: str = ""


@dataclass(frozen=True)
class CommandShown:
    """An operator's command: on its way (`verdict` None), done or refused."""

    command: Command
    verdict: Verdict | None


@dataclass(frozen=True)
class Show:
    """Something for the screen."""

    change: AlarmShown | PostShown | GatewayShown | LinkShown | CommandShown


@dataclass(frozen=True)
class Memory:
    """What the store holds at the start. `alarms`: every open one and some closed ones."""

    store_id: str
    alarms: Sequence[AlarmRecord] = ()
    posts: Sequence[MccPost] = ()
    gateways: Sequence[MccGateway] = ()
    commands: Sequence[Command] = ()


@dataclass(frozen=True)
class Census:
    """Numbers of what there is. `alarms` by `kind/state`; `sending`: operators' commands."""

    alarms: Mapping[str, int]
    posts: Mapping[str, int]
    gateways: Mapping[str, int]
    sending: int


@dataclass
class _Attempt:
    """One command that is repeated with growing pauses until something ends it."""

    command: Command
    origin: Literal["operator", "receipt", "repair"]
    pauses_s: tuple[int, int]
    due_us: int = 0
    pause_s: int = 0
    sent: int = 0
    overtaken: bool = False  # since it was sent first, its alarm has been heard of, live


@dataclass
class _Held:
    """An alarm in memory with what is known of it on this connection."""

    alarm: AlarmRecord
    fresh: bool
    document: MccAlarm | None = None
    receipt: _Attempt | None = None
    repairs: dict[str, _Attempt] = field(default_factory=dict)
    # Repairs that a gateway refused; not tried again on this connection.
    given_up: set[str] = field(default_factory=set)
    # What the screen has shown; None: nothing yet.
    shown: AlarmRecord | None = None
    # A replayed document of an alarm that memory does not hold: the store is asked before it
    # rings, because what is replayed may be over for years.
    unsure: bool = False


@dataclass
class _Gateway:
    document: MccGateway
    liveness: Liveness = "unknown"
    deadline_us: int = 0


_Effect = Publish | Commit | Drop | Log | Show


class Core:
    """The command centre's decisions. One thread calls it."""

    def __init__(self, memory: Memory, *, console: str, topics: Topics, watching: bool) -> None:
        """Take what the store holds.

        `watching`: somebody looks at this screen. Only then does it beat, because a beat lets
        posts show a resident that the command centre answers.
        """
        self._store_id = memory.store_id
        self._console = console
        self._topics = topics
        self._watching = watching
        self._held: dict[str, _Held] = {}
        self._selftests: dict[str, _Held] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._followed: set[str] = set()
        for alarm in list(memory.alarms)[-ALARMS_MAX:]:
            shown = alarm if alarm.is_answered else None
            self._hold(_Held(alarm, fresh=False, shown=shown))
        self._posts = {post.post: post for post in memory.posts}
        # Posts' documents heard on this connection: only these speak about test windows.
        self._heard_posts: set[str] = set()
        self._gateways = {one.gateway: _Gateway(one) for one in memory.gateways}
        self._operator: dict[str, _Attempt] = {}
        self._loaded_commands = memory.commands
        self._by_id: dict[str, tuple[_Attempt, _Held | None]] = {}
        # The outbox may be read just before a verdict is written to it.
        self._settled: OrderedDict[str, None] = OrderedDict()

        self._up = False
        self._down_reason = "connecting"
        self._refused_reason = ""
        self._said_reason: str | None = None
        self._beat_due_us: int | None = None
        self._deaf_due_us: int | None = None
        self._deaf_pause_s = DEAF_PAUSES_S[0]

        self._writing: Commit | None = None
        self._writing_ids: frozenset[str] = frozenset()
        self._recommit_us: int | None = None
        self._commit_failed = False
        self._dirty_alarms: dict[str, None] = {}
        self._dirty_posts: dict[str, None] = {}
        self._gone_posts: dict[str, None] = {}
        self._dirty_gateways: dict[str, None] = {}
        self._dirty_verdicts: dict[str, Verdict] = {}
        self._dirty_selftests: dict[str, None] = {}

        self._wake_us: int | None = None

    # --- the core's two doors -------------------------------------------------------------

    def begin(self, now: Now) -> list[_Effect]:
        """What the screen shows first, and the commands that were under way. Call it once."""
        effects: list[_Effect] = []
        for held in list(self._held.values()):
            if held.alarm.is_open or self._late_repeats(held):
                self._show(held, effects)
        self._take_commands(self._loaded_commands, now, effects)
        self._loaded_commands = ()
        self._finish(effects)
        return effects

    def handle(self, event: object, now: Now) -> list[_Effect]:
        """Take one event at one moment; nothing it holds can make this raise."""
        effects: list[_Effect] = []
        match event:
            case Heard():
                self._on_heard(event, now, effects)
            case DocumentCleared():
                held = self._held.get(event.alarm_id)
                if held is not None and event.district in (None, held.alarm.gateway):
                    self._forget_document(held)
                self._forget_selftest(event.alarm_id)
            case PostCleared(post, district):
                known = self._posts.get(post)
                if district is None or (known is not None and known.gateway == district):
                    self._on_post_cleared(post, effects)
            case Committed():
                self._on_committed(event, now, effects)
            case CommitFailed():
                self._on_commit_failed(event, now, effects)
            case NewCommands():
                self._take_commands(event.commands, now, effects)
            case LinkUp():
                self._on_link_up(now, effects)
            case LinkDown():
                self._on_link_down(event.reason, effects)
            case SendingRefused():
                self._refused_reason = f"the broker refuses this console: {event.reason}"
                effects.append(
                    Log("publish_refused", "error", {"topic": event.topic, "why": event.reason})
                )
            case Tick() | Stop():
                pass
            case _:
                effects.append(Log("event_unknown", "error", {"event": type(event).__name__}))
        if self._wake_us is not None and now.uptime_us >= self._wake_us:
            self._on_time(now, effects)
        self._finish(effects)
        return effects

    def wake_at_us(self) -> int | None:
        """When to call `handle(Tick())` at the latest (uptime in microseconds); None: never."""
        return self._wake_us

    # --- what a person asks -----------------------------------------------------------------

    @property
    def link_up(self) -> bool:
        """Whether the own link is up."""
        return self._up

    def reason(self) -> str:
        """Why nothing gets through just now, in words for an operator; empty when it does."""
        if not self._up:
            return f"not connected to the broker: {self._down_reason}"
        if self._refused_reason:
            return self._refused_reason
        if self._commit_failed:
            return "the store cannot be written"
        if not any(map(_speaks, self._gateways.values())):
            return "no gateway is answering"
        return ""

    def alarm(self, alarm_id: str) -> AlarmRecord | None:
        """The alarm as it is held in memory."""
        held = self._held.get(alarm_id)
        return held.alarm if held else None

    def alarms(self) -> Iterable[AlarmRecord]:
        """All that memory holds."""
        return (held.alarm for held in self._held.values())

    def census(self) -> Census:
        """How many there are of everything."""
        return Census(
            alarms=Counter(f"{one.kind}/{one.state}" for one in self.alarms()),
            posts=Counter(post.connection for post in self._posts.values()),
            gateways=Counter(one.liveness for one in self._gateways.values()),
            sending=len(self._operator),
        )

    def sending(self, alarm_id: str) -> tuple[str, ...]:
        """The operators' actions on this alarm that no document shows yet."""
        return tuple(
            attempt.command.action
            for attempt in self._operator.values()
            if attempt.command.alarm_id == alarm_id
        )

    # --- documents --------------------------------------------------------------------------

    def _on_heard(self, event: Heard, now: Now, effects: list[_Effect]) -> None:
        message = event.message
        district = event.address.district
        if district is not None and self._is_of_another(message, district, effects):
            return
        if isinstance(message, MccAlarm):
            if message.kind == "selftest":
                self._on_selftest(message, now, effects)
            else:
                self._forget_selftest(message.alarm_id)
                self._on_alarm(message, event.retained, now, effects)
            self._heard_from(message.gateway, event.retained, now, effects)
        elif isinstance(message, MccPost):
            self._heard_from(message.gateway, event.retained, now, effects)
            self._on_post(message, now, effects)
        elif isinstance(message, MccGateway):
            self._on_gateway(message, event.retained, now, effects)
        elif isinstance(message, CommandAnswer):
            self._on_refusal(message, now, effects)
        else:
            effects.append(Log("message_unexpected", "warning", {"what": event.address.what}))

    def _is_of_another(self, message: object, district: str, effects: list[_Effect]) -> bool:
        """A post, and what it calls, belongs to the gateway that first told of it, until that one
        retires it: no district speaks for another. What is refused is logged."""
        owner: str | None = None
        if isinstance(message, MccAlarm | MccPost):
            post = self._posts.get(message.post)
            owner = None if post is None else post.gateway
        if isinstance(message, MccAlarm) and message.alarm_id in self._held:
            owner = self._held[message.alarm_id].alarm.gateway
        if owner in (None, district):
            return False
        assert isinstance(message, MccAlarm | MccPost)
        fields = {"post": message.post, "gateway": district, "owner": owner}
        effects.append(Log("speaks_for_another", "error", fields))
        return True

    def _topic_of(self, command: Command) -> str | None:
        """Where a command goes: to its gateway, where there are many; None: not known which."""
        if self._topics.district is None:
            return self._topics.mcc("commands", self._console)
        alarm_id = command.alarm_id or ""
        held = self._held.get(alarm_id) or self._selftests.get(alarm_id)
        post = self._posts.get(command.post or "")
        gateway = held.alarm.gateway if held else post.gateway if post else None
        return gateway and self._topics.mcc("commands", self._console, gateway)

    def _on_alarm(
        self, document: MccAlarm, retained: bool, now: Now, effects: list[_Effect]
    ) -> None:
        heard = record_of(document)
        held = self._held.get(document.alarm_id)
        if held is None:
            held = _Held(heard, fresh=True, unsure=retained and not self._commit_failed)
            if not self._make_room():
                # Not receipted, so the gateway goes on offering it.
                effects.append(_refused("alarms_full", document.alarm_id, ALARMS_MAX))
                return
            self._hold(held)
            changed = True
        elif held.alarm.post != document.post:
            effects.append(
                Log(
                    "alarm_of_two_posts",
                    "error",
                    {"alarm_id": document.alarm_id, "posts": f"{held.alarm.post} {document.post}"},
                )
            )
            return
        else:
            changed = self._merge(held, heard, reopen=not retained)
        held.document = document
        if changed:
            self._dirty_alarms[document.alarm_id] = None
            effects.append(_line("alarm_received", document.alarm_id, state=document.state))
        self._judge_by_alarm(document, effects, live=not retained)
        if changed and not held.unsure:
            self._show(held, effects)
        elif self._is_committed(document.alarm_id):
            self._receipt_and_repair(held, now, effects)

    def _merge(self, held: _Held, heard: AlarmRecord, *, reopen: bool) -> bool:
        before = held.alarm
        merged = merge(before, heard)
        if before.closed_here is not None and not reopen:
            merged = closed_here(merged, before.closed_here)
        held.alarm = merged
        self._file(held)
        return merged != before

    def _on_post(self, document: MccPost, now: Now, effects: list[_Effect]) -> None:
        before = self._posts.get(document.post)
        if before is None and len(self._posts) >= POSTS_MAX:
            effects.append(_refused("posts_full", document.post, POSTS_MAX))
            return
        self._posts[document.post] = document
        self._gone_posts.pop(document.post, None)
        self._heard_posts.add(document.post)
        if before != document:
            self._dirty_posts[document.post] = None
            if before is None or _face(before) != _face(document):
                effects.append(Show(PostShown(document)))
        for attempt in list(self._operator.values()):
            if attempt.command.post == document.post:
                verdict = judge_on_post(attempt.command, document) or self._window_closed(attempt)
                if verdict is not None:
                    self._settle(attempt, verdict, effects)

    def _on_post_cleared(self, post: str, effects: list[_Effect]) -> None:
        if self._posts.pop(post, None) is None:
            return
        self._heard_posts.discard(post)
        self._dirty_posts.pop(post, None)
        self._gone_posts[post] = None
        effects.append(Log("post_retired", "info", {"post": post}))

    def _window_closed(self, attempt: _Attempt) -> Verdict | None:
        """Whether a `close_test` is done: it was sent, and no window is shown (any more)."""
        post = attempt.command.post
        if attempt.command.action != "close_test" or not attempt.sent:
            return None
        if post is None or post not in self._heard_posts or self._posts[post].test_window:
            return None
        opening = any(
            other.command.action == "open_test" and other.command.post == post
            for other in self._operator.values()
        )
        return None if opening else DONE

    def _on_gateway(
        self, document: MccGateway, retained: bool, now: Now, effects: list[_Effect]
    ) -> None:
        known = self._gateways.get(document.gateway)
        if known is None:
            if len(self._gateways) >= GATEWAYS_MAX:
                effects.append(_refused("gateways_full", document.gateway, GATEWAYS_MAX))
                return
            known = self._gateways[document.gateway] = _Gateway(document)
            self._dirty_gateways[document.gateway] = None
            before: tuple[object, ...] = ()
        else:
            before = (known.document.faults, known.liveness)
            if _lasting(known.document) != _lasting(document):
                self._dirty_gateways[document.gateway] = None
        known.document = document
        if not retained:
            self._is_not_deaf(now)
            known.liveness = "online" if document.online else "offline"
            known.deadline_us = now.uptime_us + GATEWAY_SILENT_S * 1_000_000
            if document.online:
                self._wake_by(known.deadline_us)
                if before[-1:] != ("online",):
                    self._greet(now, effects)
        if before != (document.faults, known.liveness):
            self._show_gateway(known, effects)

    def _heard_from(self, gateway: str, retained: bool, now: Now, effects: list[_Effect]) -> None:
        """A live document is as good as a beat."""
        known = self._gateways.get(gateway)
        if known is None or retained:
            return
        self._is_not_deaf(now)
        known.deadline_us = now.uptime_us + GATEWAY_SILENT_S * 1_000_000
        self._wake_by(known.deadline_us)
        if known.liveness != "online":
            known.liveness = "online"
            self._greet(now, effects)
            self._show_gateway(known, effects)

    def _greet(self, now: Now, effects: list[_Effect]) -> None:
        """A gateway that has just come does not know yet that we are there, nor what we want."""
        if self._watching and self._up:
            self._beat(now, effects)
        for attempt in self._operator.values():
            if attempt.pause_s > attempt.pauses_s[0]:  # the others are due within a second
                attempt.pause_s = 0
                self._send(attempt, now, effects)

    # --- self-tests ---------------------------------------------------------------------------

    def _on_selftest(self, document: MccAlarm, now: Now, effects: list[_Effect]) -> None:
        """Receipt it; once the gateway shows that it has our receipt, answer it.

        So only the console whose receipts count answers. The answer is held and committed as any
        other, and sent as one that the gateway lacks (`repairs`) until its document shows it.
        """
        heard = record_of(document)
        held = self._selftests.get(document.alarm_id)
        if held is None:
            if document.alarm_id in self._held or len(self._selftests) >= SELFTESTS_MAX:
                effects.append(_refused("selftests_full", document.alarm_id, SELFTESTS_MAX))
                return
            held = self._selftests[document.alarm_id] = _Held(heard, fresh=False)
            self._dirty_selftests[document.alarm_id] = None
        before = held.alarm
        held.document = document
        held.alarm = merge(before, heard)
        shown = document.receipted
        if shown is not None and shown.store_id == self._store_id and held.alarm.is_open:
            held.alarm = answered_test(held.alarm, timestamp(now.wall_ms))
            effects.append(Log("selftest_answered", "info", {"alarm": document.alarm_id}))
        if held.alarm != before:
            self._dirty_selftests[document.alarm_id] = None
        elif self._is_committed(document.alarm_id):
            self._receipt_and_repair(held, now, effects)

    def _forget_selftest(self, alarm_id: str) -> None:
        held = self._selftests.pop(alarm_id, None)
        if held is not None:
            self._dirty_selftests.pop(alarm_id, None)
            self._forget_document(held)

    # --- commands and what ends them ----------------------------------------------------------

    def _take_commands(self, commands: Iterable[Command], now: Now, effects: list[_Effect]) -> None:
        for given in commands:
            if given.command_id in self._by_id or given.command_id in self._settled:
                continue
            if len(self._operator) >= COMMANDS_MAX:
                effects.append(_refused("commands_full", given.command_id, COMMANDS_MAX))
                return
            held = self._held.get(given.alarm_id or "")
            command = given if held is None else _as_answered(given, held.alarm)
            attempt = _Attempt(command, "operator", COMMAND_PAUSES_S)
            self._operator[command.command_id] = attempt
            self._by_id[command.command_id] = (attempt, None)
            effects.append(Show(CommandShown(command, None)))
            if held is not None:
                verdict = judge_on_alarm(command, held.alarm)
                if held.alarm.closed_here is not None:
                    verdict = Verdict(refused="unknown", why="no gateway knows this alarm any more")
                if verdict is not None:
                    self._settle(attempt, verdict, effects)
                    continue
                self._show(held, effects)
            self._send(attempt, now, effects)

    def _judge_by_alarm(self, document: MccAlarm, effects: list[_Effect], *, live: bool) -> None:
        for attempt in list(self._operator.values()):
            if attempt.command.alarm_id == document.alarm_id:
                attempt.overtaken |= live
                verdict = judge_on_alarm(attempt.command, document)
                if verdict is not None:
                    self._settle(attempt, verdict, effects)

    def _on_refusal(self, answer: CommandAnswer, now: Now, effects: list[_Effect]) -> None:
        if answer.console != self._console or answer.command_id not in self._by_id:
            return
        attempt, held = self._by_id[answer.command_id]
        effects.append(
            Log(
                "command_refused",
                "warning",
                {
                    "action": attempt.command.action,
                    "refused": answer.refused,
                    "why": answer.why,
                    "alarm_id": attempt.command.alarm_id,
                    "post": attempt.command.post,
                },
            )
        )
        if answer.refused == "busy":
            return  # the gateway has no room for it now: it goes on being sent
        if attempt.origin == "operator":
            if answer.refused == "unknown" and not self._believe(answer, attempt, now, effects):
                return
            verdict = Verdict(
                refused=answer.refused,
                why=answer.why,
                first_operator=answer.first_operator,
                first_at=answer.first_at,
            )
            self._settle(attempt, verdict, effects)
        elif held is not None:
            # A receipt is tried again when a document with another content comes.
            held.given_up.add(answer.command_id)
            if attempt.origin == "repair":
                self._drop(held.repairs.pop(answer.command_id))

    def _believe(
        self, answer: CommandAnswer, attempt: _Attempt, now: Now, effects: list[_Effect]
    ) -> bool:
        """Whether `unknown` is the last word; if so, an alarm held open is closed here.

        All gateways hear this console's commands, and one that never had the alarm says
        `unknown` too. Of the alarm's own gateway it counts, unless the alarm has been heard of
        after the question: what the broker retains may be older than the gateway's journal. Of
        one that does not say who it is it counts while no document of the alarm has been seen on
        this connection. Either way only while the alarm's own gateway lives.
        """
        held = self._held.get(attempt.command.alarm_id or "")
        if held is None:
            alone = sum(map(_speaks, self._gateways.values())) <= 1
            return alone or attempt.command.post not in self._posts
        if held.alarm.closed_here is not None:
            return True  # by another answer, and no document has opened it again
        gateway = self._gateways.get(held.alarm.gateway)
        alive = gateway is not None and gateway.liveness == "online"
        if answer.gateway is None:
            newer = held.document is not None
        else:
            newer = attempt.overtaken or answer.gateway != held.alarm.gateway
        if newer or not alive:
            return False
        if held.alarm.is_open:
            held.alarm = closed_here(held.alarm, timestamp(now.wall_ms))
            self._file(held)
            self._dirty_alarms[held.alarm.alarm_id] = None
            self._show(held, effects)
            effects.append(Log("alarm_closed_here", "warning", {"alarm_id": held.alarm.alarm_id}))
        return True

    def _settle(self, attempt: _Attempt, verdict: Verdict, effects: list[_Effect]) -> None:
        del self._operator[attempt.command.command_id]
        self._drop(attempt)
        self._refused_reason = ""  # whatever the broker refused, this has got through
        self._dirty_verdicts[attempt.command.command_id] = verdict
        self._settled[attempt.command.command_id] = None
        if len(self._settled) > 2 * COMMANDS_MAX:
            self._settled.popitem(last=False)
        effects.append(Show(CommandShown(attempt.command, verdict)))
        command = attempt.command
        word = "command_done" if verdict.refused is None else "command_given_up"
        effects.append(_line(word, command.alarm_id, action=command.action, post=command.post))

    def _drop(self, attempt: _Attempt) -> None:
        self._by_id.pop(attempt.command.command_id, None)

    # --- receipts and repairs: derived from documents, so they need no outbox -----------------

    def _receipt_and_repair(self, held: _Held, now: Now, effects: list[_Effect]) -> None:
        """Answer the document at hand. Only for an alarm that is committed as it is held."""
        document = held.document
        if document is None:
            return
        shown = document.receipted
        receipted = (
            shown is not None
            and shown.store_id == self._store_id
            and shown.content == document.content
        )
        waiting = held.receipt.command.content if held.receipt else None
        if held.receipt is not None and (receipted or waiting != document.content):
            held.given_up.discard(held.receipt.command.command_id)
            self._drop(held.receipt)
            held.receipt = None
        if not receipted and held.receipt is None:
            command = Command(
                command_id=new_id(),
                action="receive",
                store_id=self._store_id,
                at=timestamp(now.wall_ms),
                alarm_id=held.alarm.alarm_id,
                content=document.content,
                repeats=held.alarm.repeats,
                kind=held.alarm.kind,
            )
            held.receipt = _Attempt(command, "receipt", RECEIPT_PAUSES_S)
            self._by_id[command.command_id] = (held.receipt, held)
            effects.append(_line("receipt_sent", held.alarm.alarm_id, content=document.content))
            self._send(held.receipt, now, effects)
        self._repair(held, document, now, effects)

    def _repair(self, held: _Held, document: MccAlarm, now: Now, effects: list[_Effect]) -> None:
        wanted = {
            command.command_id: command
            for command in repairs(held.alarm, document, self._store_id, self._console)
            if command.command_id not in self._operator
        }
        for command_id in [known for known in held.repairs if known not in wanted]:
            self._drop(held.repairs.pop(command_id))
        for command_id, command in wanted.items():
            if command_id in held.repairs or command_id in held.given_up:
                continue
            attempt = _Attempt(command, "repair", COMMAND_PAUSES_S)
            held.repairs[command_id] = attempt
            self._by_id[command_id] = (attempt, held)
            if held.alarm.kind != "selftest":
                done = {"alarm_id": command.alarm_id, "by": command.action}
                effects.append(Log("alarm_repaired", "warning", done))
            self._send(attempt, now, effects)

    def _forget_document(self, held: _Held) -> None:
        held.document = None
        held.given_up.clear()
        if held.receipt is not None:
            self._drop(held.receipt)
            held.receipt = None
        for attempt in held.repairs.values():
            self._drop(attempt)
        held.repairs.clear()

    # --- sending ------------------------------------------------------------------------------

    def _send(self, attempt: _Attempt, now: Now, effects: list[_Effect]) -> None:
        """One attempt, expiring when the next one is due; nothing while the link is down."""
        if not self._up:
            return
        first_s, longest_s = attempt.pauses_s
        attempt.pause_s = min(attempt.pause_s * 2, longest_s) if attempt.pause_s else first_s
        attempt.due_us = now.uptime_us + attempt.pause_s * 1_000_000
        attempt.sent += 1
        # The store may have become another one since the command was written down.
        command = msgspec.structs.replace(attempt.command, store_id=self._store_id)
        topic = self._topic_of(command)
        if topic is not None:
            effects.append(Publish(LINK, topic, command, expiry_s=attempt.pause_s))
        if attempt.sent == 1 and attempt.origin == "operator":
            effects.append(
                _line(
                    "command_sent",
                    command.alarm_id,
                    action=command.action,
                    by=command.operator,
                    post=command.post,
                )
            )
        self._wake_by(attempt.due_us)

    def _beat(self, now: Now, effects: list[_Effect]) -> None:
        beat = Command(
            command_id=new_id(),
            action="beat",
            store_id=self._store_id,
            at=timestamp(now.wall_ms),
        )
        gateways: Iterable[str | None] = [None]
        if self._topics.district is not None:
            gateways = [name for name, one in self._gateways.items() if not one.document.pair_of]
        for gateway in gateways:
            topic = self._topics.mcc("commands", self._console, gateway)
            effects.append(Publish(LINK, topic, beat, expiry_s=BEAT_S))
        self._beat_due_us = now.uptime_us + BEAT_S * 1_000_000
        self._wake_by(self._beat_due_us)

    def _on_link_up(self, now: Now, effects: list[_Effect]) -> None:
        self._up = True
        self._refused_reason = ""
        self._deaf_due_us = now.uptime_us + self._deaf_pause_s * 1_000_000
        self._wake_by(self._deaf_due_us)
        effects.append(Show(LinkShown(True)))
        if self._watching:
            self._beat(now, effects)
        for attempt in self._operator.values():
            attempt.pause_s = 0
            self._send(attempt, now, effects)

    def _on_link_down(self, reason: str, effects: list[_Effect]) -> None:
        if self._up or reason != self._down_reason:
            effects.append(Show(LinkShown(False, reason)))
        self._up = False
        self._down_reason = reason
        self._beat_due_us = self._deaf_due_us = None
        # What the broker keeps comes again on the next connection; until then it says nothing.
        for held in (*self._held.values(), *self._selftests.values()):
            if held.document is not None:
                self._forget_document(held)
        self._heard_posts.clear()
        for known in self._gateways.values():
            if known.liveness != "unknown":
                known.liveness = "unknown"
                self._show_gateway(known, effects)

    # --- time ---------------------------------------------------------------------------------

    def _wake_by(self, due_us: int) -> None:
        self._wake_us = due_us if self._wake_us is None else min(self._wake_us, due_us)

    def _on_time(self, now: Now, effects: list[_Effect]) -> None:
        """Do all that is due and find the next time; the only place that looks at everything."""
        self._wake_us = None
        for attempt, held in list(self._by_id.values()):
            given_up = held is not None and attempt.command.command_id in held.given_up
            if not self._up or given_up:
                continue
            if now.uptime_us < attempt.due_us:
                self._wake_by(attempt.due_us)
                continue
            verdict = self._window_closed(attempt) if not self.reason() else None
            if verdict is not None:
                self._settle(attempt, verdict, effects)
            else:
                self._send(attempt, now, effects)
        if self._beat_due_us is not None:
            if now.uptime_us >= self._beat_due_us:
                self._beat(now, effects)
            else:
                self._wake_by(self._beat_due_us)
        if self._deaf_due_us is not None:
            if now.uptime_us >= self._deaf_due_us:
                self._perhaps_deaf(now, effects)
            else:
                self._wake_by(self._deaf_due_us)
        for known in self._gateways.values():
            if known.liveness != "online":
                continue
            if now.uptime_us >= known.deadline_us:
                known.liveness = "silent"
                self._show_gateway(known, effects)
            else:
                self._wake_by(known.deadline_us)
        if self._recommit_us is not None:
            if now.uptime_us >= self._recommit_us:
                self._recommit_us = None
            else:
                self._wake_by(self._recommit_us)

    def _is_not_deaf(self, now: Now) -> None:
        self._deaf_pause_s = DEAF_PAUSES_S[0]
        self._deaf_due_us = now.uptime_us + self._deaf_pause_s * 1_000_000

    def _perhaps_deaf(self, now: Now, effects: list[_Effect]) -> None:
        """No gateway is heard: are they gone, or has the broker forgotten our subscriptions?"""
        if self._gateways:
            self._deaf_pause_s = min(2 * self._deaf_pause_s, DEAF_PAUSES_S[1])
            effects.append(Drop(LINK, "no gateway is heard"))
            effects.append(Log("link_deaf", "warning", {}))
        self._deaf_due_us = now.uptime_us + self._deaf_pause_s * 1_000_000
        self._wake_by(self._deaf_due_us)

    # --- the disk -----------------------------------------------------------------------------

    def _finish(self, effects: list[_Effect]) -> None:
        """Ask for a commit of everything that is new, unless one is under way."""
        reason = self.reason()
        if self._writing is not None or self._recommit_us is not None:
            return
        dirty = self._dirty_alarms or self._dirty_posts or self._dirty_gateways
        dirty = dirty or self._gone_posts or self._dirty_selftests
        if not dirty and not self._dirty_verdicts and reason == self._said_reason:
            return
        tests = [self._selftests[one].alarm for one in self._dirty_selftests]
        tests.sort(key=lambda test: test.raised.at)  # one of each post is kept: the latest
        self._writing = Commit(
            alarms=tuple(self._held[one].alarm for one in self._dirty_alarms),
            fresh=frozenset(one for one in self._dirty_alarms if self._held[one].fresh),
            posts=tuple(self._posts[one] for one in self._dirty_posts),
            gone_posts=tuple(self._gone_posts),
            gateways=tuple(self._gateways[one].document for one in self._dirty_gateways),
            verdicts=tuple(self._dirty_verdicts.items()),
            reason=None if reason == self._said_reason else reason,
            selftests=tuple(tests),
        )
        self._writing_ids = frozenset((*self._dirty_alarms, *self._dirty_selftests))
        self._dirty_selftests = {}
        self._said_reason = reason
        self._dirty_alarms = {}
        self._dirty_posts = {}
        self._gone_posts = {}
        self._dirty_gateways = {}
        self._dirty_verdicts = {}
        effects.append(self._writing)

    def _on_committed(self, event: Committed, now: Now, effects: list[_Effect]) -> None:
        written = self._written()
        if written is None:
            return
        self._commit_failed = False
        existing = {alarm.alarm_id: alarm for alarm in event.existing}
        for alarm in written.alarms:
            held = self._held[alarm.alarm_id]
            held.fresh = False
            if alarm.alarm_id in existing:
                heard, held.alarm = held.alarm, existing[alarm.alarm_id]
                if self._merge(held, heard, reopen=not held.unsure):
                    self._dirty_alarms[alarm.alarm_id] = None
            else:
                effects.append(_line("alarm_committed", alarm.alarm_id, state=alarm.state))
            if held.unsure or alarm.alarm_id in existing:
                self._show(held, effects)
            if alarm.alarm_id not in self._dirty_alarms:
                self._receipt_and_repair(held, now, effects)
        for alarm in written.selftests:
            test = self._selftests.get(alarm.alarm_id)
            if test is not None and alarm.alarm_id not in self._dirty_selftests:
                self._receipt_and_repair(test, now, effects)

    def _on_commit_failed(self, event: CommitFailed, now: Now, effects: list[_Effect]) -> None:
        written = self._written()
        if written is None:
            return
        self._commit_failed = True
        for alarm in written.alarms:
            if self._held[alarm.alarm_id].unsure:
                self._show(self._held[alarm.alarm_id], effects)
        effects.append(Log("commit_failed", "error", {"why": event.reason}))
        self._dirty_alarms = {a.alarm_id: None for a in written.alarms} | self._dirty_alarms
        known = (p.post for p in written.posts if p.post in self._posts)
        self._dirty_posts = dict.fromkeys(known) | self._dirty_posts
        gone = (post for post in written.gone_posts if post not in self._posts)
        self._gone_posts = dict.fromkeys(gone) | self._gone_posts
        self._dirty_gateways = {g.gateway: None for g in written.gateways} | self._dirty_gateways
        self._dirty_verdicts = dict(written.verdicts) | self._dirty_verdicts
        tests = (one.alarm_id for one in written.selftests if one.alarm_id in self._selftests)
        self._dirty_selftests = dict.fromkeys(tests) | self._dirty_selftests
        self._said_reason = None
        self._recommit_us = now.uptime_us + RECOMMIT_S * 1_000_000
        self._wake_by(self._recommit_us)

    def _written(self) -> Commit | None:
        written, self._writing, self._writing_ids = self._writing, None, frozenset()
        return written

    def _is_committed(self, alarm_id: str) -> bool:
        dirty = alarm_id in self._dirty_alarms or alarm_id in self._dirty_selftests
        return not dirty and alarm_id not in self._writing_ids

    # --- memory ---------------------------------------------------------------------------------

    def _hold(self, held: _Held) -> None:
        self._held[held.alarm.alarm_id] = held
        self._file(held)

    def _file(self, held: _Held) -> None:
        """Keep the two indexes: which alarms may leave memory, and which are followed."""
        alarm = held.alarm
        if alarm.follows is not None:
            self._followed.add(alarm.follows)
        if alarm.is_open:
            self._closed.pop(alarm.alarm_id, None)
        else:
            self._closed[alarm.alarm_id] = None

    def _make_room(self) -> bool:
        """Whether one more alarm fits, if need be after the oldest closed one has left."""
        if len(self._held) < ALARMS_MAX:
            return True
        for alarm_id in self._closed:
            held = self._held[alarm_id]
            if not self._is_committed(alarm_id):
                continue
            self._forget_document(held)
            del self._held[alarm_id]
            del self._closed[alarm_id]
            self._followed.discard(held.alarm.follows or "")
            return True
        return False

    # --- the screen -----------------------------------------------------------------------------

    def _late_repeats(self, held: _Held) -> int:
        return unanswered_repeats(held.alarm, held.alarm.alarm_id in self._followed)

    def _show(self, held: _Held, effects: list[_Effect]) -> None:
        alarm = held.alarm
        late = self._late_repeats(held)
        before, held.shown, held.unsure = held.shown, alarm, False
        rings = calls_again(before, alarm, alarm.alarm_id in self._followed)
        effects.append(Show(AlarmShown(alarm, rings, self.sending(alarm.alarm_id), late)))

    def _show_gateway(self, known: _Gateway, effects: list[_Effect]) -> None:
        shown = GatewayShown(known.document.gateway, known.liveness, known.document.faults)
        effects.append(Show(shown))


def _face(post: MccPost) -> tuple[object, ...]:
    return (post.connection, post.faults, post.test_window, post.maintenance)


def _lasting(gateway: MccGateway) -> tuple[object, ...]:
    """What of a gateway's beat is worth a commit: not its time and not its queue."""
    said = (gateway.journal_id, gateway.faults, gateway.faults_count)
    return (*said, gateway.pair_of, gateway.standing_by)


def _speaks(gateway: _Gateway) -> bool:
    """Whether it answers; a machine of a pair is no gateway by itself."""
    return gateway.liveness == "online" and gateway.document.pair_of is None


def _line(event: str, alarm_id: str | None, **fields: object) -> Log:
    """A line of an alarm's life; what is not there is left out."""
    given = {"alarm_id": alarm_id, **fields}
    return Log(event, "info", {name: one for name, one in given.items() if one is not None})


def _as_answered(command: Command, alarm: AlarmRecord) -> Command:
    """Answered is what the first answer saw, and a later command says so.

    A journal that has lost the first one would take the later one for it, and count calls twice
    that go on as another alarm.
    """
    answered = alarm.answered_repeats
    if command.repeats is None or answered is None or command.repeats <= answered:
        return command
    return msgspec.structs.replace(command, repeats=answered)


def _refused(event: str, name: str, bound: int) -> Log:
    return Log(event, "error", {"refused": name, "bound": bound})
