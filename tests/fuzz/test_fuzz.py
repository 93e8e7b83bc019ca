"""A sample of `make fuzz` with fixed seeds: nothing crashes, nothing grows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz import campaign, databases, payloads, sentences, settings_files
from tests.fuzz.campaign import GROWN_BYTES_MAX, main


def test_forty_thousand_payloads_break_nothing_and_nothing_grows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = payloads.run(4, 40_000)
    assert outcome.counts["payloads"] == 40_000
    # Both halves are worth something: what is let in reaches the cores, what is not is refused.
    assert outcome.counts["accepted"] > 10_000
    assert outcome.counts["refused"] > 10_000
    assert outcome.grown_bytes < GROWN_BYTES_MAX
    assert "Traceback" not in capsys.readouterr().err


def test_the_same_seed_sends_the_same_payloads() -> None:
    assert payloads.run(5, 500).counts == payloads.run(5, 500).counts


def test_ten_thousand_sentences_give_places_on_earth_or_none() -> None:
    counts = sentences.run(6, 10_000)
    assert counts["sentences"] == 10_000
    assert counts["fixes"] > 1_000
    assert counts["no fix"] > 1_000


def test_a_hundred_settings_files_are_usable_or_named_wrong(tmp_path: Path) -> None:
    counts = settings_files.run(7, 100, tmp_path)
    assert counts["usable"] > 5
    assert counts["refused"] > 50


def test_sixty_damaged_files_of_each_database_leave_one_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = databases.run(8, 60, tmp_path)
    for name in ("outbox", "journal", "store"):
        assert counts[f"{name} files"] == 60
        assert counts[f"{name} set aside"] > 10
    assert "Traceback" not in capsys.readouterr().err


def test_a_broken_job_is_named_with_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "GROWN_BYTES_MAX", -(2**40))
    monkeypatch.setattr(campaign, "JOBS", campaign.JOBS[:1])
    monkeypatch.setattr(sys, "argv", ["fuzz", "--seed", "1", "--divide", "10000"])
    assert main() == 1
    said = capsys.readouterr().out
    assert "grown by" in said
    assert "1 of 1 jobs broken" in said
    assert "again: python -m tests.fuzz --seed 1 --divide 10000" in said
