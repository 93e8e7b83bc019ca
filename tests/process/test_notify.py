"""Words to systemd over a real datagram socket, by path and in the abstract namespace."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from process.core import Stop
from process.events import EventQueue
from process.loop import WATCH_EVERY_US, run
from process.notify import STATUS_CHARACTERS_MAX, Notifier


class Manager:
    """A service manager's end of the line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        words = []
        while True:
            try:
                words.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return words


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@kentongan-{secrets.token_hex(8)}"
    manager = Manager(name if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_ready_brings_the_status_with_it(manager: Manager) -> None:
    Notifier(manager.address).ready("listening")
    assert manager.heard() == ["READY=1\nSTATUS=listening"]


def test_stopping_is_said(manager: Manager) -> None:
    Notifier(manager.address).stopping()
    assert manager.heard() == ["STOPPING=1"]


def test_a_status_is_one_line_and_bounded(manager: Manager) -> None:
    Notifier(manager.address).status("a\nWATCHDOG=1" + "x" * 500)
    (said,) = manager.heard()
    assert said.startswith("STATUS=a WATCHDOG=1x")
    assert "\n" not in said
    assert len(said) == len("STATUS=") + STATUS_CHARACTERS_MAX


def test_the_watchdog_is_fed_only_when_the_watch_finds_nothing_wrong(manager: Manager) -> None:
    answers = iter([None, "the link thread has died", None])
    watch = Notifier(manager.address).feeding(lambda: next(answers))
    assert [watch(), watch(), watch()] == [None, "the link thread has died", None]
    assert manager.heard() == ["WATCHDOG=1"] * 2


@dataclass(frozen=True)
class Now:
    uptime_us: int


class Clock:
    """Each reading is a quarter of a watch later."""

    at_us = 0

    def now(self) -> Now:
        self.at_us += WATCH_EVERY_US // 4
        return Now(self.at_us)


class Core:
    """Does what an event tells it to."""

    def handle(self, event: object, now: Now) -> list[object]:
        if callable(event):
            event()
        return []

    def wake_at_us(self) -> int | None:
        return 0


def test_the_loop_feeds_while_it_turns_and_never_again_once_it_hangs(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    queue = EventQueue(100, 10)
    seen: list[list[str]] = []

    def hang() -> None:
        # What a hung loop looks like from outside: time goes on, no word comes.
        seen.append(manager.heard())
        clock.at_us += 100 * WATCH_EVERY_US
        seen.append(manager.heard())

    steps: list[Callable[[], None]] = [lambda: None, lambda: None, lambda: None, hang]
    for event in (*steps, Stop()):
        queue.offer(event, droppable=False)
    clock = Clock()
    run(Core(), queue, clock, lambda _: None, watch=notifier.feeding(lambda: None))
    assert len(seen[0]) >= 2
    assert seen[1] == []


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "@"])
def test_without_a_manager_every_word_goes_nowhere(address: str | None) -> None:
    notifier = Notifier(address)
    notifier.ready("listening")
    assert notifier.feeding(lambda: None)() is None


def test_a_manager_that_is_gone_costs_the_word_and_nothing_else(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.ready("listening")
    notifier.status("listening")
    assert notifier.unsent == 2


def test_a_manager_that_does_not_read_never_blocks_the_loop(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    for _ in range(5000):
        notifier.status("listening")
    assert notifier.unsent > 0
    manager.heard()
    notifier.status("again")
    assert manager.heard() == ["STATUS=again"]


def test_after_close_nothing_is_sent_and_nothing_breaks(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    notifier.close()
    notifier.stopping()
    assert manager.heard() == []


def test_the_address_is_taken_from_the_environment(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    Notifier.from_environment().ready("x")
    assert manager.heard() == ["READY=1\nSTATUS=x"]
