"""Specimens of every message kind: one as it is in life, the largest legal one, and any legal one.

The largest and the arbitrary ones are made from the bounds in the types, so that a field added
later is covered without a word here.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import msgspec.inspect as inspect
from hypothesis import strategies as st

from protocol.messages import (
    MESSAGES,
    NEEDED,
    Action,
    Alarm,
    Answer,
    Certificate,
    Command,
    CommandAnswer,
    Health,
    HeldAlarm,
    ListedAlarm,
    Location,
    Maintenance,
    MccAlarm,
    MccGateway,
    MccPost,
    Message,
    Place,
    PostState,
    Presence,
    Raised,
    Receipted,
    Renewal,
    Selftest,
    SelftestReport,
    SilentGroup,
    Sounded,
    Step,
    Steps,
    TestWindow,
)
from protocol.values import TEXT_PATTERN, TIMESTAMP_PATTERN, UUID_PATTERN, timestamp

POST = "mlg-lowokwaru-dinoyo-rw05"
ALARM_ID = "0b8f3c52-5f0e-4d1e-9a76-2f4f6d1f9a01"
EARLIER_ID = "0b8f3c52-5f0e-4d1e-9a76-2f4f6d1f9a02"
BOOT_ID = "6d1c7a34-90ab-4cde-8f01-23456789abcd"
CONNECTION = "7e2d8b45-a1bc-4def-9012-3456789abcde"
JOURNAL_ID = "8f3e9c56-b2cd-4ef0-a123-456789abcdef"
STORE_ID = "904fad67-c3de-4f01-b234-56789abcdef0"
COMMAND_ID = "a150be78-d4ef-4012-8345-6789abcdef01"
AT = "2025-03-01T13:45:12.345Z"
LATER = "2025-03-01T13:46:00.000Z"
CONTENT = "00112233445566ff"
HERE = Location(lat=-7.9467, lon=112.6149, source="gps", age_s=2, accuracy_m=4.5)

_FIELDS_OF_COMMANDS: dict[str, Any] = {
    "alarm_id": ALARM_ID,
    "content": CONTENT,
    "repeats": 1,
    "kind": "panic",
    "post": POST,
    "operator": "Bripka Sari",
    "unit": "Polsek Lowokwaru",
    "outcome": "real",
    "minutes": 10,
}


def command(action: Action, **changes: Any) -> Command:
    """A command with exactly what its action needs."""
    fields = {name: _FIELDS_OF_COMMANDS[name] for name in NEEDED[action]}
    return Command(
        command_id=COMMAND_ID, action=action, store_id=STORE_ID, at=AT, **(fields | changes)
    )


def mcc_alarm(**changes: Any) -> MccAlarm:
    """An alarm that has been answered, with every optional field filled."""
    fields: dict[str, Any] = {
        "post": POST,
        "alarm_id": ALARM_ID,
        "gateway": "mlg",
        "journal_id": JOURNAL_ID,
        "kind": "panic",
        "state": "resolved",
        "raised": Raised(at=AT, known="computed"),
        "reached": Steps(
            received=Step(at=AT),
            delivered=Step(at=AT),
            acknowledged=Step(
                at=LATER, operator="Bripka Sari", console="console", command_id=COMMAND_ID
            ),
            dispatched=Step(at=LATER, operator="Bripka Sari"),
            resolved=Step(at=LATER, operator="Aiptu Budi"),
        ),
        "presses_ms": (-1400, -700),
        "location": HERE,
        "content": CONTENT,
        "repeats": 1,
        "last_repeat": Raised(at=LATER, known="before"),
        "answered_repeats": 1,
        "follows": EARLIER_ID,
        "cancel_requested_at": LATER,
        "unit": "Polsek Lowokwaru",
        "outcome": "real",
        "note": "korban selamat",
        "sounded_at": LATER,
        "receipted": Receipted(store_id=STORE_ID, content=CONTENT),
    }
    return MccAlarm(**(fields | changes))


EXAMPLES: dict[str, tuple[Message, ...]] = {
    "posts/alarms": (
        Alarm(
            post=POST,
            alarm_id=ALARM_ID,
            kind="panic",
            raised_at=AT,
            clock="synchronised",
            boot_id=BOOT_ID,
            raised_uptime_ms=5_000_000,
            presses_ms=(-1400, -700),
            location=HERE,
            sent_uptime_ms=5_000_012,
            repeat_uptimes_ms=(5_010_000, None),
            follows=EARLIER_ID,
            cancel_requested_at=LATER,
            circuit="looped",
        ),
    ),
    "posts/presence": (
        Presence(
            post=POST,
            online=True,
            boot_id=BOOT_ID,
            connection=CONNECTION,
            at=AT,
            firmware="0.1.0",
            heartbeat_s=30,
        ),
    ),
    "posts/health": (
        Health(
            post=POST,
            n=7,
            boot_id=BOOT_ID,
            connection=CONNECTION,
            at=AT,
            clock="unsynchronised",
            uptime_ms=5_000_000,
            alarms=(
                HeldAlarm(
                    alarm_id=ALARM_ID,
                    state="acknowledged",
                    repeats=2,
                    cancel_requested=True,
                    answered_repeats=1,
                ),
            ),
            faults=("button_worn",),
            sounded=Sounded(alarm_id=ALARM_ID, uptime_ms=4_999_000),
            selftest=SelftestReport(
                alarm_id=EARLIER_ID, on_disk=True, lamp="armed", disk_ms=14, answered_ms=420
            ),
            location=HERE,
            temperature_c=41.5,
            voltage_v=5.1,
            disk_free_mb=1200,
        ),
    ),
    "posts/answer": (Answer(post=POST, n=7, connection=CONNECTION, mcc_answers=True, at=AT),),
    "posts/state": (
        PostState(
            post=POST,
            at=AT,
            alarms=(
                ListedAlarm(
                    alarm_id=ALARM_ID,
                    kind="panic",
                    state="acknowledged",
                    at=AT,
                    by="Bripka Sari",
                    repeats=2,
                    cancel_requested_at=LATER,
                    answered_repeats=1,
                ),
            ),
            test_window=TestWindow(until=LATER, opened_by="Teknisi Ani", command_id=COMMAND_ID),
            selftest_due=LATER,
        ),
    ),
    "posts/renewal": (Renewal(post=POST, request="MIHuMIGVAgEAMDMx"),),
    "posts/certificate": (Certificate(post=POST, certificate="MIIBkDCCATegAwIBAgIU"),),
    "mcc/alarms": (mcc_alarm(),),
    "mcc/posts": (
        MccPost(
            post=POST,
            gateway="mlg",
            connection="online",
            at=AT,
            name="Pos RW 05 Dinoyo \N{POLICE CARS REVOLVING LIGHT}",
            place=Place(lat=-7.9467, lon=112.6149),
            faults=("gps_lost",),
            faults_since=(AT,),
            faults_count=(3,),
            last_seen=AT,
            firmware="0.1.0",
            test_window=TestWindow(until=LATER, opened_by="Teknisi Ani", command_id=COMMAND_ID),
            maintenance=Maintenance(until=LATER, by="Teknisi Ani", why="ganti aki"),
            selftest=Selftest(
                ended_at=LATER,
                failed="responder_dead",
                proven_at=AT,
                due_at=AT,
                alarm_id=EARLIER_ID,
                circuit="levels",
                on_disk=True,
                disk_ms=14,
                received_at=AT,
                delivered_at=AT,
                answered_at=LATER,
                lamp="armed",
                confirmed_ms=420,
            ),
        ),
        MccPost(post=POST, gateway="mlg", connection="silent", at=AT, silent_with=AT),
    ),
    "mcc/gateways": (
        MccGateway(
            gateway="mlg",
            online=True,
            at=AT,
            journal_id=JOURNAL_ID,
            journal_depth=3,
            uplink_lag_s=1,
            faults=("journal_failing",),
            faults_since=(AT,),
            faults_count=(4,),
            silent_groups=(SilentGroup(since=AT, posts=40),),
        ),
    ),
    "mcc/commands": tuple(command(action) for action in NEEDED),
    "mcc/answers": (
        CommandAnswer(
            console="console",
            command_id=COMMAND_ID,
            refused="already",
            why="Bripka Sari was first",
            alarm_id=ALARM_ID,
            first_operator="Bripka Sari",
            first_at=AT,
        ),
    ),
}
ALL: tuple[tuple[str, Message], ...] = tuple(
    (word, message) for word, messages in EXAMPLES.items() for message in messages
)

# --- the largest legal message ---------------------------------------------------------------

FOUR_BYTES = "\N{POLICE CARS REVOLVING LIGHT}"


def largest(kind: type[Message]) -> Message:
    """The legal message of this kind with the longest JSON: every field there and at its bound."""
    message = _largest(inspect.type_info(kind))
    assert isinstance(message, kind)
    return message


def _largest(of: inspect.Type) -> Any:
    candidates = _candidates(of)
    return max(candidates, key=lambda value: len(msgspec.json.encode(value)))


def _candidates(of: inspect.Type) -> list[Any]:
    match of:
        case inspect.Metadata(type=inner):
            return _candidates(inner)
        case inspect.StrType(max_length=int(length), pattern=str(pattern)):
            texts = [FOUR_BYTES * length, "a" * length, "2099-12-31T23:59:59.999Z"]
            texts.append("ffffffff-ffff-ffff-ffff-ffffffffffff")
            return [text for text in texts if re.search(pattern, text) and len(text) <= length]
        case inspect.IntType(ge=int(low), le=int(high)):
            return [low, high]
        case inspect.FloatType(ge=float(low), le=float(high)):
            longest = 1.2345678901234567e-300
            return [value for value in (longest, -longest, low, high) if low <= value <= high]
        case inspect.BoolType():
            return [True, False]
        case inspect.LiteralType(values=values):
            return list(values)
        case inspect.UnionType(types=types):
            # A field that is there is longer than one that is left out.
            given = [one for one in types if not isinstance(one, inspect.NoneType)]
            return [value for one in given for value in _candidates(one)]
        case inspect.VarTupleType(item_type=item, max_length=int(length)):
            return [(_largest(item),) * length]
        case inspect.StructType(cls=cls, fields=fields):
            built = cls(**{field.name: _largest(field.type) for field in fields})
            for field in fields:  # a value equal to its default is left out: try the next one
                for value in _candidates(field.type):
                    other = msgspec.structs.replace(built, **{field.name: value})
                    built = max(built, other, key=lambda one: len(msgspec.json.encode(one)))
            return [built]
        case _:
            raise AssertionError(f"a field without bounds: {of}")


# --- any legal message -----------------------------------------------------------------------

_TEXT = st.characters(
    codec="utf-8",  # so no lone surrogates
    exclude_characters="".join(
        chr(code)
        for code in (
            *range(0x20),
            *range(0x7F, 0xA0),
            *range(0x2028, 0x202F),
            *range(0x2066, 0x206A),
            0xFEFF,
        )
    ),
)


def legal(kind: type[Message]) -> st.SearchStrategy[Any]:
    """Any legal message of this kind."""
    if kind is Command:
        return st.sampled_from(tuple(NEEDED)).flatmap(_commands)
    return _legal(inspect.type_info(kind))


def _commands(action: Action) -> st.SearchStrategy[Any]:
    of = inspect.type_info(Command)
    assert isinstance(of, inspect.StructType)
    fields = {}
    for field in of.fields:
        fields[field.name] = _legal(field.type)
        if field.name in NEEDED[action]:
            fields[field.name] = fields[field.name].filter(lambda value: value is not None)
    return st.builds(Command, **(fields | {"action": st.just(action)}))


def _legal(of: inspect.Type) -> st.SearchStrategy[Any]:
    match of:
        case inspect.Metadata(type=inner):
            return _legal(inner)
        case inspect.StrType(pattern=str(pattern)) if pattern == UUID_PATTERN:
            return st.uuids().map(str)
        case inspect.StrType(pattern=str(pattern)) if pattern == TIMESTAMP_PATTERN:
            return st.integers(0, 4_102_444_799_999).map(timestamp)
        case inspect.StrType(pattern=str(pattern)) if pattern == TEXT_PATTERN:
            return st.text(_TEXT, min_size=of.min_length or 0, max_size=of.max_length)
        case inspect.StrType(pattern=str(pattern)):
            longest = of.max_length or 0
            texts = st.from_regex(re.compile(pattern), fullmatch=True)
            return texts.filter(lambda text: (of.min_length or 0) <= len(text) <= longest)
        case inspect.IntType():
            return st.integers(of.ge, of.le)
        case inspect.FloatType():
            return st.floats(of.ge, of.le)
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType(types=types):
            return st.one_of(*(_legal(one) for one in types))
        case inspect.VarTupleType(item_type=item, max_length=int(length)):
            return st.lists(_legal(item), max_size=length).map(tuple)
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: _legal(field.type) for field in fields})
        case _:
            raise AssertionError(f"a field without bounds: {of}")


assert EXAMPLES.keys() == MESSAGES.keys()
