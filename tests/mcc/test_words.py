"""Every text of the pages is there in Indonesian, and the compiled catalogues are those texts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CATALOGUES = sorted((ROOT / "mcc").glob("*/locale/id/LC_MESSAGES/*.po"))
# A sentence between the tags of a template, outside of a tag of Django's.
_BARE = re.compile(r">([^<>{}]*[a-z]{3}[^<>{}]*)<")
# Names and what is the same in both languages.
_SAME = {"Kentongan", "English", "Bahasa Indonesia", "Esc"}


def messages(catalogue: Path) -> dict[str, str]:
    """Text by text, as gettext itself reads them."""
    plain = subprocess.run(
        ["msgcat", "--no-wrap", "--no-location", str(catalogue)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    found = re.findall(
        r'^msgid "(.+)"\n(?:msgid_plural ".*"\n)?msgstr(?:\[0\])? "(.*)"$', plain, re.MULTILINE
    )
    return dict(found)


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: "-".join(path.parts[-5:]))
def test_no_text_is_untranslated_or_doubtful(catalogue: Path) -> None:
    assert [text for text, said in messages(catalogue).items() if not said] == []
    assert "#, fuzzy" not in catalogue.read_text(encoding="utf-8")


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: "-".join(path.parts[-5:]))
def test_a_text_and_its_translation_have_the_same_gaps(catalogue: Path) -> None:
    gap = re.compile(r"%\(\w+\)s|%s")
    wrong = [
        text
        for text, said in messages(catalogue).items()
        if sorted(gap.findall(text)) != sorted(gap.findall(said))
    ]
    assert wrong == []


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: "-".join(path.parts[-5:]))
def test_the_compiled_catalogue_is_up_to_date(catalogue: Path, tmp_path: Path) -> None:
    read_back = tmp_path / "back.po"
    compiled = str(catalogue.with_suffix(".mo"))
    subprocess.run(["msgunfmt", "--no-wrap", "-o", str(read_back), compiled], check=True)
    subprocess.run(["msgfmt", "--check-format", "-o", "/dev/null", str(catalogue)], check=True)
    assert messages(read_back) == messages(catalogue), "run: make words"


@pytest.mark.parametrize(
    "app",
    ["console", "cases", "people", "registers", "escalation", "api", "community", "visits", "anev"],
)
def test_every_text_of_the_code_is_in_its_catalogue(app: str, tmp_path: Path) -> None:
    copy = tmp_path / app
    shutil.copytree(ROOT / "mcc" / app, copy, ignore=shutil.ignore_patterns("vendor"))
    for domain in sorted(path.stem for path in (copy / "locale").rglob("*.po")):
        before = messages(copy / "locale" / "id" / "LC_MESSAGES" / f"{domain}.po")
        subprocess.run(
            [sys.executable, "-m", "django", "makemessages", "-d", domain, "-l", "id"]
            + ["--no-obsolete", "--no-location", "--no-wrap", "-v", "0"],
            check=True,
            cwd=copy,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
            | {"DJANGO_SETTINGS_MODULE": "mcc.site.settings"},
        )
        after = messages(copy / "locale" / "id" / "LC_MESSAGES" / f"{domain}.po")
        assert set(after) - set(before) == set(), "run: make words"


@pytest.mark.parametrize(
    "template", sorted((ROOT / "mcc" / "console").rglob("*.html")), ids=lambda path: path.name
)
def test_no_template_speaks_outside_of_the_catalogue(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    bare = {found.strip() for found in _BARE.findall(text)}
    assert bare - _SAME == set()
