"""Promises broken on purpose, one at a time: the simulator must catch each of them.

Every mutation patches the classes that really run, for as long as its context lasts. It must never
be reachable from a running post, gateway or command centre: only tests and this room import it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import msgspec

import device.core as device_core
import gateway.core as gateway_core
import mcc.core as centre_core
from device.core import Post, Sound
from device.held import Held
from device.presses import CallCounter
from gateway.core import Gateway
from gateway.posts import Post as WatchedPost
from gateway.record import AlarmRecord
from mcc.alarms import DONE, STEP_OF
from mcc.core import Core
from process.intake import Intake
from protocol.messages import Command
from protocol.states import is_answered
from simulation.broker import Link
from simulation.disks import PostDisk

Mutation = Callable[[contextlib.ExitStack], None]
MUTATIONS: dict[str, Mutation] = {}


def _mutation(mutate: Mutation) -> Mutation:
    MUTATIONS[mutate.__name__] = mutate
    return mutate


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """Break this promise while the context lasts."""
    with contextlib.ExitStack() as stack:
        MUTATIONS[name](stack)
        yield


def _patch(stack: contextlib.ExitStack, owner: Any, name: str, new: Any) -> Any:
    """Replace an attribute, and return what stood there."""
    original = getattr(owner, name)
    stack.enter_context(mock.patch.object(owner, name, new))
    return original


# --- disks and links -------------------------------------------------------------------------


@_mutation
def skip_the_fsync(stack: contextlib.ExitStack) -> None:
    """The post's outbox reports what a power cut takes away."""
    original = PostDisk.__init__

    def init(self: PostDisk, *arguments: Any) -> None:
        original(self, *arguments)
        self.syncs = False

    _patch(stack, PostDisk, "__init__", init)


@_mutation
def do_not_resubscribe(stack: contextlib.ExitStack) -> None:
    """Subscribe at the first connect alone."""
    _patch(stack, Link, "resubscribes", False)


@_mutation
def take_retained_presses(stack: contextlib.ExitStack) -> None:
    """Believe what a broker has kept of a topic that is never retained."""
    original = Intake.read
    _patch(
        stack,
        Intake,
        "read",
        lambda self, got: original(self, msgspec.structs.replace(got, retained=False)),
    )


# --- the post ----------------------------------------------------------------------------------


@_mutation
def trust_puback(stack: contextlib.ExitStack) -> None:
    """The post offers once; the broker's word is enough."""
    original = Post._offer

    def offer(self: Post, now: Any) -> None:
        before = {key: track.attempts for key, track in self._tracks.items()}
        original(self, now)
        for key, track in self._tracks.items():
            if track.attempts != before[key]:
                track.offer_at_us = None

    _patch(stack, Post, "_offer", offer)


@_mutation
def count_a_stored_listing(stack: contextlib.ExitStack) -> None:
    """A listing of an earlier connection counts, whatever the gateway lists now."""
    link_up, document = Post._link_up, Post._state_document

    def keeping(original: Callable[..., None]) -> Callable[..., None]:
        def kept(self: Post, event: Any, now: Any) -> None:
            before = {key: track.listed for key, track in self._tracks.items()}
            original(self, event, now)
            for key, track in self._tracks.items():
                if track.listed is None and before.get(key) is not None:
                    track.listed, track.offer_at_us = before[key], None

        return kept

    _patch(stack, Post, "_link_up", keeping(link_up))
    _patch(stack, Post, "_link_down", keeping(Post._link_down))
    _patch(stack, Post, "_state_document", keeping(document))


@_mutation
def obey_the_latest_document(stack: contextlib.ExitStack) -> None:
    """The post takes its state from whatever document came last."""
    original = vars(device_core)["learn"]

    def learn(held: Held, listed: Any) -> Any:
        learnt = original(held, listed)
        if learnt.state == listed.state:
            return learnt
        return msgspec.structs.replace(learnt, state=listed.state)

    _patch(stack, device_core, "learn", learn)


@_mutation
def let_documents_sound(stack: contextlib.ExitStack) -> None:
    """An answered alarm in a document sounds, held or not, sounded or not."""
    original = Post._state_document

    def document(self: Post, state: Any, now: Any) -> None:
        original(self, state, now)
        self._effects.extend(Sound(one.alarm_id) for one in state.alarms if is_answered(one.state))

    _patch(stack, Post, "_state_document", document)


