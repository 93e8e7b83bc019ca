"""Whatever arrives is read whole or refused; nothing else ever happens."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.codec import (
    NESTING_MAX,
    WHY_CHARS_MAX,
    Refused,
    bytes_max,
    content_of,
    decode,
    decode_at,
    encode,
)
from protocol.messages import (
    MESSAGES,
    NEEDED,
    Action,
    Alarm,
    Command,
    MccAlarm,
    Message,
    Presence,
    Raised,
    Receipted,
    Step,
)
from protocol.topics import Address
from tests.protocol.specimens import ALARM_ID, ALL, EXAMPLES, command, legal, mcc_alarm

Path = tuple[str | int, ...]


def _builtins(message: Message) -> Any:
    return json.loads(encode(message))


def _payload(built: Any) -> bytes:
    return json.dumps(built, ensure_ascii=False).encode()


def _leaves(part: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    steps: Any = part.items() if isinstance(part, dict) else enumerate(part)
    for step, value in steps:
        if isinstance(value, dict | list):
            yield from _leaves(value, (*path, step))
        else:
            yield (*path, step), value


def _with(part: Any, path: Path, value: Any) -> Any:
    whole = json.loads(json.dumps(part))
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return whole


def _named(path: Path) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _refusal(kind: type[Message], payload: bytes) -> str:
    with pytest.raises(Refused) as caught:
        decode(kind, payload)
    return str(caught.value)


LEAVES = [
    pytest.param(message, path, value, id=f"{word}{_named(path)}")
    for word, message in ((word, messages[-1]) for word, messages in EXAMPLES.items())
    for path, value in _leaves(_builtins(message))
]
TEXTS = [leaf for leaf in LEAVES if isinstance(leaf.values[2], str)]
NUMBERS = [leaf for leaf in LEAVES if type(leaf.values[2]) in (int, float)]

# --- what is legal goes through ----------------------------------------------------------------


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_any_legal_message_reads_back_as_it_was_written(data: st.DataObject) -> None:
    kind = MESSAGES[data.draw(st.sampled_from(sorted(MESSAGES)))]
    message = data.draw(legal(kind))
    payload = encode(message)
    assert len(payload) <= bytes_max(kind)
    assert decode(kind, payload) == message
    assert json.loads(payload)["v"] == 1


@pytest.mark.parametrize(("word", "message"), ALL)
def test_unknown_fields_of_a_newer_sender_are_ignored(word: str, message: Message) -> None:
    newer = {"zz": [1, {"deep": None}], **_builtins(message), "": "x", "A" * 100: 1.5}
    assert decode(MESSAGES[word], _payload(newer)) == message


def test_unknown_fields_inside_parts_are_ignored() -> None:
    (alarm,) = EXAMPLES["posts/alarms"]
    built = _builtins(alarm)
    built["location"]["satellites"] = 9
    assert decode(Alarm, _payload(built)) == alarm


def test_names_in_any_script_and_emoji_are_text() -> None:
    name = 'Pak Wayan \u1b13\u1b2d \u5f90 \N{POLICE CARS REVOLVING LIGHT} "O\'Neil" \\'
    sent = command("acknowledge", operator=name)
    assert decode(Command, encode(sent)).operator == name
    assert decode(Command, json.dumps(_builtins(sent)).encode("ascii")) == sent


# --- what is not is refused, with the path -----------------------------------------------------


@pytest.mark.parametrize(("message", "path", "value"), LEAVES)
def test_a_value_of_another_type_is_refused_with_its_path(
    message: Message, path: Path, value: Any
) -> None:
    others: list[Any] = [[], {}, [value]]
    others += [7, True, 1.5] if isinstance(value, str) else ["7"]
    others += [True, False] if type(value) in (int, float) else []
    others += [0, 1] if isinstance(value, bool) else []
    for other in others:
        why = _refusal(type(message), _payload(_with(_builtins(message), path, other)))
        assert _named(path) in why, why


@pytest.mark.parametrize(("message", "path", "value"), NUMBERS)
@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e400"])
def test_a_number_beyond_every_range_is_refused(
    message: Message, path: Path, value: Any, number: str
) -> None:
    marked = _payload(_with(_builtins(message), path, "@"))
    _refusal(type(message), marked.replace(b'"@"', number.encode()))


@pytest.mark.parametrize(("message", "path", "value"), NUMBERS)
@pytest.mark.parametrize(
    "number", ["NaN", "nan", "Infinity", "-Infinity", "inf", "0x1", "01", "+1"]
)
def test_what_json_does_not_call_a_number_is_refused(
    message: Message, path: Path, value: Any, number: str
) -> None:
    marked = _payload(_with(_builtins(message), path, "@"))
    _refusal(type(message), marked.replace(b'"@"', number.encode()))


@pytest.mark.parametrize(("message", "path", "value"), NUMBERS)
@pytest.mark.parametrize("number", [10**30, -(10**30), 2**63, 2**64, -(2**63)])
def test_a_number_out_of_range_is_refused_with_its_path(
    message: Message, path: Path, value: Any, number: int
) -> None:
    why = _refusal(type(message), _payload(_with(_builtins(message), path, number)))
    assert _named(path) in why, why


@pytest.mark.parametrize(("message", "path", "value"), TEXTS)
@pytest.mark.parametrize("tail", ["\n", "\r", "\x00", "\t", "\x1b[2J", "\x7f", "\x85", "\x9b"])
def test_a_control_character_is_refused_with_its_path(
    message: Message, path: Path, value: Any, tail: str
) -> None:
    for text in (value + tail, tail + value):
        why = _refusal(type(message), _payload(_with(_builtins(message), path, text)))
        assert _named(path) in why, why
        assert why.isprintable()


@pytest.mark.parametrize(("message", "path", "value"), TEXTS)
@pytest.mark.parametrize("mark", ["\u202a", "\u202e", "\u2066", "\u2069", "\u2028", "\ufeff"])
def test_text_that_turns_the_screen_around_is_refused_with_its_path(
    message: Message, path: Path, value: Any, mark: str
) -> None:
    text = value[:1] + mark + value[1:]
    why = _refusal(type(message), _payload(_with(_builtins(message), path, text)))
    assert _named(path) in why, why


@pytest.mark.parametrize(("message", "path", "value"), TEXTS)
@pytest.mark.parametrize(
    "escape", [rb"\ud800", rb"\udfff", rb"\ud83d", rb"\ude00\ud83d", rb"\ud800\u0041"]
)
def test_a_lone_surrogate_is_refused(
    message: Message, path: Path, value: Any, escape: bytes
) -> None:
    marked = _payload(_with(_builtins(message), path, "@"))
    _refusal(type(message), marked.replace(b'"@"', b'"' + escape + b'"'))


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xc3"]
)
def test_bytes_that_are_not_utf8_are_refused_even_in_fields_that_nobody_reads(raw: bytes) -> None:
    (presence,) = EXAMPLES["posts/presence"]
    for built in (
        _with(_builtins(presence), ("firmware",), "@"),
        {**_builtins(presence), "unknown": "@"},
        {**_builtins(presence), "@": 1},
    ):
        assert "utf-8" in _refusal(Presence, _payload(built).replace(b"@", raw))


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        ALARM_ID.upper(),
        ALARM_ID.replace("-", ""),
        "{" + ALARM_ID + "}",
        "urn:uuid:" + ALARM_ID,
        ALARM_ID + " ",
        ALARM_ID[:-1],
        ALARM_ID + "0",
        ALARM_ID[:-1] + "g",
        ALARM_ID[:-1] + "\u0661",
    ],
)
def test_an_id_in_any_other_form_is_refused_with_its_path(bad: str) -> None:
    for name in ("alarm_id", "boot_id", "follows"):
        (alarm,) = EXAMPLES["posts/alarms"]
        why = _refusal(Alarm, _payload({**_builtins(alarm), name: bad}))
        assert f"$.{name}" in why


@pytest.mark.parametrize(
    "bad", ["", "-", "-a", "a-", "A", "a_b", "a/b", "+", "#", "$share", "a.b", "a" * 65, "\u00e9"]
)
def test_a_post_of_impossible_name_is_refused_with_its_path(bad: str) -> None:
    for word in ("posts/alarms", "posts/presence", "posts/health", "posts/state", "mcc/alarms"):
        built = {**_builtins(EXAMPLES[word][0]), "post": bad}
        assert "$.post" in _refusal(MESSAGES[word], _payload(built))


@pytest.mark.parametrize(("message", "path", "value"), TEXTS)
def test_a_day_that_does_not_exist_is_refused_with_its_field(
    message: Message, path: Path, value: str
) -> None:
    if not value.startswith("2025-"):
        assert not str(path[-1]).endswith(("at", "_at", "until", "last_seen", "_due"))
        return
    no_day = "2025-02-31" + value[10:]
    why = _refusal(type(message), _payload(_with(_builtins(message), path, no_day)))
    if isinstance(path[-1], int):
        path = path[:-1]  # one of a list of times
    assert f"'{path[-1]}'" in why, why
    if len(path) > 1:
        assert _named(path[:-1]) in why, why


@pytest.mark.parametrize(("word", "message"), ALL)
@pytest.mark.parametrize("version", ["absent", 0, 2, -1, "1", 1.0, True, None, [1], {}, 10**30])
def test_a_message_of_no_or_another_version_is_refused(
    word: str, message: Message, version: object
) -> None:
    built = _builtins(message)
    del built["v"]
    if version != "absent":
        built["v"] = version
    assert "`v`" in (why := _refusal(MESSAGES[word], _payload(built))) or "$.v" in why


@pytest.mark.parametrize("word", MESSAGES)
def test_a_message_without_a_required_field_is_refused_by_its_name(word: str) -> None:
    whole = _builtins(EXAMPLES[word][0])
    required = [field.name for field in msgspec.structs.fields(MESSAGES[word]) if field.required]
    assert required
    for name in required:
        less = {key: value for key, value in whole.items() if key != name}
        assert f"`{name}`" in _refusal(MESSAGES[word], _payload(less))
        assert f"$.{name}" in _refusal(MESSAGES[word], _payload(whole | {name: None}))


@pytest.mark.parametrize(
    ("action", "name"), [(action, name) for action in NEEDED for name in NEEDED[action]]
)
def test_a_command_without_what_its_action_needs_is_refused(action: Action, name: str) -> None:
    whole = _builtins(command(action))
    for built in ({key: whole[key] for key in whole if key != name}, whole | {name: None}):
        why = _refusal(Command, _payload(built))
        assert action in why
        assert name in why


@pytest.mark.parametrize("minutes", [0, -1, 16, 10.0, "10"])
def test_a_test_window_of_impossible_length_is_refused(minutes: object) -> None:
    built = {**_builtins(command("open_test")), "minutes": minutes}
    assert "$.minutes" in _refusal(Command, _payload(built))


@pytest.mark.parametrize("word", MESSAGES)
def test_a_payload_one_byte_over_the_bound_is_refused_and_one_at_it_is_read(word: str) -> None:
    kind, message = MESSAGES[word], EXAMPLES[word][0]
    payload = encode(message)
    at_bound = payload + b" " * (bytes_max(kind) - len(payload))
    assert decode(kind, at_bound) == message
    assert str(bytes_max(kind)) in _refusal(kind, at_bound + b" ")


@pytest.mark.parametrize("word", MESSAGES)
@pytest.mark.parametrize("opening", [b"[", b'{"v":', b'{"a":{"v":1,"a":'])
def test_deep_nesting_is_refused(word: str, opening: bytes) -> None:
    kind = MESSAGES[word]
    _refusal(kind, opening * (bytes_max(kind) // len(opening)))
    depth = (bytes_max(kind) - len(encode(EXAMPLES[word][0])) - 10) // 2
    nested = b"[" * depth + b"]" * depth
    _refusal(kind, encode(EXAMPLES[word][0])[:-1] + b',"deep":' + nested + b"}")


def test_unknown_fields_may_nest_up_to_the_bound() -> None:
    word = "posts/presence"
    whole = encode(EXAMPLES[word][0])[:-1]
    side_by_side = b',"many":[' + b"{}," * 40 + b"{}]"
    inside = NESTING_MAX - 1  # the message itself is one
    deep_enough = whole + side_by_side + b',"deep":' + b"[" * inside + b"]" * inside + b"}"
    decode(MESSAGES[word], deep_enough)
    inside += 1
    too_deep = whole + b',"deep":' + b"[" * inside + b"]" * inside + b"}"
    assert _refusal(MESSAGES[word], too_deep) == f"nested deeper than {NESTING_MAX}"


def test_brackets_in_a_text_do_not_nest() -> None:
    noted = msgspec.structs.replace(command("resolve"), note='["{[\\"' + "[{" * 90)
    assert decode(Command, encode(noted)) == noted


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"1",
        b'"x"',
        b"[]",
        b"{}",
        b"{",
        b"}",
        b"\x00",
        b"\xef\xbb\xbf{}",
        b'{"v":1}',
        b'{"v":1}{"v":1}',
        b"{'v':1}",
        b'{"v":1,}',
        b"/* */",
        b"\x1f\x8b\x08",
    ],
)
@pytest.mark.parametrize("word", MESSAGES)
def test_what_is_no_message_at_all_is_refused(word: str, payload: bytes) -> None:
    assert _refusal(MESSAGES[word], payload)


def test_a_long_refused_value_does_not_hide_the_path() -> None:
    (alarm,) = EXAMPLES["posts/alarms"]
    why = _refusal(Alarm, _payload({**_builtins(alarm), "kind": "x" * 3000}))
    assert len(why) <= WHY_CHARS_MAX
    assert why.endswith("`$.kind`")


def test_text_that_is_not_unicode_is_never_written() -> None:
    (presence,) = EXAMPLES["posts/presence"]
    with pytest.raises(Refused, match="not Unicode"):
        encode(msgspec.structs.replace(presence, firmware="\udcff"))


def test_a_message_over_its_bound_is_never_written() -> None:
    (presence,) = EXAMPLES["posts/presence"]
    with pytest.raises(Refused, match="over its bound"):
        encode(msgspec.structs.replace(presence, firmware="x" * 5000))


# --- the topic and the payload speak of the same -----------------------------------------------

NAMED = {
    "alarms": "alarm_id",
    "posts": "post",
    "gateways": "gateway",
    "answers": "console",
}


def _address(word: str, name: str) -> Address:
    side, what = word.split("/")
    return Address("posts" if side == "posts" else "mcc", what, name)


def _name_in(word: str, message: Message) -> str:
    side, what = word.split("/")
    return str(getattr(message, "post" if side == "posts" else NAMED[what]))


@pytest.mark.parametrize("word", [word for word in MESSAGES if word != "mcc/commands"])
def test_a_payload_that_speaks_of_another_than_its_topic_is_refused(word: str) -> None:
    message = EXAMPLES[word][0]
    own = _name_in(word, message)
    assert decode_at(_address(word, own), encode(message)) == message
    other = ALARM_ID[:-1] + "f" if word == "mcc/alarms" else own + "x"
    with pytest.raises(Refused, match="the payload speaks of"):
        decode_at(_address(word, other), encode(message))


@pytest.mark.parametrize("action", NEEDED)
def test_a_command_belongs_to_the_console_of_its_topic(action: Action) -> None:
    sent = command(action)
    assert decode_at(_address("mcc/commands", "console-2"), encode(sent)) == sent


def test_no_other_kind_of_message_is_read_as_an_alarm_a_heartbeat_or_a_command() -> None:
    for word in ("posts/alarms", "posts/health", "posts/answer", "mcc/alarms", "mcc/commands"):
        for other, message in ALL:
            if other != word:
                with pytest.raises(Refused):
                    decode(MESSAGES[word], encode(message))


# --- what the MCC has to hold ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"journal_id": "00000000-0000-4000-8000-000000000000"},
        {"gateway": "another"},
        {"receipted": None},
        {"receipted": Receipted(store_id=ALARM_ID, content="f" * 16)},
        {"content": "f" * 16},
        {"sounded_at": None},
    ],
)
def test_the_content_is_the_same_whatever_is_said_of_receipts(change: dict[str, Any]) -> None:
    assert content_of(mcc_alarm(**change)) == content_of(mcc_alarm())


def test_the_content_does_not_change_when_the_first_receipt_makes_it_delivered() -> None:
    steps = msgspec.structs.replace(
        mcc_alarm().reached, delivered=None, acknowledged=None, dispatched=None, resolved=None
    )
    before = mcc_alarm(state="received", reached=steps)
    after = mcc_alarm(
        state="delivered",
        reached=msgspec.structs.replace(steps, delivered=Step(at="2025-03-01T14:00:00.000Z")),
    )
    assert content_of(before) == content_of(after)


def test_the_content_changes_with_everything_else() -> None:
    changes: dict[str, Any] = {
        "post": "another",
        "alarm_id": ALARM_ID[:-1] + "f",
        "kind": "test",
        "state": "dispatched",
        "raised": Raised(at=mcc_alarm().raised.at, known="before"),
        "presses_ms": (-1400, -701),
        "location": msgspec.structs.replace(mcc_alarm().location, age_s=3),
        "repeats": 2,
        "last_repeat": None,
        "answered_repeats": 0,
        "follows": None,
        "cancel_requested_at": None,
        "unit": "Polsek Klojen",
        "outcome": "false",
        "note": None,
    }
    for name in ("received", "acknowledged", "dispatched", "resolved"):
        step = Step(at="2025-03-01T14:00:00.000Z")
        reached = msgspec.structs.replace(mcc_alarm().reached, **{name: step})
        changes[f"reached.{name}"] = reached
    ignored = {"gateway", "journal_id", "receipted", "content", "sounded_at"}
    assert {name for name in changes if "." not in name} | ignored | {"reached"} == set(
        MccAlarm.__struct_fields__
    )
    digests = {content_of(mcc_alarm(**{name.split(".")[0]: to})) for name, to in changes.items()}
    assert len(digests) == len(changes)
    assert content_of(mcc_alarm()) not in digests


def test_the_content_survives_the_wire() -> None:
    assert content_of(decode(MccAlarm, encode(mcc_alarm()))) == content_of(mcc_alarm())
    assert decode(MccAlarm, encode(mcc_alarm(content=content_of(mcc_alarm())))).content


# --- anything at all ---------------------------------------------------------------------------

PIECES = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"1e999", b"NaN",
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"9" * 400, b"0." + b"1" * 400,
    b"[" * 1000, b'{"v":' * 300, b"\xe2\x80\xae", b"-1", b"1.5", b'"v":2,', b"\n", b"1e-999",
)  # fmt: skip


def _mutated(payload: bytes, rng: random.Random) -> bytes:
    mutated = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutated) + 1)
        match rng.randrange(7):
            case 0:
                mutated[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del mutated[at : at + rng.randint(1, 40)]
            case 2:
                mutated[at:at] = rng.choice(PIECES)
            case 3:
                mutated[at : at + rng.randint(1, 20)] = rng.choice(PIECES)
            case 4 | 5:  # within the syntax: another digit for a digit
                at = rng.choice(
                    [i for i, byte in enumerate(mutated) if 0x30 <= byte <= 0x39] or [0]
                )
                mutated[at : at + 1] = b"%d" % rng.randrange(10)
            case _:
                frm = rng.randrange(len(mutated) + 1)
                mutated[at:at] = mutated[frm : frm + rng.randint(1, 200)]
    return bytes(mutated)


def test_fifty_thousand_mutated_payloads_are_read_whole_or_refused() -> None:
    rng = random.Random(20250301)
    payloads = [(MESSAGES[word], encode(message)) for word, message in ALL]
    read = refused = longest = 0
    for _ in range(50_000):
        kind, payload = rng.choice(payloads)
        mutated = _mutated(payload, rng)
        try:
            message = decode(kind, mutated)
        except Refused as why:
            refused += 1
            longest = max(longest, len(str(why)))
        else:
            read += 1
            assert decode(kind, encode(message)) == message
    # Both ways out are taken often, or the mutations prove nothing.
    assert read > 1_000
    assert refused > 30_000
    assert longest <= WHY_CHARS_MAX
