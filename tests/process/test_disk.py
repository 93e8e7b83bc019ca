"""The record of what was asked of a disk and what it has answered."""

from __future__ import annotations

from process.disk import PROBE_EVERY_US, Writes

SECOND_US = 1_000_000


def test_the_oldest_unanswered_write_says_how_long_the_disk_is_silent() -> None:
    writes = Writes(0)
    writes.asked(1, 10 * SECOND_US)
    writes.asked(2, 15 * SECOND_US)
    assert writes.silent_us(20 * SECOND_US) == 10 * SECOND_US
    writes.answered((1,))
    assert writes.silent_us(20 * SECOND_US) == 5 * SECOND_US
    writes.answered((2,))
    assert writes.silent_us(20 * SECOND_US) == 0


def test_one_answer_may_be_for_many_writes_and_for_unknown_ones() -> None:
    writes = Writes(0)
    writes.asked(1, 0)
    writes.asked(2, 0)
    writes.answered((1, 2, 3))
    assert writes.silent_us(SECOND_US) == 0
    assert writes.has_answered


def test_a_disk_that_never_answered_this_process_is_known_as_such() -> None:
    writes = Writes(0)
    writes.asked(1, 0)
    assert not writes.has_answered


def test_a_probe_is_due_a_quarter_of_an_hour_after_the_last_write_and_not_while_one_waits() -> None:
    writes = Writes(0)
    assert not writes.probe_due(PROBE_EVERY_US - 1)
    assert writes.probe_due(PROBE_EVERY_US)
    writes.asked(1, PROBE_EVERY_US)
    assert not writes.probe_due(3 * PROBE_EVERY_US)
    writes.answered((1,))
    assert writes.probe_due(3 * PROBE_EVERY_US)
