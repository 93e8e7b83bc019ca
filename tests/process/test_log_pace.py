"""Log lines are bounded by event: what chatters does not push out what matters."""

from __future__ import annotations

import pytest

from process import log as log_module
from process.log import LINES_BURST, LINES_PER_S, Pace, log


def test_a_burst_is_written_whole_and_then_so_many_a_second() -> None:
    pace = Pace()
    written = sum(pace.admit("press_counted", 100.0) is not None for _ in range(5 * LINES_BURST))
    assert written == LINES_BURST
    written = 0
    for n in range(24 * 3600):  # a button that chatters 24 times a second for an hour
        written += pace.admit("press_counted", 100.0 + n / 24) is not None
    assert 3600 * LINES_PER_S - 1 <= written <= 3600 * LINES_PER_S + 1


def test_one_event_takes_nothing_from_another() -> None:
    pace = Pace()
    for _ in range(2 * LINES_BURST):
        pace.admit("press_counted", 1.0)
    assert pace.admit("alarm_raised", 1.0) == 0


def test_what_was_held_back_is_said_by_the_next_line() -> None:
    pace = Pace()
    for _ in range(LINES_BURST + 7):
        pace.admit("refused", 1.0)
    assert pace.held_back == 7
    assert pace.admit("refused", 2.0) == 7
    assert pace.admit("refused", 2.0) == 0


def test_a_clock_that_stands_still_or_falls_gives_no_lines_back() -> None:
    pace = Pace()
    for _ in range(LINES_BURST):
        pace.admit("refused", 9.0)
    assert pace.admit("refused", 9.0) is None
    assert pace.admit("refused", 1.0) is None


def test_the_log_itself_keeps_the_pace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_module, "_pace", Pace())
    now = [50.0]
    monkeypatch.setattr("process.log.time.monotonic", lambda: now[0])
    for _ in range(LINES_BURST + 3):
        log("refused", what="nonsense")
    now[0] += 1.0
    log("refused", what="nonsense")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == LINES_BURST + 1
    assert lines[-1].endswith("event=refused what=nonsense held_back=3")
