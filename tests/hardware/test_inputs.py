"""What levels mean: the button's pair of contacts, and the loops that are closed while all is well.

Times are microseconds of an uptime that the test makes up.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.inputs import (
    LOST_STROKES_US,
    PAIR,
    PAIR_LEVELS,
    WIRE_FAULT_US,
    ButtonPair,
    Loop,
    PairMeaning,
    mains_loop,
    tamper_loop,
)

MS = 1000
S = 1_000_000
START = 50 * S


@dataclass
class Wall:
    """A button on a wall: puts both contacts where they are to be, and lets time pass."""

    pair: ButtonPair
    at_us: int = START

    def to(self, meaning: PairMeaning, for_us: int) -> ButtonPair:
        no_closed, nc_closed = PAIR_LEVELS[meaning]
        self.pair.edge("button_nc", self.at_us, nc_closed)
        self.pair.edge("button", self.at_us, no_closed)
        return self.wait(for_us)

    def wait(self, for_us: int) -> ButtonPair:
        """As the loop does it: woken exactly when the pair asks for it."""
        end_us = self.at_us + for_us
        for _ in range(20):
            wake_us = self.pair.wake_at_us()
            if wake_us is None or wake_us > end_us:
                break
            assert wake_us >= self.at_us
            self.pair.tick(wake_us)
        else:
            raise AssertionError("the pair asks to be woken without end")
        self.at_us = end_us
        self.pair.tick(end_us)
        return self.pair

    def stroke(self, meaning: PairMeaning, for_us: int = 150 * MS) -> ButtonPair:
        self.to(meaning, for_us)
        return self.to("rest", 200 * MS)


def faulty(pair: ButtonPair) -> bool:
    return pair.cut or pair.short


def at_rest() -> Wall:
    return Wall(ButtonPair(no_closed=False, nc_closed=True, at_us=START))


def test_each_pair_of_levels_has_one_meaning_and_only_opposite_levels_are_a_press_or_rest() -> None:
    assert {PAIR[levels] for levels in PAIR} == {"rest", "pressed", "cut", "short"}
    for (no_closed, nc_closed), meaning in PAIR.items():
        assert (meaning in ("cut", "short")) == (no_closed == nc_closed)
        assert (meaning == "pressed") == (no_closed and not nc_closed)
        pair = ButtonPair(no_closed, nc_closed, START)
        assert pair.pressed == (meaning == "pressed")
        assert not pair.cut
        assert not pair.short


@pytest.mark.parametrize(("meaning", "fault"), [("cut", "cut"), ("short", "short")])
def test_a_wire_fault_is_one_after_two_seconds_and_over_two_seconds_after_it_is_mended(
    meaning: PairMeaning, fault: str
) -> None:
    wall = at_rest()
    pair = wall.to(meaning, WIRE_FAULT_US - 1)
    assert not getattr(pair, fault)
    wall.wait(1)
    assert getattr(pair, fault)
    assert not pair.pressed
    wall.to("rest", WIRE_FAULT_US - 1)
    assert getattr(pair, fault)
    wall.wait(1)
    assert not faulty(pair)
    assert pair.wake_at_us() is None


@pytest.mark.parametrize("meaning", ["cut", "short"])
def test_a_wire_fault_at_the_start_is_found(meaning: PairMeaning) -> None:
    wall = Wall(ButtonPair(*PAIR_LEVELS[meaning], START))
    assert getattr(wall.wait(WIRE_FAULT_US), meaning)


def test_a_slow_finger_between_the_contacts_is_no_fault() -> None:
    wall = at_rest()
    for _ in range(10):
        wall.to("cut", 900 * MS)
        wall.to("pressed", 100 * MS)
        wall.to("cut", 900 * MS)
        wall.to("rest", S)
    assert not faulty(wall.pair)


def test_with_the_closed_contact_cut_off_the_open_one_still_presses() -> None:
    wall = at_rest()
    wall.to("cut", 3 * S)
    for _ in range(3):
        assert wall.to("pressed", 100 * MS).pressed
        assert not wall.to("cut", 100 * MS).pressed
    assert wall.pair.cut


def test_a_stroke_that_does_not_open_the_second_contact_is_no_press_but_the_next_one_is() -> None:
    wall = at_rest()
    assert not wall.to("short", 150 * MS).pressed
    assert not wall.to("rest", 200 * MS).pressed
    assert wall.pair.short
    assert wall.to("short", 150 * MS).pressed
    assert not wall.to("rest", 200 * MS).pressed


def test_one_good_stroke_restores_the_trust_in_the_second_contact() -> None:
    wall = at_rest()
    wall.stroke("short")
    assert wall.to("pressed", 100 * MS).pressed
    wall.to("rest", 100 * MS)
    assert not wall.pair.short
    assert not wall.to("short", 100 * MS).pressed


def test_a_short_that_stands_and_goes_says_nothing_about_the_second_contact() -> None:
    wall = at_rest()
    wall.to("short", 3 * S)
    wall.to("rest", 3 * S)
    assert not wall.pair.short
    assert not wall.to("short", 100 * MS).pressed


def test_three_strokes_that_never_close_the_first_contact_are_a_cut_wire_until_one_does() -> None:
    wall = at_rest()
    wall.stroke("cut")
    wall.stroke("cut")
    assert not wall.pair.cut
    wall.stroke("cut")
    assert wall.pair.cut
    wall.wait(3600 * S)
    assert wall.pair.cut, "at rest a cut wire of the open contact looks like a whole one"
    wall.stroke("pressed")
    assert not wall.pair.cut


def test_half_strokes_far_apart_are_no_fault() -> None:
    wall = at_rest()
    for _ in range(20):
        wall.stroke("cut")
        wall.wait(LOST_STROKES_US // 2)
    assert not wall.pair.cut


def test_bounce_and_glitches_are_no_strokes() -> None:
    wall = at_rest()
    for _ in range(50):
        wall.stroke("cut", 5 * MS)
        wall.stroke("short", 5 * MS)
    assert not faulty(wall.pair)


def test_an_edge_to_the_level_it_has_and_one_stamped_too_early_change_nothing() -> None:
    wall = at_rest()
    wall.pair.edge("button", START + S, False)
    wall.pair.edge("button_nc", START - S, False)
    assert wall.pair.meaning == "cut"
    assert wall.pair.at_us == START
    wall.pair.tick(START + WIRE_FAULT_US)
    assert wall.pair.cut


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rest", "pressed", "cut", "short"]),
            st.integers(min_value=0, max_value=4 * S),
        ),
        max_size=60,
    )
)
def test_whatever_happens_rest_and_one_good_stroke_leave_no_fault_and_no_wish_to_wake(
    steps: list[tuple[PairMeaning, int]],
) -> None:
    wall = at_rest()
    for meaning, for_us in steps:
        wall.to(meaning, for_us)
        if meaning == "pressed":
            assert wall.pair.pressed, "opposite levels are a press whatever was before"
        if meaning in ("rest", "cut"):
            assert not wall.pair.pressed
    wall.to("rest", 100 * MS)
    wall.stroke("pressed")
    wall.wait(WIRE_FAULT_US)
    assert not faulty(wall.pair)
    assert wall.pair.wake_at_us() is None


def at(loop: Loop, at_us: int, closed: bool | None = None) -> bool:
    """The loop's word at `at_us`, after an edge there if one is given."""
    if closed is not None:
        loop.edge(at_us, closed)
    loop.tick(at_us)
    return loop.broken


