"""`make demo` without a terminal: the whole story, on either broker, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

import demo.__main__ as entry
import demo.story
from demo.stage import Stage

ROOT = Path(__file__).parents[2]


def test_the_story_ends_well_and_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "demo: ok"
    assert list(tmp_path.iterdir()) == []
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in processes.stdout


def test_the_story_ends_well_on_the_embedded_broker(
    mocker: MockerFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    mocker.patch("demo.__main__.mosquitto_path", return_value=None)
    assert entry.main() == 0
    said = capsys.readouterr().out
    assert "the embedded broker" in said
    assert said.splitlines()[-1] == "demo: ok"


def test_a_missing_step_is_named_and_exits_1(
    mocker: MockerFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mocker.patch.object(Stage, "start_gateway")
    mocker.patch.object(demo.story, "STEP_S", 0.5)
    mocker.patch.object(tempfile, "tempdir", str(tmp_path))
    assert entry.main() == 1
    assert "demo: failed: the lamp says: armed: not seen" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
