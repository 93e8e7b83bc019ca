"""The messages of the contract as frozen structs, with units and bounds.

These are the only definitions: validation, JSON Schemas and the AsyncAPI page are made from
them. Unknown fields are ignored, so that a newer sender can be understood; a wrong type or
range is refused with the path to the field (`protocol.codec`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.states import State
from protocol.values import (
    FAULT_COUNT_MAX,
    FAULTS_MAX,
    REPEATS_MAX,
    AccuracyM,
    AgeS,
    ClockState,
    ConsoleId,
    Der,
    Digest,
    FaultName,
    GatewayId,
    Kind,
    Label,
    Latitude,
    Longitude,
    Note,
    OffsetMs,
    Outcome,
    PostId,
    Repeats,
    Sequence,
    Timestamp,
    UptimeMs,
    Uuid,
    wall_ms,
)

PRESSES_MAX = 16
GROUPS_MAX = 8
# Alarms in one heartbeat or state document: the 16 unresolved that a post holds at most, and 4 that
# are over and not yet confirmed. More would not fit the 4 KiB of a heartbeat.
HELD_MAX = 20
# Two of these and 10 s are under the 180 s of EN 50131 grade 3, the longest window of a gateway.
HEARTBEAT_S_MAX = 80

# How far the button's circuit was exercised by a self-test. `looped`: a pulse of the loop-back was
# seen on the button's line; `levels`: both contacts stand as at rest; `unproven`: this wiring has
# nothing that could be exercised; `dead`: no press would be seen.
Circuit = Literal["looped", "levels", "unproven", "dead"]
# The hop at which a self-test ended; the first one that is not in order.
SelftestFailure = Literal[
    "circuit_dead",  # the post: its button
    "disk_failing",  # the post: its outbox
    "missed",  # the post is heard, and makes no self-test
    "gateway_deaf",  # the post is not heard by the gateway, or its alarms are not
    "mcc_deaf",  # the command centre gives no receipt
    "responder_dead",  # it gives a receipt, and no answer
    "unconfirmed",  # the post does not say that it has read the answer
]
LampMeaning = Literal["armed", "calling", "answered", "out_of_order"]

Presses = Annotated[tuple[OffsetMs, ...], Meta(max_length=PRESSES_MAX)]
RepeatUptimes = Annotated[tuple[UptimeMs | None, ...], Meta(max_length=REPEATS_MAX)]
Faults = Annotated[tuple[FaultName, ...], Meta(max_length=FAULTS_MAX)]
# Of each fault in `faults`, in their order: since when it stands, how often it has come since.
FaultsSince = Annotated[tuple[Timestamp, ...], Meta(max_length=FAULTS_MAX)]
FaultsCount = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=FAULT_COUNT_MAX)], ...], Meta(max_length=FAULTS_MAX)
]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a message. Its timestamps name days that exist."""

    def __post_init__(self) -> None:
        """Refuse a time such as 31 February, which the pattern lets through."""
        for name in _times_of(type(self)):
            said = getattr(self, name)
            for text in said if isinstance(said, tuple) else (said,):
                if text is not None:
                    _refuse_no_day(name, text)


def _refuse_no_day(name: str, text: str) -> None:
    try:
        wall_ms(text)
    except ValueError as error:
        raise ValueError(f"no such time in the field '{name}': {error}") from None


_TIMES: dict[type[Part], tuple[str, ...]] = {}


def _times_of(kind: type[Part]) -> tuple[str, ...]:
    if kind not in _TIMES:
        _TIMES[kind] = tuple(
            name
            for name, annotation in kind.__annotations__.items()
            if "Timestamp" in str(annotation) or annotation == "FaultsSince"
        )
    return _TIMES[kind]


class Message(Part, frozen=True, kw_only=True, tag_field="v", tag=1):
    """A whole message of version 1 of the contract."""


class Location(Part, frozen=True):
    """Where, and how that is known.

    `gps`: a fix, `age_s` old. `last_known`: the last fix, the receiver has none now.
    `surveyed`: measured at installation; age and accuracy do not apply.
    """

    lat: Latitude
    lon: Longitude
    source: Literal["gps", "last_known", "surveyed"]
    age_s: AgeS | None = None
    accuracy_m: AccuracyM | None = None


