"""The units of the command centre's site, copied by hand: what systemd says about them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.systemd.test_units import EXPOSURE_MAX, keys

SYSTEMD = Path(__file__).parents[2] / "systemd"
ALL = pytest.mark.parametrize(
    "name", ["kentongan-mcc-ingest.service", "kentongan-mcc-site.service"]
)


@ALL
def test_systemd_finds_nothing_to_say_about_a_unit(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    # The program is not installed here.
    unit.write_text(
        (SYSTEMD / name).read_text().replace("/opt/kentongan/bin/kentongan-mcc", "/bin/true")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@ALL
def test_the_exposure_of_a_unit_is_at_most_two(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, f"--threshold={EXPOSURE_MAX * 10:.0f}", str(SYSTEMD / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]


@ALL
def test_nothing_ever_keeps_a_service_down(name: str) -> None:
    unit = keys(SYSTEMD / name)
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["Type"] == ["notify"]
    assert unit["WatchdogSec"] == ["20s"]
    assert "Requires" not in unit
