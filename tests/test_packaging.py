"""What gets installed where: the SD card carries what firmware needs and nothing more."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def closure(package: str, extra: str) -> set[str]:
    """Every distribution that `package[extra]` brings, by the metadata of what is installed."""
    found: set[str] = set()
    waiting = [(package, extra)]
    while waiting:
        name, wanted = waiting.pop()
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # for another platform
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is not None and not marker.evaluate({"extra": wanted}):
                continue
            dependency = requirement.name.lower().replace("_", "-")
            if dependency not in found:
                found.add(dependency)
                waiting += [(dependency, one) for one in (requirement.extras or {""})]
    return found


def test_the_firmware_brings_no_django_no_sqlalchemy_no_pydantic_and_no_broker() -> None:
    brought = closure("kentongan", "device")
    assert {"paho-mqtt", "gpiozero", "pyserial", "msgspec"} <= brought
    assert brought.isdisjoint({"django", "sqlalchemy", "pydantic", "iotcore", "amqtt", "pytest"})


def test_a_post_hears_presses_before_it_has_loaded_what_calls_need_to_leave() -> None:
    """Loading them comes after listening, on the link's thread."""
    script = "import sys, device.service; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert {"gpiozero", "sqlite3", "msgspec"} <= loaded
    assert loaded.isdisjoint(
        {"paho", "ssl", "tenacity", "serial", "adafruit_gps", "http", "asyncio"}
    )


def test_every_installed_requirement_is_pinned() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    needed = closure("kentongan", "dev") | closure("kentongan", "demo")
    optional = {"lgpio", "rpi-gpio", "rpi.gpio", "kentongan"}
    installed = {name for name in needed if _is_installed(name)}
    assert installed - pinned - optional == set()


def _is_installed(name: str) -> bool:
    try:
        requires(name)
    except PackageNotFoundError:
        return False
    return True


def test_constraints_name_no_host() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_what_an_installed_site_reads_is_in_the_package() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    carried = {
        path
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    read = {
        path
        for path in (ROOT / "mcc").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert read
    assert read - carried == set()
