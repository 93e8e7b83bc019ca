"""A technician's walk test through real processes: the window, the answer, the card; and how a
window ends. Nothing acknowledges a red button but a person.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.stage import Stage, until
from gateway.control import OpenTest, ask_gateway
from tests.broker import Mosquitto
from tests.system.test_first_press import SETTLED_S, raise_alarm

PAUSE_S = 2.1  # of a finger, after which three presses are a repeat


@pytest.fixture
def stage(broker: Mosquitto, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Post, gateway with its control socket, and command centre; the lamp armed."""
    ground = Stage(tmp_path, broker.url)
    with (tmp_path / "gateway.toml").open("a") as config:
        config.write(f'[control]\nsocket = "{control(ground)}"\n')
    try:
        module = getattr(request, "param", "gateway.cli")
        ground.start_as("gateway", module, "run", "--config", str(tmp_path / "gateway.toml"))
        ground.start_mcc()
        ground.start_post()
        ground.until_lamp("armed")
        yield ground
    finally:
        ground.close()


def control(stage: Stage) -> Path:
    return stage.directory / "control.sock"


def gateway(stage: Stage, *arguments: str) -> subprocess.Popen[str]:
    """`kentongan-gateway ARGUMENTS` at the gateway's machine."""
    config = str(stage.directory / "gateway.toml")
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *arguments, "--config", config],
        stdin=subprocess.DEVNULL,
        stdout=(stage.directory / "walk.out").open("w"),
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def does(stage: Stage, *arguments: str) -> str:
    """What such a command said; it must succeed."""
    process = gateway(stage, *arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return said(stage)


def said(stage: Stage) -> str:
    return (stage.directory / "walk.out").read_text()


def until_practising(stage: Stage, *, open_: bool = True) -> None:
    until(
        "the post knows of the window" if open_ else "the post knows that the window is over",
        lambda: (stage.status().get("practice_until") is not None) == open_,
        15,
    )


def kind_of(stage: Stage, alarm_id: str) -> Any:
    return stage.shown()[alarm_id]["kind"]


def test_a_technician_at_the_gateway_follows_a_test_from_the_press_to_the_buzzer(
    stage: Stage,
) -> None:
    walk = gateway(stage, "walk-test", stage.post_id, "--technician", "Ani", "--minutes", "10")
    until("the window is open", lambda: "press the red button" in said(stage), 20)
    until_practising(stage)
    alarm_id = raise_alarm(stage)
    until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"))
    assert kind_of(stage, alarm_id) == "test"
    time.sleep(SETTLED_S)
    assert stage.status()["lamp"] == "calling"  # nobody has answered, so nothing says so
    assert walk.poll() is None
    done = stage.mcc("acknowledge", alarm_id[:8], "--operator", "Siti")
    assert done.returncode == 0, done.stderr
    stage.until_lamp("answered")
    _, err = walk.communicate(timeout=30)
    assert walk.returncode == 0, err
    assert stage.status()["acknowledgement_buzzes"] == 1
    assert said(stage).endswith("\nwalk test passed\n")
    assert "  by Siti" in said(stage)

    # The same card is printed later, at either end, from what each of them holds.
    cards = {
        "gateway": json.loads(does(stage, "card", alarm_id[:8], "--json")),
        "centre": json.loads(stage.mcc("card", alarm_id[:8], "--json").stdout),
    }
    for card in cards.values():
        assert (card["kind"], card["passed"]) == ("test", True)
        times = [hop["at"] for hop in card["hops"][:-1]]  # not resolved yet
        assert None not in times
        assert times == sorted(times)
    assert cards["gateway"]["hops"] == cards["centre"]["hops"]
    for words in (does(stage, "card", alarm_id), stage.mcc("card", alarm_id).stdout):
        assert words.endswith("walk test passed\n")
    assert stage.mcc("resolve", alarm_id[:8], "--outcome", "test").returncode == 0
    stage.until_lamp("armed")
    assert "is closed" in does(stage, "walk-test", stage.post_id, "--technician", "Ani", "--close")
    until_practising(stage, open_=False)


def test_three_more_presses_within_half_a_minute_make_a_test_an_alarm(stage: Stage) -> None:
    window = ("open-test", stage.post_id, "--minutes", "10", "--operator", "Ani")
    done = stage.mcc(*window)
    assert done.returncode == 0, done.stderr
    until_practising(stage)
    alarm_id = raise_alarm(stage)
    until("delivered", lambda: stage.operator_sees(alarm_id, "delivered"))
    assert kind_of(stage, alarm_id) == "test"
    time.sleep(PAUSE_S)
    stage.panel("press3")
    until("a test is an alarm now", lambda: kind_of(stage, alarm_id) == "panic")
    assert len(stage.shown()) == 1
    assert stage.mcc("card", alarm_id[:8]).stdout.endswith("this is no test but a panic alarm\n")


def test_scenario_12_the_window_closes_between_two_calls(stage: Stage) -> None:
    assert stage.mcc("open-test", stage.post_id, "--operator", "Ani").returncode == 0
    until_practising(stage)
    first = raise_alarm(stage)
    assert kind_of(stage, first) == "test"
    assert stage.mcc("acknowledge", first[:8], "--operator", "Siti").returncode == 0
    assert stage.mcc("close-test", stage.post_id, "--operator", "Ani").returncode == 0
    until_practising(stage, open_=False)
    stage.until_lamp("answered")
    time.sleep(PAUSE_S)
    second = raise_alarm(stage)
    assert kind_of(stage, second) == "panic"


def test_scenario_13_a_stale_open_test_and_a_window_that_a_restart_has_ended(
    stage: Stage,
) -> None:
    reply = ask_gateway(control(stage), OpenTest(post=stage.post_id, technician="A", minutes=15))
    assert reply.connection == "online"
    until_practising(stage)
    stage.kill("gateway")
    stale = subprocess.Popen(
        [sys.executable, "-m", "mcc.cli", "open-test", stage.post_id, "--operator", "Ani"]
        + ["--store", str(stage.store), "--url", stage.broker_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    until("it is issued", lambda: '"open_test"' in (stage.directory / "mcc.out").read_text())
    stage.start_gateway()
    _, err = stale.communicate(timeout=30)
    if stale.returncode == 3:  # this machine is slow: it was told to wait no longer
        until("refused", lambda: "too_old" in (stage.directory / "mcc.out").read_text(), 20)
    else:
        assert (stale.returncode, "before the gateway's start" in err) == (1, True), err
    until_practising(stage, open_=False)
    stage.until_lamp("armed")
    assert kind_of(stage, raise_alarm(stage)) == "panic"


# A minute of its windows lasts six seconds.
@pytest.mark.parametrize("stage", ["tests.system.short_windows"], indirect=True)
def test_a_window_ends_by_itself_and_a_walk_test_in_which_nobody_pressed_is_not_passed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gateway.walk_test
    from gateway.cli import main

    monkeypatch.setattr(gateway.walk_test, "LATE_S", 1.0)
    config = ("--config", str(stage.directory / "gateway.toml"))
    walk = ("walk-test", stage.post_id, "--technician", "Ani", "--minutes", "1")
    assert main([*walk, *config]) == 1
    assert "the window is over and" in capsys.readouterr().err
    until_practising(stage, open_=False)
    assert kind_of(stage, raise_alarm(stage)) == "panic"