class Alarm(Message, frozen=True):
    """posts/{post}/alarms: the whole alarm, at each attempt.

    `boot_id` is the boot in which it was raised and to which all its uptimes belong.
    `sent_uptime_ms` is there only while that boot lasts: with it the gateway computes on its
    own clock when the alarm was raised. A repeat that was pressed in a later boot is `null`.
    `presses_ms`: the presses before the third, relative to it (so negative or 0).
    `circuit` is a self-test's: what exercising the button has shown.
    """

    post: PostId
    alarm_id: Uuid
    kind: Literal["panic", "selftest"]
    raised_at: Timestamp
    clock: ClockState
    boot_id: Uuid
    raised_uptime_ms: UptimeMs
    presses_ms: Presses
    location: Location
    sent_uptime_ms: UptimeMs | None = None
    repeat_uptimes_ms: RepeatUptimes = ()
    follows: Uuid | None = None
    cancel_requested_at: Timestamp | None = None
    circuit: Circuit | None = None


class Presence(Message, frozen=True):
    """posts/{post}/presence, retained, and the will: who is connected as this post.

    That somebody is there the heartbeat says, which follows at once. `heartbeat_s`: the pause from
    one to the next; a will does not say it.
    """

    post: PostId
    online: bool
    boot_id: Uuid
    connection: Uuid
    at: Timestamp
    firmware: Label
    heartbeat_s: Annotated[int, Meta(ge=1, le=HEARTBEAT_S_MAX)] | None = None


class HeldAlarm(Part, frozen=True):
    """One alarm as the post holds it, in its heartbeat."""

    alarm_id: Uuid
    state: State
    repeats: Repeats = 0
    cancel_requested: bool = False
    answered_repeats: Repeats | None = None


class Sounded(Part, frozen=True):
    """The post's buzzer has sounded for this alarm, at this uptime of its present boot."""

    alarm_id: Uuid
    uptime_ms: UptimeMs


class SelftestReport(Part, frozen=True):
    """The post has read the answer to its self-test; times in ms after it was raised.

    `disk_ms`: when it was on the post's disk; None with `on_disk`: before the post's last start.
    `lamp`: what the lamp said then.
    """

    alarm_id: Uuid
    on_disk: bool
    lamp: LampMeaning
    disk_ms: UptimeMs | None = None
    answered_ms: UptimeMs | None = None


class Health(Message, frozen=True):
    """posts/{post}/health: heartbeat `n` of this connection.

    `sounded` is the latest acknowledgement that the post made heard, `selftest` the end of its
    latest self-test; each is said until it is answered.
    """

    post: PostId
    n: Sequence
    boot_id: Uuid
    connection: Uuid
    at: Timestamp
    clock: ClockState
    uptime_ms: UptimeMs
    alarms: Annotated[tuple[HeldAlarm, ...], Meta(max_length=HELD_MAX)] = ()
    faults: Faults = ()
    sounded: Sounded | None = None
    selftest: SelftestReport | None = None
    location: Location | None = None
    temperature_c: Annotated[float, Meta(ge=-80.0, le=200.0)] | None = None
    voltage_v: Annotated[float, Meta(ge=0.0, le=60.0)] | None = None
    disk_free_mb: Annotated[int, Meta(ge=0, le=2**40)] | None = None


class Answer(Message, frozen=True):
    """posts/{post}/answer: the gateway has heard heartbeat `n` of `connection`."""

    post: PostId
    n: Sequence
    connection: Uuid
    mcc_answers: bool
    at: Timestamp


class ListedAlarm(Part, frozen=True):
    """One alarm in a post's state document; being listed is the receipt."""

    alarm_id: Uuid
    kind: Kind
    state: State
    at: Timestamp
    by: Label | None = None
    repeats: Repeats = 0
    cancel_requested_at: Timestamp | None = None
    answered_repeats: Repeats | None = None


class TestWindow(Part, frozen=True):
    """An open test window: presses are practice until it ends."""

    until: Timestamp
    opened_by: Label
    command_id: Uuid


class PostState(Message, frozen=True):
    """posts/{post}/state, retained: state, never a command.

    `selftest_due` stands there from when a self-test is due until it is in the journal: the post
    makes one for each such time.
    """

    post: PostId
    at: Timestamp
    alarms: Annotated[tuple[ListedAlarm, ...], Meta(max_length=HELD_MAX)] = ()
    test_window: TestWindow | None = None
    selftest_due: Timestamp | None = None


