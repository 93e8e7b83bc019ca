"""The result card: each hop with its time, and nothing that nobody timed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.record import AlarmRecord
from process.card import card_lines, card_object, has_passed, hops
from protocol.messages import Location, Raised, Step, Steps
from protocol.values import timestamp

AT_MS = 1_790_000_000_000
ID = "000000a1-0000-4000-8000-000000000000"
WHOLE = AlarmRecord(
    post="mlg-test-rw01",
    alarm_id=ID,
    kind="test",
    state="resolved",
    raised=Raised(at=timestamp(AT_MS), known="computed"),
    boot_id="00000000-0000-4000-8000-0000000000b0",
    presses_ms=(-800, 0, -400),
    location=Location(lat=-7.944, lon=112.611, source="surveyed"),
    reached=Steps(
        received=Step(at=timestamp(AT_MS + 21)),
        delivered=Step(at=timestamp(AT_MS + 44)),
        acknowledged=Step(at=timestamp(AT_MS + 5300), operator="Siti"),
        resolved=Step(at=timestamp(AT_MS + 60_000), operator="Siti"),
    ),
    sounded_at=timestamp(AT_MS + 5355),
    outcome="test",
)


def changed(**fields: Any) -> AlarmRecord:
    return msgspec.structs.replace(WHOLE, **fields)


def test_every_hop_has_its_time_its_distance_from_the_raise_and_who_did_it() -> None:
    lines = card_lines(WHOLE)
    assert lines[:3] == ["post   mlg-test-rw01", f"alarm  {ID}", "kind   test"]
    assert lines[-1] == "walk test passed"
    said = [(line[:28].strip(), line[52:].strip()) for line in lines[3:-1]]
    assert said == [
        ("first press", "-0.800 s"),
        ("raised (third press)", "+0.000 s"),
        ("received by the gateway", "+0.021 s"),
        ("delivered to the centre", "+0.044 s"),
        ("acknowledged", "+5.300 s  by Siti"),
        ("sounded at the post", "+5.355 s"),
        ("resolved", "+60.000 s  by Siti"),
    ]
    assert all(timestamp(AT_MS)[:10] in line for line in lines[3:-1])


def test_what_has_not_happened_is_a_dash_and_nobody_has_passed() -> None:
    waiting = changed(state="received", reached=Steps(received=WHOLE.reached.received))
    waiting = msgspec.structs.replace(waiting, sounded_at=None, outcome=None)
    assert [hop.what for hop in hops(waiting) if hop.at is None] == [
        "delivered to the centre",
        "acknowledged",
        "sounded at the post",
        "resolved",
    ]
    assert sum(line.endswith("-") for line in card_lines(waiting)) == 4
    assert card_lines(waiting)[-1] == "WALK TEST NOT PASSED: nobody has answered it"


def test_an_answer_that_was_not_heard_is_asked_for() -> None:
    unheard = changed(sounded_at=None)
    assert has_passed(unheard)
    assert card_lines(unheard)[-1].endswith("was it heard?")


@pytest.mark.parametrize("kind", ["panic", "selftest"])
def test_what_is_no_test_never_passes_as_one(kind: str) -> None:
    other = changed(kind=kind, repeats=1)
    assert not has_passed(other)
    assert f"kind   {kind}, called again" in card_lines(other)
    assert card_lines(other)[-1] == f"this is no test but a {kind} alarm"


def test_a_post_without_a_clock_gives_no_time_to_its_presses() -> None:
    unset = changed(raised=Raised(at=timestamp(AT_MS), known="before"))
    assert [hop.at for hop in hops(unset)[:2]] == [None, None]
    lines = card_lines(unset)
    assert any("the post's clock was not set" in line for line in lines)
    assert not any(" s" in line[50:] for line in lines[5:-2])


def test_the_card_for_programs_says_the_same() -> None:
    shown = json.loads(json.dumps(card_object(WHOLE)))
    assert (shown["post"], shown["alarm_id"], shown["passed"]) == (WHOLE.post, ID, True)
    assert shown["outcome"] == "test"
    assert shown["hops"][4] == {
        "what": "acknowledged",
        "at": timestamp(AT_MS + 5300),
        "by": "Siti",
    }
    assert [hop["what"] for hop in shown["hops"]] == [hop.what for hop in hops(WHOLE)]
