"""The machine's time facts: honest, cached, overridable, and stable to the microsecond."""

import ctypes
import itertools
import threading
import time
import uuid
from pathlib import Path

import pytest

from hardware import clock
from hardware.clock import EdgeTimes, SystemClock, timer_slack


def _at(monkeypatch: pytest.MonkeyPatch, uptime_us: int) -> None:
    monkeypatch.setattr(clock, "uptime_us", lambda: uptime_us)


def test_uptime_rises_and_wall_time_is_now() -> None:
    system = SystemClock()
    first, second = system.now(), system.now()
    assert first.uptime_us <= second.uptime_us
    assert abs(second.wall_ms - time.time() * 1000) < 5000


def test_the_boot_id_is_the_kernels_lower_case_uuid() -> None:
    boot_id = SystemClock().boot_id()
    assert str(uuid.UUID(boot_id)) == boot_id
    assert boot_id == clock.BOOT_ID_FILE.read_text().strip().lower()


def test_without_a_kernel_boot_id_each_process_makes_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clock, "BOOT_ID_FILE", tmp_path / "absent")
    first = SystemClock()
    assert str(uuid.UUID(first.boot_id())) == first.boot_id() == first.boot_id()
    assert SystemClock().boot_id() != first.boot_id()


@pytest.mark.parametrize(("value", "believed"), [("synchronised", True), ("unsynchronised", False)])
def test_the_environment_overrides_the_kernel(
    monkeypatch: pytest.MonkeyPatch, value: str, believed: bool
) -> None:
    monkeypatch.setenv("KENTONGAN_CLOCK", value)
    monkeypatch.setattr(clock, "kernel_says_synchronised", lambda: not believed)
    assert SystemClock().now().synchronised is believed


def test_an_unknown_value_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENTONGAN_CLOCK", "perhaps")
    monkeypatch.setattr(clock, "kernel_says_synchronised", lambda: True)
    assert SystemClock().now().synchronised


@pytest.mark.parametrize("exists", [True, False])
def test_where_the_kernel_refuses_timesyncd_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exists: bool
) -> None:
    monkeypatch.delenv("KENTONGAN_CLOCK", raising=False)
    monkeypatch.setattr(clock, "kernel_says_synchronised", lambda: None)
    monkeypatch.setattr(clock, "TIMESYNC_FILE", tmp_path / "synchronized")
    if exists:
        (tmp_path / "synchronized").touch()
    assert SystemClock().now().synchronised is exists


def test_the_kernel_is_asked_again_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KENTONGAN_CLOCK", raising=False)
    answers = iter([False, True])
    monkeypatch.setattr(clock, "kernel_says_synchronised", lambda: next(answers))
    system = SystemClock()
    seen = []
    for at_us in (1_000_000, 10_999_999, 11_000_000, 20_999_999):
        _at(monkeypatch, at_us)
        seen.append(system.now().synchronised)
    assert seen == [False, False, True, True]


def test_the_kernel_answers_or_refuses_but_never_raises() -> None:
    assert clock.kernel_says_synchronised() in (True, False, None)


def test_edges_keep_their_distance_to_the_microsecond() -> None:
    times = EdgeTimes()
    base_s = time.monotonic()
    stamped = [times.uptime_us(base_s + n / 1_000_000) for n in range(1000)]
    assert all(0 <= later - earlier <= 2 for earlier, later in itertools.pairwise(stamped))
    assert stamped[-1] - stamped[0] == 999


def test_an_edge_is_stamped_in_uptime() -> None:
    before_us = clock.uptime_us()
    edge_us = EdgeTimes().uptime_us(time.monotonic())
    assert before_us - 1000 <= edge_us <= clock.uptime_us() + 1000


def test_a_stamp_of_another_clock_becomes_the_time_of_receipt() -> None:
    times = EdgeTimes()
    before_us = clock.uptime_us()
    assert before_us <= times.uptime_us(time.time()) <= clock.uptime_us()
    assert times.misstamped == 1


def test_after_a_suspend_edges_are_stamped_on_the_longer_uptime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = EdgeTimes()
    before_us = times.uptime_us(time.monotonic())
    really = clock.uptime_us
    monkeypatch.setattr(clock, "_measure_offset", lambda: (3_600_000_000, 1))
    monkeypatch.setattr(clock, "uptime_us", lambda: really() + 3_600_000_000)
    assert times.uptime_us(time.monotonic()) - before_us > 3_599_000_000


def slack_ns() -> int:
    return int(ctypes.CDLL(None).prctl(30))  # PR_GET_TIMERSLACK, of the thread that asks


def test_a_thread_begun_meanwhile_is_woken_late_and_its_maker_is_not() -> None:
    before_ns = slack_ns()
    seen: list[int] = []
    with timer_slack(4_000):
        begun = threading.Thread(target=lambda: seen.append(slack_ns()))
        begun.start()
        begun.join()
    assert seen == [4_000_000]
    assert slack_ns() == before_ns < 1_000_000
