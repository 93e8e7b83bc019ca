"""The supervised pair of contacts, the lid and the mains: what the post makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.core import SECOND_US, Click, Edge, PinName
from hardware.inputs import PAIR_LEVELS, PairMeaning
from protocol.messages import Health
from tests.device.rig import Rig, listed

MS = 1000


def contacts(rig: Rig, meaning: PairMeaning, seconds: float) -> None:
    """Put both contacts of the button there, then let time pass."""
    no_closed, nc_closed = PAIR_LEVELS[meaning]
    rig.send(Edge("button_nc", rig.at_us, nc_closed))
    rig.send(Edge("button", rig.at_us, no_closed))
    rig.advance(seconds)


def strokes(rig: Rig, meaning: PairMeaning, times: int = 3, between: PairMeaning = "rest") -> None:
    """So many strokes of 150 ms, 200 ms apart."""
    for _ in range(times):
        contacts(rig, meaning, 0.15)
        contacts(rig, between, 0.2)


def turn(rig: Rig, pin: PinName, closed: bool, seconds: float = 0) -> None:
    """One contact changes; then time passes."""
    rig.send(Edge(pin, rig.at_us, closed))
    rig.advance(seconds)


def armed(**inputs: bool) -> Rig:
    """A post that is connected and answered."""
    rig = Rig(**inputs)  # type: ignore[arg-type]
    rig.connect()
    assert rig.lamp() == "armed"
    return rig


def faults(rig: Rig) -> tuple[str, ...]:
    """What the next heartbeat will name; a function, so that a test may ask twice."""
    return rig.post.faults


def told(rig: Rig) -> tuple[str, ...]:
    """The faults in the next heartbeat, which is answered."""
    before = len(rig.published(Health))
    while len(rig.published(Health)) == before:
        rig.advance(1)
    rig.answer()
    return rig.published(Health)[-1].faults


# --- the pair ----------------------------------------------------------------------------------


def test_three_strokes_of_a_pair_click_three_times_and_raise_one_alarm() -> None:
    rig = armed(nc_closed=True)
    strokes(rig, "pressed")
    assert len(rig.done(Click)) == 3
    assert len(rig.post.held) == 1
    assert rig.lamp() == "calling"
    assert faults(rig) == ()


@pytest.mark.parametrize(
    ("meaning", "fault"), [("cut", "button_wire_cut"), ("short", "button_wire_short")]
)
def test_a_wire_that_is_cut_or_shorted_is_no_press_but_a_fault_and_not_armed(
    meaning: PairMeaning, fault: str
) -> None:
    rig = armed(nc_closed=True)
    contacts(rig, meaning, 2.5)
    assert faults(rig) == (fault,)
    assert rig.lamp() == "out_of_order"
    assert told(rig) == (fault,)
    contacts(rig, "rest", 2.5)
    assert faults(rig) == ()
    assert rig.lamp() == "armed"
    assert rig.done(Click) == []
    assert rig.post.held == ()


@pytest.mark.parametrize("meaning", ["cut", "short"])
def test_three_times_both_open_or_both_closed_are_no_call(meaning: PairMeaning) -> None:
    rig = armed(nc_closed=True)
    strokes(rig, meaning)
    rig.advance(10)
    assert rig.post.held == ()
    assert faults(rig) == (f"button_wire_{meaning}",)
    assert rig.lamp() == "out_of_order"


def test_a_call_with_the_normally_closed_wire_cut_is_a_call() -> None:
    rig = armed(nc_closed=True)
    contacts(rig, "cut", 5)
    strokes(rig, "pressed", between="cut")
    assert len(rig.post.held) == 1
    assert rig.lamp() == "calling", "a fault of a wire does not outshine a call"


def test_a_call_with_a_contact_that_never_opens_takes_one_stroke_more() -> None:
    rig = armed(nc_closed=True)
    strokes(rig, "short", times=3)
    assert rig.post.held == ()
    strokes(rig, "short", times=1)
    assert len(rig.post.held) == 1


def test_a_short_that_stands_is_one_fault_and_never_a_stuck_button() -> None:
    rig = armed(nc_closed=True)
    contacts(rig, "short", 3600)
    assert faults(rig) == ("button_wire_short",)
    assert rig.done(Click) == []


def test_a_pair_held_down_is_one_press_and_stuck_after_30_s() -> None:
    rig = armed(nc_closed=True)
    contacts(rig, "pressed", 31)
    assert len(rig.done(Click)) == 1
    assert faults(rig) == ("button_stuck",)


@pytest.mark.parametrize("meaning", ["pressed", "cut", "short"])
def test_levels_at_the_start_are_no_press(meaning: PairMeaning) -> None:
    no_closed, nc_closed = PAIR_LEVELS[meaning]
    rig = Rig(button_closed=no_closed, nc_closed=nc_closed)
    rig.advance(60)
    contacts(rig, "rest", 60)
    assert rig.done(Click) == []
    assert rig.post.held == ()


@given(
    bounces=st.lists(
        st.tuples(
            st.sampled_from(("button", "button_nc")), st.integers(min_value=1, max_value=2 * MS)
        ),
        max_size=5,
    ),
    travel_us=st.integers(min_value=0, max_value=40 * MS),
    overlap=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_three_strokes_of_bouncing_contacts_are_three_presses_and_one_alarm(
    bounces: list[tuple[PinName, int]], travel_us: int, overlap: bool
) -> None:
    rig = armed(nc_closed=True)
    for _ in range(3):
        for closing in (True, False):
            order: list[PinName] = ["button_nc", "button"]
            if overlap == closing:
                order.reverse()
            levels: dict[PinName, bool] = {"button": closing, "button_nc": not closing}
            turn(rig, order[0], levels[order[0]], travel_us / SECOND_US)
            turn(rig, order[1], levels[order[1]])
            for pin, apart_us in bounces:
                turn(rig, pin, not levels[pin], apart_us / SECOND_US)
                turn(rig, pin, levels[pin], apart_us / SECOND_US)
            rig.advance(0.2)
    assert len(rig.done(Click)) == 3
    assert len(rig.post.held) == 1
    assert not {"button_wire_cut", "button_wire_short"} & set(rig.post.faults)


def test_without_the_pair_an_edge_of_its_second_line_changes_nothing() -> None:
    rig = armed()
    for _ in range(3):
        turn(rig, "button_nc", closed=True, seconds=0.1)
        turn(rig, "button_nc", closed=False, seconds=0.1)
    assert rig.done(Click) == []
    assert rig.post.levels == {"button": False, "cancel": False}


# --- lid and mains -----------------------------------------------------------------------------


@pytest.mark.parametrize(("pin", "fault"), [("tamper", "tamper"), ("mains", "mains_lost")])
def test_a_loop_that_opens_is_a_fault_until_it_is_closed(pin: PinName, fault: str) -> None:
    rig = armed(tamper_closed=True, mains_closed=True)
    turn(rig, pin, closed=False, seconds=2.1)
    assert told(rig) == (fault,)
    assert told(rig) == (fault,)
    turn(rig, pin, closed=True, seconds=2.1)
    assert told(rig) == ()
    assert rig.lamp() == "armed"


def test_a_lid_opened_and_shut_between_two_heartbeats_is_told_once() -> None:
    rig = armed(tamper_closed=True)
    turn(rig, "tamper", closed=False, seconds=0.5)
    turn(rig, "tamper", closed=True, seconds=5)
    assert told(rig) == ("tamper",)
    assert faults(rig) == ()
    assert told(rig) == ()


def test_a_lid_opened_while_the_cable_was_out_is_told_when_it_is_back() -> None:
    rig = armed(tamper_closed=True)
    rig.disconnect()
    turn(rig, "tamper", closed=False, seconds=5)
    turn(rig, "tamper", closed=True, seconds=3600)
    rig.connect(answering=False)
    assert rig.published(Health)[-1].faults == ("tamper",)
    rig.answer()
    assert faults(rig) == ()


def test_an_answer_to_an_older_heartbeat_does_not_withdraw_a_fault() -> None:
    rig = armed(tamper_closed=True)
    rig.advance(31)
    beat = rig.published(Health)[-1].n
    turn(rig, "tamper", closed=False, seconds=0.5)
    turn(rig, "tamper", closed=True, seconds=3)
    rig.answer(beat=beat)
    assert faults(rig) == ("tamper",)


def test_lid_and_mains_do_not_hold_up_a_call() -> None:
    rig = armed(tamper_closed=True, mains_closed=True)
    turn(rig, "tamper", closed=False)
    turn(rig, "mains", closed=False, seconds=3)
    alarm_id = rig.press3()
    assert rig.lamp() == "calling"
    rig.document(listed(alarm_id, "acknowledged"))
    assert rig.lamp() == "answered"


def test_the_levels_of_all_fitted_inputs_can_be_compared_with_the_pins() -> None:
    rig = armed(nc_closed=True, tamper_closed=True, mains_closed=False)
    turn(rig, "tamper", closed=False)
    assert rig.post.levels == {
        "button": False,
        "button_nc": True,
        "cancel": False,
        "tamper": False,
        "mains": False,
    }


@pytest.mark.parametrize(
    ("pin", "after_us"), [("tamper", 100 * MS), ("mains", 2_000 * MS), ("button_nc", 2_000 * MS)]
)
def test_the_post_asks_to_be_woken_when_an_input_becomes_a_fault(
    pin: PinName, after_us: int
) -> None:
    rig = Rig(nc_closed=True, tamper_closed=True, mains_closed=True)
    rig.send(Edge(pin, rig.at_us, closed=False))
    assert rig.post.wake_at_us() == rig.at_us + after_us
    rig.advance(after_us / SECOND_US)
    assert len(rig.post.faults) == 1
