"""docs/limits.md says what the code does: each constant, each test, and no bound left out."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text()
ROOMS = ("protocol", "process", "hardware", "device", "gateway", "mcc")

_FILE = re.compile(r"`([a-z_]+(?:/[a-z_]+)+\.py)`")
_CONSTANT = re.compile(r"`([A-Z][A-Z0-9_]*) = ([0-9_.]+)`")
_TEST = re.compile(r"`(tests/[a-z_]+/test_[a-z_]+\.py)::(test_[a-z0-9_]+)`")
_DEFINED = re.compile(r"^([A-Z][A-Z0-9_]*)(?:: [^=\n]+)? = ", re.MULTILINE)
# Settings of Django's own and of what is built into it.
_OF_OTHERS = ("AXES_", "WHITENOISE_")
_IS_BOUND = re.compile(r"_(?:MAX|LIMIT|BURST|BATCH|PER_S)(?:_[A-Z]+)?\Z")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def stated() -> list[tuple[str, str, float]]:
    """File, constant and value, as they stand in the tables."""
    found = []
    for row in rows():
        file = ""
        for word in re.findall(r"`[^`]+`", row[1] if len(row) > 1 else ""):
            if named := _FILE.fullmatch(word):
                file = named[1]
            elif constant := _CONSTANT.fullmatch(word):
                assert file, f"no file before {word}"
                found.append((file, constant[1], ast.literal_eval(constant[2])))
    return found


def test_the_page_states_something() -> None:
    assert len(stated()) > 80
    assert len(_CONSTANT.findall(PAGE)) == len(stated())


@pytest.mark.parametrize(("file", "name", "value"), stated())
def test_each_constant_has_the_value_that_the_page_states(
    file: str, name: str, value: float
) -> None:
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    assert hasattr(module, name), f"{file} has no {name}; docs/limits.md names it"
    assert getattr(module, name) == value, f"docs/limits.md states {name} = {value}"


def test_each_limit_is_shown_by_a_test_that_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in _TEST.findall(PAGE)
        if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert missing == []


def test_each_row_with_a_constant_names_a_test() -> None:
    unshown = [row[0] for row in rows() if _FILE.search("|".join(row[1:2])) and "::" not in row[-1]]
    assert unshown == []


def test_no_bound_of_the_code_is_missing_on_the_page() -> None:
    on_page = {(file, name) for file, name, _ in stated()}
    missing = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            for name in _DEFINED.findall(path.read_text()):
                if _IS_BOUND.search(name) and not name.startswith(("_", *_OF_OTHERS)):
                    missing += [f"{file} {name}"] if (file, name) not in on_page else []
    assert missing == []