@_mutation
def do_not_write_that_it_sounded(stack: contextlib.ExitStack) -> None:
    """Only the memory knows that the buzzer has sounded."""

    def sounded(self: Post, alarm_id: str, now: Any) -> None:
        self._sounding = None
        track = self._tracks.get(alarm_id)
        if track is not None:
            track.held = msgspec.structs.replace(track.held, sound="sounded")
            track.told = track.held

    _patch(stack, Post, "_sounded", sounded)


@_mutation
def sound_only_for_acknowledged(stack: contextlib.ExitStack) -> None:
    """An alarm that went on to resolved while the post was away stays silent."""
    original = vars(device_core)["learn"]

    def learn(held: Held, listed: Any) -> Any:
        learnt = original(held, listed)
        if learnt.sound == "due" and listed.state == "resolved":
            return msgspec.structs.replace(learnt, sound="sounded")
        return learnt

    _patch(stack, device_core, "learn", learn)


@_mutation
def answer_unseen_calls(stack: contextlib.ExitStack) -> None:
    """The post counts every repeat as answered, seen or not."""
    original = vars(device_core)["learn"]

    def learn(held: Held, listed: Any) -> Any:
        learnt = original(held, listed)
        if learnt.answered_repeats is not None and held.answered_repeats is None:
            return msgspec.structs.replace(learnt, answered_repeats=held.repeats)
        return learnt

    _patch(stack, device_core, "learn", learn)


@_mutation
def wall_clock_in_the_window(stack: contextlib.ExitStack) -> None:
    """Presses are counted on a clock that can be stepped."""
    press, handle = CallCounter.press, Post.handle
    offset_us = [0]

    def handled(self: Post, event: object, now: Any) -> Any:
        offset_us[0] = now.wall_ms * 1000 - now.uptime_us
        return handle(self, event, now)

    def pressed(self: CallCounter, at_us: int) -> tuple[int, ...] | None:
        call = press(self, at_us + offset_us[0])
        return None if call is None else tuple(one - offset_us[0] for one in call)

    _patch(stack, Post, "handle", handled)
    _patch(stack, CallCounter, "press", pressed)


@_mutation
def drop_the_oldest_when_full(stack: contextlib.ExitStack) -> None:
    """At the bound of 16 the oldest alarm makes room."""
    original = Post._call

    def call(self: Post, presses_us: tuple[int, ...], now: Any) -> None:
        unresolved = [key for key, track in self._tracks.items() if not track.held.over]
        if len(unresolved) >= device_core.UNRESOLVED_MAX:
            del self._tracks[unresolved[0]]
            self._deleted.add(unresolved[0])
        original(self, presses_us, now)

    _patch(stack, Post, "_call", call)


@_mutation
def outshine_a_call_that_waits(stack: contextlib.ExitStack) -> None:
    """At the bound of 16 the lamp says answered, though the last call was not."""
    _patch(stack, device_core, "_cries", lambda told: not told.answered)


@_mutation
def armed_without_the_centre(stack: contextlib.ExitStack) -> None:
    """The gateway's answer is enough for the lamp."""
    original = Post._answered

    def answered(self: Post, answer: Any) -> None:
        original(self, msgspec.structs.replace(answer, mcc_answers=True))

    _patch(stack, Post, "_answered", answered)


@_mutation
def armed_without_a_link(stack: contextlib.ExitStack) -> None:
    """The lamp goes on when the connection closes."""
    original = Post._link_down

    def down(self: Post, event: Any, now: Any) -> None:
        link = self._link
        original(self, event, now)
        self._link = link

    _patch(stack, Post, "_link_down", down)


@_mutation
def never_ask_a_deaf_link_again(stack: contextlib.ExitStack) -> None:
    """The post sits on a connection whose subscriptions are forgotten."""
    _patch(stack, device_core, "DEAF_HEARTBEATS", 10**9)


# --- the gateway ---------------------------------------------------------------------------------


@_mutation
def acknowledge_before_commit(stack: contextlib.ExitStack) -> None:
    """An offer is acknowledged to the broker before it is in the journal."""
    original = Gateway._offered

    def offered(self: Gateway, heard: Any) -> None:
        self._acknowledge(heard)
        original(self, msgspec.structs.replace(heard, receipt=None))

    _patch(stack, Gateway, "_offered", offered)


