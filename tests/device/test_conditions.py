"""Supply, heat, disk, clock, place, restarts: raised when they last, cleared when they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from device.conditions import (
    LASTS_US,
    RESTARTS_OFTEN,
    SECOND_US,
    STABLE_US,
    Conditions,
    distance_m,
)
from device.core import DEAF_FAULTS, READINGS_EVERY_BEATS, Located, LocationLost, Restarts
from device.fitness import Fitness
from hardware.board import Readings, look
from hardware.nmea import Fix
from protocol.messages import Health
from tests.device.rig import Rig

LAT, LON = -7.944, 112.611


def fix(rig: Rig, north_m: float, accuracy_m: float | None = 5.0) -> Located:
    return Located(Fix(LAT + north_m / 111_195, LON, accuracy_m, 8, 1.0, rig.at_us))


def measured(rig: Rig, times: int = 1, **readings: float) -> None:
    for _ in range(times):
        rig.send(Readings(**readings))  # type: ignore[arg-type]
        rig.advance(60)


BAD: dict[str, Callable[[Rig], None]] = {
    "under_voltage": lambda rig: measured(rig, throttled=0x50001),
    "throttled": lambda rig: measured(rig, 2, throttled=0b100),
    "too_hot": lambda rig: measured(rig, 2, temperature_c=81.0),
    "disk_full": lambda rig: measured(rig, disk_free_mb=10),
}
WELL: dict[str, Callable[[Rig], None]] = {
    "under_voltage": lambda rig: measured(rig, 16, throttled=0x50000),
    "throttled": lambda rig: measured(rig, 11, throttled=0),
    "too_hot": lambda rig: measured(rig, 6, temperature_c=60.0),
    "disk_full": lambda rig: measured(rig, 2, disk_free_mb=5_000),
}


@pytest.mark.parametrize("fault", sorted(BAD))
def test_what_the_board_says_is_a_fault_in_the_heartbeat_until_it_has_stayed_away(
    fault: str,
) -> None:
    rig = Rig()
    rig.connect()
    BAD[fault](rig)
    assert rig.post.faults == (fault,)
    rig.advance(30)
    assert fault in rig.published(Health)[-1].faults
    WELL[fault](rig)
    assert not rig.post.faults


def test_a_dip_of_the_voltage_between_two_looks_is_a_fault_and_an_old_one_is_not() -> None:
    conditions = Conditions(0, LAT, LON)
    conditions.measured(Readings(throttled=0), 0)
    conditions.measured(Readings(throttled=0x10000), 60 * SECOND_US)
    conditions.tick(60 * SECOND_US)
    assert conditions.present["under_voltage"]
    conditions.measured(Readings(throttled=0x10000), 120 * SECOND_US)
    conditions.tick(120 * SECOND_US + LASTS_US["under_voltage"][1])
    assert not conditions.present["under_voltage"]


def test_between_hot_and_cool_nothing_changes() -> None:
    rig = Rig()
    measured(rig, 5, temperature_c=78.0)
    assert not rig.post.faults
    measured(rig, 2, temperature_c=80.0)
    measured(rig, 10, temperature_c=78.0)
    assert rig.post.faults == ("too_hot",)


def test_a_short_heat_and_a_board_that_says_nothing_are_no_faults() -> None:
    rig = Rig()
    rig.send(Readings(temperature_c=90.0))
    rig.advance(30)
    rig.send(Readings(temperature_c=60.0))
    measured(rig, 20)
    assert not rig.post.faults


def test_a_clock_that_nobody_sets_is_a_fault_after_ten_minutes() -> None:
    rig = Rig(synchronised=False)
    rig.advance(599)
    assert not rig.post.faults
    rig.advance(2)
    assert rig.post.faults == ("clock_unsynchronised",)
    rig.synchronised = True
    rig.advance(1)
    rig.advance(61)
    assert not rig.post.faults


def test_a_post_that_has_moved_though_it_is_mounted() -> None:
    rig = Rig()
    for _ in range(6):
        rig.send(fix(rig, 900))
        rig.advance(60)
    assert rig.post.faults == ("place_implausible",)
    for _ in range(6):
        rig.send(fix(rig, 3))
        rig.advance(60)
    assert not rig.post.faults


@pytest.mark.parametrize("lost", [True, False])
def test_one_stray_fix_and_then_no_sky_is_no_other_place(lost: bool) -> None:
    rig = Rig()
    for _ in range(10):
        rig.send(fix(rig, 3))
        rig.advance(1)
    rig.send(fix(rig, 445))
    rig.advance(1)
    if lost:
        rig.send(LocationLost("the receiver has no fix"))
    rig.advance(86_400)
    assert "place_implausible" not in rig.post.faults
    rig.send(fix(rig, 445))  # another one a day later says nothing of the time between
    rig.advance(1)
    assert "place_implausible" not in rig.post.faults


def test_without_a_fix_the_last_verdict_on_the_place_stands() -> None:
    rig = Rig()
    for _ in range(301):
        rig.send(fix(rig, 900))
        rig.advance(1)
    assert rig.post.faults == ("place_implausible",)
    rig.send(fix(rig, 3))
    rig.send(LocationLost("the receiver has no fix"))
    rig.advance(86_400)
    assert "place_implausible" in rig.post.faults
    for _ in range(301):
        rig.send(fix(rig, 3))
        rig.advance(1)
    assert not rig.post.faults


def test_a_place_is_judged_by_fixes_on_end_for_five_minutes_and_not_before() -> None:
    rig = Rig()
    rig.send(fix(rig, 900))
    for _ in range(4):
        rig.advance(60)  # the longest gap that is none
        rig.send(fix(rig, 900))
    rig.advance(59.9)
    rig.send(fix(rig, 900))
    assert not rig.post.faults
    rig.advance(0.1)
    rig.send(fix(rig, 900))
    assert rig.post.faults == ("place_implausible",)
    rig = Rig()
    for _ in range(100):
        rig.send(fix(rig, 900))
        rig.advance(60.1)
    assert not rig.post.faults


def test_what_the_receiver_itself_is_unsure_of_has_not_moved() -> None:
    rig = Rig()
    for north_m, accuracy_m in ((400, 150.0), (140, None), (90, 5.0)):
        for _ in range(10):
            rig.send(fix(rig, north_m, accuracy_m))
            rig.advance(60)
        assert not rig.post.faults
    rig.send(fix(rig, 2_000))
    rig.advance(60)
    rig.send(fix(rig, 2))
    rig.advance(600)
    assert not rig.post.faults


def test_distances_are_right_to_a_metre_across_a_city() -> None:
    assert distance_m(-7.9, 112.6, -7.9, 112.7) == pytest.approx(11_014, abs=3)
    assert distance_m(-7.9, 112.6, -8.0, 112.6) == pytest.approx(11_119.5, abs=1)


def test_starts_without_one_that_lasts_are_a_fault_until_one_has_lasted() -> None:
    rig = Rig()
    rig.send(Restarts(RESTARTS_OFTEN - 1))
    assert not rig.post.faults
    rig = Rig()
    rig.send(Restarts(RESTARTS_OFTEN))
    assert rig.post.faults == ("restart_loop",)
    rig.advance(STABLE_US / SECOND_US + 1)
    assert not rig.post.faults


def test_temperature_and_disk_are_said_now_and_then_and_within_the_contract() -> None:
    rig = Rig()
    rig.connect()
    measured(rig, temperature_c=45.26, disk_free_mb=1_234)
    for _ in range(READINGS_EVERY_BEATS):
        rig.advance(30)
        rig.answer()
    said = [h for h in rig.published(Health) if h.temperature_c is not None]
    assert [(h.temperature_c, h.disk_free_mb) for h in said] == [(45.3, 1_234)]
    measured(rig, temperature_c=4_000.0)
    rig.advance(30 * READINGS_EVERY_BEATS)
    assert rig.published(Health)[-1].temperature_c is None


def test_what_makes_a_post_deaf_comes_first() -> None:
    rig = Rig(button_closed=True)
    measured(rig, 2, disk_free_mb=1, temperature_c=90.0)
    assert rig.post.faults == ("button_stuck", "disk_full", "too_hot")
    assert "button_stuck" in DEAF_FAULTS


def test_a_board_is_read_from_sysfs(tmp_path: Path) -> None:
    firmware = tmp_path / "devices/platform/soc/soc:firmware"
    zone = tmp_path / "class/thermal/thermal_zone0"
    for directory in (firmware, zone):
        directory.mkdir(parents=True)
    (firmware / "get_throttled").write_text("50005\n")
    (zone / "temp").write_text("47236\n")
    read = look(tmp_path, tmp_path)
    assert (read.throttled, read.temperature_c) == (0x50005, 47.236)
    assert read.disk_free_mb is not None
    assert read.disk_free_mb > 0


def test_a_board_without_the_firmware_driver_has_the_kernels_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hwmon = tmp_path / "class/hwmon/hwmon1"
    hwmon.mkdir(parents=True)
    (hwmon / "name").write_text("rpi_volt\n")
    (hwmon / "in0_lcrit_alarm").write_text("1\n")
    assert look(tmp_path, tmp_path).throttled == 1
    (hwmon / "name").write_text("cpu_thermal\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look(tmp_path / "gone", tmp_path) == Readings()
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x50000\n")
    program.chmod(0o755)
    assert look(tmp_path, tmp_path).throttled == 0x50000


def test_starts_are_counted_on_disk_until_one_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "post.db"

    def start(*, stable_us: int) -> object:
        monkeypatch.setattr("device.fitness.STABLE_US", stable_us)
        said: list[object] = []
        fitness = Fitness(store, said.append, every_s=0.0)
        fitness._stopping = _Ends()  # type: ignore[assignment]
        fitness._run()
        assert isinstance(said[1], Readings)
        return said[0]

    class _Ends:
        """Killed at the first pause."""

        def wait(self, _seconds: float) -> bool:
            if stable:
                return True
            raise KeyboardInterrupt

    for stable, expected in ((False, 1), (False, 2), (False, 3), (True, 4), (False, 1)):
        try:
            start(stable_us=10**12)
        except KeyboardInterrupt:
            assert not stable
        text = (tmp_path / "post.db.starts").read_text()
        assert text == ("0\n" if stable else f"{expected}\n")
    (tmp_path / "post.db.starts").write_text("what is this?\n")
    with pytest.raises(KeyboardInterrupt):
        start(stable_us=10**12)
    assert (tmp_path / "post.db.starts").read_text() == "1\n"


def test_a_directory_that_cannot_be_written_is_said_and_nothing_else_fails(tmp_path: Path) -> None:
    said: list[object] = []
    fitness = Fitness(tmp_path / "gone" / "post.db", said.append)
    fitness._stopping.set()
    fitness._run()
    assert said[0] == Restarts(1)
    assert isinstance(said[1], Readings)
