"""Random walks of the core through crashes, forgetful brokers, hanging and restored journals.

Safety at each step: nothing is said that was never committed. Liveness at the end, when the faults
stop: every alarm is in the journal, receipted with all its calls, and the gateway falls quiet.
"""

from __future__ import annotations

from random import Random

import pytest

from gateway.core import Commit, Effect
from gateway.record import AlarmRecord, document, listing
from process.core import Publish
from protocol.messages import Action, HeldAlarm, MccAlarm, PostState
from protocol.states import RANK, higher, is_answered
from tests.gateway.rig import GATEWAY, Rig, some_id

POSTS = ("walk-rw01", "walk-rw02")
STEPS = 60
ACTIONS: dict[str, Action] = {
    "acknowledged": "acknowledge",
    "dispatched": "dispatch",
    "resolved": "resolve",
}


class Walk(Rig):
    """A rig with two model posts and a model command centre that behave as the contract says."""

    def __post_init__(self) -> None:
        self.committed: set[tuple[object, ...]] = set()
        self.held: dict[str, HeldAlarm] = {}
        self.owner: dict[str, str] = {}
        self.raised_us: dict[str, int] = {}
        self.mcc: dict[str, MccAlarm] = {}  # the highest that it has seen of each
        self.shown: dict[str, MccAlarm] = {}  # the latest
        super().__post_init__()

    # Safety: what is published has been committed.

    def finish_commits(self) -> None:
        for commit in self.waiting:
            self.remember(commit)
        super().finish_commits()

    def remember(self, commit: Commit) -> None:
        for put in commit.puts:
            known = self.journal.get(put.record.alarm_id)
            if not (put.is_new and known is not None):
                self.committed.add(essence(put.record))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, Publish):
                continue
            if isinstance(effect.message, MccAlarm):
                alarm = effect.message
                assert (alarm.alarm_id, alarm.content) in {one[:2] for one in self.committed}
                self.receive_at_mcc(alarm)
            if isinstance(effect.message, PostState):
                for one in effect.message.alarms:
                    assert (one.alarm_id, one) in {(c[0], c[2]) for c in self.committed}
        super()._carry_out(effects)

    # The model post and command centre.

    def receive_at_mcc(self, alarm: MccAlarm) -> None:
        self.shown[alarm.alarm_id] = alarm
        known = self.mcc.get(alarm.alarm_id)
        if known is None or RANK[alarm.state] >= RANK[known.state]:
            self.mcc[alarm.alarm_id] = alarm

    def press(self, rng: Random) -> None:
        post = rng.choice(POSTS)
        mine = [i for i, h in self.held.items() if self.owner[i] == post and h.state != "resolved"]
        open_ones = [i for i in mine if not is_answered(self.held[i].state)]
        if open_ones:
            one = self.held[open_ones[-1]]
            self.held[one.alarm_id] = HeldAlarm(
                alarm_id=one.alarm_id, state=one.state, repeats=min(one.repeats + 1, 64)
            )
        elif len(mine) < 4:
            alarm_id = self.new_id()
            self.owner[alarm_id] = post
            self.raised_us[alarm_id] = self.at_us
            self.held[alarm_id] = HeldAlarm(alarm_id=alarm_id, state="raised")

    def offers(self) -> None:
        for alarm_id, one in list(self.held.items()):
            age_s = (self.at_us - self.raised_us[alarm_id]) / 1_000_000 + 1
            self.offer(
                alarm_id,
                post=self.owner[alarm_id],
                age_s=age_s,
                repeat_ages_s=(0.5,) * one.repeats,
            )

    def read_documents(self) -> None:
        for post in POSTS:
            topic = f"kentongan/v1/posts/{post}/state"
            state = self.retained.get(topic)
            if not isinstance(state, PostState):
                continue
            listed = {one.alarm_id: one for one in state.alarms}
            for alarm_id in [i for i in self.held if self.owner[i] == post]:
                one, seen = self.held[alarm_id], listed.get(alarm_id)
                if seen is None:
                    if one.state == "resolved":
                        del self.held[alarm_id]
                    continue
                answered = one.answered_repeats
                if answered is None and is_answered(seen.state):
                    answered = seen.answered_repeats
                self.held[alarm_id] = HeldAlarm(
                    alarm_id=alarm_id,
                    state=higher(one.state, seen.state),
                    repeats=one.repeats,
                    answered_repeats=answered,
                )

    def heartbeats(self) -> None:
        for post in POSTS:
            mine = [one for i, one in self.held.items() if self.owner[i] == post]
            self.heartbeat(*mine, post=post)

    def receipts(self) -> None:
        """Receipt what differs, and send again what lifts a document to what it has seen."""
        for alarm in list(self.shown.values()):
            receipted = alarm.receipted
            if receipted is None or receipted.content != alarm.content:
                self.command("receive", alarm_id=alarm.alarm_id, content=alarm.content)
            best = self.mcc[alarm.alarm_id]
            step = getattr(best.reached, best.state)
            if best.state in ACTIONS and RANK[alarm.state] < RANK[best.state]:
                self.command(
                    ACTIONS[best.state],
                    alarm_id=alarm.alarm_id,
                    command_id=step.command_id,
                    repeats=best.answered_repeats,
                )

    def operate(self, rng: Random) -> None:
        if self.mcc:
            alarm = rng.choice(sorted(self.mcc.values(), key=lambda one: one.alarm_id))
            self.command(
                rng.choice(("acknowledge", "dispatch", "resolve")),
                alarm_id=alarm.alarm_id,
                repeats=alarm.repeats,
            )

    # Faults.

    def crash(self, rng: Random) -> None:
        for commit in self.waiting:
            if rng.random() < 0.5:  # on disk, and nobody was told
                self.remember(commit)
                for put in commit.puts:
                    known = self.journal.get(put.record.alarm_id)
                    if not (put.is_new and known is not None):
                        self.journal[put.record.alarm_id] = put.record
            else:
                break
        self.waiting = []
        self.restart()

    def step(self, rng: Random, backups: list[dict[str, AlarmRecord]]) -> None:
        match rng.randrange(16):
            case 0 | 1:
                self.press(rng)
            case 2 | 3 | 4:
                self.offers()
            case 5 | 6:
                self.heartbeats()
            case 7:
                self.receipts()
            case 8 | 9:
                self.operate(rng)
            case 10:
                self.disk = rng.choice(("good", "hanging", "failing"))
                if self.disk == "good":
                    self.finish_commits()
            case 11:
                self.crash(rng)
            case 12:
                self.retained.clear()
            case 13:
                link = rng.choice(("posts", "mcc"))
                self.disconnect(link)
                self.connect(link)
            case 14:
                self.read_documents()
            case 15:
                if backups and rng.random() < 0.3:
                    self.waiting = []
                    self.journal = dict(rng.choice(backups))
                    self.restart(journal_id=self.new_id())
                else:
                    backups.append(dict(self.journal))
        self.advance(rng.choice((0, 0.01, 1, 20)))


