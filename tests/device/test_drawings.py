"""The drawings say what the firmware claims, and the ones in the repository are not stale."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from gpiozero.pins.mock import MockFactory

from device.core import Meaning
from device.drawings import (
    CODES_SHOWN_MS,
    CODES_WIDTH_PX,
    SAYS,
    drawings,
    lamp_card,
    main,
    service_codes,
    wiring_of,
)
from device.feedback import LAMP
from device.first_boot import CODES, WORDS, Code, pattern
from device.settings import PostFile
from hardware.drawings import HEADER, PARTS, ROLES, Wiring, physical, sheets
from hardware.pins import MOCK_REVISION
from process.settings import read_settings

DOCS = Path(__file__).parents[2] / "docs"
DRAWN = DOCS / "hardware"
SETTINGS = DRAWN / "post.toml"
BARE = Wiring(button=17, red=27, green=22)


def words(svg: str) -> str:
    """All text of a drawing."""
    return " ".join(ElementTree.fromstring(svg).itertext())


def test_the_drawings_in_the_repository_are_those_of_their_settings() -> None:
    drawn = drawings(read_settings(SETTINGS, PostFile))
    found = {path.name: path.read_text(encoding="utf-8") for path in DRAWN.glob("*.svg")}
    assert found.keys() == drawn.keys()
    stale = [name for name, svg in drawn.items() if found[name] != svg]
    assert not stale, "draw them anew: python -m device.drawings (see docs/hardware.md)"


def test_their_settings_have_everything_fitted() -> None:
    wiring = wiring_of(read_settings(SETTINGS, PostFile))
    assert wiring.gps
    assert None not in dataclasses.asdict(wiring).values()
    assert len(wiring.pins()) == len(ROLES) + 2


def test_the_header_is_the_one_gpiozero_knows() -> None:
    known = MockFactory(revision=MOCK_REVISION).board_info.headers["J8"].pins
    assert len(HEADER) == len(known) == 40
    for place, name in enumerate(HEADER, 1):
        assert name in (known[place].name, known[place].name.replace("GPIO0", "GPIO"))


def test_a_pin_that_is_moved_moves_in_every_sheet() -> None:
    before, after = sheets(BARE), sheets(dataclasses.replace(BARE, button=26))
    assert physical(26) == 37
    for name in ("header.svg", "button.svg", "button-long-wire.svg"):
        assert "GPIO17" in words(before[name])
        assert "GPIO17" not in words(after[name])
        assert "GPIO26" in words(after[name])
    for name in ("button.svg", "button-long-wire.svg"):
        assert "pin 11" in words(before[name])
        assert "pin 37" in words(after[name])


def test_what_is_not_fitted_is_not_drawn() -> None:
    drawn = sheets(BARE)
    assert not drawn.keys() & {"lid-and-key.svg", "mains.svg", "buzzer.svg", "gps.svg"}
    assert ROLES["button_nc"] not in words(drawn["button.svg"])
    assert ROLES["blue"] not in words(drawn["lamp.svg"])
    assert "GPS" not in words(drawn["header.svg"])
    assert "mains" not in words(drawn["power.svg"])


def test_every_part_is_drawn_and_explained_with_its_value() -> None:
    drawn = sheets(wiring_of(read_settings(SETTINGS, PostFile)))
    text = " ".join(words(svg) for svg in drawn.values())
    page = (DOCS / "hardware.md").read_text(encoding="utf-8")
    explained = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \| \S", page, re.MULTILINE))
    assert explained == PARTS
    for value in PARTS.values():
        assert value in text


@pytest.mark.parametrize(
    "double", [{"red": 17}, {"button_nc": 17}, {"gps": True, "buzzer": 14}, {"tamper": 27}]
)
def test_two_things_on_one_line_are_refused_by_name(double: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"GPIO\d+ is .+ and .+"):
        sheets(dataclasses.replace(BARE, **double))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs a settings file"),
        (["absent.toml", "."], "absent.toml"),
        ([str(SETTINGS), "/dev/null/nowhere"], "/dev/null/nowhere"),
    ],
)
def test_a_mistake_is_said_in_words(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_settings_with_two_roles_on_a_pin_are_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "post.toml"
    path.write_text(SETTINGS.read_text().replace("pin = 13", "pin = 25"))
    assert main([str(path), str(tmp_path)]) == 2
    assert "[cancel] pin and [mains] pin are both 25" in capsys.readouterr().err
    assert list(tmp_path.glob("*.svg")) == []


@pytest.mark.parametrize("meaning", LAMP)
def test_the_lamp_card_shows_what_the_lamp_does(meaning: Meaning) -> None:
    assert LAMP.keys() == SAYS.keys()
    card = ElementTree.fromstring(lamp_card())
    rects = [one.attrib for one in card.iter("{http://www.w3.org/2000/svg}rect")][1:]
    tops = sorted({int(one["y"]) for one in rects})
    row = [one for one in rects if int(one["y"]) == tops[list(SAYS).index(meaning)]]
    colours = {"#d00000": (True, False), "#008a2e": (False, True), "#d8d8d8": (False, False)}
    seen = [(*colours[one["fill"]], round(float(one["width"]) * 10)) for one in row]
    if len(LAMP[meaning]) == 1:
        assert seen == [(*LAMP[meaning][0][:2], 4000)]
    else:
        assert seen == list(LAMP[meaning]) * (len(seen) // len(LAMP[meaning]))
    assert sum(lasts for _, _, lasts in seen) == 4000
    for text in SAYS[meaning]:
        assert text in words(lamp_card())


@pytest.mark.parametrize("code", CODES)
def test_the_sheet_of_codes_flashes_as_the_card_does(code: Code) -> None:
    sheet = ElementTree.fromstring(service_codes())
    rects = [one.attrib for one in sheet.iter("{http://www.w3.org/2000/svg}rect")][1:]
    place, steps = CODES.index(code), pattern(code)
    per_ms = CODES_WIDTH_PX / CODES_SHOWN_MS
    seen: dict[float, tuple[set[str], float]] = {}
    for one in rects:
        if 84 * place <= float(one["y"]) < 84 * (place + 1):
            colours, _ = seen.setdefault(float(one["x"]), (set(), float(one["width"])))
            colours.add(one["fill"])
    drawn = [seen[x] for x in sorted(seen)]
    assert len(drawn) >= len(steps)  # a whole round of it, the pause included
    for (colours, width), (red, green, lasts_ms) in zip(drawn, steps, strict=False):
        assert colours == ({"#d00000", "#008a2e"} if red and green else {"#d8d8d8"})
        assert width == pytest.approx(lasts_ms * per_ms, abs=0.06)
    assert sum(width for _, width in drawn) == pytest.approx(CODES_WIDTH_PX, abs=2)
    text = words(service_codes())
    assert f"{place + 1} {WORDS[code].means_id} {WORDS[code].means_en}" in re.sub(r"\s+", " ", text)
