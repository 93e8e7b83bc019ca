"""The button delivers every edge with its time and cannot kill the thread it is called on."""

import gc
import time

from hardware import clock
from hardware.button import Button
from hardware.pins import MockPins

NUMBER = 17


def _drive(pins: MockPins, *edges: tuple[float, int]) -> None:
    with pins.driving() as drive:
        for tick_s, level in edges:
            drive(NUMBER, level, tick_s)


def test_each_edge_arrives_with_its_own_microsecond() -> None:
    pins, seen = MockPins(), list[tuple[int, bool]]()
    Button(pins, NUMBER, lambda at_us, closed: seen.append((at_us, closed)))
    base_s = time.monotonic()
    _drive(pins, (base_s, 0), (base_s + 1e-6, 1), (base_s + 0.25, 0))
    assert [closed for _, closed in seen] == [True, False, True]
    assert seen[1][0] - seen[0][0] == 1
    assert seen[2][0] - seen[0][0] == 250_000
    assert abs(seen[0][0] - clock.uptime_us()) < 1_000_000


def test_a_button_closed_at_boot_fires_nothing_but_can_be_read() -> None:
    pins, seen = MockPins(), list[bool]()
    _drive(pins, (time.monotonic(), 0))
    button = Button(pins, NUMBER, lambda at_us, closed: seen.append(closed))
    assert button.closed
    assert seen == []
    _drive(pins, (time.monotonic(), 1))
    assert not button.closed
    assert seen == [False]


def test_an_exception_in_on_edge_is_counted_and_goes_no_further() -> None:
    pins = MockPins()

    def fails(at_us: int, closed: bool) -> None:
        raise RuntimeError("queue gone")

    button = Button(pins, NUMBER, fails)
    _drive(pins, (time.monotonic(), 0), (time.monotonic(), 1))
    assert button.failures == 2


def test_a_button_that_nobody_refers_to_still_fires() -> None:
    pins, seen = MockPins(), list[bool]()
    Button(pins, NUMBER, lambda at_us, closed: seen.append(closed))
    gc.collect()
    _drive(pins, (time.monotonic(), 0))
    assert seen == [True]


def test_the_same_level_again_is_no_edge() -> None:
    pins, seen = MockPins(), list[bool]()
    Button(pins, NUMBER, lambda at_us, closed: seen.append(closed))
    _drive(pins, (time.monotonic(), 1), (time.monotonic(), 0), (time.monotonic(), 0))
    assert seen == [True]