class Renewal(Message, frozen=True):
    """posts/{post}/renewal: the post asks for a certificate for a new key of its own.

    `request` is a PKCS #10 certificate request, signed with that key, which never leaves the post.
    The topic says who asks: a post can write to its own only.
    """

    post: PostId
    request: Der


class Certificate(Message, frozen=True):
    """posts/{post}/certificate: the answer to a renewal, for the key of its request."""

    post: PostId
    certificate: Der


class Raised(Part, frozen=True):
    """When an alarm was raised, and how that is known.

    `computed`: from the gateway's own clock and the post's uptimes. `post_clock`: the post's
    synchronised clock. `before`: at some time before `at`; nobody knows better.
    """

    at: Timestamp
    known: Literal["computed", "post_clock", "before"]


class Step(Part, frozen=True):
    """One state reached: when, by whom, by which command."""

    at: Timestamp
    operator: Label | None = None
    console: ConsoleId | None = None
    command_id: Uuid | None = None


class Steps(Part, frozen=True):
    """The states an alarm has reached, each once."""

    received: Step
    delivered: Step | None = None
    acknowledged: Step | None = None
    dispatched: Step | None = None
    resolved: Step | None = None


class Receipted(Part, frozen=True):
    """The content that the MCC with this `store_id` has committed."""

    store_id: Uuid
    content: Digest


class MccAlarm(Message, frozen=True):
    """mcc/alarms/{alarm_id}, retained until 7 days after it is resolved and receipted.

    `content` names everything in it that the MCC has to hold; the MCC's receipt repeats it.
    `sounded_at`: when the post made the answer heard, if it says so.
    """

    post: PostId
    alarm_id: Uuid
    gateway: GatewayId
    journal_id: Uuid
    kind: Kind
    state: State
    raised: Raised
    reached: Steps
    presses_ms: Presses
    location: Location
    content: Digest
    repeats: Repeats = 0
    last_repeat: Raised | None = None
    answered_repeats: Repeats | None = None
    follows: Uuid | None = None
    cancel_requested_at: Timestamp | None = None
    unit: Label | None = None
    outcome: Outcome | None = None
    note: Note | None = None
    sounded_at: Timestamp | None = None
    receipted: Receipted | None = None


class Place(Part, frozen=True):
    """A surveyed position."""

    lat: Latitude
    lon: Longitude


class Maintenance(Part, frozen=True):
    """A planned silence: until then nobody is to be alarmed when the post is not heard."""

    until: Timestamp
    by: Label
    why: Note = ""


class Selftest(Part, frozen=True):
    """The latest self-test of a post, hop by hop; a hop that was not reached has no time.

    `failed` None: it passed. `proven_at`: the last one that passed and whose `circuit` was looped
    or levels. `disk_ms` and `confirmed_ms` are the post's own, in ms after it was raised.
    """

    ended_at: Timestamp
    failed: SelftestFailure | None = None
    proven_at: Timestamp | None = None
    due_at: Timestamp | None = None
    alarm_id: Uuid | None = None
    circuit: Circuit | None = None
    on_disk: bool | None = None
    disk_ms: UptimeMs | None = None
    received_at: Timestamp | None = None
    delivered_at: Timestamp | None = None
    answered_at: Timestamp | None = None
    lamp: LampMeaning | None = None
    confirmed_ms: UptimeMs | None = None


class MccPost(Message, frozen=True):
    """mcc/posts/{post}, retained, published on transitions only.

    `connection` is `unknown` and not `silent` while a post in `maintenance` is not heard; `at` is
    since when it is as it is. `faults_since` and `faults_count` go with `faults`, in its order;
    without them nobody knows. A count above 1: it has come and gone so often, and stands until it
    has stayed away for a minute. `silent_with`: the `since` of the gateway's group of posts that
    have become silent together, of which this is one.
    """

    post: PostId
    gateway: GatewayId
    connection: Literal["online", "silent", "unknown"]
    at: Timestamp
    name: Label | None = None
    place: Place | None = None
    faults: Faults = ()
    faults_since: FaultsSince = ()
    faults_count: FaultsCount = ()
    last_seen: Timestamp | None = None
    firmware: Label | None = None
    test_window: TestWindow | None = None
    maintenance: Maintenance | None = None
    selftest: Selftest | None = None
    silent_with: Timestamp | None = None


