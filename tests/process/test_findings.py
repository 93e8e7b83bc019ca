"""What `doctor` can say: one table, two languages, the same facts, nothing unused."""

from __future__ import annotations

import ast
import json
import re
import string
from pathlib import Path

import pytest

from process.findings import (
    FACT_CHARACTERS_MAX,
    as_json,
    choose_language,
    exit_code,
    found,
    lines,
    page,
    summary,
)
from process.findings_texts import CHECKS, TEXTS, Language

ROOT = Path(__file__).parents[2]
SOURCES = ("process/probes.py", "device/doctor.py", "gateway/doctor.py")
LANGUAGES: tuple[Language, ...] = ("id", "en")


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def words_of_the_probes() -> set[str]:
    """Every string in the files that make findings."""
    return {
        node.value
        for source in SOURCES
        for node in ast.walk(ast.parse((ROOT / source).read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("code", TEXTS)
def test_both_languages_tell_the_same_facts_and_what_is_wrong_has_a_remedy(code: str) -> None:
    text = TEXTS[code]
    assert names_in(text.means["id"]) == names_in(text.means["en"])
    assert names_in(text.do["id"]) == names_in(text.do["en"])
    assert text.means["id"]
    assert text.means["en"]
    if text.verdict in ("warning", "failure"):
        assert text.do["id"]
        assert text.do["en"]


def test_every_code_is_found_by_some_probe_and_every_probe_finds_known_codes() -> None:
    words = words_of_the_probes()
    assert [code for code in TEXTS if code not in words] == []
    found_there = set()
    for source in SOURCES:
        found_there |= set(
            re.findall(r'found\(\s*"[a-z]+",\s*"([a-z_]+)"', (ROOT / source).read_text())
        )
    assert len(found_there) > 60
    assert found_there <= set(TEXTS)


def test_every_check_has_a_name_and_is_used() -> None:
    words = words_of_the_probes()
    assert [check for check in CHECKS if check not in words] == []


def test_one_failure_decides_over_warnings_and_what_was_not_looked_at_over_nothing() -> None:
    ok, skipped = found("pins", "pins_held"), found("lamp", "left_to_service", unit="u")
    warning, failure = found("gps", "gps_lost"), found("mcc", "mcc_silent")
    assert exit_code([ok, skipped]) == 0
    assert exit_code([ok, warning]) == 1
    assert exit_code([warning, failure, ok]) == 2


@pytest.mark.parametrize(
    ("asked", "environment", "language"),
    [
        (None, {}, "id"),
        (None, {"LANG": "C.UTF-8"}, "id"),
        (None, {"LANG": "id_ID.UTF-8"}, "id"),
        (None, {"LANG": "en_GB.UTF-8"}, "en"),
        (None, {"LANG": "en_GB.UTF-8", "LC_ALL": "id_ID.UTF-8"}, "id"),
        ("id", {"LANG": "en_GB.UTF-8"}, "id"),
        ("en", {}, "en"),
    ],
)
def test_indonesian_comes_first(
    asked: str | None, environment: dict[str, str], language: Language
) -> None:
    assert choose_language(asked, environment) == language


def test_a_finding_is_said_in_both_languages_with_what_to_do() -> None:
    finding = found("dns", "dns_failed", host="broker.example", why="not known")
    indonesian, english = lines(finding, "id"), lines(finding, "en")
    assert indonesian[0].startswith("GAGAL")
    assert english[0].startswith("FAILURE")
    assert "broker.example" in indonesian[0]
    assert len(indonesian) == len(english) == 2
    assert summary([finding, finding], "id") == "GAGAL 2"


def test_what_comes_before_is_named_in_the_language_of_the_rest() -> None:
    finding = found("lamp", "left_after", after="pins")
    assert "(pin)" in finding.means("id")
    assert "(pins)" in finding.means("en")


def test_what_a_hostile_broker_says_stays_one_short_line_without_a_password() -> None:
    words = "x\n\x1b[2J mqtt://user:geheim@host/ {host} " + "y" * 10_000
    (line, _) = lines(found("mqtt", "mqtt_lost", why=words), "en")
    assert line.isprintable()
    assert "geheim" not in line
    assert len(line) < FACT_CHARACTERS_MAX + 100
    told = json.loads(as_json("post", [found("mqtt", "mqtt_lost", why=words)], "en"))
    assert "geheim" not in json.dumps(told)
    assert told["exit"] == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_in_docs_has_the_table_as_it_is(language: Language) -> None:
    stands = (ROOT / "docs" / f"doctor.{language}.md").read_text(encoding="utf-8")
    assert page(language) in stands, "write it anew with: make doctor-pages"
