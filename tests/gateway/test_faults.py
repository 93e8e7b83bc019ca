"""The life of a fault at the gateway: raised, chattering, cleared; many silences as one."""

from __future__ import annotations

import pytest

from gateway.faults import (
    LIVES_MAX,
    FaultLives,
    SilentGroups,
    Start,
    note_start,
    starts_too_often,
)
from hardware.clock import Now
from protocol.messages import GROUPS_MAX
from protocol.values import FAULT_COUNT_MAX, FAULTS_MAX, timestamp

WALL_MS = 1_740_836_700_000
SECOND_US = 1_000_000


def at(second: float) -> Now:
    return Now(int(second * SECOND_US), WALL_MS + int(second * 1000), synchronised=True)


def since(second: float) -> str:
    return timestamp(at(second).wall_ms)


def test_a_fault_stands_since_it_came_and_is_gone_when_it_is_mended() -> None:
    lives = FaultLives()
    assert lives.see(("gps_lost",), at(1))
    assert not lives.see(("gps_lost",), at(30))
    assert (lives.shown, lives.since, lives.count) == (("gps_lost",), (since(1),), ())
    assert lives.see((), at(60))
    assert lives.shown == ()


def test_two_times_in_a_minute_are_two_faults() -> None:
    lives = FaultLives()
    for second in (0, 20):
        assert lives.see(("mains_lost",), at(second))
        assert lives.see((), at(second + 5))


def test_the_third_time_in_a_minute_it_is_one_fault_with_a_count_that_stands() -> None:
    lives = FaultLives()
    for second in (0, 20, 40):
        assert lives.see(("mains_lost",), at(second))
        assert lives.see((), at(second + 5)) == (second < 40)
    assert (lives.shown, lives.since, lives.count) == (("mains_lost",), (since(0),), (3,))
    for second in (50, 60, 70):
        assert not lives.see(("mains_lost",), at(second))
        assert not lives.see((), at(second + 5))
    assert lives.count == (6,)


def test_the_count_of_what_chatters_is_told_every_ten_seconds_at_most() -> None:
    lives = FaultLives()
    for second in (0, 1, 2, 3):
        lives.see(("mains_lost",), at(second))
        lives.see((), at(second + 0.5))
    assert lives.next_us() == at(13).uptime_us
    assert not lives.due(at(12.9))
    assert lives.due(at(13))


def test_what_chatters_is_cleared_when_it_has_stayed_away_for_a_minute() -> None:
    lives = FaultLives()
    for second in (0, 1, 2):
        lives.see(("mains_lost",), at(second))
        lives.see((), at(second + 0.5))
    assert lives.next_us() == at(62.5).uptime_us
    assert not lives.due(at(62.4))
    assert lives.due(at(62.5))
    assert (lives.shown, bool(lives), lives.next_us()) == ((), False, None)


def test_three_times_in_more_than_a_minute_do_not_chatter() -> None:
    lives = FaultLives()
    for second in (0, 31, 62):
        lives.see(("mains_lost",), at(second))
        assert lives.see((), at(second + 1))
    assert lives.count == ()


def test_a_clock_that_is_stepped_makes_nothing_chatter() -> None:
    lives = FaultLives()
    for minute in range(5):
        now = Now(minute * 60 * SECOND_US, WALL_MS, synchronised=False)
        lives.see(("clock_lost",), now)
        assert lives.see((), Now(now.uptime_us + SECOND_US, WALL_MS, synchronised=False))


def test_a_restarted_gateway_takes_up_since_when_a_fault_stands() -> None:
    lives = FaultLives()
    lives.see(("gps_lost", "tamper"), at(100))
    lives.restore(("gps_lost", "disk_failing"), (since(1), since(2)), (5, 1))
    assert lives.since == (since(1), since(100))
    assert lives.count == (5, 1)


def test_what_is_remembered_of_one_party_is_bounded() -> None:
    lives = FaultLives()
    for n in range(100):
        lives.see((f"fault_{n}",), at(n / 10))
    assert lives.shown == ("fault_99",)
    lives.see([f"other_{n}" for n in range(100)], at(20))
    assert len(lives.shown) == FAULTS_MAX
    assert len(lives._lives) == LIVES_MAX


def test_what_is_present_has_a_place_before_what_has_only_chattered() -> None:
    lives = FaultLives()
    some, others = ([f"{letter}{n}" for n in range(16)] for letter in "ab")
    for n in range(8):
        lives.see(some if n % 2 else others, at(3 * n))
    lives.see(["flooding", *some], at(25))
    assert lives.shown[0] == "flooding"


def test_a_count_ends_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.faults.FAULT_COUNT_MAX", 4)
    lives = FaultLives()
    for n in range(10):
        lives.see(("tamper",), at(n))
        lives.see((), at(n + 0.5))
    assert lives.count == (4,)
    assert FAULT_COUNT_MAX > 4


