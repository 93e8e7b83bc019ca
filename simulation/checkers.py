"""The promises, checked while everything happens and once more when it has settled.

A checker knows what residents and operators did, what is on the disks, what passes on the wire, and
what lamp and buzzer do. It must never ask a core what it believes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec

from device.core import UNRESOLVED_MAX
from device.core import Commit as PostCommit
from device.held import Held, excess_id
from gateway.core import MCC_LINK, Commit
from gateway.record import AlarmRecord, document
from mcc.alarms import RESPONDER, STEP_OF, record_of
from mcc.alarms import AlarmRecord as MccRecord
from mcc.core import Commit as MccCommit
from process.core import Acknowledge, Heard, Publish
from protocol.codec import bytes_max, encode
from protocol.messages import (
    HELD_MAX,
    Alarm,
    Answer,
    Command,
    Health,
    MccAlarm,
    MccPost,
    PostState,
)
from protocol.states import RANK
from simulation.disks import Journal, MccDisk, PostDisk
from simulation.people import Truth
from simulation.processes import CONSOLE, GATEWAY_ID, CentreProcess, GatewayProcess, PostProcess
from simulation.timeline import MINUTE_US, SECOND_US, Timeline, Violation

# P2: 45 s after the last answered heartbeat was sent, at the default of 30 s.
OUT_OF_ORDER_AFTER_US = 45 * SECOND_US
# A beat every 10 s, two may be missed.
BEAT_US = 25 * SECOND_US
UNLISTED_US = 20 * SECOND_US
# Patience with the disk, and its latency: so much may be gone with the process (P1, step 2).
UNWRITTEN_US = 1_300_000
OPEN_TEST_AGE_US = 60 * SECOND_US
SKEW_US = 5 * SECOND_US  # between the clocks of gateway and MCC, when nobody has stepped them
SILENT_US = 90 * SECOND_US
# Two heartbeats of 30 s, and a little for the commits on both sides.
AGREE_US = 70 * SECOND_US
# Twice the longest pause between two offers to the command centre, 75 s with its jitter.
OFFERED_US = 150 * SECOND_US
SILENT_AFTER_WILL_US = 20 * SECOND_US
# A self-test takes 5 minutes at most, and a link that is deaf is noticed after 2.
CALM_FOR_TESTS_US = 8 * MINUTE_US
# Raised by a self-test that failed while things failed; the next one, an hour later, clears them.
_BY_TESTS = ("selftest_missed", "selftest_unconfirmed", "responder_dead")


class Checkers:
    """All of them; a broken promise raises `Violation` at once."""

    def __init__(self, timeline: Timeline, truth: Truth, counts: Counter[str]) -> None:
        """The disks are named later, with `watch`."""
        self.timeline = timeline
        self.truth = truth
        self.counts = counts
        self._read_late: dict[str, bool] = defaultdict(bool)
        self.posts: dict[str, PostProcess] = {}
        self.clocks_skewed = False  # wall clocks of gateway or MCC were stepped: windows are vague
        self.gateway_starts_us: list[int] = []
        self._cards: dict[str, PostDisk] = {}
        self._gone: Counter[str] = Counter()  # calls that an older journal does not know
        self._forgetful: set[str] = set()  # died with alarms that no card held
        self._tests_kept: set[str | None] = set()  # self-tests that the store has ever held
        self._carried: set[str] = set()  # calls beyond their answer were offered as another alarm
        self._again: Counter[str] = Counter()  # calls that nothing tells from one that rang already
        self._bad_us: dict[str, int] = {}
        # Sounds, by alarm.
        self.sounds: Counter[str] = Counter()
        self._cuts: Counter[str] = Counter()
        self._sounded_us: dict[str, int] = {}
        self._carried_us: dict[str, int] = {}  # when calls beyond an answer became another alarm
        # What the gateway has really heard and said.
        self._sent_us: dict[tuple[str, str, int], int] = {}
        self._answered_us: dict[str, int] = {}
        self._beat_us = -(10**12)
        self._alive_us: dict[str, int] = {}
        self._beats: dict[str, tuple[int, int]] = {}  # the last one heard, by boot
        self._second: MccDisk | None = None
        self._shown: dict[str, str] = {}
        self._receipts: set[tuple[str, str, str]] = set()
        self._windows_said: set[str] = set()
        # What has ever stood in the journal, and when each alarm there last changed.
        self._steps: set[str] = set()
        self._tested: dict[str, str] = {}  # when the latest shown self-test of a post ended
        self.planted: dict[str, str] = {}  # post -> the failure that its self-test must name
        self._changed_us: dict[str, int] = {}

    def watch(self, journal: Journal, store: MccDisk) -> None:
        """Look at every commit on these disks."""
        self._journal = journal
        self._store = store
        self._lineage = journal.lineage
        journal.on_commit = self._journal_commit
        store.on_commit = self._store_commit

    def watch_second(self, store: MccDisk) -> None:
        """Look at the commits of another console's store."""
        self._second = store
        store.on_commit = self._second_commit

    def watch_post(self, post: PostProcess) -> None:
        """Look at this post and at every commit on its card."""
        self.posts[post.name] = post
        self._cards[post.name] = post.disk
        self._bad_us[post.name] = -(10**12)
        post.disk.on_commit = lambda rows, commit: self._card_commit(post, rows, commit)

    def disk_was_bad(self, post: str) -> None:
        """The card of this post is, or was until now, not in order."""
        self._bad_us[post] = self.timeline.now_us

    def _broken(self, promise: str, what: str) -> None:
        raise Violation(f"{promise} at {self.timeline.now_us / SECOND_US:.3f} s: {what}")

    # --- P1 and P5: calls and alarms -------------------------------------------------------

    def _counted(self, post: str, where: str = "everywhere") -> int:
        """How many calls of this post the disks hold, by alarms and repeats."""
        counts: dict[str, int] = {}
        if where in ("everywhere", "journal"):
            for record in self._journal.rows.values():
                if record.post == post and record.kind != "selftest":
                    answered = record.answered_repeats
                    for knows in (self._cards[post].rows, self._store.alarms):
                        # The journal was restored; the command centre will tell it once more.
                        if answered is None and record.alarm_id in knows:
                            answered = knows[record.alarm_id].answered_repeats
                    counts[record.alarm_id] = self._calls_in(record, answered)
        if where in ("everywhere", "store"):
            for alarm in self._store.alarms.values():
                if alarm.post == post:
                    n = self._calls_in(alarm, alarm.answered_repeats)
                    counts[alarm.alarm_id] = max(counts.get(alarm.alarm_id, 0), n)
        if where == "journal" or where == "store":
            # At the bound of 16, calls beyond an answer wait on the card until there is room.
            return sum(counts.values()) + self._pending(post)
        if where == "everywhere":
            for card_row in self._cards[post].rows.values():
                if not card_row.is_call:
                    continue
                held = self._as_answered(card_row)  # an older card learns of it yet
                moved = max(0, held.carried - (held.answered_repeats or 0))
                if held.excess and not self._excess_of(held):
                    moved += held.excess
                n = 1 + held.repeats - moved
                counts[held.alarm_id] = max(counts.get(held.alarm_id, 0), n)
        return sum(counts.values())

    def _calls_in(self, alarm: AlarmRecord | MccRecord, answered_repeats: int | None) -> int:
        """How many calls an alarm stands for: those beyond the answer live on in another one.

        A card that was replaced cannot carry them over. Then the MCC shows and rings for them as
        unanswered repeats, as long as nothing has.
        """
        card = self._cards[alarm.post]
        lost = card.replaced and alarm.alarm_id not in card.rows
        if answered_repeats is None or (lost and alarm.alarm_id not in self._carried):
            return 1 + alarm.repeats
        return 1 + min(alarm.repeats, answered_repeats)

    def _as_answered(self, held: Held) -> Held:
        if held.answered_repeats is not None:
            return held
        known = self._journal.rows.get(held.alarm_id) or self._store.alarms.get(held.alarm_id)
        if known is None or known.answered_repeats is None:
            return held
        return msgspec.structs.replace(held, answered_repeats=known.answered_repeats)

    def _pending(self, post: str) -> int:
        return sum(self._excess_of(held) for held in self._cards[post].rows.values())

    def _excess_of(self, held: Held) -> int:
        """Its calls beyond the answer; none when an older card does not know where they went."""
        if held.excess:
            alarm_id = excess_id(held, str)
            if alarm_id in self._journal.rows or alarm_id in self._store.alarms:
                return 0
        return held.excess

    def post_died(self, post: PostProcess) -> None:
        """P1: what it had reported as written must be somewhere."""
        now_us = self.timeline.now_us
        name = post.name
        if self._was_bad_since_the_last_call(post):
            self._forgetful.add(name)
        missing = self.truth.sure_calls(name) - self._counted(name)
        if missing <= 0:
            return
        unwritten = [c for c in self.truth.calls[name] if c.sure and c.excused is None]
        for call in unwritten[-missing:]:
            fresh = now_us - call.at_us < UNWRITTEN_US
            bad = self._bad_us[name] + 7 * SECOND_US >= call.at_us or post.disk.weather != "ok"
            if not (fresh or bad or post.disk.slow_us):
                self._broken("P1", f"{name}: the call of {_s(call.at_us)} died with the process")
            call.excused = "died before it was written"
            self.counts["excused_unwritten"] += 1

    def held(self) -> dict[str, tuple[int, int]]:
        """How many calls of each post the journal holds, and all disks together."""
        return {post: (self._counted(post, "journal"), self._counted(post)) for post in self.posts}

    def disk_replaced(self, before: dict[str, tuple[int, int]]) -> None:
        """The one loss allowed: the only copy is gone. It is counted.

        `before` is what was held.
        """
        for post, (in_journal, _) in self.held().items():
            # (A replaced card shows more calls in the journal that nothing has carried over.)
            self._gone[post] += max(0, before[post][0] - in_journal)
        for post, card in self._cards.items():
            rows = [held for held in card.rows.values() if held.is_call and not held.over]
            if card.replaced:
                unplaced = sum(held.alarm.repeat_uptimes_ms.count(None) for held in rows)
                self._again[post] = max(self._again[post], unplaced)
        for name in self.posts:
            # The call of somebody who is at the post is on a disk before it is among the calls.
            known = sum(call.excused is None for call in self.truth.calls[name])
            ahead = max(0, before[name][1] - known) if self._is_busy(name) else 0
            missing = max(0, self.truth.sure_calls(name) + ahead - self._counted(name))
            unsafe = [c for c in self.truth.calls[name] if c.sure and c.excused is None]
            for call in unsafe[max(0, len(unsafe) - missing) :]:
                call.excused = "its only copy was replaced"
                self.counts["excused_only_copy"] += 1

    def _no_more_than_called(self, post: str) -> None:
        if self._journal.replaced and self._store.replaced:
            return  # an answer may be forgotten everywhere but at the post: then calls ring again
        calls = self.truth.calls[post]
        # A call is counted a moment before its resident is done with it.
        called = len(calls) + self._is_busy(post) + self._again[post]
        if self._counted(post, "journal") - self._pending(post) > called:
            self._broken("P5", f"{post}: more calls in the journal than the {called} made")

    def _is_busy(self, post: str) -> bool:
        return self.timeline.now_us < self.busy_until_us(post)

    @staticmethod
    def busy_until_us(post: str) -> int:
        """Replaced by the world: until when (us) somebody is at this post."""
        raise NotImplementedError(post)

    # --- P6 and the rules of merging: nothing falls ----------------------------------------

    def _card_commit(self, post: PostProcess, rows: dict[str, Held], commit: PostCommit) -> None:
        for held in commit.puts:
            before = rows.get(held.alarm_id)
            if before is None:
                self.timeline.note(post.name, f"holds {held.alarm_id[-12:]}")
                if held.is_call and not held.alarm.presses_ms:
                    self._carried_us[post.name] = self.timeline.now_us
                continue
            self._rises(f"{post.name} outbox", before, held)
            if before.answered_repeats not in (None, held.answered_repeats):
                self._broken("P1", f"{post.name}: answered repeats changed in {held.alarm_id}")
            if (before.sound, held.sound) in (("sounded", "due"), ("due", "none")):
                self._broken("P2", f"{post.name}: {before.sound} became {held.sound}")
        bad = self.timeline.now_us - self._bad_us[post.name] < MINUTE_US
        bad = bad or post.disk.slow_us > 0  # what is over by then may never have been written
        for alarm_id in commit.deletes:
            gone = rows.get(alarm_id)
            if gone is not None and not bad and (not gone.over or gone.sound == "due"):
                self._broken("P1", f"{post.name}: {alarm_id} forgotten as {gone.state}")
        after = {**rows, **{held.alarm_id: held for held in commit.puts}}
        for alarm_id in commit.deletes:
            after.pop(alarm_id, None)
        bad = bad or post.disk.unread
        unresolved = sum(held.is_call and not held.over for held in after.values())
        # Calls from before its card could be read come on top, until so many are resolved.
        if bad or unresolved <= UNRESOLVED_MAX:
            self._read_late[post.name] = bad
        elif not self._read_late[post.name]:
            self._broken("P7", f"{post.name}: more than {UNRESOLVED_MAX} unresolved")
        if len(after) > HELD_MAX and not bad:
            self._broken("P7", f"{post.name}: holds {len(after)}")

    def _journal_commit(self, rows: dict[str, AlarmRecord], commit: Commit) -> None:
        posts = set()
        for alarm_id in commit.deletes:
            gone = rows.get(alarm_id)
            if gone is not None and (gone.kind != "selftest" or not gone.over):
                self._broken("P1", f"the journal deletes {gone}")
        for put in commit.puts:
            record = put.record
            before = rows.get(record.alarm_id)
            posts.add(record.post)
            self._changed_us[record.alarm_id] = self.timeline.now_us
            for step in _steps_of(record):
                if step.command_id is not None:
                    self._steps.add(step.command_id)
            if before is None:
                self._new_in_journal(record)
            elif put.is_new:
                continue  # the journal keeps its own
            else:
                self._rises("journal", before, record)
                self._steps_stay("journal", before, record)
            self.timeline.note(
                "journal",
                f"{record.alarm_id[-12:]} {record.state} {record.kind} repeats={record.repeats}"
                f" answered={record.answered_repeats} listed={record.listed}"
                f" receipted={record.receipted is not None}",
            )
            if record.kind == "selftest":
                self._selftest_in_journal(before, record)
            elif record.answered_repeats is not None and (
                before is None or before.answered_repeats is None
            ):
                self._answers_what_was_seen(record)
        self.timeline.after(0, self._posts_counted, posts)

    def _posts_counted(self, posts: set[str]) -> None:
        for post in sorted(posts):
            self._no_more_than_called(post)

    def _new_in_journal(self, record: AlarmRecord) -> None:
        if record.post not in self.posts:
            self._broken("P4", f"an alarm of {record.post}, which there is not")

    def _selftest_in_journal(self, before: AlarmRecord | None, record: AlarmRecord) -> None:
        """Nobody's call, and answered by nobody but the responder."""
        if record.repeats or record.follows:
            self._broken("P5", f"a self-test counts as a call: {record}")
        answer = record.reached.resolved
        if record.reached.acknowledged or (answer and answer.operator != RESPONDER):
            self._broken("P1", f"somebody has answered a self-test: {record}")
        if answer is not None and (before is None or before.reached.resolved is None):
            self.counts["selftests_answered"] += 1

    def _answers_what_was_seen(self, record: AlarmRecord) -> None:
        seen = {
            command.repeats
            for command in self.truth.commands.values()
            if command.alarm_id == record.alarm_id and command.action in STEP_OF
        }
        if self._store.replaced:
            seen.add(0)  # what was seen is forgotten: then the calls ring again
        if record.answered_repeats not in seen:
            self._broken(
                "P1",
                f"{record.alarm_id} counts {record.answered_repeats} repeats as answered;"
                f" operators saw {sorted(one for one in seen if one is not None)}",
            )

    def _store_commit(self, rows: dict[str, MccRecord], commit: MccCommit) -> None:
        for alarm in commit.alarms:
            if alarm.kind == "selftest":
                self._broken("P1", f"a self-test is shown as a call: {alarm}")
            before = rows.get(alarm.alarm_id)
            if before is not None and alarm.alarm_id in commit.fresh:
                continue
            if before is None:
                self._shown_as_test(alarm)
            else:
                self._rises("store", before, alarm)
                self._steps_stay("store", before, alarm)
            self.timeline.note(
                "store",
                f"{alarm.alarm_id[-12:]} {alarm.state} {alarm.kind} repeats={alarm.repeats}"
                f" answered={alarm.answered_repeats} closed_here={alarm.closed_here is not None}",
            )
            if before is None or before.repeats < alarm.repeats or before.kind != alarm.kind:
                self.operators_see(alarm, before is None)
        for command_id, verdict in commit.verdicts:
            self.timeline.note("store", f"command {command_id[-12:]} {verdict.refused or 'done'}")
            if verdict.refused is None:
                self._done(command_id)

    def _second_commit(self, rows: dict[str, MccRecord], commit: MccCommit) -> None:
        for alarm in commit.alarms:
            before = rows.get(alarm.alarm_id)
            if before is not None and alarm.alarm_id not in commit.fresh:
                self._rises("second console", before, alarm)
                self._steps_stay("second console", before, alarm)
            if before is None or before.repeats < alarm.repeats:
                self.second_sees(alarm, before is None)
        for command_id, verdict in commit.verdicts:
            if verdict.refused is None:
                self._done(command_id)

    @staticmethod
    def second_sees(alarm: MccRecord, is_new: bool) -> None:
        """Replaced by the world: somebody looks at the other screen."""
        raise NotImplementedError

    @staticmethod
    def operators_see(alarm: MccRecord, is_new: bool) -> None:
        """Replaced by the world: people look at the screen."""
        raise NotImplementedError

    def _done(self, command_id: str) -> None:
        """A command is over when a document shows it, and a document shows what is committed."""
        command = self.truth.commands.get(command_id)
        if command is None:
            self._broken("P4", f"a command {command_id} that nobody gave")
        elif command.action in STEP_OF and command_id not in self._steps:
            self._broken("P1", f"{command.action} {command_id} is done, and in no journal")
        elif command.action == "open_test" and command_id not in self._windows_said:
            self._broken("P1", f"open_test {command_id} is done, and no document showed it")
        elif command.action == "close_test":
            for window in self.truth.windows[self.truth.closings[command_id]]:
                if window.closed_us is None:
                    window.closed_us = self.timeline.now_us

    def _rises(self, where: str, before: Any, after: Any) -> None:
        if RANK[after.state] < RANK[before.state]:
            self._broken(
                "P1", f"{where}: {before.alarm_id} fell from {before.state} to {after.state}"
            )
        if after.repeats < before.repeats:
            self._broken("P1", f"{where}: repeats of {before.alarm_id} fell")

    def _steps_stay(self, where: str, before: Any, after: Any) -> None:
        who = before.alarm_id
        if before.kind == "panic" and after.kind != "panic":
            self._broken("P1", f"{where}: panic {who} became {after.kind}")
        if before.answered_repeats not in (None, after.answered_repeats):
            self._broken("P1", f"{where}: answered repeats of {who} changed")
        if before.outcome not in (None, after.outcome):
            self._broken("P1", f"{where}: outcome of {who} changed")
        for name in ("delivered", "acknowledged", "dispatched", "resolved"):
            step = getattr(before.reached, name)
            if step is not None and getattr(after.reached, name) != step:
                self._broken("P1", f"{where}: who {name} {who} changed")

    # --- tests and panics ------------------------------------------------------------------

    def _may_be_test(self, post: str, at_us: int) -> bool:
        """Whether a call at this moment may lie in a window that an operator has opened."""
        for window in self.truth.windows[post]:
            if at_us < window.issued_us:
                continue
            if self.clocks_skewed:
                return True
            void = any(
                window.issued_us + SKEW_US < start_us <= at_us
                for start_us in self.gateway_starts_us
            )
            closed = window.closed_us is not None and window.closed_us < at_us
            latest_us = window.issued_us + OPEN_TEST_AGE_US + window.minutes * MINUTE_US
            if at_us <= latest_us + SECOND_US and not closed and not void:
                return True
        return False

    def _shown_as_test(self, alarm: MccRecord) -> None:
        if alarm.kind != "test":
            return
        calls = [c for c in self.truth.calls[alarm.post] if self._may_be_test(c.post, c.at_us)]
        # The call may still be under way when its alarm arrives.
        now = self._may_be_test(alarm.post, self.timeline.now_us)
        if not calls and not now:
            self._broken("P1", f"{alarm.alarm_id} is shown as a test, and no window was open")

    def _panics_are_panics(self, post: str) -> None:
        sure = sum(
            c.sure and c.excused is None and not self._may_be_test(post, c.at_us)
            for c in self.truth.calls[post]
        )
        panics = sum(
            self._calls_in(alarm, alarm.answered_repeats)
            for alarm in self._store.alarms.values()
            if alarm.post == post and alarm.kind == "panic"
        )
        if panics < sure:
            self._broken("P1", f"{post}: {sure} calls outside any window, {panics} shown as panic")

    # --- what the gateway hears and says ---------------------------------------------------

    def gateway_started(self, gateway: GatewayProcess) -> None:
        """A start: windows are void, and after a restore receipts are."""
        self.gateway_starts_us.append(self.timeline.now_us)
        self._alive_us.clear()
        self._beats.clear()
        self._shown.clear()
        if gateway.disk.lineage != self._lineage:
            self._lineage = gateway.disk.lineage
            self._receipts.clear()

    def gateway_hears(self, event: object) -> None:
        """What came in, live."""
        if type(event) is not Heard or event.retained:
            return
        message = event.message
        match message:
            case Alarm(follows=str(follows), presses_ms=()):
                self._carried.add(follows)
            case Health():
                beat = (message.uptime_ms, message.n)
                # A broker that delivers again what it delivered long ago is no sign of life.
                if beat > self._beats.get(message.boot_id, (-1, -1)):
                    self._beats[message.boot_id] = beat
                    self._alive_us[message.post] = self.timeline.now_us
            case Command() if event.address.name != CONSOLE:
                pass  # the other console's word is no receipt, and its beat nobody's presence
            case Command(action="beat"):
                self._beat_us = self.timeline.now_us
            case Command(action="receive"):
                assert message.alarm_id is not None
                assert message.content is not None
                self._receipts.add((message.alarm_id, message.content, message.store_id))

    def post_beats(self, health: Health) -> None:
        """A heartbeat leaves a post."""
        self._sent_us[health.post, health.connection, health.n] = self.timeline.now_us

    def gateway_says(self, gateway: GatewayProcess, publish: Publish) -> None:
        """P1: commit, then say. P3: no false silence, no false presence."""
        message = publish.message
        if isinstance(message, Answer):
            if message.mcc_answers:
                if self.timeline.now_us - self._beat_us > BEAT_US + SECOND_US:
                    self._broken("P2", "the gateway says that the MCC answers, and it does not")
                sent_us = self._sent_us.get((message.post, message.connection, message.n))
                if sent_us is not None and sent_us > self._answered_us.get(message.post, -1):
                    self._answered_us[message.post] = sent_us
        elif isinstance(message, PostState):
            self._state_document(message)
        elif isinstance(message, MccAlarm):
            self._alarm_document(message)
        elif isinstance(message, MccPost):
            self._post_document(message, gateway)

    def _state_document(self, state: PostState) -> None:
        self._fits(state)
        for listed in state.alarms:
            record = self._journal.rows.get(listed.alarm_id)
            if (
                record is None
                or RANK[listed.state] > RANK[record.state]
                or listed.repeats > record.repeats
                or listed.answered_repeats not in (None, record.answered_repeats)
            ):
                self._broken("P1", f"{state.post} reads {listed}, the journal holds {record}")

    def _alarm_document(self, shown: MccAlarm) -> None:
        self._fits(shown)
        record = self._journal.rows.get(shown.alarm_id)
        if (
            record is None
            or RANK[shown.state] > RANK[record.state]
            or shown.repeats > record.repeats
            or (shown.outcome is not None and shown.outcome != record.outcome)
        ):
            self._broken("P1", f"the MCC reads {shown.alarm_id} {shown.state}: not committed")
        receipted = shown.receipted
        if receipted is not None:
            receipt = (shown.alarm_id, receipted.content, receipted.store_id)
            if receipt not in self._receipts:
                self._broken("P1", f"{shown.alarm_id}: a receipt that this journal never got")

    def _post_document(self, shown: MccPost, gateway: GatewayProcess) -> None:
        if shown.test_window is not None:
            self._windows_said.add(shown.test_window.command_id)
        self._selftest_result(shown)
        before = self._shown.get(shown.post)
        self._shown[shown.post] = shown.connection
        now_us = self.timeline.now_us
        alive_us = self._alive_us.get(shown.post)
        if shown.connection == "online" and before != "online" and alive_us is None:
            self._broken("P3", f"{shown.post} is shown online, and nobody has heard it")
        if shown.connection == "silent" and before != "silent" and alive_us is not None:
            post = self.posts[shown.post]
            link = post.link
            steady = link.whole and not post.frozen
            # So long it may take to come back; a gateway that was frozen meanwhile lost its words.
            heard_us = max(link.last_up_us, gateway.thawed_us)
            if steady and now_us - heard_us < SILENT_AFTER_WILL_US + 5 * SECOND_US:
                steady = False
            if now_us - alive_us < SILENT_AFTER_WILL_US - SECOND_US or (
                steady and now_us - alive_us < SILENT_US - SECOND_US
            ):
                self._broken("P3", f"{shown.post} is shown silent, and it is not")

    def _selftest_result(self, shown: MccPost) -> None:
        """P3: while nothing fails every self-test passes, but for what was planted."""
        result = shown.selftest
        if result is None or result.ended_at == self._tested.get(shown.post):
            return
        self._tested[shown.post] = result.ended_at
        self.counts["selftests_passed" if result.failed is None else "selftests_failed"] += 1
        planted = self.planted.get(shown.post)
        is_calm = self.timeline.now_us - self.disturbed_us() > CALM_FOR_TESTS_US
        if (is_calm or planted) and result.failed != planted:
            self._broken("P3", f"{shown.post}: {planted or 'nothing'} is broken, {result}")

    @staticmethod
    def disturbed_us() -> int:
        """Replaced by the world: until when something fails."""
        raise NotImplementedError

    def gateway_acknowledges(self, acknowledge: Acknowledge, turned_away: set[object]) -> None:
        """P1: an offer is acknowledged when it is in the journal, or over its post's bound."""
        for receipt in acknowledge.receipts:
            assert isinstance(receipt, tuple)
            message = receipt[1].message
            if not isinstance(message, Alarm) or message.alarm_id in turned_away:
                continue
            record = self._journal.rows.get(message.alarm_id)
            if record is None or (
                record.post == message.post and record.repeats < len(message.repeat_uptimes_ms)
            ):
                self._broken("P1", f"{message.alarm_id} is acknowledged and not in the journal")

    def centre_says(self, centre: CentreProcess, publish: Publish) -> None:
        """P1: a receipt leaves after the commit."""
        message = publish.message
        if isinstance(message, Command) and message.action == "receive":
            if message.kind == "selftest":
                # The latest of a post is kept; one that comes again was kept in its time.
                self._tests_kept |= {one.alarm_id for one in centre.disk.selftests.values()}
                test = self._journal.rows.get(message.alarm_id or "")
                kept = None if test is None else centre.disk.selftests.get(test.post)
                is_later = test is not None and kept is not None and kept.raised.at > test.raised.at
                if message.alarm_id not in self._tests_kept and not is_later:
                    self._broken("P1", f"{message.alarm_id} is receipted and not in the store")
                return
            alarm = centre.disk.alarms.get(message.alarm_id or "")
            if alarm is None or (message.repeats or 0) > alarm.repeats:
                self._broken("P1", f"{message.alarm_id} is receipted and not in the store")

    def _fits(self, message: Any) -> None:
        if len(encode(message)) > bytes_max(type(message)):
            self._broken("P7", f"{type(message).__name__} is too large")

    # --- P2: lamp and buzzer ---------------------------------------------------------------

    def lamp(self, post: PostProcess) -> None:
        """It never claims more than is true."""
        if not post.alive or post.frozen:
            return
        name, now_us = post.name, self.timeline.now_us
        match post.lamp:
            case "armed":
                age_us = now_us - self._answered_us.get(name, -(10**12))
                if age_us > OUT_OF_ORDER_AFTER_US + SECOND_US:
                    self._broken("P2", f"{name}: armed, last answered {_s(age_us)} ago")
                if not post.link.up:
                    self._broken("P2", f"{name}: armed without a link")
            case "calling":
                if not self.truth.calls[name] and not self._is_busy(name):
                    self._broken("P2", f"{name}: calling, and nobody called")
            case "answered":
                self._lamp_answered(post)

    def _lamp_answered(self, post: PostProcess) -> None:
        answers = self.truth.answers[post.name]
        if not answers:
            self._broken("P2", f"{post.name}: answered, and nobody did")
        if post.disk.replaced or post.name in self._forgetful:
            return  # what its card never held it knows from the gateway alone
        settled_us = self.timeline.now_us - UNWRITTEN_US - post.disk.slow_us
        calls = self.truth.sure_calls(post.name, settled_us)
        covered = sum(1 + repeats for repeats in answers.values())
        if covered < calls:
            self._broken("P2", f"{post.name}: answered, {calls} calls, the answers cover {covered}")

    def _was_bad_since_the_last_call(self, post: PostProcess) -> bool:
        calls = self.truth.calls[post.name]
        bad_us = self._bad_us[post.name] + MINUTE_US
        return post.disk.weather != "ok" or any(call.at_us <= bad_us for call in calls[-1:])

    def look_at_lamps(self) -> None:
        """Every now and then, whatever happens."""
        for post in self.posts.values():
            if post.lamp in ("armed", "answered"):
                self.lamp(post)

    def link_is_down(self, post: PostProcess) -> None:
        """At once when the connection closes."""
        if post.lamp == "armed" and not post.link.up:
            self._broken("P2", f"{post.name}: the link is down and the lamp says armed")

    def call_is_listed(self, post: PostProcess, at_us: int, life: int) -> None:
        """A call that the gateway has not for 20 s: the lamp says 110."""
        if not post.alive or post.life != life or post.frozen or post.disk.replaced:
            return
        answered_us = max(self._sounded_us.get(post.name, 0), self._carried_us.get(post.name, 0))
        if answered_us > at_us - UNLISTED_US:
            return  # calls beyond that answer are an alarm of their own, with its own 20 s
        if self._was_bad_since_the_last_call(post):
            return  # how many calls wait at the bound of 16 stands on the card
        calls = self.truth.sure_calls(post.name, at_us)
        held = self._counted(post.name, "journal")
        if held < calls - self._gone[post.name] and post.lamp not in ("out_of_order", None):
            self._broken("P2", f"{post.name}: {post.lamp}, and {_s(at_us)}'s call is not listed")

    def sound(self, post: PostProcess, alarm_id: str) -> None:
        """Never without an answer, once, and only for what this card has held."""
        self.timeline.note(post.name, f"sounds for {alarm_id[-12:]}")
        if post.silent:
            self._broken("P2", f"{post.name} is silent and sounds")
        if alarm_id not in self.truth.answers[post.name]:
            self._broken("P2", f"{post.name} sounds for {alarm_id}, which nobody answered")
        bad = self.timeline.now_us - self._bad_us[post.name] < 10 * MINUTE_US
        bad = bad or post.disk.weather != "ok"
        if bad:
            self._cuts[alarm_id] += 1  # that it has sounded cannot be written down
        if alarm_id not in post.disk.ever and not bad:
            self._broken("P2", f"{post.name} sounds for {alarm_id}, which it never held")
        self.sounds[alarm_id] += 1
        self._sounded_us[post.name] = self.timeline.now_us
        allowed = 1 + self._cuts[alarm_id] + post.disk.replaced
        if self.sounds[alarm_id] > allowed and not bad:
            self._broken("P2", f"{post.name} sounds again for {alarm_id}")

    def sound_cut(self, post: PostProcess) -> None:
        """The process dies during a sound, or before it is written that it has sounded."""
        if post.sounding is not None:
            self._cuts[post.sounding] += 1
        elif post.sounded is not None:
            sounded_us, alarm_id = post.sounded
            if self.timeline.now_us - sounded_us < UNWRITTEN_US + post.disk.slow_us:
                self._cuts[alarm_id] += 1

    # --- liveness --------------------------------------------------------------------------

    def agree(self, gateway: GatewayProcess, centre: CentreProcess) -> None:
        """While nothing fails: what the gateway knows, posts and command centre know soon."""
        self._posts_agree()
        links = (gateway.links[MCC_LINK], centre.link)
        since_us = max(link.last_up_us for link in links)
        if all(link.whole for link in links):
            self._centre_agrees(self.timeline.now_us - since_us)

    def _centre_agrees(self, connected_us: int) -> None:
        now_us = self.timeline.now_us
        for record in self._journal.rows.values():
            known_us = min(connected_us, now_us - self._changed_us.get(record.alarm_id, 0))
            if known_us < OFFERED_US or record.cleared or record.kind == "selftest":
                continue
            there = self._store.alarms.get(record.alarm_id)
            if (
                there is None
                or RANK[there.state] < RANK[record.state]
                or there.repeats < record.repeats
            ):
                self._broken(
                    "P1",
                    f"{record.alarm_id} is {record.state} for {_s(known_us)} with"
                    f" {record.repeats} repeats, the store has {there}",
                )

    def _posts_agree(self) -> None:
        now_us = self.timeline.now_us
        listed = [record for record in self._journal.rows.values() if record.listed]
        for record in listed:
            known_us = now_us - self._changed_us.get(record.alarm_id, 0)
            link = self.posts[record.post].link
            if known_us < AGREE_US or not link.whole or now_us - link.last_up_us < AGREE_US:
                continue
            if sum(one.post == record.post for one in listed) > HELD_MAX:
                continue  # of more than a document can list, some have to wait for their turn
            held = self._cards[record.post].rows.get(record.alarm_id)
            if held is not None and RANK[held.state] > RANK[record.state]:
                # Older copies of journal and store have forgotten it both: it is to be said again.
                there = self._store.alarms.get(record.alarm_id)
                if there is not None and RANK[there.state] <= RANK[record.state]:
                    continue
            if record.resolved or (held is not None and held.state != record.state):
                state = "nothing" if held is None else held.state
                self._broken(
                    "P2",
                    f"{record.post}: {record.alarm_id} is {record.state} for {_s(known_us)},"
                    f" the post holds {state}",
                )

    def delivered(self) -> None:
        """A few minutes after the faults have stopped: every call is at the MCC."""
        for post in self.posts:
            calls = self.truth.sure_calls(post)
            for where in ("journal", "store"):
                held = self._counted(post, where)
                if where == "journal":
                    held += self._gone[post]  # resolved ones may live on at the MCC alone
                if held < calls:
                    self._broken("P1", f"{post}: {calls} calls, {held} in the {where}")

    def settled(self) -> None:
        """At the end: answered, shown, un-listed, quiet, armed."""
        self.delivered()
        for name, post in self.posts.items():
            self._panics_are_panics(name)
            if post.lamp != "armed":
                self._broken("P2", f"{name}: everything is over and the lamp says {post.lamp}")
            if post.disk.rows:
                self._broken("P1", f"{name} still holds {list(post.disk.rows.values())}")
            shown = self._store.posts.get(name)
            damaged = {"disk_replaced"} if post.disk.found_damaged else set()
            faults = set() if shown is None else {*shown.faults} - {"button_worn", *_BY_TESTS}
            if shown is None or shown.connection != "online" or faults != damaged:
                self._broken("P3", f"{name} has {damaged or 'no fault'}, the MCC shows {shown}")
        gateway = self._store.gateways.get(GATEWAY_ID)
        own = None if gateway is None else tuple(f for f in gateway.faults if f not in _BY_TESTS)
        if own != self._journal.faults:
            self._broken("P3", f"the journal has {self._journal.faults}, the MCC shows {gateway}")
        journal_id = self._journal.meta["journal_id"]
        for record in self._journal.rows.values():
            self._settled_in_journal(record, journal_id)
        for alarm in self._store.alarms.values():
            if alarm.is_open:
                self._broken("P1", f"{alarm.alarm_id} is open for ever: {alarm.state}")
        for store in (self._store, self._second):
            if store is not None and store.sending():
                self._broken("P1", f"{store.name} sends for ever: {store.sending()}")

    def selftests_are_over(self) -> bool:
        """Whether none is under way, as the disks have it."""
        rows = [*self._journal.rows.values()]
        held = [one for card in self._cards.values() for one in card.rows.values()]
        return all(row.kind != "selftest" for row in rows) and all(one.is_call for one in held)

    def _settled_in_journal(self, record: AlarmRecord, journal_id: str) -> None:
        who = record.alarm_id
        if not record.resolved or record.listed:
            self._broken("P1", f"journal: {who} {record.state} listed={record.listed}")
        shown = document(record, GATEWAY_ID, journal_id)
        there = self._store.alarms.get(who)
        if there is None:
            self._broken("P1", f"{who} is in the journal and not at the MCC")
            return
        mine, theirs = record_of(shown), there
        for name in ("state", "kind", "answered_repeats", "outcome", "post"):
            if name == "outcome" and self._journal.replaced and self.truth.has_two_outcomes(who):
                # Two people closed it; an older journal may hear the other one first.
                self.counts["excused_two_outcomes"] += mine.outcome != theirs.outcome
            elif getattr(mine, name) != getattr(theirs, name):
                self._broken("P1", f"{who}: {name} differs: {mine} {theirs}")
        if theirs.repeats < mine.repeats:  # after a restore of the journal it may hold more
            self._broken("P1", f"{who}: the MCC does not know of all its repeats")
        receipted = shown.receipted
        wanted = (shown.content, self._store.store_id)
        has = None if receipted is None else (receipted.content, receipted.store_id)
        # Of a cleared one nothing more is said; a restored journal asks for no new receipt.
        if has != wanted and not record.cleared:
            self._broken("P1", f"{who} is not receipted as it is")
        post = self.posts[record.post]
        answered_by_person = record.reached.acknowledged or record.reached.resolved
        held_it = who in post.disk.ever and not post.disk.replaced
        if answered_by_person and not post.silent and held_it:
            if self.sounds[who] == 0:
                self._broken("P2", f"{record.post} never sounded for {who}")
        elif post.silent and self.sounds[who]:
            self._broken("P2", f"{record.post} is silent and sounded")

    def retained(self, documents: dict[str, Any]) -> None:
        """At the end the brokers keep nothing that is not so."""
        journal_id = self._journal.meta["journal_id"]
        for topic, packet in documents.items():
            match packet.message:
                case PostState() as state if state.alarms:
                    self._broken("P1", f"{topic} still lists {state.alarms}")
                case MccAlarm() as shown:
                    record = self._journal.rows.get(shown.alarm_id)
                    if record is None or record.cleared:
                        self._broken("P1", f"{topic} was never cleared")
                    elif document(record, GATEWAY_ID, journal_id) != shown:
                        self._broken("P1", f"{topic} differs from the journal")


def _steps_of(record: AlarmRecord) -> list[Any]:
    steps = msgspec.structs.astuple(record.reached)
    return [step for step in steps if step is not None]


def _s(at_us: int) -> str:
    return f"{at_us / SECOND_US:.3f} s"
