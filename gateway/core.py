"""The gateway decides here: events in, effects out, time passed in. No clock, no I/O, no threads.

Commit, then say: an alarm changes in three steps, and the steps stand in this order in the file.

1. `_apply` merges one input (an offer, a command, a heartbeat that confirms) into the record. While
   a change of an alarm is on its way to the journal, further inputs for that alarm wait.
2. `_commit` hands changed records to the journal; `_committed` hears that they are on disk.
3. `_tell` lets the world know: state document, MCC document, acknowledgements, buzzer. Every
   retained document is built from committed records in `_document`, at the moment it is sent.

How one alarm may change is in `record.py`, what is known of a post in `posts.py`, what a daily
self-test says in `selftests.py`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import msgspec

from gateway import selftests
from gateway.deadlines import Deadlines
from gateway.faults import RESTART_LOOP, STARTS_US, FaultLives, SilentGroups
from gateway.posts import Maintained, Post, Presence, Window, is_same_place
from gateway.record import (
    AlarmRecord,
    HistoryRow,
    NotDone,
    command_into,
    document,
    heartbeat_into,
    history,
    listing,
    new_record,
    offer_into,
    receipt_into,
)
from gateway.supervision import SILENT_AFTER_S, Supervision
from hardware.clock import Now
from process.core import Acknowledge, Drop, Heard, LinkDown, LinkUp, Log, Publish
from protocol.messages import (
    Alarm,
    Answer,
    Command,
    CommandAnswer,
    Health,
    HeldAlarm,
    Location,
    MccAlarm,
    MccGateway,
    MccPost,
    Message,
    Place,
    PostState,
    Selftest,
    SelftestFailure,
    SelftestReport,
    TestWindow,
)
from protocol.messages import Presence as PresenceMessage
from protocol.states import is_answered
from protocol.topics import DEFAULT_ROOT, Address, Topics
from protocol.values import timestamp, wall_ms

POSTS_LINK = "posts"
MCC_LINK = "mcc"
LINKS = (MCC_LINK, POSTS_LINK)  # a call goes on before its post is told so
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

# Later than this at its own deadlines, the gateway did not run, and heard nobody meanwhile. Windows
# wait for it from the first second on; that it is said, and shown as a fault, takes more.
OVERSLEPT_US = SECOND_US
STALLED_US = 5 * SECOND_US
# What a window needs: two heartbeats, and time for one that is late.
HEARTBEATS_IN_WINDOW = 2
LATE_S = 10
STALL_SHOWN_US = 60 * SECOND_US
# Who sleeps for more than this share of the time has stalled too, in many small pieces.
STALLED_SHARE = 10
# A link of the posts that has come up so often within ten minutes is no link to rely on: each time
# everybody gets a new window, so its fault stands until it has held as long.
UNSTEADY_UPS = 3
STEADY_US = 600 * SECOND_US
MCC_BEATS_WITHIN_US = 25 * SECOND_US  # it beats every 10 s
ANSWER_EXPIRY_S = 30
REFUSAL_EXPIRY_S = 30
GATEWAY_BEAT_US = 10 * SECOND_US
SAY_AGAIN_US = 1 * SECOND_US  # the same document is not repeated more often
OFFER_FIRST_PAUSE_US = 2 * SECOND_US
OFFER_PAUSE_MAX_US = 60 * SECOND_US
OPEN_AGAIN_US = 600 * SECOND_US  # an unresolved document, receipted or not
LIVE_EXPIRY_S = 60
CLEARED_AFTER_US = 7 * DAY_US
CLEAR_RETRY_US = 3600 * SECOND_US
RECALL_SPAN_MS = 30 * 86_400 * 1000
RECALL_PAGE = 100
RECALL_RETRY_US = 10 * SECOND_US
COMMIT_RETRY_US = 1 * SECOND_US
JOURNAL_PATIENCE_US = 3 * SECOND_US  # without any commit: the disk hangs, and nothing is taken
PUTS_PER_COMMIT_MAX = 500
ESCALATE_US = 60 * SECOND_US
# A broker can forget a connected client's subscriptions. When a link has been quiet, a document of
# ours is said again, because we subscribe to those; when not even that comes back, it is deaf.
QUIET_US = 40 * SECOND_US
DEAF_US = 60 * SECOND_US
COMMAND_AGE_MAX_MS = 60_000
PARKED_US = 900 * SECOND_US
# A planned silence is looked at so often: a clock that has been set since may say that it is over.
MAINTENANCE_LOOK_US = 60 * SECOND_US
PRUNE_EVERY_US = 3600 * SECOND_US
PRUNE_PAUSE_US = 1 * SECOND_US  # between two batches: alarms go first
PRUNE_BATCH = 500
DAY_MS = 86_400 * 1000

POSTS_MAX = 200_000
ALARMS_MAX = 100_000  # in memory: open, listed, or not yet cleared at the MCC
SELFTEST_ALARMS_MAX = ALARMS_MAX // 2  # with so many in memory no self-test takes a place
# A post holds 16 at most, and its card may have been replaced a few times. Without this bound one
# stolen post could take every place.
UNRESOLVED_PER_POST_MAX = 128
PENDING_MAX = 10_000  # offered and not yet in the journal
PARKED_MAX = 1_000
WAITING_MAX = 32  # inputs for one alarm while it is on its way to the journal
# Documents per link: this many at once, then so many a second. A link holds 1,000 messages.
SAY_BURST = 500
SAY_PER_S = 2_000
SAY_PAUSE_US = 50_000

SoundName = Literal["alarm", "escalation", "acknowledged"]

# The deadlines that a post has.
_OF_POST = ("faults", "window", "maintenance", "selftest", "selftest_ends")


# --- events that only a gateway knows ------------------------------------------------------


@dataclass(frozen=True)
class Committed:
    """These commits are on disk. `existing` are the rows that stood in the way of new ones."""

    tokens: tuple[int, ...]
    existing: tuple[AlarmRecord, ...] = ()


@dataclass(frozen=True)
class CommitFailed:
    """None of these commits is on disk."""

    tokens: tuple[int, ...]
    why: str


@dataclass(frozen=True)
class Found:
    """The journal's answer to a `Lookup`; None: it knows no such alarm."""

    alarm_id: str
    record: AlarmRecord | None


@dataclass(frozen=True)
class LookupFailed:
    """The journal could not be read."""

    alarm_id: str
    why: str


@dataclass(frozen=True)
class Recalled:
    """One page of a `Recall`; `cursor` asks for the next, None when there is none."""

    records: tuple[AlarmRecord, ...]
    cursor: str | None


@dataclass(frozen=True)
class RecallFailed:
    """The journal could not be read."""

    why: str


@dataclass(frozen=True)
class Pruned:
    """The journal has deleted so many alarms that were over for long."""

    count: int


@dataclass(frozen=True)
class PruneFailed:
    """The journal could not delete anything."""

    why: str


@dataclass(frozen=True)
class NotSent:
    """A link could not take a retained document (its queue was full); it is to be said again."""

    link: str
    topic: str


@dataclass(frozen=True)
class Registered:
    """The posts of the register: what people call each, and where it was surveyed.

    `maintained`: those whose silence is planned. `retired`: names that are no posts any more.
    """

    posts: Mapping[str, tuple[str | None, Place | None]]
    maintained: Mapping[str, Maintained] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()


@dataclass(frozen=True)
class OpenWindow:
    """Somebody at this machine opens a test window; `Told` under the number `asked`."""

    asked: int
    post: str
    minutes: int
    opened_by: str
    window_id: str


@dataclass(frozen=True)
class CloseWindow:
    """Somebody at this machine ends a test window; `Told` under the number `asked`."""

    asked: int
    post: str
    closed_by: str


@dataclass(frozen=True)
class Flooding:
    """The posts that say more than any post may; what is too much never comes here."""

    posts: frozenset[str]


@dataclass(frozen=True)
class FaultSeen:
    """An edge of the gateway has a fault, or has it no more."""

    fault: str
    present: bool


# --- effects that only a gateway has -------------------------------------------------------


@dataclass(frozen=True)
class Put:
    """Write a record and its transitions. `is_new`: only if the journal has no such alarm."""

    record: AlarmRecord
    is_new: bool
    history: tuple[HistoryRow, ...]


@dataclass(frozen=True)
class Commit:
    """Write in one transaction, perhaps together with others; `Committed` names the token.

    `deletes`, before `puts`: self-tests of which nothing more is to be said. What they have shown
    is in `meta`.
    """

    token: int
    puts: tuple[Put, ...]
    meta: tuple[tuple[str, str], ...] = ()
    deletes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lookup:
    """Ask the journal for an alarm that is not in memory."""

    alarm_id: str


@dataclass(frozen=True)
class Recall:
    """Ask for alarms that are no longer shown, raised at or after `since_ms`, after `cursor`."""

    cursor: str
    since_ms: int
    limit: int


@dataclass(frozen=True)
class Prune:
    """Delete up to `limit` alarms that are over, those settled before `before` (a timestamp).

    None: nobody knows the time; only what is too much goes.
    """

    before: str | None
    limit: int


@dataclass(frozen=True)
class Sound:
    """Sound the gateway's own buzzer."""

    name: SoundName


@dataclass(frozen=True)
class Told:
    """The answer to an `OpenWindow` or `CloseWindow`: when the window ends, or why there is none.

    `connection`: whether the post is heard.
    """

    asked: int
    refused: str | None = None
    until: str | None = None
    connection: Presence = "unknown"


Effect = Commit | Lookup | Recall | Prune | Sound | Publish | Acknowledge | Drop | Log | Told


@dataclass(frozen=True)
class GatewaySettings:
    """What the core needs of the settings."""

    gateway_id: str
    receiver: str = "console"
    require_receipt: bool = True
    silent: bool = False
    topic_root: str = DEFAULT_ROOT
    district: str | None = None  # our own name, where many gateways report to one broker
    keep_days: int = 400
    selftests: bool = False
    firmware: str | None = None  # the version that posts have to have, at least
    silent_after_s: int = SILENT_AFTER_S


@dataclass(frozen=True)
class Census:
    """Numbers of what there is. `alarms` by `kind/state`; `unreceipted`: the journal's depth."""

    posts: Mapping[str, int]
    post_faults: Mapping[str, int]
    alarms: Mapping[str, int]
    unreceipted: int
    uncommitted: int
    parked: int
    lag_s: int
    heartbeats: int