def test_a_lid_that_is_open_for_100_ms_is_open_and_less_is_a_rattle() -> None:
    loop = tamper_loop(closed=True, at_us=START)
    assert not at(loop, START, closed=False)
    assert not at(loop, START + 99 * MS, closed=True)
    assert not at(loop, START + S)
    assert not at(loop, START + 2 * S, closed=False)
    assert loop.wake_at_us() == START + 2 * S + 100 * MS
    assert at(loop, START + 2 * S + 100 * MS)


def test_a_lid_is_shut_when_it_has_been_for_two_seconds() -> None:
    loop = tamper_loop(closed=True, at_us=START)
    at(loop, START, closed=False)
    assert at(loop, START + S, closed=True)
    assert at(loop, START + S + 1_999 * MS)
    assert not at(loop, START + 3 * S)
    assert loop.wake_at_us() is None


def test_a_loop_that_is_open_at_the_start_is_found() -> None:
    loop = tamper_loop(closed=False, at_us=START)
    assert not loop.broken
    assert loop.wake_at_us() == START + 100 * MS
    assert at(loop, START + 100 * MS)


def test_an_opening_that_only_the_stamps_of_its_edges_show_is_seen() -> None:
    loop = tamper_loop(closed=True, at_us=START)
    loop.edge(START + S, False)
    loop.edge(START + 2 * S, True)
    assert loop.broken


def test_a_dip_of_the_mains_is_no_loss_and_two_seconds_are() -> None:
    loop = mains_loop(closed=True, at_us=START)
    at(loop, START, closed=False)
    assert not at(loop, START + 1_999 * MS, closed=True)
    at(loop, START + 10 * S, closed=False)
    assert at(loop, START + 12 * S)
    at(loop, START + 20 * S, closed=True)
    assert at(loop, START + 21_999 * MS)
    assert not at(loop, START + 22 * S)


def test_the_same_level_again_does_not_begin_the_time_anew() -> None:
    loop = mains_loop(closed=True, at_us=START)
    loop.edge(START, False)
    loop.edge(START + S, False)
    assert at(loop, START + 2 * S)
