"""Where the post says it is."""

from __future__ import annotations

from device.location import LAST_KNOWN_S, LocationPolicy
from hardware.nmea import Fix

SECOND_US = 1_000_000
FIX = Fix(-7.9442212345, 112.6143712345, 4.53, 9, 0.9, 100 * SECOND_US)


def test_without_a_receiver_it_is_the_survey() -> None:
    where = LocationPolicy(-7.9, 112.6).where(0)
    assert (where.lat, where.lon, where.source, where.age_s) == (-7.9, 112.6, "surveyed", None)


def test_a_fresh_fix_is_gps_with_age_and_accuracy() -> None:
    policy = LocationPolicy(-7.9, 112.6)
    policy.located(FIX)
    where = policy.where(103 * SECOND_US)
    assert (where.lat, where.lon, where.source) == (-7.944221, 112.614371, "gps")
    assert (where.age_s, where.accuracy_m) == (3, 4.5)


def test_a_fix_that_was_lost_is_the_last_known_one_however_young() -> None:
    policy = LocationPolicy(-7.9, 112.6)
    policy.located(FIX)
    policy.lost()
    assert policy.where(101 * SECOND_US).source == "last_known"


def test_a_fix_that_went_stale_without_a_word_is_not_called_fresh() -> None:
    policy = LocationPolicy(-7.9, 112.6)
    policy.located(FIX)
    assert policy.where(111 * SECOND_US).source == "last_known"


def test_after_a_day_the_survey_says_more() -> None:
    policy = LocationPolicy(-7.9, 112.6)
    policy.located(FIX)
    policy.lost()
    where = policy.where((100 + LAST_KNOWN_S + 2) * SECOND_US)
    assert (where.source, where.age_s) == ("surveyed", None)