# A message and when it was heard: the ages in an offer count from then, however long it waits.
_Input = tuple[Heard, Now]


@dataclass(slots=True)
class Track:
    """One alarm in memory."""

    alarm_id: str
    post: str
    committed: AlarmRecord | None = None  # what may be spoken of
    document: MccAlarm | None = None  # the same, as the MCC reads it
    pending: AlarmRecord | None = None  # on its way to the journal
    first: _Input | None = None  # the offer that made it, until the journal has it
    receipts: list[tuple[str, object]] = field(default_factory=list)
    waiting: list[_Input] = field(default_factory=list)
    attempts: int = 0
    published: str | None = None  # the content last published on this connection
    said_us: int | None = None
    # Uptime (us) at which this process saw it pass a hop: what comes next is counted from there.
    received_us: int | None = None
    committed_us: int | None = None
    delivered_us: int | None = None
    answered_us: int | None = None
    is_listed_said: bool = False
    is_read: bool = False  # the post shows that somebody has answered


@dataclass(slots=True)
class _Parked:
    """Commands for an alarm that is not in memory. `answered`: nor is it in the journal."""

    commands: dict[str, Heard] = field(default_factory=dict)
    asked: bool = False
    answered: bool = False


@dataclass(slots=True)
class _Recall:
    """Offering the last 30 days to a new store of the MCC, page by page.

    `stale`: the page that is on its way was asked for by an earlier recall.
    """

    store_id: str
    since_ms: int
    cursor: str | None = ""
    asked: bool = False
    stale: bool = False
    outstanding: set[str] = field(default_factory=set)


class _Outgoing:
    """Documents that a link is to carry, each once, at a bounded rate.

    Alarms go first, then what has changed of a post, then what is only said again.
    """

    def __init__(self) -> None:
        self.connection: str | None = None
        self.heard_us = 0
        self.urgent: OrderedDict[Address, None] = OrderedDict()
        self.changes: OrderedDict[Address, None] = OrderedDict()
        self.bulk: OrderedDict[Address, None] = OrderedDict()
        self._allowance = float(SAY_BURST)
        self._counted_us = 0

    def clear(self) -> None:
        self.urgent.clear()
        self.changes.clear()
        self.bulk.clear()

    def __bool__(self) -> bool:
        return bool(self.urgent or self.changes or self.bulk)

    def next_us(self) -> int | None:
        return self._counted_us + SAY_PAUSE_US if self else None

    def drain(self, now_us: int) -> Iterator[Address]:
        passed_us = max(0, now_us - self._counted_us)
        self._counted_us = now_us
        earned = passed_us * SAY_PER_S / SECOND_US
        self._allowance = min(float(SAY_BURST), self._allowance + earned)
        while self and self._allowance >= 1:
            self._allowance -= 1
            yield (self.urgent or self.changes or self.bulk).popitem(last=False)[0]


