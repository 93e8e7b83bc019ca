"""The header's pins, by one of three back ends of gpiozero: lgpio, RPi.GPIO, or mock.

It never decides what a level means, and it opens nothing until it is asked to. Debouncing by the
library is never used: the mock ignores it and the two real back ends do it in opposite ways.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from gpiozero.exc import GPIOZeroError
from gpiozero.pins.mock import MockFactory, MockPin

from hardware.clock import EdgeTimes, timer_slack

Kind = Literal["lgpio", "rpigpio", "mock"]
# On a Pi 5 the header's chip number moved between kernels; its label always begins like this.
CHIP_LABEL_PREFIX = "pinctrl-"
# The mock's board: a Pi 3 B, the header every later Pi shares.
MOCK_REVISION = "a02082"
MOCK_PULSE_S = 0.005
# lgpio's own thread polls with a time-out of 0.5 ms, some 2,000 times a second for nothing. Of
# edges on two lines at once it hands over the later one only after the next time-out, so this much
# is added to how late an edge may come: with it `device.presses.LATE_US` still has twice the room.
POLL_SLACK_US = 4_000


class PinsUnavailable(Exception):
    """The pins cannot be used; the message says what is missing and what to do."""


class Pins:
    """The pins of one process. Each number has one user; made by `open_pins`."""

    def __init__(self, factory: Any, notify_alive: Callable[[], bool]) -> None:
        self.edge_times = EdgeTimes()
        self._factory = factory
        self._notify_alive = notify_alive
        self._users: dict[int, str] = {}
        # gpiozero holds callbacks weakly: without this an unreferenced button would fall silent.
        self._keep: list[object] = []

    def input(self, number: int, role: str, user: object) -> Any:
        """Claims BCM pin `number` as an input with pull-up, without library debounce.

        `user` is kept alive as long as the pins. Raises PinsUnavailable when the pin does not
        exist, is taken, or cannot be opened.
        """
        with self._claiming(number, role):
            pin = self._factory.pin(number)
            pin.input_with_pull("up")
            pin.bounce = None
            pin.edges = "both"
        self._keep.append(user)
        return pin

    def output(self, number: int, role: str) -> Any:
        """Claims BCM pin `number` as an output, low. Raises PinsUnavailable like `input`."""
        with self._claiming(number, role):
            pin = self._factory.pin(number)
            pin.output_with_state(0)
        return pin

    def notify_thread_alive(self) -> bool:
        """Whether edges can still arrive: lgpio delivers all of them on one thread that can die."""
        return self._notify_alive()

    def close(self) -> None:
        """Gives every pin back; inputs and outputs made from it are dead afterwards."""
        self._factory.close()
        self._users.clear()
        self._keep.clear()

    @contextlib.contextmanager
    def _claiming(self, number: int, role: str) -> Iterator[None]:
        if number in self._users:
            raise PinsUnavailable(
                f"pin {number} for the {role} is already the {self._users[number]}"
            )
        try:
            yield
        except Exception as error:  # lgpio.error derives from Exception itself
            raise PinsUnavailable(f"pin {number} for the {role}: {error}") from error
        self._users[number] = role


class _NominalPin(MockPin):  # type: ignore[misc]
    """A mock pin whose edges can be stamped with the time they were meant for.

    It keeps no history: gpiozero's own keeps every change for ever.
    """

    _state: bool
    _goes_high: Callable[[], None] | None = None  # what hangs on this output
    _driven = False  # somebody outside holds the line: a pull resistor no longer decides its level

    def drive(self, level: int, tick_s: float) -> bool:
        """Sets the level seen from outside; whether that was a change. Fires like a real edge."""
        self._driven = True
        if self._state == bool(level):
            return False
        self._state = bool(level)
        self._last_change = tick_s
        if self._when_changed is not None:
            self._call_when_changed()
        return True

    def _set_pull(self, value: str) -> None:
        if self._driven:
            self._pull = value
        else:
            super()._set_pull(value)

    def _change_state(self, value: bool) -> bool:
        changed = self._state != value
        self._state = value
        self._last_change = time.monotonic()
        if changed and value and self._goes_high is not None:
            self._goes_high()
        return changed


class MockPins(Pins):
    """Pins without a board. `drive` is the finger on the button; one thread at a time may drive."""

    def __init__(self) -> None:
        factory = MockFactory(revision=MOCK_REVISION, pin_class=_NominalPin)
        super().__init__(factory, lambda: True)
        self._driving = threading.Lock()

    @contextlib.contextmanager
    def driving(self) -> Iterator[Callable[[int, int, float], bool]]:
        """Holds the pins for one driver and gives `drive(number, level, tick_s) -> changed`.

        `level` 1 is high (open), 0 is low (closed); `tick_s` is CLOCK_MONOTONIC in seconds.
        """

        def drive(number: int, level: int, tick_s: float) -> bool:
            return bool(self._factory.pin(number).drive(level, tick_s))

        with self._driving:
            yield drive

    def close_loops(self, numbers: Iterable[int]) -> None:
        """Wires that are well: each of these inputs is closed to ground, as on a wall at rest."""
        with self.driving() as drive:
            for number in numbers:
                drive(number, 0, time.monotonic())

    def couple(self, output: int, number: int) -> None:
        """A loop-back: input `number` is closed for 5 ms when `output` goes high."""

        def closes() -> None:
            with self.driving() as drive:
                if drive(number, 0, time.monotonic()):
                    time.sleep(MOCK_PULSE_S)
                    drive(number, 1, time.monotonic())

        self._factory.pin(output)._goes_high = closes

    def level(self, number: int) -> int:
        """The level now of input or output `number`."""
        return int(self._factory.pin(number).state)


def open_pins(kind: Kind, chip: int | None = None) -> Pins:
    """Opens the pins. `chip` is the gpiochip number, lgpio only; None finds it by its label.

    Raises PinsUnavailable.
    """
    if kind == "mock":
        return MockPins()
    if kind == "rpigpio":
        return _open_rpigpio()
    return _open_lgpio(chip)


def _open_rpigpio() -> Pins:
    _import("RPi.GPIO")
    try:
        factory = importlib.import_module("gpiozero.pins.rpigpio").RPiGPIOFactory()
    except GPIOZeroError as error:
        raise PinsUnavailable(f"RPi.GPIO: {error}") from error
    return Pins(factory, lambda: True)


def _open_lgpio(chip: int | None) -> Pins:
    with _lgpio_work_directory():
        lgpio = _import("lgpio")
    alive = notify_thread_of(lgpio)
    with timer_slack(POLL_SLACK_US):  # the first chip that is opened begins lgpio's threads
        number = find_chip(lgpio) if chip is None else chip
        try:
            factory = importlib.import_module("gpiozero.pins.lgpio").LGPIOFactory(chip=number)
        except (GPIOZeroError, lgpio.error) as error:
            raise PinsUnavailable(_cannot_open([number], str(error))) from error
    return Pins(factory, alive)


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PinsUnavailable(
            f"the Python module {error.name} is missing: install kentongan[pi]"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        # RPi.GPIO raises RuntimeError off a Pi; lgpio OSError where its FIFO cannot be made.
        raise PinsUnavailable(f"{module} cannot be used here: {error}") from error


@contextlib.contextmanager
def _lgpio_work_directory() -> Iterator[None]:
    """lgpio makes a FIFO where LG_WD says, and changes into that directory: undone here."""
    if "LG_WD" not in os.environ:
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        if not runtime:
            runtime = tempfile.mkdtemp(prefix="kentongan-lgpio-")
            atexit.register(shutil.rmtree, runtime, ignore_errors=True)
        os.environ["LG_WD"] = runtime
    before = Path.cwd()
    try:
        yield
    finally:
        os.chdir(before)


def notify_thread_of(lgpio: Any) -> Callable[[], bool]:
    """How to see whether lgpio's one callback thread lives.

    Raises PinsUnavailable for an lgpio that no longer has it: better no start than no watchdog.
    """
    thread: Any = getattr(lgpio, "_notify_thread", None)
    if not callable(getattr(thread, "is_alive", None)):
        raise PinsUnavailable("this lgpio has no notify thread to watch: version 0.2.2 has")
    return lambda: bool(thread.is_alive())


def find_chip(lgpio: Any, devices: Path = Path("/dev")) -> int:
    """The number of the first gpiochip labelled `pinctrl-…`; raises PinsUnavailable without one."""
    numbers = sorted(
        int(match[1])
        for path in devices.glob("gpiochip*")
        if (match := re.fullmatch(r"gpiochip(\d+)", path.name))
    )
    if not numbers:
        raise PinsUnavailable("there is no /dev/gpiochip*: not a Raspberry Pi, or no GPIO driver")
    labels: list[str] = []
    unopened: list[int] = []
    for number in numbers:
        try:
            handle = lgpio.gpiochip_open(number)
        except lgpio.error:
            unopened.append(number)
            continue
        label = _chip_label(lgpio, handle)
        if label.startswith(CHIP_LABEL_PREFIX):
            return number
        labels.append(label)
    if unopened:
        raise PinsUnavailable(_cannot_open(unopened, "not opened"))
    raise PinsUnavailable(
        f"no gpiochip has a label beginning with {CHIP_LABEL_PREFIX} (found: {', '.join(labels)});"
        " set [hardware] chip"
    )


def _chip_label(lgpio: Any, handle: int) -> str:
    try:
        return str(lgpio.gpio_get_chip_info(handle)[3])
    except lgpio.error:
        return "?"
    finally:
        lgpio.gpiochip_close(handle)


def _cannot_open(numbers: list[int], reason: str) -> str:
    chips = ", ".join(f"/dev/gpiochip{number}" for number in numbers)
    return (
        f"{chips}: {reason}; is the user in the group gpio (permission), does the chip exist,"
        " is another process using it?"
    )
