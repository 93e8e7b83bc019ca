"""The escalation's real process: killed at any moment, it tells what is due, and tells it once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcc.cases.models import Alarm, Fault
from mcc.escalation.models import Notice
from mcc.settings import DatabaseSettings
from tests.mcc.rig import uid
from tests.mcc.test_actions import stored
from tests.mcc.test_escalation import Receiver, manned

PATIENCE_S = 60.0


def until(what: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not what():
        assert process.poll() is None, "the worker has ended"
        assert time.monotonic() < end_s, "it does not happen"
        time.sleep(0.05)


def test_a_killed_worker_that_comes_again_tells_nobody_twice(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    receiver = Receiver()
    settings = tmp_path / "mcc.toml"
    (tmp_path / "mcc.secret").write_text("s" * 48)
    settings.write_text(
        f'state_directory = "{tmp_path}"\n'
        '[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n'
        f'[database]\nurl = "{database.url}"\n'
        f'[escalation]\nsupervisor = ["{receiver.url("supervisor")}"]\n'
    )
    command = [str(Path(sys.executable).with_name("kentongan-mcc")), "escalate"]
    command += ["--config", str(settings)]

    def pressed(n: int) -> None:
        stored(n)
        Alarm.objects.filter(alarm_id=uid(n)).update(raised_ms=1_000, heard_ms=1_000)

    manned()
    pressed(1)
    worker = subprocess.Popen(command)
    try:
        until(lambda: Notice.objects.filter(state="sent").count() == 1, worker)
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE_S)
        pressed(2)
        worker = subprocess.Popen(command)
        until(lambda: Notice.objects.filter(state="sent").count() == 2, worker)
        assert Fault.objects.filter(name="notice_without_target").exists()  # no picket is named
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
    finally:
        worker.kill()
        worker.wait(PATIENCE_S)
        receiver.close()
    assert len(receiver.got) == 2


@pytest.mark.parametrize("word", ["[escalation]\nsupervisr = []", "[people]\nattempts = 1"])
def test_settings_that_cannot_be_used_are_an_answer_and_no_traceback(
    word: str, tmp_path: Path
) -> None:
    settings = tmp_path / "mcc.toml"
    settings.write_text(f'[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n{word}\n')
    program = str(Path(sys.executable).with_name("kentongan-mcc"))
    done = subprocess.run(
        [program, "escalate", "--config", str(settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert word.split("\n")[1].split(" ")[0] in done.stderr