def essence(record: AlarmRecord) -> tuple[object, ...]:
    """What may be said of a committed record."""
    return (record.alarm_id, document(record, GATEWAY, some_id(0)).content, listing(record))


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_said_before_its_commit_and_nothing_is_lost(seed: int) -> None:
    rng = Random(seed)
    walk = Walk()
    walk.beat()
    backups: list[dict[str, AlarmRecord]] = []
    for _ in range(STEPS):
        walk.step(rng, backups)

    walk.disk = "good"
    walk.finish_commits()
    walk.crash(rng)
    for _ in range(8):
        walk.beat()
        walk.offers()
        walk.read_documents()
        walk.heartbeats()
        walk.receipts()
        walk.advance(2)
    for alarm_id, one in walk.held.items():
        record = walk.journal[alarm_id]
        assert record.repeats >= one.repeats
        assert RANK[record.state] >= RANK["delivered"]
    walk.advance(10)
    assert walk.gateway_document().journal_depth == 0

    for alarm_id in list(walk.held):
        walk.command("resolve", alarm_id=alarm_id)
    for _ in range(4):
        walk.advance(2)
        walk.read_documents()
        walk.heartbeats()
        walk.receipts()
    assert {one for one in walk.held.values() if one.state != "resolved"} == set()
    for alarm_id in walk.held:
        assert walk.journal[alarm_id].state == "resolved"