@_mutation
def say_before_commit(stack: contextlib.ExitStack) -> None:
    """Documents tell what the journal may never hold."""
    original = Gateway._commit

    def commit(self: Gateway) -> None:
        before = self._token
        original(self)
        self._committed(tuple(range(before + 1, self._token + 1)), ())

    _patch(stack, Gateway, "_commit", commit)


@_mutation
def do_not_deduplicate(stack: contextlib.ExitStack) -> None:
    """The same offer once more is one call more."""
    original = vars(gateway_core)["offer_into"]

    def offer(record: AlarmRecord, *rest: Any) -> Any:
        merged = original(record, *rest)
        if merged is record and record.repeats < 60:
            return msgspec.structs.replace(record, repeats=record.repeats + 1)
        return merged

    _patch(stack, gateway_core, "offer_into", offer)


@_mutation
def believe_receipts_of_an_older_journal(stack: contextlib.ExitStack) -> None:
    """A receipt in a restored journal still counts."""
    original = vars(gateway_core)["document"]

    def document(record: AlarmRecord, gateway: str, journal_id: str) -> Any:
        if record.receipted is not None:
            record = msgspec.structs.replace(record, receipted_in=journal_id)
        return original(record, gateway, journal_id)

    _patch(stack, gateway_core, "document", document)


@_mutation
def ignore_a_new_store(stack: contextlib.ExitStack) -> None:
    """The command centre came back from a backup, and the gateway does not care."""
    original = Gateway._mcc_beat

    def beat(self: Gateway, heard: Any, command: Command) -> None:
        if self._store_id is not None:
            command = msgspec.structs.replace(command, store_id=self._store_id)
        original(self, heard, command)

    _patch(stack, Gateway, "_mcc_beat", beat)


@_mutation
def offer_upwards_once(stack: contextlib.ExitStack) -> None:
    """PUBACK is the last word for the command centre too."""

    def satisfied(self: Gateway, track: Any) -> bool:
        return bool(track.published == track.document.content)

    original = Gateway._offer

    def offer(self: Gateway, alarm_id: str) -> None:
        track = self._tracks.get(alarm_id)
        if track is None or track.document is None or not satisfied(self, track):
            original(self, alarm_id)

    _patch(stack, Gateway, "_is_satisfied", satisfied)
    _patch(stack, Gateway, "_offer", offer)


def _command_into(
    stack: contextlib.ExitStack,
    change: Callable[[AlarmRecord, Command], tuple[AlarmRecord, Command]],
) -> None:
    original = vars(gateway_core)["command_into"]

    def command_into(record: AlarmRecord, command: Command, *rest: Any) -> Any:
        return original(*change(record, command), *rest)

    _patch(stack, gateway_core, "command_into", command_into)


@_mutation
def acknowledge_whatever_number(stack: contextlib.ExitStack) -> None:
    """An answer covers the calls that nobody had seen."""

    def change(record: AlarmRecord, command: Command) -> tuple[AlarmRecord, Command]:
        if command.repeats is None:
            return record, command
        return record, msgspec.structs.replace(command, repeats=record.repeats)

    _command_into(stack, change)


@_mutation
def let_the_last_outcome_win(stack: contextlib.ExitStack) -> None:
    """A second resolve overwrites the first."""

    def change(record: AlarmRecord, command: Command) -> tuple[AlarmRecord, Command]:
        step = record.reached.resolved
        if command.action != "resolve" or step is None or step.command_id == command.command_id:
            return record, command
        reached = msgspec.structs.replace(record.reached, resolved=None)
        return msgspec.structs.replace(record, state="dispatched", reached=reached), command

    _command_into(stack, change)


@_mutation
def tests_by_arrival(stack: contextlib.ExitStack) -> None:
    """Whatever arrives while a window is open is a test, whenever it was pressed."""
    original = vars(gateway_core)["new_record"]

    def new_record(alarm: Any, now: Any, practice: Any, lag_us: Any) -> Any:
        record = original(alarm, now, practice, lag_us)
        return record if practice is None else msgspec.structs.replace(record, kind="test")

    _patch(stack, gateway_core, "new_record", new_record)


