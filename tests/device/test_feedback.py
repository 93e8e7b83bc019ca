"""The tables of what a resident sees and hears."""

from __future__ import annotations

from typing import get_args

from device.core import Meaning
from device.feedback import ACKNOWLEDGED, LAMP
from hardware.buzzer import check_sound
from hardware.lamp import check_pattern


def test_every_meaning_has_a_pattern_of_its_own() -> None:
    assert set(LAMP) == set(get_args(Meaning))
    assert len(set(LAMP.values())) == 4


def test_the_patterns_are_such_as_the_hardware_plays() -> None:
    for pattern in LAMP.values():
        check_pattern(pattern)
    check_sound(ACKNOWLEDGED)


def test_no_pattern_flashes_more_than_three_times_a_second() -> None:
    for pattern in LAMP.values():
        period_ms = sum(duration_ms for _, _, duration_ms in pattern)
        flashes = sum(red or green for red, green, _ in pattern)
        longest_run = flashes if period_ms >= 1000 else flashes * 1000 / max(period_ms, 1)
        assert period_ms == 0 or longest_run <= 3
