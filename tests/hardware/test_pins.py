"""Opening pins: what is missing is named, one pin has one user, a dead notify thread is seen."""

import contextlib
import ctypes
import os
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory

from hardware.pins import (
    POLL_SLACK_US,
    MockPins,
    PinsUnavailable,
    find_chip,
    notify_thread_of,
    open_pins,
)


class LgpioError(Exception):
    """Like lgpio.error, which derives from Exception itself."""


class FakeLgpio(types.ModuleType):
    """The part of lgpio that finding a chip needs. A label of None cannot be opened."""

    error = LgpioError

    def __init__(self, labels: dict[int, str | None]) -> None:
        super().__init__("lgpio")
        self.labels = labels
        self.open: set[int] = set()
        self.slack_ns: set[int] = set()
        self._notify_thread = threading.Thread(target=threading.Event().wait, daemon=True)

    def gpiochip_open(self, number: int) -> int:
        if self.labels.get(number) is None:
            raise LgpioError("can not open gpiochip")
        self.open.add(number)
        self.slack_ns.add(ctypes.CDLL(None).prctl(30))  # PR_GET_TIMERSLACK: begun threads have it
        return number

    def gpio_get_chip_info(self, handle: int) -> list[object]:
        return [0, 54, f"gpiochip{handle}", self.labels[handle]]

    def gpiochip_close(self, handle: int) -> None:
        self.open.discard(handle)


def _devices(tmp_path: Path, *numbers: int) -> Path:
    for number in numbers:
        (tmp_path / f"gpiochip{number}").touch()
    return tmp_path


def test_the_chip_is_found_by_its_label_wherever_it_is(tmp_path: Path) -> None:
    lgpio = FakeLgpio({0: "gpio-brcmstb@107d508500", 4: "pinctrl-rp1", 10: "pinctrl-late"})
    assert find_chip(lgpio, _devices(tmp_path, 0, 4, 10)) == 4
    assert lgpio.open == set()


def test_no_chip_at_all_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(PinsUnavailable, match="not a Raspberry Pi"):
        find_chip(FakeLgpio({}), tmp_path)


def test_a_chip_that_cannot_be_opened_points_to_the_group_gpio(tmp_path: Path) -> None:
    with pytest.raises(PinsUnavailable, match=r"gpiochip0.*group gpio"):
        find_chip(FakeLgpio({0: None}), _devices(tmp_path, 0))


def test_chips_with_other_labels_only_are_named(tmp_path: Path) -> None:
    with pytest.raises(PinsUnavailable, match=r"found: raspberrypi-exp-gpio.*\[hardware\] chip"):
        find_chip(FakeLgpio({1: "raspberrypi-exp-gpio"}), _devices(tmp_path, 1))


def test_a_missing_back_end_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", _not_found)
    for kind in ("lgpio", "rpigpio"):
        with pytest.raises(PinsUnavailable, match=r"install kentongan\[pi\]"):
            open_pins(kind)


def _not_found(name: str) -> Any:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_back_end_that_refuses_this_machine_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(name: str) -> Any:
        raise RuntimeError("This module can only be run on a Raspberry Pi!")

    monkeypatch.setattr("importlib.import_module", refuses)
    with pytest.raises(PinsUnavailable, match="can only be run on a Raspberry Pi"):
        open_pins("rpigpio")


def test_lgpio_gets_a_writable_directory_and_the_process_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LG_WD", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    before = Path.cwd()
    seen: list[str] = []

    def imported(name: str) -> Any:
        seen.append(os.environ["LG_WD"])
        os.chdir(os.environ["LG_WD"])  # as lgpio does
        raise OSError("no FIFO")

    monkeypatch.setattr("importlib.import_module", imported)
    with contextlib.suppress(PinsUnavailable):
        open_pins("lgpio")
    assert seen == [str(tmp_path)]
    assert Path.cwd() == before


def test_a_dead_notify_thread_is_seen() -> None:
    end = threading.Event()
    lgpio = FakeLgpio({})
    lgpio._notify_thread = threading.Thread(target=end.wait)
    alive = notify_thread_of(lgpio)
    lgpio._notify_thread.start()
    assert alive()
    end.set()
    lgpio._notify_thread.join()
    assert not alive()


def test_an_lgpio_without_a_thread_to_watch_is_refused() -> None:
    with pytest.raises(PinsUnavailable, match="notify thread"):
        notify_thread_of(types.ModuleType("lgpio"))


@pytest.fixture
def lgpio_on_a_pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLgpio]:
    lgpio = FakeLgpio({0: "pinctrl-bcm2711"})
    lgpio._notify_thread.start()
    backend = types.ModuleType("gpiozero.pins.lgpio")

    def factory(chip: int) -> Any:
        lgpio.gpiochip_open(chip)
        return MockFactory(revision="a02082")

    backend.LGPIOFactory = factory  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lgpio", lgpio)
    monkeypatch.setitem(sys.modules, "gpiozero.pins.lgpio", backend)
    monkeypatch.setenv("LG_WD", str(tmp_path))
    return lgpio


@pytest.mark.parametrize("chip", [None, 0])
def test_the_threads_that_poll_for_ever_may_be_woken_late(
    lgpio_on_a_pi: FakeLgpio, monkeypatch: pytest.MonkeyPatch, chip: int | None
) -> None:
    monkeypatch.setattr("hardware.pins.find_chip", lambda lgpio: lgpio.gpiochip_open(0))
    open_pins("lgpio", chip)
    assert lgpio_on_a_pi.slack_ns == {POLL_SLACK_US * 1000}


def test_a_chip_by_setting_is_opened_without_a_search(lgpio_on_a_pi: FakeLgpio) -> None:
    pins = open_pins("lgpio", 0)
    assert lgpio_on_a_pi.open == {0}
    assert pins.notify_thread_alive()


def test_a_chip_by_setting_that_is_not_there_is_no_traceback(lgpio_on_a_pi: FakeLgpio) -> None:
    with pytest.raises(PinsUnavailable, match="gpiochip9"):
        open_pins("lgpio", 9)


def test_one_pin_has_one_user() -> None:
    pins = MockPins()
    pins.output(17, "buzzer")
    with pytest.raises(PinsUnavailable, match="pin 17 for the button is already the buzzer"):
        pins.input(17, "button", object())


def test_a_pin_that_the_header_has_not_is_named() -> None:
    with pytest.raises(PinsUnavailable, match="pin 99 for the button"):
        MockPins().input(99, "button", object())


def test_mock_pins_need_no_board_and_are_always_alive() -> None:
    pins = open_pins("mock")
    assert isinstance(pins, MockPins)
    assert pins.notify_thread_alive()


def test_a_mock_output_keeps_no_history() -> None:
    pins = MockPins()
    pin = pins.output(22, "lamp")
    for n in range(1000):
        pin.state = n % 2
    assert pins.level(22) == 1
    assert len(pin.states) <= 1
