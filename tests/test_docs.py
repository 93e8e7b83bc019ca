"""The documents speak of what exists: every file, every name, every make target."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# `Post._raise` or `Service.run`: a class and one of its members.
MEMBER = re.compile(r"`([A-Z][A-Za-z]+)\.(_?[a-z_]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_picture_is_shown_on_some_page() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    pictures = [one.name for one in (ROOT / "docs" / "pictures").iterdir()]
    assert [one for one in pictures if f"pictures/{one}" not in shown] == []


def test_every_name_in_the_life_of_a_press_is_in_a_file_it_links_to() -> None:
    page = ROOT / "docs" / "life-of-a-press.md"
    text = page.read_text()
    files = [(page.parent / target).resolve() for target in LINK.findall(text)]
    sources = [path.read_text() for path in files if path.suffix == ".py"]
    for owner, member in MEMBER.findall(text):
        assert any(
            f"class {owner}" in source and re.search(rf"\b{member}\b", source) for source in sources
        ), f"{owner}.{member}"


def test_every_make_target_in_the_pages_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for line in page.read_text().splitlines():
            if "make " not in line or ("`" not in line and not line.startswith("make ")):
                continue
            for target in re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]+)", line):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: {target}"


def test_make_help_names_every_target_with_a_description() -> None:
    said = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in ("demo", "test", "lint", "bench"):
        assert f"make {target}" in said


def test_every_test_that_a_page_names_as_proof_exists() -> None:
    named = 0
    for page in PAGES:
        for file, test in re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", page.read_text()):
            named += 1
            assert (ROOT / file).is_file(), f"{page.name} names {file}"
            assert f"def {test}(" in (ROOT / file).read_text(), f"{page.name} names {file}::{test}"
    assert named > 100


def test_the_hardware_page_has_every_line_of_the_cards_config_txt() -> None:
    page = (ROOT / "docs" / "hardware.md").read_text()
    (row,) = re.findall(r"^\| `config.txt`, our image \| ([^|]+) \|", page, re.MULTILINE)
    lines = (ROOT / "image" / "boot" / "config.txt").read_text().splitlines()
    keys = [re.split("[= ]", line)[0] for line in lines if line and not line.startswith("#")]
    said = [one.strip("`") for one in row.split(", ")]
    assert [one.split("=")[0] for one in said] == keys
    assert all(one in lines for one in said if "=" in one)


def test_privacy_and_security_goes_through_all_thirteen_provisions() -> None:
    text = (ROOT / "docs" / "privacy-and-security.md").read_text()
    rows = re.findall(r"^\| \*\*[^|]+\*\* \((5\.\d+)\) \|([^|]+)\|([^|]+)\|$", text, re.MULTILINE)
    assert [clause for clause, _, _ in rows] == [f"5.{n}" for n in range(1, 14)]
    assert all("::test_" in proof or "`make " in proof for _, _, proof in rows)