class SilentGroup(Part, frozen=True):
    """Posts that have become silent together: one fault, whatever its cause is.

    Each has a document of its own, which names the group by its `since`. `posts`: how many are
    silent still.
    """

    since: Timestamp
    posts: Annotated[int, Meta(ge=1, le=2**31)]


class MccGateway(Message, frozen=True):
    """mcc/gateways/{gateway}, retained, and the will; a beat every 10 s.

    `faults_since` and `faults_count` as in a post's document.

    One of two machines that are one gateway says that it is there under a name of its own, with
    `pair_of`: the gateway that both are. `standing_by`: it is not the one that speaks as that.
    """

    gateway: GatewayId
    online: bool
    at: Timestamp
    journal_id: Uuid | None = None
    journal_depth: Annotated[int, Meta(ge=0, le=2**53)] = 0
    uplink_lag_s: Annotated[int, Meta(ge=0, le=2**53)] = 0
    faults: Faults = ()
    faults_since: FaultsSince = ()
    faults_count: FaultsCount = ()
    silent_groups: Annotated[tuple[SilentGroup, ...], Meta(max_length=GROUPS_MAX)] = ()
    pair_of: GatewayId | None = None
    standing_by: bool = False


Action = Literal[
    "beat", "receive", "acknowledge", "dispatch", "resolve", "panic", "open_test", "close_test"
]
ACTIONS_ON_ALARMS: frozenset[str] = frozenset(
    ("receive", "acknowledge", "dispatch", "resolve", "panic")
)
# What each action cannot do without.
NEEDED: dict[Action, tuple[str, ...]] = {
    "beat": (),
    "receive": ("alarm_id", "content"),
    "acknowledge": ("alarm_id", "operator", "repeats", "kind"),
    "dispatch": ("alarm_id", "operator", "unit"),
    "resolve": ("alarm_id", "operator", "repeats", "kind", "outcome"),
    "panic": ("alarm_id", "operator"),
    "open_test": ("post", "operator", "minutes"),
    "close_test": ("post", "operator"),
}
TEST_WINDOW_MINUTES_MAX = 15


class Command(Message, frozen=True):
    """mcc/commands/{console}: what the MCC wants, repeated under one id until shown."""

    command_id: Uuid
    action: Action
    store_id: Uuid
    at: Timestamp
    alarm_id: Uuid | None = None
    content: Digest | None = None
    repeats: Repeats | None = None
    kind: Kind | None = None
    post: PostId | None = None
    operator: Label | None = None
    unit: Label | None = None
    outcome: Outcome | None = None
    note: Note | None = None
    minutes: Annotated[int, Meta(ge=1, le=TEST_WINDOW_MINUTES_MAX)] | None = None

    def __post_init__(self) -> None:
        """Refuse a command that lacks what its action needs."""
        super().__post_init__()
        for name in NEEDED[self.action]:
            if getattr(self, name) is None:
                raise ValueError(f"action '{self.action}' needs the field '{name}'")


Refusal = Literal[
    "unknown", "already", "kind_changed", "too_old", "not_receiver", "busy", "not_allowed"
]


class CommandAnswer(Message, frozen=True):
    """mcc/answers/{console}: a refusal, why, who was first, and which gateway says so."""

    console: ConsoleId
    command_id: Uuid
    refused: Refusal
    why: Note
    alarm_id: Uuid | None = None
    first_operator: Label | None = None
    first_at: Timestamp | None = None
    gateway: GatewayId | None = None


MESSAGES: dict[str, type[Message]] = {
    "posts/alarms": Alarm,
    "posts/presence": Presence,
    "posts/health": Health,
    "posts/answer": Answer,
    "posts/state": PostState,
    "posts/renewal": Renewal,
    "posts/certificate": Certificate,
    "mcc/alarms": MccAlarm,
    "mcc/posts": MccPost,
    "mcc/gateways": MccGateway,
    "mcc/commands": Command,
    "mcc/answers": CommandAnswer,
}
