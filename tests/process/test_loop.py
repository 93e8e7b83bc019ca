"""The main loop, with a core that writes down what it is given."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from process.core import Stop, Tick
from process.events import EventQueue
from process.loop import WATCH_EVERY_US, run, stop_on_signals


@dataclass(frozen=True)
class Now:
    """An instant."""

    uptime_us: int


class Clock:
    """Moves by a fixed step at each reading."""

    def __init__(self, step_us: int = 1000) -> None:
        self.at_us = 0
        self._step_us = step_us

    def now(self) -> Now:
        self.at_us += self._step_us
        return Now(self.at_us)


@dataclass
class Core:
    """Echoes each event as an effect."""

    wake_us: int | None = None
    seen: list[object] = field(default_factory=list)

    def handle(self, event: object, now: Now) -> list[object]:
        self.seen.append(event)
        return [("did", event)]

    def wake_at_us(self) -> int | None:
        return self.wake_us


def queue_of(*events: object) -> EventQueue:
    queue = EventQueue(100, 10)
    for event in events:
        queue.offer(event, droppable=False)
    return queue


def test_events_are_handled_in_order_their_effects_performed_and_stop_ends_it() -> None:
    core = Core()
    done: list[object] = []
    result = run(core, queue_of("a", "b", Stop(), "never"), Clock(), done.append)
    assert result is None
    assert core.seen == ["a", "b", Stop()]
    assert done == [("did", "a"), ("did", "b"), ("did", Stop())]


def test_at_the_cores_moment_it_gets_a_tick() -> None:
    queue = queue_of()
    core = Core(wake_us=0)

    def perform(effect: object) -> None:
        if effect == ("did", Tick()):
            queue.offer(Stop(), droppable=False)

    run(core, queue, Clock(), perform)
    assert core.seen == [Tick(), Stop()]


def test_what_an_edge_reads_as_nothing_does_not_reach_the_core() -> None:
    core = Core()

    def read(event: object) -> object | None:
        return None if event == "noise" else event

    run(core, queue_of("noise", "word", Stop()), Clock(), lambda _: None, read=read)
    assert core.seen == ["word", Stop()]


def test_what_the_watch_finds_wrong_ends_the_loop() -> None:
    core = Core()
    answers = iter([None, "a thread has died"])
    result = run(
        core,
        queue_of(*range(20)),
        Clock(step_us=WATCH_EVERY_US // 3),
        lambda _: None,
        watch=lambda: next(answers),
    )
    assert result == "a thread has died"
    assert 0 < len(core.seen) < 20


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_loop(number: signal.Signals) -> None:
    queue = queue_of("a")
    stop_on_signals(queue)
    core = Core()
    run(
        core,
        queue,
        Clock(),
        lambda _: os.kill(os.getpid(), number) if len(core.seen) == 1 else None,
    )
    assert core.seen == ["a", Stop()]
