"""Hostile settings files: each is either usable or every mistake in it is named, one line each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import msgspec

from device.settings import PostFile
from gateway.settings import GatewayFile
from mcc.settings import MccFile
from process.settings import PROBLEMS_MAX, SettingsError, describe_settings, read_settings
from tests.fuzz.mutations import spoil_bytes

EXAMPLES = Path(__file__).parents[2] / "config"
MODELS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("post.toml", PostFile),
    ("gateway.toml", GatewayFile),
    ("mcc.toml", MccFile),
)
VALUES = (
    "true",
    "-1",
    "1e400",
    "nan",
    "99999999999999999999999999",
    '""',
    '"\\u0000"',
    '"\\uD83D"',
    "'''",
    "[]",
    "[[[[]]]]",
    "{ a = { b = 1 } }",
    "1979-05-27",
    '"mqtts://user:pass@word@[::1]:70000"',
    '"' + "x" * 5000 + '"',
)


def run(seed: int, count: int, directory: Path) -> Counter[str]:
    """Read `count` spoilt files.

    Raises:
        AssertionError: a problem that is not one printable line, or more than allowed.
        Exception: whatever reading raised.
    """
    chance = Random(seed)
    counts: Counter[str] = Counter()
    path = directory / "settings.toml"
    for n in range(count):
        name, model = MODELS[n % len(MODELS)]
        path.write_bytes(_spoilt((EXAMPLES / name).read_text(), chance))
        counts["settings files"] += 1
        problems = _problems(path, model)
        counts["refused" if problems else "usable"] += 1
        assert len(problems) <= PROBLEMS_MAX + 1
        assert all(problem.isprintable() for problem in problems), problems
    return counts


def _problems(path: Path, model: type[msgspec.Struct]) -> list[str]:
    """What is wrong with a file, as a person would read it; nothing where it is usable."""
    try:
        describe_settings(read_settings(path, model))
    except SettingsError as error:
        assert error.problems  # noqa: PT017 - this is the one way in which it may say no
        return error.problems
    return []


def _spoilt(example: str, chance: Random) -> bytes:
    whole = re.sub(r"^#(?=[a-z_]+ = )", "", example, flags=re.MULTILINE)
    # With every key in force, these are the values that go together.
    whole = whole.replace('"mqtt://', '"mqtts://').replace('pins = "lgpio"', 'pins = "mock"')
    lines = re.sub(r"^(?:chip|pmtiles) = .*\n", "", whole, flags=re.MULTILINE).split("\n")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                lines[at] = lines[at].split("=")[0] + "= " + chance.choice(VALUES)
            case 1:
                del lines[at]
            case 2:
                lines.insert(at, chance.choice(lines))
            case 3:
                lines.insert(at, f"{chance.choice(('pasword', 'x', 'a.b', '[c]'))} = 1")
            case _:
                pass
        lines = lines or [""]
    text = "\n".join(lines).encode()
    return spoil_bytes(text, chance) if chance.random() < 0.4 else text
