"""Traces that broke earlier drafts of the contract, with real processes.

The other traces are in the rooms' own tests; all of them run in the simulator.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

from demo.stage import Stage, until
from tests.broker import Mosquitto
from tests.system.test_first_press import SETTLED_S, raise_alarm


def copy_database(path: Path, to: Path) -> None:
    """A consistent copy of an SQLite file in use."""
    with sqlite3.connect(path) as source, sqlite3.connect(to) as target:
        source.backup(target)


def put_back(copy: Path, path: Path) -> None:
    """The copy takes the file's place, as a person restoring it would do."""
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(copy, path)


def test_scenario_01_amnesia_and_an_old_journal(
    stage: Stage, broker: Mosquitto, tmp_path: Path
) -> None:
    copy_database(stage.journal, tmp_path / "before.db")
    stage.stop("mcc")  # it has not seen the alarm yet
    stage.panel("press3")
    until("listed", lambda: stage.status()["alarms"][0]["state"] == "received")
    alarm_id = stage.status()["alarms"][0]["id"]
    stage.kill("gateway")
    broker.kill()
    put_back(tmp_path / "before.db", stage.journal)
    broker.start()
    stage.start_gateway()
    stage.start_mcc()
    until("the alarm reaches the MCC", lambda: stage.operator_sees(alarm_id, "delivered"))


def test_scenario_02_a_repeat_sent_once(stage: Stage, broker: Mosquitto) -> None:
    alarm_id = raise_alarm(stage)
    until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"))
    time.sleep(2.1)  # the pause of a finger, after which three presses are a repeat
    stage.kill("gateway")
    stage.panel("press3")
    time.sleep(0.5)
    broker.kill()  # the offer was acknowledged by the broker and is forgotten now
    broker.start()
    stage.start_gateway()
    shown = until(
        "the repeat",
        lambda: stage.shown()[alarm_id] if stage.shown()[alarm_id]["repeats"] == 1 else None,
        20,
    )
    assert shown["rings"] or shown["state"] == "delivered"
    assert len(stage.shown()) == 1


def test_scenario_05_the_swallowed_cry(stage: Stage) -> None:
    first = raise_alarm(stage)
    until("delivered", lambda: stage.operator_sees(first, "delivered"))
    # The operator's screen shows no repeat: hold the command centre while the repeat happens.
    stage.kill("mcc")
    time.sleep(2.1)
    stage.panel("press3")
    until("the repeat is held", lambda: "event=alarm_repeated" in stage.log_of("post"))
    done = stage.mcc("acknowledge", first[:8], "--operator", "Siti")
    assert done.returncode == 0, done.stderr
    stage.start_mcc()
    later = until(
        "the later cry rings as an alarm of its own",
        lambda: next((one for one in stage.shown().values() if one.get("follows") == first), None),
        20,
    )
    assert later["alarm_id"] != first
    assert later["state"] in ("received", "delivered")
    stage.until_lamp("calling")


def test_scenario_14_the_post_was_away(stage: Stage) -> None:
    alarm_id = raise_alarm(stage)
    until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"))
    stage.kill("post")
    assert stage.mcc("acknowledge", alarm_id[:8], "--operator", "Siti").returncode == 0
    assert stage.mcc("resolve", alarm_id[:8], "--outcome", "real").returncode == 0
    stage.start_post()
    until("it sounds", lambda: stage.status()["acknowledgement_buzzes"] == 1)
    stage.until_lamp("armed")
    time.sleep(SETTLED_S)
    assert stage.status()["acknowledgement_buzzes"] == 1
    until("forgotten", lambda: stage.status()["alarms"] == [] or None)


def retained(broker: Mosquitto, topic: str) -> str:
    """The one retained message on a topic, or nothing."""
    found = subprocess.run(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic]
        + ["--retained-only", "-C", "1", "-W", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout


def test_scenario_16_cleared_documents_return(tmp_path: Path) -> None:
    with Mosquitto("persistence true\nautosave_interval 0\n") as broker:
        stage = Stage(tmp_path, broker.url)
        try:
            stage.start_gateway()
            stage.start_mcc()
            stage.start_post()
            stage.until_lamp("armed")
            _cleared_documents_return(stage, broker, tmp_path)
        finally:
            stage.close()


def _cleared_documents_return(stage: Stage, broker: Mosquitto, tmp_path: Path) -> None:
    alarm_id = raise_alarm(stage)
    assert stage.mcc("acknowledge", alarm_id[:8], "--operator", "Siti").returncode == 0
    until("it sounds", lambda: stage.status()["acknowledgement_buzzes"] == 1)
    saved = broker.directory / "mosquitto.db"
    broker.save()
    until("the broker has saved", lambda: saved.exists() or None)
    shutil.copyfile(saved, tmp_path / "old.db")
    assert stage.mcc("resolve", alarm_id[:8], "--outcome", "real").returncode == 0
    stage.until_lamp("armed")
    until("forgotten", lambda: stage.status()["alarms"] == [] or None)
    broker.kill()
    shutil.copyfile(tmp_path / "old.db", saved)
    broker.start()  # what was overwritten and cleared is back
    stage.until_lamp("armed", 30)
    time.sleep(SETTLED_S)
    status = stage.status()
    assert (status["lamp"], status["acknowledgement_buzzes"], status["alarms"]) == ("armed", 1, [])
    assert stage.shown()[alarm_id]["state"] == "resolved"
    topic = f"kentongan/v1/posts/{stage.post_id}/state"
    until("the post's document lists it no longer", lambda: alarm_id not in retained(broker, topic))