class Gateway:
    """The gateway's state machine."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        now: Now,
        journal_id: str,
        records: Iterable[AlarmRecord],
        meta: Mapping[str, str],
        faults: Iterable[str],
        rng: Random,
    ) -> None:
        """Start with the journal's live records, its meta values, and what was wrong with it."""
        self._settings = settings
        self._topics = Topics(settings.topic_root, settings.district)
        self._journal_id = journal_id
        self._rng = rng
        self._start_ms = now.wall_ms
        self._deadlines = Deadlines()
        self._outgoing = {link: _Outgoing() for link in LINKS}
        self._tracks: dict[str, Track] = {}
        self._posts: dict[str, Post] = {}
        self._retired: frozenset[str] = frozenset()
        self._supervision = Supervision(settings.silent_after_s)
        self._groups = SilentGroups()
        self._faults: set[str] = {*faults, "posts_link_down"}
        self._lives = FaultLives()
        self._lives.see(self._faults_in_order(), now)
        # The connection of the posts that was dropped for deafness, until something is heard.
        self._deaf_on: str | None = None
        self._ups: deque[int] = deque(maxlen=UNSTEADY_UPS)  # when the posts' link came up
        self._slept_us, self._slept_at_us = 0, now.uptime_us
        # A quiet link is tried before the first window ends.
        self._quiet_us = min(QUIET_US, self._supervision.window_us * 4 // 10)
        self._deaf_us = min(DEAF_US, self._supervision.window_us * 7 // 10)
        self.counts: Counter[str] = Counter()
        self._heartbeats = 0
        # The journal
        self._token = 0
        self._flights: dict[int, Commit] = {}
        self._dirty: OrderedDict[str, None] = OrderedDict()
        self._dirty_meta: dict[str, str] = {}
        self._dirty_deletes: dict[str, None] = {}
        self._uncommitted = 0  # tracks that the journal does not hold yet
        self._retry_at_us: int | None = None
        # The MCC
        self._beat_us: int | None = None
        self._told_posts = False  # that the MCC answers
        self._store_id = meta.get("store_id")
        self._recalled_store = self._store_id
        self._recall: _Recall | None = None
        self._unreceipted: OrderedDict[str, int] = OrderedDict()
        self._unanswered: OrderedDict[str, int] = OrderedDict()
        self._parked: dict[str, _Parked] = {}
        self._parked_count = 0
        # Daily self-tests: the latest result of each post, and those that are under way
        self._selftests: dict[str, Selftest] = dict(selftests.read_meta(meta))
        self._running: dict[str, selftests.Run] = {}
        # What one call of handle brings about
        self._effects: list[Effect] = []
        self._lines: list[Log] = []
        self._acks: dict[str, list[object]] = {}
        self._sounds: dict[SoundName, None] = {}
        self._now = now
        self._deadlines.set(("prune",), now.uptime_us + PRUNE_EVERY_US)
        if RESTART_LOOP in self._faults:
            self._deadlines.set(("passed", RESTART_LOOP), now.uptime_us + STARTS_US)
        for record in records:
            track = self._load(record)
            if record.kind == "panic" and not record.answered:
                self._unanswered[record.alarm_id] = now.uptime_us + ESCALATE_US
            self._schedule_offers(track)
            self._watched(record.post)
            if record.kind == "selftest" and not record.resolved:
                self._run_selftest(record)
            self._forget_dead(track)

    # --- what others may ask ---------------------------------------------------------------

    @property
    def faults(self) -> tuple[str, ...]:
        """The gateway's own faults, as they are shown."""
        return self._lives.shown

    @property
    def mcc_answers(self) -> bool:
        """Whether a call would be seen: what posts are told."""
        return self._mcc_answers()

    def census(self) -> Census:
        """How many there are of everything; it goes through every post and alarm in memory."""
        now_us = self._now.uptime_us
        records = (track.committed for track in self._tracks.values())
        posts = [post for name, post in self._posts.items() if name not in self._retired]
        return Census(
            posts=Counter(post.presence for post in posts),
            post_faults=Counter(fault for post in posts for fault in post.lives.shown),
            alarms=Counter(f"{one.kind}/{one.state}" for one in records if one is not None),
            unreceipted=len(self._unreceipted),
            uncommitted=len(self._flights),
            parked=self._parked_count,
            lag_s=max(0, now_us - next(iter(self._unreceipted.values()), now_us)) // SECOND_US,
            heartbeats=self._heartbeats,
        )

    @property
    def records(self) -> list[AlarmRecord]:
        """The committed records in memory."""
        return [track.committed for track in self._tracks.values() if track.committed]

    def presence_of(self, post: str) -> Presence | None:
        """Whether a post is online, silent or unknown; None when it was never heard of."""
        known = self._posts.get(post)
        return None if known is None else known.presence

    def wake_at_us(self) -> int | None:
        """The uptime (us) at which time alone changes something, or None."""
        wake_us = self._deadlines.next_us()
        for moment_us in (
            self._retry_at_us,
            next(iter(self._unanswered.values()), None),
            self._supervision.next_us(),
            *(outgoing.next_us() for outgoing in self._outgoing.values() if outgoing),
        ):
            if moment_us is not None and (wake_us is None or moment_us < wake_us):
                wake_us = moment_us
        return wake_us

    # --- the one entrance ------------------------------------------------------------------

    def handle(self, event: object, now: Now) -> list[Effect]:
        """Take one event; the effects are to be carried out in their order."""
        self._effects = []
        self._lines = []
        self._now = now
        self._look_at_own_delay()
        match event:
            case Heard():
                self._outgoing[event.link].heard_us = now.uptime_us
                if self._deaf_on is not None and event.link == POSTS_LINK:
                    is_another = self._outgoing[POSTS_LINK].connection != self._deaf_on
                    self._deaf_on = None
                    if is_another:
                        self._hears_posts()
                self._heard(event)
            case Committed(tokens, existing):
                self._committed(tokens, existing)
            case CommitFailed(tokens, why):
                self._commit_failed(tokens, why)
            case Found(alarm_id, record):
                self._found(alarm_id, record)
            case LookupFailed(alarm_id, why):
                # The command comes again and asks again.
                if alarm_id in self._parked:
                    self._parked[alarm_id].asked = False
                self._log("journal_unread", level="error", why=why)
            case Recalled(records, cursor):
                self._recalled(records, cursor)
            case Pruned(count):
                self._pruned(count)
            case PruneFailed(why):
                self._log("journal_not_pruned", level="warning", why=why)
            case RecallFailed(why):
                if self._recall is not None:
                    self._recall.stale = False
                self._log("journal_unread", level="error", why=why)
                self._deadlines.set(("recall",), now.uptime_us + RECALL_RETRY_US)
            case LinkUp(link, connection):
                self._link_up(link, connection)
            case LinkDown(link, _, reason):
                self._link_down(link, reason)
            case NotSent(_, topic):
                self._not_sent(self._topics.parse(topic))
            case Registered():
                self._registered(event)
            case OpenWindow():
                self._open_from_here(event)
            case CloseWindow():
                self._close_from_here(event)
            case Flooding(flooding):
                self._flooding(flooding)
            case FaultSeen(fault, present):
                self._set_fault(fault, present=present)
            case _:
                pass  # a Tick, or a Stop: only time passes
        self._time_passes()
        self._commit()
        self._tell_posts()
        self._send()
        # A line takes longer to write than an alarm to hand over.
        return [*self._effects, *self._lines]

    def _heard(self, heard: Heard) -> None:
        match heard.message:
            case Alarm():
                self._offered(heard)
            case Health() as health:
                self._health(heard, health)
            case Command() as command:
                self._command(heard, command)
            case PresenceMessage() as presence:
                self._acknowledge(heard)
                self._presence(heard, presence)
            case message:
                self._acknowledge(heard)
                if heard.retained:
                    self._read_back(message)

    def _time_passes(self) -> None:
        now_us = self._now.uptime_us
        for key in self._deadlines.due(now_us):
            match key:
                case ("say", "posts", what, name):
                    self._say(Address("posts", what, name))
                case ("say", _, what, name):
                    self._say(Address("mcc", what, name), again=True)
                case ("offer", alarm_id):
                    self._offer(alarm_id)
                case ("clear", alarm_id):
                    self._clear(alarm_id)
                case ("window", post):
                    self._close_window(self._posts[post])
                case ("selftest", post):
                    self._selftest_due(post)
                case ("selftest_ends", post):
                    self._selftest_over(post)
                case ("maintenance", post):
                    self._maintenance_due(self._posts[post])
                case ("parked", alarm_id, command_id):
                    self._parked_too_long(alarm_id, command_id)
                case ("beat",):
                    self._say_gateway()
                case ("recall",):
                    self._continue_recall(ask_again=True)
                case ("quiet", link):
                    self._quiet(link)
                case ("prune",):
                    self._prune()
                case ("journal",):
                    self._set_fault("journal_hanging", present=True)
                case ("faults", post):
                    self._show_faults(self._posts[post], time_only=True)
                case ("own_faults",):
                    self._show_own_faults()
                case ("passed", fault):
                    self._set_fault(fault, present=False)
                case ("mcc",):
                    pass  # no beat has come in time; `_tell_posts` sees it
        for name in self._supervision.due(now_us):
            self._silent(name)
        self._escalate()

    # --- 1. inputs into records ------------------------------------------------------------

    def _offered(self, heard: Heard) -> None:
        alarm = heard.message
        assert isinstance(alarm, Alarm)
        track = self._tracks.get(alarm.alarm_id)
        if track is not None:
            self._apply(track, heard, self._now)
            return
        if self._uncommitted >= PENDING_MAX or len(self._tracks) >= ALARMS_MAX:
            # Unacknowledged: the post sees that it is not listed, and offers again.
            self._count_refused("offer_no_room", post=alarm.post, alarm_id=alarm.alarm_id)
            return
        if alarm.kind == "selftest" and len(self._tracks) >= SELFTEST_ALARMS_MAX:
            self._count_refused("selftest_no_room", post=alarm.post, alarm_id=alarm.alarm_id)
            self._acknowledge(heard)
            return
        post = self._watched(alarm.post)
        if len(post.unresolved) >= UNRESOLVED_PER_POST_MAX:
            # Acknowledged: a broker holds so many unacknowledged messages and then nothing more, so
            # one post over its bound would silence all others. It sees that it is not listed.
            self._count_refused("offer_too_many_of_post", post=alarm.post, alarm_id=alarm.alarm_id)
            self._acknowledge(heard)
            return
        post.holds.add(alarm.alarm_id)
        post.unresolved.add(alarm.alarm_id)
        if alarm.kind != "selftest":
            self._disturb_selftest(post)
        now_us = self._now.uptime_us
        track = Track(alarm.alarm_id, alarm.post, first=(heard, self._now), received_us=now_us)
        self._tracks[alarm.alarm_id] = track
        self._uncommitted += 1
        lag_us = post.lag_us(alarm.boot_id, alarm.sent_uptime_ms, now_us)
        alarm = self._where_surveyed(alarm, post)
        record = new_record(alarm, self._now, post.practice(now_us), lag_us)
        # By one clock at one moment, or not at all.
        raised_ms = wall_ms(record.raised.at) if record.raised.known == "computed" else None
        age_us = None if raised_ms is None else (self._now.wall_ms - raised_ms) * 1000
        self._log_hop("alarm_received", track, age_us, kind=record.kind)
        self._change(track, record, heard)

    def _apply(self, track: Track, heard: Heard, at: Now) -> None:
        """Merge one input, or let it wait for the journal."""
        record = track.committed
        if track.pending is not None or record is None:
            if len(track.waiting) < WAITING_MAX:
                track.waiting.append((heard, at))
            else:
                # Unacknowledged: whoever sent it sends it again.
                self._count_refused("input_no_room", alarm_id=track.alarm_id)
            return
        match heard.message:
            case Alarm() as alarm:
                self._merge_offer(track, record, alarm, heard, at)
            case Command() as command:
                self._merge_command(track, record, command, heard, at)
            case Health() as health:
                lag_us = self._watched(track.post).lag_us(
                    health.boot_id, health.uptime_ms, at.uptime_us
                )
                merged = heartbeat_into(record, health, at, lag_us)
                if merged is not record:
                    self._change(track, merged, heard)

    def _where_surveyed(self, alarm: Alarm, post: Post) -> Alarm:
        """The register's survey is newer than the one in a post's settings, or it is the same."""
        place, here = post.place, alarm.location
        if here.source != "surveyed" or place is None or is_same_place(place, here.lat, here.lon):
            return alarm
        self._log("place_overruled", level="warning", post=post.post, alarm_id=alarm.alarm_id)
        surveyed = Location(lat=place.lat, lon=place.lon, source="surveyed")
        return msgspec.structs.replace(alarm, location=surveyed)

    def _merge_offer(
        self, track: Track, record: AlarmRecord, alarm: Alarm, heard: Heard, at: Now
    ) -> None:
        if alarm.post != track.post:
            self._count_refused("offer_of_another", post=alarm.post, alarm_id=alarm.alarm_id)
            self._acknowledge(heard)
            return
        post = self._watched(alarm.post)
        post.holds.add(alarm.alarm_id)
        lag_us = post.lag_us(alarm.boot_id, alarm.sent_uptime_ms, at.uptime_us)
        merged = offer_into(record, alarm, at, post.any_practice(at.uptime_us), lag_us)
        if merged is not record:
            self._change(track, merged, heard)
            return
        self._acknowledge(heard)
        # The post has evidently not seen it listed.
        self._say_again(Address("posts", "state", alarm.post), post.said_us)

    def _merge_command(
        self, track: Track, record: AlarmRecord, command: Command, heard: Heard, at: Now
    ) -> None:
        step_at = timestamp(at.wall_ms)
        console = heard.address.name
        if command.action == "receive":
            if self._store_id is not None and command.store_id != self._store_id:
                self._acknowledge(heard)  # from before the MCC's restore, or its beat will come
                return
            assert track.document is not None
            outcome: AlarmRecord | NotDone = receipt_into(
                record,
                command,
                console,
                step_at,
                content=track.document.content,
                journal_id=self._journal_id,
            )
        else:
            outcome = command_into(record, command, console, step_at)
        if isinstance(outcome, NotDone):
            self._refuse(heard, command, outcome)
        elif outcome is record:
            self._acknowledge(heard)
            # The MCC has evidently not seen the document that shows it.
            if record.cleared:
                self._publish_live(track)
            else:
                self._say_again(Address("mcc", "alarms", track.alarm_id), track.said_us)
        else:
            self._change(track, outcome, heard)

    def _change(self, track: Track, record: AlarmRecord, heard: Heard | None) -> None:
        """Send a changed record to the journal; its input is acknowledged when it is there."""
        shown = document(record, self._settings.gateway_id, self._journal_id)
        if record.cleared and track.document and shown.content != track.document.content:
            record = msgspec.structs.replace(record, cleared=False, settled_at=None)
        if record.resolved and record.settled_at is None and self._is_receipted(shown):
            at = timestamp(self._now.wall_ms)
            record = msgspec.structs.replace(record, settled_at=at)
        track.pending = record
        if heard is not None and heard.receipt is not None:
            track.receipts.append((heard.link, heard.receipt))
        self._dirty[track.alarm_id] = None

    # --- 2. the journal --------------------------------------------------------------------

    def _commit(self) -> None:
        if not self._dirty and not self._dirty_meta and not self._dirty_deletes:
            return
        if self._retry_at_us is not None:
            if self._now.uptime_us < self._retry_at_us:
                return
            self._retry_at_us = None
        at = timestamp(self._now.wall_ms)
        while self._dirty or self._dirty_meta or self._dirty_deletes:
            puts: list[Put] = []
            while self._dirty and len(puts) < PUTS_PER_COMMIT_MAX:
                alarm_id, _ = self._dirty.popitem(last=False)
                track = self._tracks[alarm_id]
                assert track.pending is not None
                rows = history(track.committed, track.pending, at)
                puts.append(Put(track.pending, track.committed is None, rows))
            meta = tuple(self._dirty_meta.items())
            self._dirty_meta.clear()
            # One that is in memory again was offered once more.
            deletes = tuple(one for one in self._dirty_deletes if one not in self._tracks)
            self._dirty_deletes.clear()
            self._token += 1
            commit = Commit(self._token, tuple(puts), meta, deletes)
            self._flights[self._token] = commit
            self._effects.append(commit)
            if len(self._flights) == 1:
                self._expect_journal()

    def _committed(self, tokens: tuple[int, ...], existing: tuple[AlarmRecord, ...]) -> None:
        self._set_fault("journal_failing", present=False)
        stood_in_the_way = {record.alarm_id: record for record in existing}
        for token in tokens:
            for alarm_id in _alarms_of(self._flights.pop(token, None)):
                track = self._tracks[alarm_id]
                before, after = track.committed, track.pending
                assert after is not None
                track.pending = None
                first, track.first = track.first, None
                if before is None:
                    self._uncommitted -= 1
                known = stood_in_the_way.get(alarm_id)
                if known is None:
                    self._tell(track, before, after)
                else:
                    # It had left memory: take up what the journal holds, and merge the offer.
                    self._watched(track.post).unresolved.discard(alarm_id)
                    track.post = known.post
                    track.receipts.clear()
                    self._load(known, track)
                    if first is not None:
                        track.waiting.insert(0, first)
                self._go_on(track)
        self._expect_journal()

    def _expect_journal(self) -> None:
        """It has just answered, or was just asked while it had nothing to do."""
        self._set_fault("journal_hanging", present=False)
        if self._flights:
            self._deadlines.set(("journal",), self._now.uptime_us + JOURNAL_PATIENCE_US)
        else:
            self._deadlines.cancel(("journal",))

    def _commit_failed(self, tokens: tuple[int, ...], why: str) -> None:
        self._set_fault("journal_failing", present=True)
        self._log("commit_failed", level="error", why=why, waiting=len(self._flights))
        self._retry_at_us = self._now.uptime_us + COMMIT_RETRY_US
        for token in tokens:
            commit = self._flights.pop(token, None)
            if commit is not None:
                self._dirty.update(dict.fromkeys(_alarms_of(commit)))
                self._dirty_meta = {**dict(commit.meta), **self._dirty_meta}
                self._dirty_deletes.update(dict.fromkeys(commit.deletes))
        self._expect_journal()

    def _go_on(self, track: Track) -> None:
        """Take up what waited for the journal, until something of it goes there."""
        parked = self._parked.pop(track.alarm_id, None)
        if parked is not None:
            self._parked_count -= len(parked.commands)
            for command_id, heard in parked.commands.items():
                self._deadlines.cancel(("parked", track.alarm_id, command_id))
                track.waiting.append((heard, self._now))
        while track.waiting and track.pending is None:
            self._apply(track, *track.waiting.pop(0))
        if track.pending is None:
            self._forget_dead(track)

    def _load(self, record: AlarmRecord, track: Track | None = None) -> Track:
        """Take a record as the journal holds it into memory."""
        if track is None:
            track = Track(record.alarm_id, record.post)
            self._tracks[record.alarm_id] = track
        track.committed = record
        track.document = document(record, self._settings.gateway_id, self._journal_id)
        post = self._watched(record.post)
        if record.listed:
            post.listed[record.alarm_id] = record
        if record.resolved:
            post.unresolved.discard(record.alarm_id)
        else:
            post.unresolved.add(record.alarm_id)
        return track

    def _forget_dead(self, track: Track) -> None:
        """Drop from memory what nothing more is to be said about."""
        record = track.committed
        if record is None:
            return
        if self._recall is not None and track.alarm_id in self._recall.outstanding:
            if record.over and not self._is_satisfied(track):
                return
            self._recall.outstanding.discard(track.alarm_id)
            self._continue_recall()
        if not record.over:
            return
        del self._tracks[track.alarm_id]
        if record.kind == "selftest":
            self._dirty_deletes[track.alarm_id] = None
        self._unreceipted.pop(track.alarm_id, None)
        for what in ("offer", "clear"):
            self._deadlines.cancel((what, track.alarm_id))
        post = self._posts.get(track.post)
        if post is not None:
            self._unwatch(post)

    # --- 3. what is on disk is told --------------------------------------------------------

    def _tell(self, track: Track, before: AlarmRecord | None, after: AlarmRecord) -> None:
        shown = track.document
        self._load(after, track)
        post = self._watched(after.post)
        if after.resolved and after.listed and after.post in self._retired:
            # Nobody is there any more to confirm it.
            self._change(track, msgspec.structs.replace(after, listed=False), None)
        if after.listed:
            # The latest offered stands last.
            post.listed[after.alarm_id] = post.listed.pop(after.alarm_id)
        else:
            post.listed.pop(after.alarm_id, None)
        for link, receipt in track.receipts:
            self._acks.setdefault(link, []).append(receipt)
        track.receipts.clear()
        if (
            before is None
            or before.listed != after.listed
            or (after.listed and listing(before) != listing(after))
        ):
            self._say(Address("posts", "state", after.post))
        if after.cleared and before is not None and before.cleared:
            if track.document != shown:
                self._publish_live(track)
        elif after.cleared or track.document != shown:
            self._say(Address("mcc", "alarms", after.alarm_id))
        self._schedule_offers(track)
        if after.kind == "selftest" and (before is None or not before.resolved):
            self._run_selftest(after)
        self._ring(before, after)
        self._log_steps(track, before, after)

    def _log_steps(self, track: Track, before: AlarmRecord | None, after: AlarmRecord) -> None:
        """A line for each transition, with how long it took where this process saw the last one."""
        now_us = self._now.uptime_us
        for row in history(before, after, timestamp(self._now.wall_ms)):
            what, _, detail = row.what.partition(" ")
            more = {name: one for name, one in (("what", detail), ("by", row.by)) if one}
            since_us: int | None = None
            match what:
                case "received":
                    what, since_us, track.committed_us = "committed", track.received_us, now_us
                case "delivered":
                    since_us, track.delivered_us = track.committed_us, now_us
                case "acknowledged":
                    since_us, track.answered_us = track.delivered_us, now_us
            took_us = None if since_us is None else now_us - since_us
            if what == "sounded" and track.answered_us is not None:
                ago_us = (self._now.wall_ms - wall_ms(row.at)) * 1000
                took_us = now_us - ago_us - track.answered_us
            self._log_hop(f"alarm_{what}", track, took_us, **more)

    def _log_hop(self, event: str, track: Track, took_us: int | None, **fields: object) -> None:
        """A line of an alarm's life; `after_ms`: since the hop before it, as `HOPS` pairs them."""
        if took_us is not None:
            fields["after_ms"] = max(0, took_us) / 1000
        record = track.committed
        if record is not None:
            fields["kind"] = record.kind
        given = {"alarm_id": track.alarm_id, "post": track.post, **fields}
        self._lines.append(Log(event, "info", given))

    def _ring(self, before: AlarmRecord | None, after: AlarmRecord) -> None:
        if after.kind != "panic":
            return
        if not after.answered:
            if before is None or before.kind != "panic" or after.repeats > before.repeats:
                self._sounds["alarm"] = None
            at_us = self._now.uptime_us + ESCALATE_US
            self._unanswered.setdefault(after.alarm_id, at_us)
        elif self._unanswered.pop(after.alarm_id, None) is not None:
            self._sounds["acknowledged"] = None

    def _escalate(self) -> None:
        while self._unanswered:
            alarm_id, at_us = next(iter(self._unanswered.items()))
            if at_us > self._now.uptime_us:
                return
            self._unanswered.move_to_end(alarm_id)
            self._unanswered[alarm_id] = self._now.uptime_us + ESCALATE_US
            self._sounds["escalation"] = None
            self._log("alarm_escalated", level="warning", alarm_id=alarm_id)

    def _document(self, address: Address) -> Message | None:
        """What is to stand on a retained topic now; None: nothing, clear it."""
        match address:
            case Address("posts" | "mcc", "state" | "presence" | "posts", name) if (
                name in self._retired
            ):
                return None
            case Address("posts", "state", name):
                known = self._posts.get(name)
                if known is None:
                    # An empty list, not an empty topic: the post must see that nothing is listed.
                    return PostState(post=name, at=timestamp(self._now.wall_ms))
                return known.state_document(self._now.wall_ms)
            case Address("mcc", "posts", name):
                known = self._posts.get(name)
                return None if known is None else known.mcc_document(self._settings.gateway_id)
            case Address("mcc", "alarms", name):
                track = self._tracks.get(name)
                if track is None or track.committed is None or track.committed.cleared:
                    return None
                return track.document
        raise AssertionError(f"not a document of ours: {address}")

    def _say(self, address: Address, *, again: bool = False) -> None:
        """Publish a document as soon as its link allows; a link that is down repairs later.

        `again`: it has not changed. At 100,000 posts such take 50 s, and no silence waits for them.
        """
        link = POSTS_LINK if address.side == "posts" else MCC_LINK
        outgoing = self._outgoing[link]
        if outgoing.connection is None:
            return
        if (address.side, address.what) not in (("mcc", "posts"), ("posts", "answer")):
            outgoing.urgent[address] = None
        elif again and address not in outgoing.changes:
            outgoing.bulk[address] = None
        elif not again:
            outgoing.bulk.pop(address, None)
            outgoing.changes[address] = None

    def _say_again(self, address: Address, said_us: int | None) -> None:
        """Publish a document that was published before, at most once a second."""
        now_us = self._now.uptime_us
        if said_us is None or now_us - said_us >= SAY_AGAIN_US:
            self._say(address)
        else:
            key = ("say", address.side, address.what, address.name)
            self._deadlines.set(key, said_us + SAY_AGAIN_US)

    def _not_sent(self, address: Address) -> None:
        if address.what != "gateways":  # its next beat comes by itself
            key = ("say", address.side, address.what, address.name)
            self._deadlines.set(key, self._now.uptime_us + SAY_AGAIN_US)

    def _send(self) -> None:
        for link, outgoing in self._outgoing.items():
            if outgoing:
                for address in outgoing.drain(self._now.uptime_us):
                    self._publish_document(link, address)
        if self._acks:
            for link, receipts in self._acks.items():
                self._effects.append(Acknowledge(link, tuple(receipts)))
            self._acks.clear()
        if self._sounds:
            if not self._settings.silent:
                self._effects.extend(Sound(name) for name in self._sounds)
            self._sounds.clear()

    def _publish_document(self, link: str, address: Address) -> None:
        now_us = self._now.uptime_us
        if address.what == "answer":
            post = self._posts.get(address.name)
            if post is not None and post.connection is not None and post.heartbeat is not None:
                waits_us = self._answer_waits_us(post)
                if waits_us is not None:
                    self._deadlines.set(("say", "posts", "answer", post.post), waits_us)
                else:
                    self._answer(post.post, post.connection, post.heartbeat)
            return
        if address.side == "posts":
            known = self._posts.get(address.name)
            if known is not None:
                known.said_us = now_us
                for alarm_id in known.listed:
                    one = self._tracks[alarm_id]
                    if not one.is_listed_said:
                        one.is_listed_said = True
                        self._log_hop("alarm_listed", one, None)
        track = self._tracks.get(address.name) if address.what == "alarms" else None
        if track is not None and track.document is not None:
            track.said_us = now_us
            if track.published != track.document.content:
                self._log_hop("alarm_sent", track, None, content=track.document.content)
            track.published = track.document.content
            if not self._settings.require_receipt:
                self._schedule_offers(track)
        if address.side == "mcc" and address.what == "posts":
            # Nobody receipts it: a broker that has lost it would show a silent post as online.
            again_us = now_us + self._jittered(OPEN_AGAIN_US)
            self._deadlines.set(("say", "mcc", "posts", address.name), again_us)
        message = self._document(address)
        self._effects.append(Publish(link, self._topic(address), message, retain=True))

    def _publish_live(self, track: Track) -> None:
        """Show an alarm whose retained document was cleared: sent, and not kept by the broker."""
        if self._is_up(MCC_LINK):
            topic = self._topics.mcc("alarms", track.alarm_id)
            live = Publish(MCC_LINK, topic, track.document, expiry_s=LIVE_EXPIRY_S)
            self._effects.append(live)

    def _topic(self, address: Address) -> str:
        if address.side == "posts":
            own: Literal["state", "presence"] = "state"
            return self._topics.post(
                address.name, "presence" if address.what == "presence" else own
            )
        what: Literal["alarms", "posts"] = "alarms" if address.what == "alarms" else "posts"
        return self._topics.mcc(what, address.name)

    # --- uplink ----------------------------------------------------------------------------

    def _is_receipted(self, shown: MccAlarm) -> bool:
        """Whether the MCC as it is now has committed this content."""
        if not self._settings.require_receipt:
            return True
        return (
            shown.receipted is not None
            and shown.receipted.content == shown.content
            and (self._store_id is None or shown.receipted.store_id == self._store_id)
        )

    def _is_satisfied(self, track: Track) -> bool:
        """Whether nothing needs to be offered: receipted, or published where PUBACK must do."""
        assert track.document is not None
        if not self._settings.require_receipt:
            return track.published == track.document.content
        return self._is_receipted(track.document)

    def _schedule_offers(self, track: Track) -> None:
        """After every change: when is it to be offered next, when to be cleared."""
        record = track.committed
        assert record is not None
        now_us = self._now.uptime_us
        alarm_id = track.alarm_id
        track.attempts = 0
        if self._is_satisfied(track):
            self._unreceipted.pop(alarm_id, None)
            if record.resolved:
                self._deadlines.cancel(("offer", alarm_id))
            else:
                self._deadlines.set(("offer", alarm_id), now_us + self._jittered(OPEN_AGAIN_US))
            if record.settled_at is not None and not record.cleared:
                passed_us = (self._now.wall_ms - wall_ms(record.settled_at)) * 1000
                after_us = CLEARED_AFTER_US
                if record.kind == "selftest":
                    after_us = selftests.CLEARED_AFTER_US
                left_us = after_us - min(max(passed_us, 0), after_us)
                self._deadlines.set(("clear", alarm_id), now_us + left_us)
        elif not record.cleared or self._is_recalled(alarm_id):
            self._unreceipted.setdefault(alarm_id, now_us)
            pause_us = self._jittered(OFFER_FIRST_PAUSE_US)
            self._deadlines.set(("offer", alarm_id), now_us + pause_us)

    def _is_recalled(self, alarm_id: str) -> bool:
        return self._recall is not None and alarm_id in self._recall.outstanding

    def _offer(self, alarm_id: str) -> None:
        track = self._tracks.get(alarm_id)
        if track is None or track.committed is None or not self._is_up(MCC_LINK):
            return
        if self._is_satisfied(track):
            pause_us = OPEN_AGAIN_US
        else:
            track.attempts += 1
            grown_us = OFFER_FIRST_PAUSE_US * 2 ** min(track.attempts, 6)
            pause_us = min(OFFER_PAUSE_MAX_US, grown_us)
        due_us = self._now.uptime_us + self._jittered(pause_us)
        self._deadlines.set(("offer", alarm_id), due_us)
        self._say_alarm(track)

    def _say_alarm(self, track: Track) -> None:
        if not track.committed or not track.committed.cleared:
            self._say(Address("mcc", "alarms", track.alarm_id))
        elif self._is_recalled(track.alarm_id):
            self._publish_live(track)

    def _jittered(self, pause_us: int) -> int:
        return int(pause_us * (0.75 + 0.5 * self._rng.random()))

    def _clear(self, alarm_id: str) -> None:
        track = self._tracks.get(alarm_id)
        if track is None or track.committed is None or track.committed.cleared:
            return
        if track.pending is not None or not self._is_satisfied(track):
            self._deadlines.set(("clear", alarm_id), self._now.uptime_us + CLEAR_RETRY_US)
            return
        self._change(track, msgspec.structs.replace(track.committed, cleared=True), None)

    def _mcc_beat(self, heard: Heard, command: Command) -> None:
        outgoing = self._outgoing[MCC_LINK]
        if heard.address.name != self._settings.receiver:
            return
        if heard.retained or heard.connection != outgoing.connection:
            return
        self._beat_us = self._now.uptime_us
        self._deadlines.set(("mcc",), self._beat_us + MCC_BEATS_WITHIN_US + 1)
        if command.store_id != self._store_id:
            self._log("mcc_store", store_id=command.store_id, before=self._store_id)
            self._store_id = command.store_id
            for track in self._tracks.values():
                if track.committed is not None and not self._is_satisfied(track):
                    self._schedule_offers(track)
                    self._say_alarm(track)
        recalling = None if self._recall is None else self._recall.store_id
        if command.store_id not in (self._recalled_store, recalling):
            stale = set() if self._recall is None else self._recall.outstanding
            asked = self._recall is not None and self._recall.asked
            since_ms = self._now.wall_ms - RECALL_SPAN_MS
            self._recall = _Recall(command.store_id, since_ms, asked=asked, stale=asked)
            for alarm_id in stale:
                if self._tracks[alarm_id].pending is None:
                    self._forget_dead(self._tracks[alarm_id])
            self._continue_recall()

    def _mcc_answers(self) -> bool:
        """Whether a call would be seen: the MCC is there, and the journal takes alarms."""
        if self._journal_fails or not self._is_up(MCC_LINK):
            return False
        if not self._settings.require_receipt:
            return True  # PUBACK is the last word there: nobody beats
        beat_us = self._beat_us
        return beat_us is not None and self._now.uptime_us - beat_us <= MCC_BEATS_WITHIN_US

    @property
    def _journal_fails(self) -> bool:
        return not self._faults.isdisjoint(("journal_failing", "journal_hanging"))

    def _tell_posts(self) -> None:
        """Whether the MCC answers has changed: no lamp waits for its post's next heartbeat."""
        answers = self._mcc_answers()
        if answers == self._told_posts or not self._is_up(POSTS_LINK):
            return
        self._told_posts = answers
        self._log("mcc_answers", level="info" if answers else "warning", present=answers)
        for post in self._posts.values():
            if post.presence == "online":
                self._say(Address("posts", "answer", post.post))

    def _continue_recall(self, *, ask_again: bool = False) -> None:
        recall = self._recall
        if recall is None or recall.outstanding or (recall.asked and not ask_again):
            return
        if recall.cursor is not None:
            recall.asked = True
            self._effects.append(Recall(recall.cursor, recall.since_ms, RECALL_PAGE))
            return
        self._recall = None
        self._recalled_store = recall.store_id
        # Only now: a crash before this recalls once more.
        self._dirty_meta["store_id"] = recall.store_id
        self._log("recall_done", store_id=recall.store_id)

    def _recalled(self, records: tuple[AlarmRecord, ...], cursor: str | None) -> None:
        recall = self._recall
        if recall is None or not recall.asked:
            return
        recall.asked = False
        if recall.stale:
            recall.stale = False
            self._continue_recall()
            return
        recall.cursor = cursor
        for record in records:
            if record.alarm_id in self._tracks:
                continue
            track = self._load(record)
            if self._is_satisfied(track):
                self._forget_dead(track)
                continue
            recall.outstanding.add(record.alarm_id)
            self._schedule_offers(track)
            self._say_alarm(track)
        self._continue_recall()

    # --- commands --------------------------------------------------------------------------

    def _command(self, heard: Heard, command: Command) -> None:
        console = heard.address.name
        match command.action:
            case "beat":
                self._acknowledge(heard)
                self._mcc_beat(heard, command)
            case "open_test":
                self._acknowledge(heard)
                self._open_test(heard, command)
            case "close_test":
                self._acknowledge(heard)
                self._close_test(heard, command)
            case "receive" if (
                console != self._settings.receiver or not self._settings.require_receipt
            ):
                why = NotDone("not_receiver", f"receipts come from {self._settings.receiver}")
                self._refuse(heard, command, why)
            case _:
                self._command_for_alarm(heard, command)

    def _command_for_alarm(self, heard: Heard, command: Command) -> None:
        assert command.alarm_id is not None
        track = self._tracks.get(command.alarm_id)
        if track is not None:
            self._apply(track, heard, self._now)
            return
        parked = self._parked.get(command.alarm_id)
        known = parked is not None and command.command_id in parked.commands
        if not known and self._parked_count >= PARKED_MAX:
            why = NotDone("busy", f"{PARKED_MAX} commands wait for alarms that nobody knows")
            self._refuse(heard, command, why)
            return
        # Not acknowledged later but now: the MCC repeats it until a document shows it.
        self._acknowledge(heard)
        if parked is None:
            parked = self._parked[command.alarm_id] = _Parked()
        if not known:
            self._parked_count += 1
            until_us = self._now.uptime_us + PARKED_US
            parked.commands[command.command_id] = msgspec.structs.replace(heard, receipt=None)
            self._deadlines.set(("parked", command.alarm_id, command.command_id), until_us)
        if not parked.answered and not parked.asked:
            parked.asked = True
            self._effects.append(Lookup(command.alarm_id))

    def _found(self, alarm_id: str, record: AlarmRecord | None) -> None:
        parked = self._parked.get(alarm_id)
        if parked is None or alarm_id in self._tracks:
            return
        if record is None:
            parked.answered = True
        else:
            self._go_on(self._load(record))

    def _parked_too_long(self, alarm_id: str, command_id: str) -> None:
        parked = self._parked.get(alarm_id)
        if parked is None or command_id not in parked.commands:
            return
        heard = parked.commands.pop(command_id)
        self._parked_count -= 1
        if not parked.commands:
            del self._parked[alarm_id]
        assert isinstance(heard.message, Command)
        if parked.answered:
            why = NotDone("unknown", "no post has offered such an alarm for 15 minutes")
        else:
            why = NotDone("busy", "the journal could not be read")
        self._refuse(heard, heard.message, why)

    def _refuse(self, heard: Heard, command: Command, not_done: NotDone) -> None:
        self._acknowledge(heard)
        console = heard.address.name
        first = not_done.first
        answer = CommandAnswer(
            console=console,
            command_id=command.command_id,
            refused=not_done.refused,
            why=not_done.why,
            alarm_id=command.alarm_id,
            first_operator=None if first is None else first.operator,
            first_at=None if first is None else first.at,
            gateway=self._settings.gateway_id,
        )
        self._count_refused(
            f"command_{not_done.refused}",
            console=console,
            action=command.action,
            command=command.command_id,
            alarm_id=command.alarm_id,
            post=command.post,
        )
        if self._is_up(MCC_LINK):
            topic = self._topics.mcc("answers", console)
            self._effects.append(Publish(MCC_LINK, topic, answer, expiry_s=REFUSAL_EXPIRY_S))

    # --- test windows ----------------------------------------------------------------------

    def _open_test(self, heard: Heard, command: Command) -> None:
        assert command.post is not None
        assert command.minutes is not None
        assert command.operator is not None
        post = self._posts.get(command.post)
        if post is None:
            self._refuse(heard, command, NotDone("unknown", "no such post has been heard of"))
            return
        if post.window is not None and post.window.shown.command_id == command.command_id:
            self._say_post(post)
            return
        why = self._why_too_old(post, wall_ms(command.at))
        if why is not None:
            self._refuse(heard, command, NotDone("too_old", why))
            return
        self._open_window(post, command.minutes, command.operator, command.command_id)

    def _open_from_here(self, event: OpenWindow) -> None:
        """The technician at the gateway: nothing of his is on its way for long, so none is old."""
        post = self._posts.get(event.post)
        if post is None or event.post in self._retired:
            told = Told(event.asked, refused=f"{event.post}: no such post has been heard of")
        else:
            shown = self._open_window(post, event.minutes, event.opened_by, event.window_id)
            told = Told(event.asked, until=shown.until, connection=post.presence)
        self._effects.append(told)

    def _close_from_here(self, event: CloseWindow) -> None:
        post = self._posts.get(event.post)
        if post is None:
            told = Told(event.asked, refused=f"{event.post}: no such post has been heard of")
        else:
            self._log("test_window_closed_here", post=event.post, by=event.closed_by)
            self._close_window(post)
            told = Told(event.asked, connection=post.presence)
        self._effects.append(told)

    def _open_window(self, post: Post, minutes: int, opened_by: str, command_id: str) -> TestWindow:
        now_us = self._now.uptime_us
        length_ms = minutes * 60_000
        ends_us = now_us + length_ms * 1000
        # One opened anew while open goes on from where it began: it was practice all along.
        opened_us = now_us if post.window is None else post.window.opened_us
        shown = TestWindow(
            until=timestamp(self._now.wall_ms + length_ms),
            opened_by=opened_by,
            command_id=command_id,
        )
        post.window = Window(opened_us, ends_us, shown)
        self._deadlines.set(("window", post.post), ends_us)
        self._log("test_window", post=post.post, opened_by=opened_by, until=shown.until)
        self._say_post(post)
        return shown

    def _why_too_old(self, post: Post, at_ms: int) -> str | None:
        if at_ms < self._start_ms:
            return "issued before the gateway's start"
        if post.closed_wall_ms is not None and at_ms < post.closed_wall_ms:
            return "issued before the last test window was closed"
        if abs(self._now.wall_ms - at_ms) > COMMAND_AGE_MAX_MS:
            return "issued more than 60 s away from the gateway's clock"
        return None

    def _close_test(self, heard: Heard, command: Command) -> None:
        assert command.post is not None
        post = self._posts.get(command.post)
        if post is None:
            self._refuse(heard, command, NotDone("unknown", "no such post has been heard of"))
            return
        self._close_window(post)

    def _close_window(self, post: Post) -> None:
        self._deadlines.cancel(("window", post.post))
        if post.close_window(self._now.uptime_us, self._now.wall_ms):
            self._log("test_window", post=post.post, until=None)
        self._say_post(post)

    def _say_post(self, post: Post) -> None:
        self._say(Address("posts", "state", post.post))
        self._say(Address("mcc", "posts", post.post))

    # --- supervision of posts --------------------------------------------------------------

    def _watched(self, post: str) -> Post:
        known = self._posts.get(post)
        if known is None:
            known = self._posts[post] = Post(post, since=timestamp(self._now.wall_ms))
            if post not in self._retired:  # else only until its alarms are over
                self._begin_to_watch(known)
        return known

    def _begin_to_watch(self, post: Post) -> None:
        name = post.post
        self._supervision.watch(name, self._now.uptime_us)
        post.wanted_firmware = self._settings.firmware
        post.selftest = self._selftests.get(name)
        if post.selftest is not None:
            self._show_faults(post)
        self._schedule_selftest(post)
        self._say(Address("mcc", "posts", name))

    def _unwatch(self, post: Post) -> None:
        """Forget a post that is there only because its alarm was not to be refused."""
        needless = len(self._posts) > POSTS_MAX or post.post in self._retired
        if needless and not post.listed and not post.unresolved:
            del self._posts[post.post]
            self._stop_watching(post.post)

    def _stop_watching(self, name: str) -> None:
        self._supervision.forget(name)
        for what in _OF_POST:
            self._deadlines.cancel((what, name))
        if self._groups.heard(name):
            self._say_gateway_soon()

    def _has_room_for(self, post: str) -> bool:
        if post in self._posts or len(self._posts) < POSTS_MAX:
            return True
        self._count_refused("post_no_room", post=post)
        return False

    def _registered(self, event: Registered) -> None:
        """A registered post is watched from now on, heard of or not: its silence is a fault."""
        newly_retired = event.retired - self._retired
        taken_up = self._retired - event.retired
        self._retired = event.retired
        for name in taken_up & self._posts.keys():
            # It was kept for an alarm that is not over: what is known of it is of another box.
            self._becomes(self._posts[name], "unknown")
            self._begin_to_watch(self._posts[name])
        for name in newly_retired:
            self._retire(name)
        for name, (label, place) in event.posts.items():
            if not self._has_room_for(name):
                continue
            post = self._watched(name)
            if (post.name, post.place) != (label, place):
                post.name, post.place = label, place
                self._say(Address("mcc", "posts", name))
            if post.maintained != event.maintained.get(name):
                self._maintain(post, event.maintained.get(name))

    def _maintain(self, post: Post, maintained: Maintained | None) -> None:
        """A planned silence begins, or is another one from now on, or is called off."""
        post.maintained = maintained
        if maintained is None:
            if post.maintained_until_us is not None:
                self._maintenance_ends(post)
            return
        left_ms = maintained.until_ms - maintained.from_ms
        if self._now.synchronised:
            left_ms = min(left_ms, maintained.until_ms - self._now.wall_ms)
        post.maintained_until_us = self._now.uptime_us + max(0, left_ms) * 1000
        self._log("maintenance", post=post.post, by=maintained.by, until_ms=maintained.until_ms)
        if post.presence == "silent":
            self._becomes(post, "unknown")
            self._leaves_group(post)
        self._say(Address("mcc", "posts", post.post))
        self._maintenance_due(post)

    def _maintenance_due(self, post: Post) -> None:
        """Over by the time that has passed since, or by a clock that somebody vouches for."""
        ends_us, maintained = post.maintained_until_us, post.maintained
        if ends_us is None or maintained is None:
            return
        is_over = self._now.synchronised and self._now.wall_ms >= maintained.until_ms
        if is_over or self._now.uptime_us >= ends_us:
            self._maintenance_ends(post)
            return
        look_us = min(ends_us, self._now.uptime_us + MAINTENANCE_LOOK_US)
        self._deadlines.set(("maintenance", post.post), look_us)

    def _maintenance_ends(self, post: Post) -> None:
        post.maintained_until_us = None
        self._deadlines.cancel(("maintenance", post.post))
        self._log("maintenance", post=post.post, until_ms=None)
        self._say(Address("mcc", "posts", post.post))
        if post.presence != "online" and post.post not in self._supervision:
            self._silent(post.post)

    def _retire(self, name: str) -> None:
        """It is no post any more: its documents go; its alarms stay until they are over."""
        self._log("post_retired", post=name)
        for address in self._documents_of(name):
            self._say(address)
        post = self._posts.get(name)
        if post is None:
            return
        self._close_window(post)
        post.maintained_until_us = None
        self._stop_watching(name)
        self._running.pop(name, None)
        if self._selftests.pop(name, None) is not None:
            self._dirty_meta.update([selftests.meta_row(name, None)])
        for alarm_id, record in post.listed.items():
            track = self._tracks[alarm_id]
            if record.resolved and track.pending is None:
                self._change(track, msgspec.structs.replace(record, listed=False), None)
        self._unwatch(post)

    def _documents_of(self, name: str) -> tuple[Address, ...]:
        return (
            Address("posts", "state", name),
            Address("posts", "presence", name),
            Address("mcc", "posts", name),
        )

    def _flooding(self, flooding: frozenset[str]) -> None:
        for name, post in self._posts.items():
            if post.flooding != (name in flooding):
                post.flooding = name in flooding
                self._show_faults(post)
                level: Literal["warning", "info"] = "warning" if post.flooding else "info"
                self._log("post_flooding", level=level, post=name, present=post.flooding)

    def _health(self, heard: Heard, health: Health) -> None:
        self._heartbeats += 1
        self._acknowledge(heard)
        if not self._has_room_for(health.post):
            self._answer(health.post, health.connection, health.n)
            return
        post = self._watched(health.post)
        if post.beats(health):
            self._beaten(heard, health, post)
        has_read = post.has_read(health)
        if not has_read or self._is_to_be_reminded(post):
            self._say_again(Address("posts", "state", post.post), post.said_us)
        if has_read and self._answer_waits_us(post) is None:
            self._answer(post.post, health.connection, health.n)
        else:
            self._say(Address("posts", "answer", post.post))

    def _answer_waits_us(self, post: Post) -> int | None:
        """Until when (us of uptime) the answer to a heartbeat has to wait, or None.

        A post takes its alarms for whole that are listed once a heartbeat was answered: what it
        has not read yet, and what is on its way to the journal, is said before the answer.
        """
        said_us = self._deadlines.get(("say", "posts", "state", post.post))
        if said_us is not None or not post.unresolved or self._journal_fails:
            return said_us
        tracks = (self._tracks[one] for one in post.unresolved)
        if any(track.committed is not None and track.pending is not None for track in tracks):
            return self._now.uptime_us + SAY_PAUSE_US
        return None

    def _beaten(self, heard: Heard, health: Health, post: Post) -> None:
        """A heartbeat that is news."""
        post.note_uptime(health.boot_id, health.uptime_ms * 1000, self._now.uptime_us)
        post.holds = {one.alarm_id for one in health.alarms}
        for held in health.alarms:
            self._note_read(post, held)
        self._claims(post, health.location)
        self._alive(post, health.faults)
        told = set(post.confirmed(health))
        if health.sounded is not None and self._is_of(post, health.sounded.alarm_id):
            told.add(health.sounded.alarm_id)
        for alarm_id in sorted(told):
            track = self._tracks[alarm_id]
            self._apply(track, msgspec.structs.replace(heard, receipt=None), self._now)
        if health.selftest is not None:
            self._selftest_reported(post, health.selftest)

    def _pace(self, post: Post, heartbeat_s: int) -> None:
        """A heartbeat that this window does not allow is a fault before it is a false silence."""
        needed_s = HEARTBEATS_IN_WINDOW * heartbeat_s + LATE_S
        is_too_slow = needed_s > self._settings.silent_after_s
        if is_too_slow != post.is_too_slow:
            post.is_too_slow = is_too_slow
            self._log("heartbeat_too_slow", level="warning", post=post.post, present=is_too_slow)
            self._show_faults(post)

    def _claims(self, post: Post, location: Location | None) -> None:
        """Where the post's own settings say that it hangs; a GPS fix says nothing about them."""
        if location is None or location.source != "surveyed":
            return
        was_misplaced = post.misplaced
        post.claims = Place(lat=location.lat, lon=location.lon)
        if post.misplaced != was_misplaced:
            self._log("place_differs", level="warning", post=post.post, present=post.misplaced)
            self._show_faults(post)

    def _note_read(self, post: Post, held: HeldAlarm) -> None:
        """Its lamp says that somebody has answered: once it is heard of, by the next heartbeat."""
        track = self._tracks.get(held.alarm_id)
        if track is None or track.is_read or track.post != post.post or not is_answered(held.state):
            return
        track.is_read = True
        if track.answered_us is not None:
            took_us = self._now.uptime_us - track.answered_us
            self._log_hop("alarm_read", track, took_us, state=held.state)

    def _is_of(self, post: Post, alarm_id: str) -> bool:
        track = self._tracks.get(alarm_id)
        return track is not None and track.post == post.post

    def _answer(self, post: str, connection: str, n: int) -> None:
        """We have heard heartbeat `n`; and does the MCC answer us?"""
        answer = Answer(
            post=post,
            n=n,
            connection=connection,
            mcc_answers=self._mcc_answers(),
            at=timestamp(self._now.wall_ms),
        )
        topic = self._topics.post(post, "answer")
        self._effects.append(Publish(POSTS_LINK, topic, answer, expiry_s=ANSWER_EXPIRY_S))

    def _alive(self, post: Post, faults: tuple[str, ...]) -> None:
        self._supervision.heard(post.post, self._now.uptime_us)
        post.last_seen_ms = self._now.wall_ms
        if faults != post.faults:
            post.faults = faults
            self._show_faults(post)
        if self._becomes(post, "online"):
            post.silent_since = post.silent_with = None
            self._leaves_group(post)
            self._say(Address("mcc", "posts", post.post))

    def _show_faults(self, post: Post, *, time_only: bool = False) -> None:
        """What is wrong with a post has changed, or may have, by time alone."""
        lives = post.lives
        changed = lives.due(self._now) if time_only else lives.see(post.present, self._now)
        self._look_again(("faults", post.post), lives)
        if changed:
            self._say(Address("mcc", "posts", post.post))

    def _look_again(self, key: tuple[str, ...], lives: FaultLives) -> None:
        next_us = lives.next_us()
        if next_us is None:
            self._deadlines.cancel(key)
        else:
            self._deadlines.set(key, next_us)

    def _presence(self, heard: Heard, presence: PresenceMessage) -> None:
        if not self._has_room_for(presence.post):
            return
        post = self._watched(presence.post)
        if presence.online and presence.heartbeat_s is not None:
            self._pace(post, presence.heartbeat_s)
        if heard.retained or presence.online:
            # It says who was there once, or who comes; that somebody is there a heartbeat says.
            known = presence.firmware if post.firmware is None else post.firmware
            firmware = known if heard.retained else presence.firmware
            if firmware != post.firmware:
                post.firmware = firmware
                self._show_faults(post)
                self._say(Address("mcc", "posts", post.post))
        elif presence.connection == post.connection and post.presence == "online":
            # A will of an older connection comes late: the post has long been back.
            self._supervision.left(post.post, self._now.uptime_us)

    def _silent(self, name: str) -> None:
        if not self._is_up(POSTS_LINK):
            return  # the gateway is deaf, which is its own fault; posts get a fresh window later
        post = self._posts[name]
        if post.maintained_until_us is not None:
            if self._becomes(post, "unknown"):
                self._say(Address("mcc", "posts", name))
            return
        if not self._becomes(post, "silent"):
            return
        self._say(Address("mcc", "posts", name))
        now_us = self._now.uptime_us
        if post.silent_since is None:
            joined = self._groups.silent(name, post.since, now_us)
        else:
            # It was silent before this gateway's start and has been ever since.
            post.since, joined = post.silent_since, []
            if post.silent_with is not None:
                self._groups.restore(name, post.silent_with, now_us)
                joined = [name]
        for one in joined:
            self._posts[one].silent_with = self._groups.group_of(one)
            self._say(Address("mcc", "posts", one))
        if joined:
            self._say_gateway_soon()

    def _leaves_group(self, post: Post) -> None:
        post.silent_with = None
        if self._groups.heard(post.post):
            self._say_gateway_soon()

    def _becomes(self, post: Post, presence: Presence) -> bool:
        if not post.becomes(presence, self._now.wall_ms):
            return False
        if presence != "online":
            self._disturb_selftest(post)
        self._log("post", post=post.post, presence=presence, last_seen=post.shown_last_seen)
        return True

    # --- daily self-tests ------------------------------------------------------------------

    def _schedule_selftest(self, post: Post) -> None:
        if self._settings.selftests:
            in_s = selftests.next_in_s(post.post, post.selftest, self._now.wall_ms)
            at_us = self._now.uptime_us + in_s * SECOND_US
            self._deadlines.set(("selftest", post.post), at_us)

    def _selftest_due(self, name: str) -> None:
        """Ask for it, by the state document: when the post is there and nobody is calling."""
        post = self._posts[name]
        now_us = self._now.uptime_us
        if name in self._running:
            return
        is_free = post.presence == "online" and not post.unresolved and post.window is None
        if not is_free or post.maintained_until_us is not None or name in self._retired:
            self._deadlines.set(("selftest", name), now_us + selftests.LOOK_AGAIN_US)
            return
        if len(self._running) >= selftests.UNDER_WAY_MAX:
            self._deadlines.set(("selftest", name), now_us + selftests.FULL_LOOK_US)
            return
        post.selftest_due = timestamp(self._now.wall_ms)
        self._begin_run(name, post.selftest_due)
        self._log("selftest_due", post=name)
        self._say(Address("posts", "state", name))

    def _begin_run(self, name: str, due_at: str) -> selftests.Run:
        now_us = self._now.uptime_us
        self._deadlines.set(("selftest_ends", name), now_us + selftests.PATIENCE_US)
        run = self._running[name] = selftests.Run(due_at, now_us)
        return run

    def _run_selftest(self, record: AlarmRecord) -> None:
        """Its alarm is in the journal, or has been answered; perhaps long after its time."""
        if record.post not in self._retired:
            post = self._watched(record.post)
            run = self._running.get(record.post)
            if run is None or (run.record is not None and run.record.alarm_id != record.alarm_id):
                run = self._begin_run(record.post, record.reached.received.at)
            run.record = record
            run.disturbed |= bool(post.unresolved - {record.alarm_id})
            if post.selftest_due is not None:
                post.selftest_due = None
                self._say(Address("posts", "state", record.post))
        if record.resolved:
            if record.reached.delivered is not None:
                self._set_fault(selftests.RESPONDER_DEAD, present=False)
        elif not self._settings.require_receipt:
            track = self._tracks[record.alarm_id]
            self._change(track, selftests.closed_here(record, self._now.wall_ms), None)

    def _selftest_reported(self, post: Post, report: SelftestReport) -> None:
        run = self._running.get(post.post)
        if run is None or run.record is None or run.record.alarm_id != report.alarm_id:
            return
        run.report = report
        if run.record.resolved:
            self._end_selftest(post, run, selftests.failure_of(run.record, report))

    def _is_to_be_reminded(self, post: Post) -> bool:
        run = self._running.get(post.post) if post.selftest_due is not None else None
        return run is not None and self._now.uptime_us - run.began_us >= selftests.REMIND_US

    def _selftest_over(self, name: str) -> None:
        """Its time is over: what was the first hop that did not do its part?"""
        post, run = self._posts[name], self._running.get(name)
        if run is None:
            return
        if run.record is not None:
            failed = selftests.failure_of(run.record, run.report)
            is_post_s = failed == "unconfirmed"
        else:
            connection = self._outgoing[POSTS_LINK].connection
            is_ours = connection is None or self._deaf_on not in (None, connection)
            is_deaf = is_ours or "gateway_deaf" in post.faults
            failed = "gateway_deaf" if is_deaf else "missed"
            is_post_s = failed == "missed"
        is_ours = selftests.is_of_mcc(failed) and not self._is_up(MCC_LINK)
        if is_ours or (is_post_s and (run.disturbed or post.presence != "online")):
            # It was away, somebody called, or we reach nobody: no word of a test that could not be.
            del self._running[name]
            self._withdraw_selftest(post)
            at_us = self._now.uptime_us + selftests.LOOK_AGAIN_US
            self._deadlines.set(("selftest", name), at_us)
            return
        self._end_selftest(post, run, failed)

    def _disturb_selftest(self, post: Post) -> None:
        """Somebody calls, or the post is away: it may not come to its test, which is no fault."""
        run = self._running.get(post.post)
        if run is not None:
            run.disturbed = True

    def _withdraw_selftest(self, post: Post) -> None:
        self._deadlines.cancel(("selftest_ends", post.post))
        if post.selftest_due is not None:
            post.selftest_due = None
            self._say(Address("posts", "state", post.post))

    def _end_selftest(self, post: Post, run: selftests.Run, failed: SelftestFailure | None) -> None:
        name = post.post
        del self._running[name]
        self._withdraw_selftest(post)
        at = timestamp(self._now.wall_ms)
        post.selftest = selftests.result_of(run, failed, post.selftest, at)
        self._selftests[name] = post.selftest
        self._dirty_meta.update([selftests.meta_row(name, post.selftest)])
        if selftests.is_of_mcc(failed):
            self._set_fault(selftests.RESPONDER_DEAD, present=True)
        level: Literal["warning", "info"] = "info" if failed is None else "warning"
        alarm = None if run.record is None else run.record.alarm_id
        circuit = None if run.record is None else run.record.circuit
        self._log(
            "selftest", level=level, post=name, alarm_id=alarm, failed=failed, circuit=circuit
        )
        self._schedule_selftest(post)
        self._show_faults(post)
        self._say(Address("mcc", "posts", name))

    # --- links -----------------------------------------------------------------------------

    def _is_up(self, link: str) -> bool:
        return self._outgoing[link].connection is not None

    def _link_up(self, link: str, connection: str) -> None:
        """An owner repairs: every document of ours goes out again, alarms first."""
        outgoing = self._outgoing[link]
        outgoing.clear()
        outgoing.connection = connection
        outgoing.heard_us = self._now.uptime_us
        self._deadlines.set(("quiet", link), self._now.uptime_us + self._quiet_us)
        self._log("link_up", link=link, connection=connection)
        if link == MCC_LINK:
            self._beat_us = None
            self._say_gateway()
            for track in self._tracks.values():
                track.published = None
                if track.committed is not None:
                    self._schedule_offers(track)
                    self._say_alarm(track)
            for name in self._posts:
                self._say(Address("mcc", "posts", name), again=True)
            return
        self._ups.append(self._now.uptime_us)
        if self._deaf_on is None:
            self._hears_posts()
        for name, post in self._posts.items():
            if post.listed or post.window is not None or post.selftest_due is not None:
                self._say(Address("posts", "state", name))
        for name in self._retired:
            self._say(Address("posts", "presence", name))

    def _hears_posts(self) -> None:
        """Its connection stands, and it is not known to be deaf: everybody has a new window."""
        now_us = self._now.uptime_us
        missed = (
            name
            for name, post in self._posts.items()
            if post.presence != "silent" and name not in self._retired
        )
        self._supervision.hears(missed, now_us)
        if len(self._ups) < UNSTEADY_UPS or now_us - self._ups[0] > STEADY_US:
            self._set_fault("posts_link_down", present=False)
        else:
            self._deadlines.set(("passed", "posts_link_down"), now_us + STEADY_US)

    def _link_down(self, link: str, reason: str) -> None:
        outgoing = self._outgoing[link]
        outgoing.connection = None
        outgoing.clear()
        self._deadlines.cancel(("quiet", link))
        self._log("link_down", level="warning", link=link, reason=reason)
        if link == MCC_LINK:
            self._beat_us = None
            self._deadlines.cancel(("beat",))
        else:
            self._supervision.deaf()
            self._deadlines.cancel(("passed", "posts_link_down"))
            self._set_fault("posts_link_down", present=True)

    def _quiet(self, link: str) -> None:
        """Perhaps nothing has been heard for a while: is that silence, or are we deaf?"""
        now_us = self._now.uptime_us
        quiet_us = now_us - self._outgoing[link].heard_us
        if quiet_us < self._quiet_us:
            self._deadlines.set(("quiet", link), now_us - quiet_us + self._quiet_us)
            return
        post = next((name for name in self._posts if name not in self._retired), None)
        if quiet_us >= self._deaf_us and post is not None:
            self._log("link_deaf", level="warning", link=link)
            if link == POSTS_LINK:
                self._deaf_on = self._outgoing[link].connection
            self._effects.append(Drop(link, "not even our own documents are heard"))
        elif post is not None:
            side: Literal["posts", "mcc"] = "posts" if link == POSTS_LINK else "mcc"
            self._say(Address(side, "state" if link == POSTS_LINK else "posts", post))
        self._deadlines.set(("quiet", link), now_us + self._deaf_us - self._quiet_us)

    def _read_back(self, message: Message) -> None:
        """A document of ours as the broker kept it: mend what differs, clear what is unknown."""
        ours = self._settings.gateway_id
        match message:
            case PostState(post=name):
                address = Address("posts", "state", name)
                expected = self._document(address)
                same = (
                    isinstance(expected, PostState)
                    and msgspec.structs.replace(expected, at=message.at) == message
                )
            case MccAlarm(alarm_id=name, gateway=gateway) if gateway == ours:
                address = Address("mcc", "alarms", name)
                track = self._tracks.get(name)
                if track is not None and track.committed is None:
                    return  # not in the journal yet; when it is, the document is published
                same = self._document(address) == message
            case MccPost(post=name, gateway=gateway) if gateway == ours:
                address = Address("mcc", "posts", name)
                if not self._has_room_for(name):
                    return
                if name not in self._retired:
                    # Supervised before the restart, so still: silence is an alarm.
                    post = self._watched(name)
                    if not post.restored:
                        post.restore(message, self._now)
                same = self._document(address) == message
            case _:
                return
        if not same:
            self._log("document_mended", topic=self._topic(address))
            self._say(address)

    def _say_gateway(self) -> None:
        """mcc/gateways: this gateway is there, and how far behind it is."""
        if not self._is_up(MCC_LINK):
            return
        oldest_us = next(iter(self._unreceipted.values()), self._now.uptime_us)
        message = MccGateway(
            gateway=self._settings.gateway_id,
            online=True,
            at=timestamp(self._now.wall_ms),
            journal_id=self._journal_id,
            journal_depth=len(self._unreceipted),
            uplink_lag_s=max(0, self._now.uptime_us - oldest_us) // SECOND_US,
            faults=self._lives.shown,
            faults_since=self._lives.since,
            faults_count=self._lives.count,
            silent_groups=self._groups.shown,
        )
        topic = self._topics.mcc("gateways", self._settings.gateway_id)
        self._effects.append(Publish(MCC_LINK, topic, message, retain=True))
        self._deadlines.set(("beat",), self._now.uptime_us + GATEWAY_BEAT_US)

    def _set_fault(self, fault: str, *, present: bool) -> None:
        if present == (fault in self._faults):
            return
        if present:
            self._faults.add(fault)
        else:
            self._faults.discard(fault)
        level: Literal["warning", "info"] = "warning" if present else "info"
        self._log("fault", level=level, fault=fault, present=present)
        self._show_own_faults()

    def _faults_in_order(self) -> list[str]:
        return sorted(self._faults)

    def _show_own_faults(self) -> None:
        changed = self._lives.see(self._faults_in_order(), self._now)
        changed |= self._lives.due(self._now)
        self._look_again(("own_faults",), self._lives)
        if changed:
            self._say_gateway()

    def _say_gateway_soon(self) -> None:
        """Many posts at once are many reasons and one word."""
        if self._is_up(MCC_LINK):
            soon_us = self._now.uptime_us + SAY_PAUSE_US
            self._deadlines.set(("beat",), min(soon_us, self._deadlines.get(("beat",)) or soon_us))

    def _look_at_own_delay(self) -> None:
        """Whether this process has slept over what it wanted to be woken for."""
        wake_us = self.wake_at_us()
        late_us = 0 if wake_us is None else self._now.uptime_us - wake_us
        if late_us < OVERSLEPT_US:
            return
        self._supervision.stalled(late_us)
        now_us = self._now.uptime_us
        paid_us = (now_us - self._slept_at_us) // STALLED_SHARE
        self._slept_us = max(0, self._slept_us - paid_us) + late_us
        self._slept_at_us = now_us
        if self._slept_us < STALLED_US:
            return
        self._log("gateway_stalled", level="warning", for_ms=late_us // 1000)
        self._deadlines.set(("passed", "stalled"), self._now.uptime_us + STALL_SHOWN_US)
        self._set_fault("stalled", present=True)

    # --- what is over for long ---------------------------------------------------------------

    def _prune(self) -> None:
        """A clock that nobody has set would take the newest for the oldest."""
        self._deadlines.set(("prune",), self._now.uptime_us + PRUNE_EVERY_US)
        before_ms = self._now.wall_ms - self._settings.keep_days * DAY_MS
        before = timestamp(before_ms) if self._now.synchronised else None
        self._effects.append(Prune(before, PRUNE_BATCH))

    def _pruned(self, count: int) -> None:
        if count:
            self._log("journal_pruned", alarms=count)
        if count >= PRUNE_BATCH:
            self._deadlines.set(("prune",), self._now.uptime_us + PRUNE_PAUSE_US)

    # --- small change ----------------------------------------------------------------------

    def _acknowledge(self, heard: Heard) -> None:
        if heard.receipt is not None:
            self._acks.setdefault(heard.link, []).append(heard.receipt)

    def _count_refused(self, what: str, **fields: object) -> None:
        self.counts[what] += 1
        self._log("refused", level="warning", what=what, count=self.counts[what], **fields)

    def _log(
        self, event: str, level: Literal["info", "warning", "error"] = "info", **fields: object
    ) -> None:
        self._lines.append(Log(event, level, fields))


def _alarms_of(commit: Commit | None) -> tuple[str, ...]:
    return () if commit is None else tuple(put.record.alarm_id for put in commit.puts)
