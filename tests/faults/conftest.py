"""The fault table: how large it is, what its rows stand on, and the table itself at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Mosquitto
from tests.faults.ground import Ground, Row
from tests.faults.machine import Machine, build_shim

ROW, KILLS = "fault row", "kills"
# An empty run is no success of any kind; all other codes already say what went wrong.
_COMPLETE = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@pytest.fixture(scope="session")
def scale() -> int:
    """1 in `make test`, 22 in `make faults`, more in `make soak`: KENTONGAN_FAULT_SCALE."""
    return int(os.environ.get("KENTONGAN_FAULT_SCALE", "1"))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that works a process's clock, disk and resolver."""
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def machine(shim: Path, tmp_path: Path) -> Machine:
    """A machine whose faults can be worked."""
    return Machine(shim, tmp_path)


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A mosquitto that forgets everything when it is killed."""
    with Mosquitto() as running:
        yield running


@pytest.fixture
def ground(broker: Mosquitto, tmp_path: Path) -> Iterator[Ground]:
    """A gateway, a command centre, and as many posts as the row adds; nothing runs yet."""
    with Ground(tmp_path, broker) as standing:
        yield standing


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Takes the row for the table, and prints it."""

    def add(row: Row) -> None:
        print(row)  # noqa: T201
        request.node.user_properties += [(ROW, str(row)), (KILLS, row.kills)]

    return add


def _said(reporter: pytest.TerminalReporter, wanted: str) -> list[Any]:
    """What the rows that passed have said under this name, whichever processes ran them."""
    passed = reporter.stats.get("passed", [])
    return [value for test in passed for name, value in test.user_properties if name == wanted]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The whole table, and how many kills it took."""
    rows = _said(terminalreporter, ROW)
    terminalreporter.section("fault table")
    heading = "raised / journaled / delivered / duplicates suppressed"
    for line in (f"{'row':<66} {heading}", *sorted(rows)):
        terminalreporter.write_line(line)
    kills, wanted = sum(_said(terminalreporter, KILLS)), _kills_wanted()
    terminalreporter.write_line(f"{len(rows)} rows, {kills} kills (at least {wanted} wanted)")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run with fewer kills than were wanted has not shown what it was run for: it fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(session.config, "workerinput") or reporter is None:
        return  # only the process that holds the whole table can judge it
    if session.exitstatus in _COMPLETE and sum(_said(reporter, KILLS)) < _kills_wanted():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _kills_wanted() -> int:
    return int(os.environ.get("KENTONGAN_FAULT_KILLS", "0"))
