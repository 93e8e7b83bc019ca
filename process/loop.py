"""The one main loop of a process: an event or the core's next moment in, its effects carried out.

It is the only place that reads the clock for a core. It decides nothing: what an effect does is
the caller's `perform`, what a message means is the core's.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from types import FrameType
from typing import Any, Protocol, TypeVar

from process.core import Log, Stop, Tick
from process.events import EventQueue
from process.log import write_line

# How often `watch` is asked, and so the longest sleep of an idle process.
WATCH_EVERY_US = 2_000_000
# A `Tick` says that every event until then was taken, so what waits goes before it; but not for
# ever, or a flood of messages could hold back what time alone must bring about.
OVERDUE_MAX = 256


class Instant(Protocol):
    """A reading of a clock; its uptime in microseconds is all that the loop itself needs."""

    @property
    def uptime_us(self) -> int:
        """Microseconds on a clock that is never stepped."""
        ...


I_co = TypeVar("I_co", bound=Instant, covariant=True)
I_contra = TypeVar("I_contra", bound=Instant, contravariant=True)
I = TypeVar("I", bound=Instant)  # noqa: E741 - an instant


class Clock(Protocol[I_co]):
    """Where the loop takes its time from."""

    def now(self) -> I_co:
        """This instant."""
        ...


class Core(Protocol[I_contra]):
    """A pure core: see `process.core`."""

    def handle(self, event: Any, now: I_contra) -> Iterable[Any]:
        """Take one event; the effects are to be carried out in their order."""
        ...

    def wake_at_us(self) -> int | None:
        """The uptime (us) at which time alone changes something, or None."""
        ...


def stop_on_signals(queue: EventQueue, *, within_s: float | None = None) -> None:
    """Let SIGTERM and SIGINT enqueue a `Stop`. Call from the main thread.

    `within_s` after the signal the process has ended, with exit code 1 at the latest then: its loop
    may be held up by a screen that nobody reads. None: nothing in the loop can be.
    """
    asked: SimpleQueue[None] = SimpleQueue()  # may be put to in a handler, unlike an Event

    def offer_stop(_number: int, _frame: FrameType | None) -> None:
        queue.offer(Stop(), droppable=False)
        asked.put(None)

    def end(seconds: float) -> None:
        asked.get()
        time.sleep(seconds)
        os._exit(1)

    if within_s is not None:
        threading.Thread(target=end, args=(within_s,), name="end", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, offer_stop)


def run(
    core: Core[I],
    queue: EventQueue,
    clock: Clock[I],
    perform: Callable[[Any], None],
    *,
    read: Callable[[object], object | None] | None = None,
    watch: Callable[[], str | None] | None = None,
    say: Callable[[Log, int], None] = write_line,
) -> str | None:
    """Run the core until it has handled a `Stop`; returns None then.

    `read` turns an edge's event into the core's (a received message into a `Heard`), or into None
    when nothing of it concerns the core. `watch` is asked every 2 s whether the process is whole;
    what it finds wrong ends the loop and is returned. `say` writes the core's lines, with the Unix
    time (ns) of their event, when all else of its turn is done: a line takes longer than an alarm.
    """
    watch_at_us = clock.now().uptime_us
    overdue = 0
    while True:
        now_us = clock.now().uptime_us
        if now_us >= watch_at_us:
            wrong = watch() if watch is not None else None
            if wrong is not None:
                return wrong
            watch_at_us = now_us + WATCH_EVERY_US
        wake_at_us = core.wake_at_us()
        sleep_us = (watch_at_us if wake_at_us is None else min(wake_at_us, watch_at_us)) - now_us
        event = queue.take(max(0, sleep_us) / 1_000_000) if overdue < OVERDUE_MAX else None
        overdue = overdue + 1 if event is not None and sleep_us <= 0 else 0
        if event is None:
            event = Tick()
        elif read is not None:
            event = read(event)
            if event is None:
                continue
        turned_ns = time.time_ns()
        lines: list[Log] = []
        for effect in core.handle(event, clock.now()):
            if isinstance(effect, Log):
                lines.append(effect)
            else:
                perform(effect)
        for line in lines:
            say(line, turned_ns)
        if isinstance(event, Stop):
            return None
