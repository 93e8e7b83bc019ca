"""A running post with everything fitted: the panel's hands on its wires, its own word on them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device.core import Edge
from device.service import Service
from device.settings import PostFile
from hardware.panel import PanelError, ask
from hardware.pins import MockPins
from process.settings import read_settings

ROOT = Path(__file__).parents[2]
PATIENCE_S = 15.0
SETTINGS = """
post_id = "mlg-test-rw01"
[location]
lat = -7.9
lon = 112.6
[mqtt]
url = "mqtt://127.0.0.1:1"
[button]
nc_pin = 5
[cancel]
pin = 25
[tamper]
pin = 6
[mains]
pin = 13
[hardware]
pins = "mock"
panel_socket = "{directory}/panel"
[store]
path = "{directory}/post.db"
"""


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[str]:
    """The panel's socket of a post that runs, without a broker."""
    config = tmp_path / "post.toml"
    config.write_text(SETTINGS.format(directory=tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "device.cli", "run", "--config", str(config)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    path = str(tmp_path / "panel")
    until(path, lambda status: status["listening"] is True)
    yield path
    process.terminate()
    assert process.wait(10) == 0


def until(path: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The post's status as soon as it says so."""
    end_s = time.monotonic() + PATIENCE_S
    said: object = None
    while time.monotonic() < end_s:
        try:
            said = status = ask(path, {"request": "status"})
        except PanelError as error:
            said = error
        else:
            if holds(status):
                return status
        time.sleep(0.02)
    raise AssertionError(f"it never came; the last word was {said}")


def test_a_post_with_everything_fitted_is_without_fault_and_calls(panel: str) -> None:
    ask(panel, {"request": "press3"})
    status = until(panel, lambda status: bool(status["alarms"]))
    assert len(status["alarms"]) == 1
    assert status["faults"] == []


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ({"request": "wire", "to": "cut"}, "button_wire_cut"),
        ({"request": "wire", "to": "short"}, "button_wire_short"),
        ({"request": "tamper", "to": "open"}, "tamper"),
        ({"request": "mains", "to": "lost"}, "mains_lost"),
    ],
)
def test_what_is_done_to_a_wire_is_a_fault_and_no_call(
    panel: str, request_: dict[str, str], fault: str
) -> None:
    ask(panel, request_)
    status = until(panel, lambda status: bool(status["faults"]))
    assert status["faults"] == [fault]
    assert status["alarms"] == []


def edges_in(service: Service) -> list[Edge]:
    """The edges that wait in the queue; what the link says there is taken too."""
    events = iter(lambda: service._queue.take(0), None)
    return [event for event in events if isinstance(event, Edge)]


def test_an_edge_of_any_input_that_was_lost_is_found_at_the_second_look(tmp_path: Path) -> None:
    config = tmp_path / "post.toml"
    config.write_text(SETTINGS.format(directory=tmp_path))
    service = Service(read_settings(config, PostFile))
    service._link.start()
    assert service._watch() is None
    assert isinstance(service._pins, MockPins)
    # The lid opens and nothing is called: the edge is lost.
    service._pins._factory.pin(6)._state = True
    assert service._watch() is None
    assert edges_in(service) == []
    assert service._watch() is None
    found = edges_in(service)
    service._close()
    assert [(edge.pin, edge.closed) for edge in found] == [("tamper", False)]


def test_two_roles_on_one_pin_are_refused_with_both_names(tmp_path: Path) -> None:
    config = tmp_path / "post.toml"
    config.write_text(SETTINGS.format(directory=tmp_path).replace("pin = 13", "pin = 25"))
    done = subprocess.run(
        [sys.executable, "-m", "device.cli", "run", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "[cancel] pin and [mains] pin are both 25" in done.stderr
    assert "Traceback" not in done.stderr
