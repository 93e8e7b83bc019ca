"""Bounds of the gateway's control socket, of its cards, and of what is written down of a name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway.control
from gateway.card import CANDIDATES_MAX, alarms_like
from gateway.cli import main
from gateway.control import (
    LINE_BYTES_MAX,
    WAITING_MAX,
    Control,
    ControlError,
    OpenTest,
    ask_gateway,
)
from gateway.core import OpenWindow, Told
from gateway.identities import (
    MAINTENANCE_HOURS_MAX,
    RECORDS_PER_NAME_MAX,
    Authority,
    IdentitiesError,
    Identity,
)
from process.local_socket import PATH_BYTES_MAX, listen
from process.settings import unusable_sockets
from tests.gateway.rig import POST, WALL_MS, some_id
from tests.gateway.test_journal import Room, record

HOUR_MS = 3_600_000
ASK = OpenTest(post=POST, technician="Teknisi Ani", minutes=5)


class Answering:
    """A control socket at `path` whose core grants whatever is asked."""

    def __init__(self, path: Path) -> None:
        self.asked: list[object] = []
        self.control = Control(path, self._offer)

    def _offer(self, event: object) -> bool:
        assert isinstance(event, OpenWindow)
        self.asked.append(event)
        until = "2027-01-01T00:00:00.000Z"
        self.control.tell(Told(event.asked, until=until, connection="online"))
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def answering(path: Path) -> Iterator[Answering]:
    made = Answering(path)
    yield made
    made.control.close(5.0)


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10.0)
    connection.connect(str(path))
    return connection


def test_a_request_of_the_greatest_length_is_read_and_one_byte_more_is_not(
    path: Path, answering: Answering
) -> None:
    words = b'{"request": "open_test", "post": "mlg-test-rw01", "technician": "Ani", "minutes": 5}'
    for size, is_read in ((LINE_BYTES_MAX, True), (LINE_BYTES_MAX + 1, False)):
        with connected(path) as connection:
            connection.sendall(words.ljust(size - 1) + b"\n")
            said = connection.recv(65_536)
        assert (b"more than 4096 bytes" not in said) == is_read
    assert len(answering.asked) == 1


def test_so_many_askers_wait_and_silent_ones_hold_the_next_up_for_a_moment_only(
    path: Path, answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.control, "REQUEST_TIMEOUT_S", 0.05)
    silent = [connected(path) for _ in range(WAITING_MAX)]
    assert ask_gateway(path, ASK).connection == "online"
    for one in silent:
        one.close()


def test_more_askers_than_may_wait_are_turned_away_by_the_kernel(path: Path) -> None:
    server = listen(path, WAITING_MAX)  # nobody accepts
    askers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(10 * WAITING_MAX)]
    for one in askers:
        one.setblocking(False)
    came_in = [one.connect_ex(str(path)) == 0 for one in askers]
    assert sum(came_in) == WAITING_MAX + 1  # listen(2) lets one more in than it is told
    for one in (*askers, server):
        one.close()


def test_a_socket_of_the_longest_path_is_made_and_a_longer_one_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # so that the length is ours to choose
    longest = Path("s" * PATH_BYTES_MAX)
    made = Answering(longest)
    assert ask_gateway(longest, ASK).connection == "online"
    made.control.close(5.0)
    longer = Path("s" * (PATH_BYTES_MAX + 1))
    with pytest.raises(ControlError, match="108 bytes, at most 107"):
        Control(longer, lambda _event: True)
    with pytest.raises(ControlError, match="108 bytes, at most 107"):
        ask_gateway(longer, ASK)
    assert unusable_sockets({"[control] socket": str(longest)}) == []
    (problem,) = unusable_sockets({"[control] socket": str(longer)})
    assert problem.startswith('[control] socket = "sss')


def test_of_many_alarms_with_like_ids_a_card_names_some_and_asks_for_more_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = Room(tmp_path)
    room.open()
    room.commit(*(record(some_id(0xA0000000 + n)) for n in range(CANDIDATES_MAX + 5)))
    room.event()
    room.close()
    url = f"sqlite:///{room.path}"
    assert len(alarms_like(url, "a")) == CANDIDATES_MAX + 1
    config = tmp_path / "gateway.toml"
    config.write_text(
        'gateway_id = "gw"\n[posts]\nurl = "mqtt://127.0.0.1:1"\n[mcc]\n'
        f'url = "mqtt://127.0.0.1:1"\n[journal]\nurl = "{url}"\n'
    )
    assert main(["card", "a", "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert said.count(POST) == CANDIDATES_MAX
    assert "several alarms' ids begin with 'a'" in said


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with Authority.create(tmp_path / "register", "CA", WALL_MS) as made:
        made.provision(Identity(POST, "post"), WALL_MS)
        yield made


def test_of_one_name_the_newest_records_are_kept(authority: Authority) -> None:
    for n in range(RECORDS_PER_NAME_MAX + 5):
        authority.rename(POST, f"Pos {n}", by="Ani", wall_ms=WALL_MS + n)
    life = authority.life_of(POST)
    assert len(life) == RECORDS_PER_NAME_MAX
    assert [one.at_ms for one in life] == [WALL_MS + n for n in range(5, RECORDS_PER_NAME_MAX + 5)]


def test_a_planned_silence_lasts_three_days_and_not_a_moment_longer(authority: Authority) -> None:
    longest_ms = WALL_MS + MAINTENANCE_HOURS_MAX * HOUR_MS
    authority.maintain(POST, longest_ms, by="Ani", why="", wall_ms=WALL_MS)
    for until_ms in (longest_ms + 1, WALL_MS, WALL_MS - 1):
        with pytest.raises(IdentitiesError, match="maintenance ends within 72 hours"):
            authority.maintain(POST, until_ms, by="Ani", why="", wall_ms=WALL_MS)
