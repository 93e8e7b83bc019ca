"""`make demo` without a terminal: the whole story, on either broker, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

import demo.__main__ as entry
import demo.story
from demo.stage import Stage, until

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
    assert "the console: http://127.0.0.1:" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_ended_takes_its_processes_along(tmp_path: Path, number: int) -> None:
    playing = subprocess.Popen(
        [sys.executable, "-m", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert playing.stdout is not None
        assert any("red button" in line for line in playing.stdout)
        assert processes_in(tmp_path) >= 3
        playing.send_signal(number)
        code = playing.wait(10)
    finally:
        playing.kill()
        playing.communicate()
    until("its processes have gone", lambda: processes_in(tmp_path) == 0)
    if number != signal.SIGKILL:
        assert code == 128 + number
        assert list(tmp_path.iterdir()) == []


def processes_in(directory: Path) -> int:
    """How many processes name it on their command line."""
    listing = subprocess.run(
        ["ps", "-wwe", "-o", "args"], capture_output=True, text=True, check=True
    )
    return sum(str(directory) in line for line in listing.stdout.splitlines())


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
