"""The units as `install` lays them: what systemd says about them, without booting anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from process.install import DEVICE, GATEWAY, SERVICES, Service
from tests.systemd.staged import install

EXPOSURE_MAX = 2.0
UNITS = [(service, unit) for service in SERVICES for unit in service.units]
ALL = pytest.mark.parametrize(("service", "unit"), UNITS, ids=[unit for _, unit in UNITS])


def laid(service: Service, root: Path, unit: str | None = None) -> Path:
    done = install(service, root)
    assert done.returncode == 0, done.stderr
    return root / "etc/systemd/system" / (unit or service.units[0])


def keys(unit: Path) -> dict[str, list[str]]:
    """Every key of a unit with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@ALL
def test_systemd_finds_nothing_to_say_about_a_unit(
    service: Service, unit: str, tmp_path: Path
) -> None:
    path = laid(service, tmp_path, unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    # Unknown keys are only warnings on stderr.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@ALL
def test_the_exposure_of_a_unit_is_at_most_two(service: Service, unit: str, tmp_path: Path) -> None:
    path = laid(service, tmp_path, unit)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, f"--threshold={EXPOSURE_MAX * 10:.0f}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]
    assert "Overall exposure level" in done.stdout


@ALL
def test_nothing_ever_keeps_a_service_down(service: Service, unit: str, tmp_path: Path) -> None:
    found = keys(laid(service, tmp_path, unit))
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["Type"] == ["notify"]
    assert found["WatchdogSec"] == ["20s"]
    traps = {"RestartPreventExitStatus", "ConditionPathExists", "StartLimitAction", "Requires"}
    assert traps.isdisjoint(found)


@ALL
def test_no_service_waits_for_network_or_time(service: Service, unit: str, tmp_path: Path) -> None:
    found = keys(laid(service, tmp_path, unit))
    waits = " ".join(found.get("After", []) + found.get("Wants", []))
    assert "network" not in waits
    assert "time" not in waits


@ALL
def test_a_unit_runs_the_program_that_installed_it(
    service: Service, unit: str, tmp_path: Path
) -> None:
    (start,) = keys(laid(service, tmp_path, unit))["ExecStart"]
    program = Path(start.split()[0])
    assert program.name == f"kentongan-{service.name}"
    assert program.exists()


def test_a_post_may_use_pins_and_serial_ports_and_no_other_device(tmp_path: Path) -> None:
    unit = keys(laid(DEVICE, tmp_path))
    assert unit["DevicePolicy"] == ["closed"]
    kinds = ["gpiochip", "ttyAMA", "ttyS", "ttyUSB", "ttyACM"]
    assert unit["DeviceAllow"] == [f"char-{kind} rw" for kind in kinds]
    assert unit["SupplementaryGroups"] == ["gpio dialout"]
    assert "PrivateDevices" not in unit


@pytest.mark.parametrize("service", [DEVICE, GATEWAY], ids=lambda one: str(one.name))
def test_lgpio_may_make_its_fifo_in_the_runtime_directory(service: Service, tmp_path: Path) -> None:
    unit = keys(laid(service, tmp_path))
    (directory,) = unit["RuntimeDirectory"]
    assert f"LG_WD=/run/{directory}" in unit["Environment"]
    assert unit["WorkingDirectory"] == [f"/run/{directory}"]