@_mutation
def open_tests_however_old(stack: contextlib.ExitStack) -> None:
    """A command of before the restart opens a window."""
    _patch(stack, Gateway, "_why_too_old", lambda self, post, at_ms: None)


@_mutation
def believe_a_retained_presence(stack: contextlib.ExitStack) -> None:
    """Who was there once is there."""
    original = Gateway._presence

    def presence(self: Gateway, heard: Any, message: Any) -> None:
        original(self, heard, message)
        known = self._posts.get(message.post)
        if known is not None and message.online and heard.retained:
            self._alive(known, known.faults)

    _patch(stack, Gateway, "_presence", presence)


@_mutation
def believe_any_will(stack: contextlib.ExitStack) -> None:
    """The will of an earlier connection makes a post silent."""
    original = Gateway._presence

    def presence(self: Gateway, heard: Any, message: Any) -> None:
        known = self._posts.get(message.post)
        if known is not None and known.connection is not None and not message.online:
            message = msgspec.structs.replace(message, connection=known.connection)
        original(self, heard, message)

    _patch(stack, Gateway, "_presence", presence)


@_mutation
def do_not_mend_documents(stack: contextlib.ExitStack) -> None:
    """What a broker brings back stays."""
    _patch(stack, Gateway, "_read_back", lambda self, message: None)


@_mutation
def do_not_publish_what_differs(stack: contextlib.ExitStack) -> None:
    """A heartbeat that differs from the state document leads to nothing."""
    _patch(stack, WatchedPost, "has_read", lambda self, health: True)


# --- the command centre --------------------------------------------------------------------------


@_mutation
def receipt_before_commit(stack: contextlib.ExitStack) -> None:
    """The command centre receipts what its store may never hold."""
    original = Core._on_alarm

    def on_alarm(self: Core, document: Any, *rest: Any) -> None:
        original(self, document, *rest)
        held = self._held.get(document.alarm_id)
        if held is not None:
            now, effects = rest[-2:]
            self._receipt_and_repair(held, now, effects)

    _patch(stack, Core, "_on_alarm", on_alarm)


@_mutation
def replace_instead_of_merging(stack: contextlib.ExitStack) -> None:
    """The command centre takes each document as the whole truth."""

    def merge(held: Any, heard: Any) -> Any:
        return heard

    _patch(stack, centre_core, "merge", merge)


@_mutation
def end_a_command_on_its_sending(stack: contextlib.ExitStack) -> None:
    """A command is done when it is sent, as if an answer proved anything."""
    original = Core._take_commands

    def take(self: Core, commands: Any, now: Any, effects: Any) -> None:
        original(self, commands, now, effects)
        for attempt in list(self._operator.values()):
            if attempt.sent and attempt.command.action in STEP_OF:
                self._settle(attempt, DONE, effects)

    _patch(stack, Core, "_take_commands", take)


@_mutation
def do_not_repeat_commands(stack: contextlib.ExitStack) -> None:
    """An operator's command is sent once, and once more only by chance."""
    original = Core._send

    def send(self: Core, attempt: Any, now: Any, effects: Any) -> None:
        if attempt.origin != "operator" or not attempt.sent:
            original(self, attempt, now, effects)
        attempt.due_us = now.uptime_us + 30_000_000

    _patch(stack, Core, "_send", send)


@_mutation
def do_not_repair_a_gateway(stack: contextlib.ExitStack) -> None:
    """A document below what is held leads to nothing."""
    _patch(stack, centre_core, "repairs", lambda *arguments: [])


# --- self-tests --------------------------------------------------------------------------------


@_mutation
def take_selftests_for_calls(stack: contextlib.ExitStack) -> None:
    """A post treats its self-test as it treats three presses."""
    _patch(stack, Held, "is_call", True)


@_mutation
def answer_no_selftest(stack: contextlib.ExitStack) -> None:
    """The command centre receipts self-tests and leaves them open."""
    _patch(stack, centre_core, "answered_test", lambda alarm, at: alarm)


@_mutation
def show_selftests_as_calls(stack: contextlib.ExitStack) -> None:
    """The command centre takes a self-test for an alarm like any other."""

    def on_selftest(self: Core, document: Any, now: Any, effects: Any) -> None:
        self._on_alarm(document, False, now, effects)

    _patch(stack, Core, "_on_selftest", on_selftest)
