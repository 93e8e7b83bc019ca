"""The software bill of materials names everything, with versions, in the form that others read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from process.sbom import BILLS, Unlisted, main, normalised, parts
from tests.test_packaging import closure

PROGRAMS = pytest.mark.parametrize(("program", "extra"), BILLS.items())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sbom")
    assert main([str(directory)]) == 0
    return directory


def text(written: Path, program: str) -> str:
    return (written / f"kentongan-{program}.cdx.json").read_text()


def named(written: Path, program: str) -> dict[str, Any]:
    return {
        normalised(one["name"]): one for one in json.loads(text(written, program))["components"]
    }


@PROGRAMS
def test_a_bill_is_valid_cyclonedx(written: Path, program: str, extra: str) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text(written, program)) is None
    assert validator.validate_str(text(written, program).replace('"library"', '"liberty"'))


@PROGRAMS
def test_a_bill_names_everything_that_the_extra_brings(
    written: Path, program: str, extra: str
) -> None:
    brought = {normalised(name) for name in closure("kentongan", extra)} - {"kentongan"}
    assert brought <= named(written, program).keys()


@PROGRAMS
def test_what_is_listed_is_what_the_constraints_pin(
    written: Path, program: str, extra: str
) -> None:
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    pinned = {
        normalised(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line
    }
    found = named(written, program)
    assert {name: one["version"] for name, one in found.items()} == {
        name: pinned[name] for name in found
    }
    for name, one in found.items():
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"


def test_the_firmwares_bill_has_the_libraries_of_pins_and_no_server(written: Path) -> None:
    found = named(written, "device").keys()
    assert {"lgpio", "rpi-gpio", "gpiozero", "paho-mqtt", "pyserial", "sysv-ipc"} <= found
    assert found.isdisjoint({"sqlalchemy", "cryptography", "pytest", "cyclonedx-python-lib"})


def test_every_part_is_reached_from_the_project(written: Path) -> None:
    bom = json.loads(text(written, "device"))
    needs = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
    reached: set[str] = set()
    waiting = [bom["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += needs[ref]
    assert reached == needs.keys()
    assert len(reached) == len(bom["components"]) + 1


def test_the_same_parts_have_the_same_number(written: Path, tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    numbers = [json.loads(text(place, "device"))["serialNumber"] for place in (written, tmp_path)]
    assert numbers[0] == numbers[1]
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", numbers[0])


def test_what_has_no_known_version_is_named_and_not_left_out(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# nothing\n")
    with pytest.raises(Unlisted, match=r"is neither installed here nor in constraints\.txt"):
        parts("pi", constraints)


def test_a_directory_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "below")]) == 2
    assert "file/below" in capsys.readouterr().err
