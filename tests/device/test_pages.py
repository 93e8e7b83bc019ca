"""The pages for technician and operator: two languages that say the same, commands that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import device.cli
import gateway.cli
import mcc.cli
from hardware.drawings import Wiring, sheets

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("technician", "operator", "card")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PARSERS: dict[str, Callable[[], object]] = {
    "kentongan-device": device.cli._parser,
    "kentongan-gateway": gateway.cli._parser,
    "kentongan-mcc": mcc.cli._parser,
}
AS_WHOM: tuple[list[str], ...] = ([], ["sudo"], ["sudo", "-u", "kentongan"])
EVERYTHING = Wiring(
    button=1, red=2, green=3, button_nc=4, cancel=5, tamper=6, mains=7, blue=8, buzzer=9, gps=True
)


def page(name: str, language: str) -> str:
    return (DOCS / f"{name}.{language}.md").read_text(encoding="utf-8")


def shape(text: str) -> list[str]:
    """What both languages must have in common, in order: steps, headings, rows, blocks, words."""
    steps = re.findall(r"^(?:\*\*\d+\.|#+ |\|(?=.*\|$))", text, re.MULTILINE)
    links = re.findall(r"\]\((hardware/[^)]+|[a-z-]+\.md)", text)
    codes = sorted(re.findall(r"`([a-z_]+)`", text))
    return [*steps, *sorted(links), *codes]


def commands() -> list[tuple[str, list[str]]]:
    """Every command of ours in the pages, as (page, words)."""
    found = []
    for path in sorted(DOCS.glob("*.md")):
        if path.name.split(".")[0] not in PAGES:
            continue
        text = path.read_text(encoding="utf-8")
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        lines += re.findall(r"`(kentongan-(?:device|gateway|mcc) [^`…]+)`", BLOCK.sub("", text))
        for line in lines:
            words = shlex.split(line)
            for place, word in enumerate(words):
                program = word.rpartition("/")[2]
                if program in PARSERS and words[:place] in AS_WHOM:
                    found.append((path.name, [program, *words[place + 1 :]]))
    return found


@pytest.mark.parametrize("name", PAGES)
def test_both_languages_have_the_same_steps_tables_pictures_and_commands(name: str) -> None:
    indonesian, english = page(name, "id"), page(name, "en")
    assert BLOCK.findall(indonesian) == BLOCK.findall(english)
    assert shape(indonesian) == shape(english)


def test_every_command_in_the_pages_is_one_that_its_program_takes() -> None:
    found = commands()
    assert {program for _, (program, *_) in found} == set(PARSERS)
    for where, (program, *arguments) in found:
        parser = PARSERS[program]()
        try:
            parser.parse_args(arguments)  # type: ignore[attr-defined]
        except SystemExit as error:
            raise AssertionError(f"{where}: {program} {' '.join(arguments)}") from error


def test_the_technician_is_shown_every_drawing() -> None:
    for language in ("id", "en"):
        text = page("technician", language)
        for sheet in sheets(EVERYTHING):
            assert f"hardware/{sheet}" in text, f"{language}: {sheet}"


def test_every_fault_that_the_pages_name_is_one_that_the_firmware_knows() -> None:
    firmware = "\n".join(path.read_text() for path in (DOCS.parent / "device").glob("*.py"))
    for name in ("technician", "operator"):
        named = set(re.findall(r"`((?:button|gps|disk|mains)_[a-z_]+|tamper)`", page(name, "en")))
        assert len(named) >= 8
        for fault in named:
            assert f'"{fault}"' in firmware, fault
