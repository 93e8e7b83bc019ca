"""What the lamp shows at which millisecond, and that light is never late or stuck."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware import lamp as lamp_module
from hardware.lamp import FLASH_MS, STEP_MS_MAX, STEPS_MAX, Lamp, Pattern, check_pattern, step_at
from hardware.pins import MockPins

RED, GREEN, BLUE = 22, 27, 23
GREEN_STEADY: Pattern = ((False, True, 0),)
RED_BLINK: Pattern = ((True, False, 300), (False, False, 200))
STEPS = st.tuples(st.booleans(), st.booleans(), st.integers(20, STEP_MS_MAX))


@pytest.fixture
def pins() -> MockPins:
    return MockPins()


@pytest.fixture
def lamp(pins: MockPins) -> Iterator[Lamp]:
    lamp = Lamp(pins, RED, GREEN, BLUE)
    yield lamp
    lamp.close()


def _lit(pins: MockPins) -> tuple[int, int, int]:
    return pins.level(RED), pins.level(GREEN), pins.level(BLUE)


def _eventually(pins: MockPins, lit: tuple[int, int, int]) -> bool:
    """Whether the LEDs come to `lit` within 2 s."""
    until_s = time.monotonic() + 2
    while _lit(pins) != lit:
        if time.monotonic() > until_s:
            return False
        threading.Event().wait(0.005)
    return True


def test_a_blink_goes_round() -> None:
    shown = [step_at(RED_BLINK, t)[0] for t in (0, 299, 300, 499, 500, 799, 800)]
    assert shown == [True, True, False, False, True, True, False]


def test_a_step_of_no_duration_is_held_for_ever() -> None:
    pattern: Pattern = ((True, False, 100), (False, True, 0))
    assert step_at(pattern, 99) == (True, False, 1)
    assert step_at(pattern, 10**9) == (False, True, None)


@given(st.lists(STEPS, min_size=2, max_size=STEPS_MAX), st.integers(0, 10**9))
def test_the_time_left_of_a_step_is_its_very_end(steps: list[Any], elapsed_ms: int) -> None:
    pattern: Pattern = tuple(steps)
    red, green, left_ms = step_at(pattern, elapsed_ms)
    assert left_ms is not None
    assert 0 < left_ms <= STEP_MS_MAX
    assert step_at(pattern, elapsed_ms + left_ms - 1) == (red, green, 1)


@pytest.mark.parametrize(
    "pattern", [(), ((True, True, 5),), ((True, True, -1),), ((True, True, 100),) * (STEPS_MAX + 1)]
)
def test_an_impossible_pattern_is_refused(pattern: Pattern) -> None:
    with pytest.raises(ValueError, match="lamp"):
        check_pattern(pattern)


def test_the_lamp_begins_dark(pins: MockPins, lamp: Lamp) -> None:
    assert _lit(pins) == (0, 0, 0)


def test_a_pattern_begins_in_the_calling_thread(pins: MockPins, lamp: Lamp) -> None:
    lamp.show(GREEN_STEADY)
    assert _lit(pins) == (0, 1, 0)


def test_a_flash_is_white_at_once_and_the_pattern_comes_back(pins: MockPins, lamp: Lamp) -> None:
    lamp.show(GREEN_STEADY)
    lamp.flash()
    assert _lit(pins) == (1, 1, 1)
    assert _eventually(pins, (0, 1, 0))


def test_a_flash_lasts_its_time(pins: MockPins, lamp: Lamp) -> None:
    began_s = time.monotonic()
    lamp.flash()
    assert _eventually(pins, (0, 0, 0))
    assert time.monotonic() - began_s >= (FLASH_MS - 2) / 1000


def test_a_flash_over_full_light_is_dark(pins: MockPins) -> None:
    lamp = Lamp(pins, RED, GREEN)
    lamp.show(((True, True, 0),))
    lamp.flash()
    assert (pins.level(RED), pins.level(GREEN)) == (0, 0)
    lamp.close()


def test_a_pattern_shown_during_a_flash_waits_for_its_end(pins: MockPins, lamp: Lamp) -> None:
    lamp.flash()
    lamp.show(GREEN_STEADY)
    assert _lit(pins) == (1, 1, 1)
    assert _eventually(pins, (0, 1, 0))


def test_a_blinking_lamp_blinks(pins: MockPins, lamp: Lamp) -> None:
    lamp.show(((True, False, 40), (False, False, 40)))
    assert _eventually(pins, (0, 0, 0))
    assert _eventually(pins, (1, 0, 0))
    assert _eventually(pins, (0, 0, 0))


def test_showing_the_same_pattern_again_does_not_begin_it_again(
    pins: MockPins, lamp: Lamp, monkeypatch: pytest.MonkeyPatch
) -> None:
    lamp.show(RED_BLINK)
    monkeypatch.setattr(lamp_module, "_now_ms", lambda: 10**12 + 10**9)
    began = lamp._began_ms
    lamp.show(RED_BLINK)
    assert lamp._began_ms == began


def test_a_steady_lamp_wakes_nobody(
    pins: MockPins, lamp: Lamp, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    really = lamp._change.wait
    waiting = threading.Event()

    def wait(timeout: float | None = None) -> bool:
        waits.append(timeout)
        waiting.set()
        return really(timeout)

    monkeypatch.setattr(lamp._change, "wait", wait)
    lamp.show(GREEN_STEADY)
    assert waiting.wait(2)
    assert waits == [None]


def test_a_failing_pin_is_counted_and_the_thread_lives(
    pins: MockPins, lamp: Lamp, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __setattr__(self, name: str, value: object) -> None:
            raise OSError("GPIO gone")

    monkeypatch.setattr(lamp, "_pins", [Broken(), *lamp._pins[1:]])
    lamp.show(((True, True, 0),))
    assert lamp.failures >= 1
    assert pins.level(GREEN) == 1
    assert lamp._thread.is_alive()


def test_a_closed_lamp_is_dark_and_stays_dark(pins: MockPins) -> None:
    lamp = Lamp(pins, RED, GREEN, BLUE)
    lamp.show(GREEN_STEADY)
    lamp.close()
    lamp.flash()
    lamp.show(RED_BLINK)
    assert _lit(pins) == (0, 0, 0)


def test_a_lamp_lives_until_it_is_closed(pins: MockPins) -> None:
    lamp = Lamp(pins, RED, GREEN, BLUE)
    assert lamp.alive()
    lamp.close()
    assert not lamp.alive()