def silence(groups: SilentGroups, name: str, second: float) -> list[str]:
    return groups.silent(name, since(second), at(second).uptime_us)


def test_four_posts_that_become_silent_are_four_faults() -> None:
    groups = SilentGroups()
    assert [silence(groups, f"rw{n}", n) for n in range(4)] == [[], [], [], []]
    assert groups.shown == ()


def test_the_fifth_post_makes_a_group_of_all_five_and_the_next_ones_join_it() -> None:
    groups = SilentGroups()
    for n in range(4):
        silence(groups, f"rw{n}", n)
    assert silence(groups, "rw4", 4) == ["rw0", "rw1", "rw2", "rw3", "rw4"]
    assert silence(groups, "rw5", 50) == ["rw5"]
    (group,) = groups.shown
    assert (group.since, group.posts) == (since(0), 6)
    assert groups.group_of("rw5") == since(0)


def test_a_post_that_becomes_silent_later_is_a_fault_of_its_own() -> None:
    groups = SilentGroups()
    for n in range(5):
        silence(groups, f"rw{n}", 0)
    assert silence(groups, "rw9", 61) == []
    assert groups.group_of("rw9") is None


def test_posts_that_become_silent_one_by_one_are_no_group() -> None:
    groups = SilentGroups()
    assert all(silence(groups, f"rw{n}", 20 * n) == [] for n in range(50))


def test_a_group_shrinks_and_is_gone_with_its_last_post() -> None:
    groups = SilentGroups()
    for n in range(5):
        silence(groups, f"rw{n}", 0)
    assert [groups.heard(f"rw{n}") for n in range(4)] == [True] * 4
    assert groups.shown[0].posts == 1
    assert groups.heard("rw4")
    assert groups.shown == ()
    assert not groups.heard("rw4")


def test_after_a_restart_a_group_is_the_one_that_it_was() -> None:
    groups = SilentGroups()
    for n in range(3):
        groups.restore(f"rw{n}", since(0), at(500).uptime_us)
    assert [(one.since, one.posts) for one in groups.shown] == [(since(0), 3)]
    assert silence(groups, "rw9", 500) == []


def test_groups_are_bounded_and_the_next_posts_are_shown_singly() -> None:
    groups = SilentGroups()
    for hour in range(GROUPS_MAX + 1):
        for n in range(5):
            silence(groups, f"rw{hour}-{n}", 3600 * hour)
    assert len(groups.shown) == GROUPS_MAX
    assert groups.group_of(f"rw{GROUPS_MAX}-4") is None
    for n in range(GROUPS_MAX + 1):
        groups.restore("rw-old", since(-n), 0)
    assert len(groups.shown) == GROUPS_MAX


BOOT, OTHER_BOOT = "6d1c7a34-90ab-4cde-8f01-23456789abcd", "7e2d8b45-a1bc-4def-9012-3456789abcde"


def noted(*starts: tuple[str, float, float]) -> str:
    text = ""
    for boot, uptime_s, wall_s in starts:
        start = Start(boot, int(uptime_s * SECOND_US), WALL_MS + int(wall_s * 1000))
        text = note_start(text, start)
    return text


def test_three_starts_in_ten_minutes_are_too_many() -> None:
    assert starts_too_often(noted((BOOT, 0, 0), (BOOT, 300, 300), (BOOT, 600, 600)))
    assert not starts_too_often(noted((BOOT, 0, 0), (BOOT, 300, 300), (BOOT, 601, 601)))
    assert not starts_too_often(noted((BOOT, 300, 300), (BOOT, 301, 301)))


def test_only_the_last_three_starts_count() -> None:
    early = [(BOOT, n, n) for n in range(3)]
    assert not starts_too_often(noted(*early, (BOOT, 5000, 5000)))
    assert len(noted(*early, (BOOT, 5000, 5000)).splitlines()) == 3


def test_within_one_boot_a_stepped_clock_changes_nothing() -> None:
    assert starts_too_often(noted((BOOT, 0, 0), (BOOT, 1, -90_000), (BOOT, 2, 90_000)))
    assert not starts_too_often(noted((BOOT, 0, 5), (BOOT, 5000, 5), (BOOT, 9000, 5)))


def test_reboots_count_by_the_wall_clock() -> None:
    assert starts_too_often(noted((BOOT, 9000, 0), (BOOT, 9100, 100), (OTHER_BOOT, 9, 200)))
    assert not starts_too_often(noted((BOOT, 9000, 0), (BOOT, 9100, 100), (OTHER_BOOT, 9, 700)))


@pytest.mark.parametrize("text", ["", "x", "a b c\na b c\na b c", "a 1 2\n\nb 1 2"])
def test_a_note_that_cannot_be_read_accuses_nobody(text: str) -> None:
    assert not starts_too_often(text)
    assert len(note_start(text, Start(BOOT, 1, 1)).splitlines()) <= 3
