"""The loop-back on mock pins: a pulse is seen on the button's line, and is over by itself."""

from __future__ import annotations

import threading
import time

from hardware.button import Button
from hardware.loopback import HIGH_S, Loopback
from hardware.pins import MockPins


def test_a_pulse_closes_the_buttons_line_for_some_milliseconds() -> None:
    pins = MockPins()
    edges: list[tuple[int, bool]] = []
    both = threading.Event()

    def on_edge(at_us: int, closed: bool) -> None:
        edges.append((at_us, closed))
        if len(edges) == 2:
            both.set()

    Button(pins, 17, on_edge, "button")
    loopback = Loopback(pins, 12)
    pins.couple(12, 17)
    loopback.pulse()
    loopback.pulse()  # one at a time
    assert both.wait(5.0)
    (closed_us, closed), (opened_us, opened) = edges
    assert (closed, opened) == (True, False)
    assert opened_us > closed_us
    until_s = time.monotonic() + 5.0
    while pins.level(12) and time.monotonic() < until_s:
        time.sleep(HIGH_S / 10)
    assert pins.level(12) == 0
    assert len(edges) == 2
    assert loopback.failures == 0


def test_pins_that_refuse_are_counted() -> None:
    pins = MockPins()
    loopback = Loopback(pins, 12)

    def refuses() -> None:
        raise OSError("no such line")

    pins._factory.pin(12)._goes_high = refuses
    loopback._busy.acquire()
    loopback._pulse()
    assert loopback.failures == 1


def test_one_that_is_not_fitted_does_nothing() -> None:
    loopback = Loopback(MockPins(), None)
    loopback.pulse()
    assert loopback.failures == 0
