"""When a post starts anew by itself because of its disk, and when it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import device.service
from device.core import Commit, Committed, Loaded
from device.outbox import Outbox
from device.service import OUTBOX_SILENT_US, Service
from device.settings import (
    HardwareSettings,
    LocationSettings,
    MqttSettings,
    PostFile,
    StoreSettings,
)
from hardware.clock import Now, SystemClock
from process.core import Tick
from tests.device.test_outbox import held


class SteppedClock(SystemClock):
    """A clock that a test moves."""

    at_us = 1_000_000_000

    def now(self) -> Now:
        return Now(self.at_us, 1_790_000_000_000, True)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set: the disk answers; cleared: every write hangs."""
    answers = threading.Event()
    answers.set()
    write = Outbox._write

    def hanging(outbox: Outbox, commit: Commit) -> None:
        answers.wait()
        write(outbox, commit)

    monkeypatch.setattr(Outbox, "_write", hanging)
    monkeypatch.setattr(device.service, "SystemClock", SteppedClock)
    yield answers
    answers.set()


def post(tmp_path: Path) -> Service:
    return Service(
        PostFile(
            post_id="mlg-test-rw01",
            location=LocationSettings(lat=-7.9, lon=112.6),
            mqtt=MqttSettings(url="mqtt://127.0.0.1:1"),
            hardware=HardwareSettings(pins="mock"),
            store=StoreSettings(path=str(tmp_path / "post.db")),
        )
    )


def wait(service: Service, seconds: float) -> None:
    """Let time pass for clock and core."""
    clock = service._clock
    assert isinstance(clock, SteppedClock)
    clock.at_us += int(seconds * 1_000_000)
    for effect in service._core.handle(Tick(), clock.now()):
        service._perform(effect)


def take_answer(service: Service) -> None:
    """The loop takes the outbox's answer."""
    while not isinstance(event := service._queue.take(5), Committed):
        assert event is not None
    service._core.handle(service._read(event), service._clock.now())


def test_an_outbox_that_falls_silent_is_started_anew_once_nothing_is_in_memory_alone(
    disk: threading.Event, tmp_path: Path
) -> None:
    service = post(tmp_path)
    wait(service, 901)
    take_answer(service)
    disk.clear()
    wait(service, 901)
    assert service._outbox_silent() is None
    wait(service, OUTBOX_SILENT_US / 1_000_000)
    assert service._outbox_silent() == "the outbox has not answered for 300 s"


def test_a_disk_that_never_answered_this_process_is_no_reason_for_another_start(
    disk: threading.Event, tmp_path: Path
) -> None:
    service = post(tmp_path)
    disk.clear()
    wait(service, 901)
    wait(service, OUTBOX_SILENT_US / 1_000_000)
    assert service._outbox_silent() is None
    assert "disk_hanging" in service._core.faults


def test_an_alarm_in_memory_alone_is_never_given_up_for_a_silent_disk(
    disk: threading.Event, tmp_path: Path
) -> None:
    from device.core import Edge

    service = post(tmp_path)
    wait(service, 901)
    take_answer(service)
    disk.clear()
    for _ in range(3):
        for closed in (True, False):
            now_us = service._clock.now().uptime_us
            for effect in service._core.handle(
                Edge("button", now_us, closed), service._clock.now()
            ):
                service._perform(effect)
            wait(service, 0.2)
    assert [committed for _, committed in service._core.held] == [False]
    wait(service, 2 * OUTBOX_SILENT_US / 1_000_000)
    assert service._outbox_silent() is None


def test_what_is_pressed_while_a_slow_disk_opens_is_a_call(
    disk: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Outbox.open

    def slowly(outbox: Outbox) -> Loaded:
        service = outbox._deliver.__self__  # type: ignore[attr-defined]
        for _ in range(3):
            for closed in (True, False):
                service._inputs["button"]._on_edge(service._clock.at_us, closed)
                service._clock.at_us += 200_000
        return opening(outbox)

    monkeypatch.setattr(Outbox, "open", slowly)
    service = post(tmp_path)
    while (event := service._queue.take(0)) is not None:
        service._core.handle(event, service._clock.now())
    service._core.handle(Tick(), service._clock.now())
    assert len(service._core.held) == 1


def test_a_disk_that_answers_between_giving_up_and_the_beginning_is_no_fault_for_ever(
    disk: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = held()

    def given_up(outbox: Outbox) -> Loaded:
        outbox._thread.start()
        outbox._deliver(Loaded((one,)))
        return Loaded((), "disk_hanging", unread=True)

    monkeypatch.setattr(Outbox, "open", given_up)
    service = post(tmp_path)
    service._begin()
    while isinstance(event := service._queue.take(0.5), Loaded):
        service._core.handle(event, service._clock.now())
    wait(service, 6)
    take_answer(service)
    assert [held for held, _ in service._core.held] == [one]
    assert not service._core._unread
    assert service._core.listening
