"""No sender of legal values is ever refused for size: the largest legal messages fit."""

from __future__ import annotations

import json

import msgspec
import pytest

from protocol.codec import MESSAGE_BYTES_MAX, Refused, bytes_max, decode, encode
from protocol.messages import (
    HELD_MAX,
    MESSAGES,
    PRESSES_MAX,
    Alarm,
    Command,
    Health,
    MccAlarm,
    Message,
    PostState,
)
from protocol.values import FAULTS_MAX, LABEL_CHARS_MAX, NOTE_CHARS_MAX, REPEATS_MAX
from tests.protocol.specimens import FOUR_BYTES, largest

UNRESOLVED_MAX = 16  # the design's: what a post holds at most


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES.keys())
def test_the_largest_legal_message_fits_its_bound_and_reads_back(kind: type[Message]) -> None:
    message = largest(kind)
    payload = encode(message)
    assert len(payload) <= bytes_max(kind)
    assert decode(kind, payload) == message


def test_the_largest_messages_are_as_large_as_their_bounds_say() -> None:
    alarm, health, mcc = largest(Alarm), largest(Health), largest(MccAlarm)
    assert isinstance(alarm, Alarm)
    assert isinstance(health, Health)
    assert isinstance(mcc, MccAlarm)
    assert len(alarm.presses_ms) == PRESSES_MAX
    assert len(alarm.repeat_uptimes_ms) == REPEATS_MAX
    assert len(health.alarms) == HELD_MAX
    assert len(health.faults) == FAULTS_MAX
    assert mcc.note == FOUR_BYTES * NOTE_CHARS_MAX
    assert mcc.unit == FOUR_BYTES * LABEL_CHARS_MAX
    for message in (alarm, health, mcc):
        for name in message.__struct_fields__:
            assert getattr(message, name) not in (None, "", ()), name


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES.keys())
def test_one_more_of_anything_than_is_allowed_is_refused(kind: type[Message]) -> None:
    whole = msgspec.to_builtins(largest(kind))
    tried = 0
    for name, value in whole.items():
        longer: object
        if isinstance(value, list):
            longer = [*value, value[0]]
        elif isinstance(value, str):
            longer = value + value[-1]
        else:
            continue
        tried += 1
        with pytest.raises(Refused, match=rf"\$\.{name}"):
            decode(kind, msgspec.json.encode(whole | {name: longer}))
    assert tried > 0


def test_a_heartbeat_and_a_state_document_hold_what_a_post_can_hold() -> None:
    assert HELD_MAX > UNRESOLVED_MAX


def test_a_command_centre_that_writes_plain_ascii_json_is_never_too_long() -> None:
    payload = json.dumps(msgspec.to_builtins(largest(Command))).encode("ascii")
    assert len(payload) <= MESSAGE_BYTES_MAX
    assert decode(Command, payload) == largest(Command)


def test_only_a_state_document_may_be_larger_than_four_kibibytes() -> None:
    larger = [kind for kind in MESSAGES.values() if bytes_max(kind) != 4096]
    assert larger == [PostState]
    assert bytes_max(PostState) == 16_384
