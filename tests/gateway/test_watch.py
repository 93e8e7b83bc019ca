"""A journal that falls silent ends the gateway; one that nobody uses has to prove itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway.service
from gateway.core import Commit, CommitFailed, Committed
from gateway.journal import Journal
from gateway.metrics import GatewayMetrics
from gateway.service import JOURNAL_SILENT_US, Service
from gateway.settings import GatewayFile, JournalSettings, MccSettings, PostsSettings
from hardware.clock import Now, SystemClock
from process.disk import PROBE_EVERY_US
from tests.monitoring import scrape
from tests.test_monitoring import status


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
    write = Journal._write

    def hanging(journal: Journal, commits: list[Commit]) -> Committed | CommitFailed:
        answers.wait()
        return write(journal, commits)

    monkeypatch.setattr(Journal, "_write", hanging)
    monkeypatch.setattr(gateway.service, "SystemClock", SteppedClock)
    yield answers
    answers.set()


@pytest.fixture
def service(disk: threading.Event, tmp_path: Path) -> Iterator[Service]:
    """A gateway whose links live and lead nowhere."""
    service = Service(
        GatewayFile(
            gateway_id="mlg-test",
            posts=PostsSettings(url="mqtt://127.0.0.1:1"),
            mcc=MccSettings(url="mqtt://127.0.0.1:1"),
            journal=JournalSettings(url=f"sqlite:///{tmp_path / 'journal.db'}"),
        )
    )
    for link in service._links.values():
        link.start()
    yield service
    disk.set()
    service._close()


def wait(service: Service, us: int) -> str | None:
    """Let time pass; what the watch says then."""
    clock = service._clock
    assert isinstance(clock, SteppedClock)
    clock.at_us += us
    return service._watch()


def take_answer(service: Service) -> None:
    """The loop takes the journal's answer."""
    while not isinstance(event := service._queue.take(5), Committed):
        assert event is not None
    service._read(event)


def test_a_journal_that_nobody_uses_is_written_to_every_quarter_of_an_hour(
    service: Service,
) -> None:
    assert wait(service, PROBE_EVERY_US - 1) is None
    assert service._writes.silent_us(service._clock.now().uptime_us) == 0
    assert wait(service, 1) is None
    take_answer(service)
    assert wait(service, JOURNAL_SILENT_US) is None


def test_a_journal_that_is_silent_for_a_minute_ends_the_gateway(
    disk: threading.Event, service: Service
) -> None:
    disk.clear()
    assert wait(service, PROBE_EVERY_US) is None
    assert wait(service, JOURNAL_SILENT_US - 1) is None
    assert wait(service, 1) == "the journal has not answered for 60 s"


def test_only_what_is_in_the_journal_has_a_duration(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service._metrics = metrics = GatewayMetrics("127.0.0.1:0")
    metrics.show(status())

    def full(journal: Journal, commits: list[Commit]) -> CommitFailed:
        return CommitFailed(tuple(one.token for one in commits), "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "_write", full)
        assert wait(service, PROBE_EVERY_US) is None
        while not isinstance(event := service._queue.take(5), CommitFailed):
            assert event is not None
        service._read(event)
    assert "kentongan_gateway_commit_seconds_count 0.0" in scrape(metrics.port)
    assert wait(service, PROBE_EVERY_US) is None
    take_answer(service)
    assert "kentongan_gateway_commit_seconds_count 1.0" in scrape(metrics.port)
