"""The control socket of a gateway: who is heard, what is answered, what happens to a stranger."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gateway.control
from gateway.control import CloseTest, Control, ControlError, OpenTest, ask_gateway
from gateway.core import CloseWindow, OpenWindow, Told
from tests.gateway.rig import POST

ASK = OpenTest(post=POST, technician="Ani", minutes=5)
UNTIL = "2027-01-01T00:00:00.000Z"


class Granting:
    """A control socket whose core answers at once, in the way that `answer` says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[OpenWindow | CloseWindow] = []
        self.has_room = True
        self.answer: Callable[[int], Told | None] = lambda asked: Told(
            asked, until=UNTIL, connection="online"
        )
        self.control = Control(path, self._offer)

    def _offer(self, event: object) -> bool:
        assert isinstance(event, OpenWindow | CloseWindow)
        self.asked.append(event)
        told = self.answer(event.asked)
        if told is not None:
            self.control.tell(told)
        return self.has_room


@pytest.fixture
def granting(tmp_path: Path) -> Iterator[Granting]:
    made = Granting(tmp_path / "control.sock")
    yield made
    made.control.close(5.0)


def say(path: Path, line: bytes) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        return dict(json.loads(connection.makefile("rb").readline()))


def test_a_request_becomes_an_event_and_the_cores_answer_the_reply(granting: Granting) -> None:
    reply = ask_gateway(granting.path, ASK)
    assert (reply.error, reply.until, reply.connection) == (None, UNTIL, "online")
    ask_gateway(granting.path, CloseTest(post=POST, technician="Budi"))
    opened, closed = granting.asked
    assert isinstance(opened, OpenWindow)
    assert (opened.post, opened.minutes, opened.opened_by) == (POST, 5, "Ani")
    assert isinstance(closed, CloseWindow)
    assert (closed.post, closed.closed_by) == (POST, "Budi")
    assert opened.asked != closed.asked


def test_a_refusal_of_the_core_is_an_error_in_its_words(granting: Granting) -> None:
    granting.answer = lambda asked: Told(asked, refused="no such post has been heard of")
    with pytest.raises(ControlError, match="no such post has been heard of"):
        ask_gateway(granting.path, ASK)


def test_a_full_queue_is_said(granting: Granting) -> None:
    granting.has_room = False
    with pytest.raises(ControlError, match="too busy"):
        ask_gateway(granting.path, ASK)


def test_a_main_loop_that_hangs_is_said_and_its_late_answer_is_nobody_elses(
    granting: Granting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.control, "CORE_TIMEOUT_S", 0.05)
    granting.answer = lambda _asked: None
    with pytest.raises(ControlError, match="main loop did not answer"):
        ask_gateway(granting.path, ASK)
    monkeypatch.setattr(gateway.control, "CORE_TIMEOUT_S", 5.0)
    granting.control.tell(Told(1, until="2000-01-01T00:00:00.000Z"))
    granting.answer = lambda asked: Told(asked, until=UNTIL)
    assert ask_gateway(granting.path, ASK).until == UNTIL


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"",
        b"{}\n",
        b"[]\n",
        b"nothing\n",
        b"\xff\xfe\n",
        b"[" * 2000 + b"\n",
        b'{"request": "open_test", "post": "UPPER", "technician": "A", "minutes": 5}\n',
        b'{"request": "open_test", "post": "a-b", "technician": "A", "minutes": 16}\n',
        b'{"request": "open_test", "post": "a-b", "technician": "A", "minutes": 0}\n',
        b'{"request": "open_test", "post": "a-b", "technician": "", "minutes": 5}\n',
        b'{"request": "acknowledge", "post": "a-b", "technician": "A"}\n',
        b'{"request": "close_test", "post": "a-b"}\n',
    ],
)
def test_what_is_no_request_is_answered_so_and_the_next_is_served(
    granting: Granting, line: bytes
) -> None:
    assert str(say(granting.path, line)["error"]).startswith("not a request: ")
    assert granting.asked == []
    assert ask_gateway(granting.path, ASK).until == UNTIL


def test_the_socket_is_for_its_owner_alone(granting: Granting) -> None:
    assert granting.path.stat().st_mode & 0o777 == 0o600


def test_another_user_is_refused_by_the_kernels_word_whatever_the_mode(
    granting: Granting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.control, "_user_of", lambda _connection: os.geteuid() + 12345)
    with pytest.raises(ControlError, match="only root and the gateway's own user may ask"):
        ask_gateway(granting.path, ASK)
    assert granting.asked == []


def test_an_answer_that_comes_before_the_question_is_read(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(1)

        def refuse() -> None:
            connection, _ = listening.accept()
            connection.sendall(b'{"error": "only root"}\n')
            connection.close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        real = socket.socket.connect

        def connect(self: socket.socket, address: str) -> None:
            real(self, address)
            refusing.join()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", connect)
            with pytest.raises(ControlError, match="only root"):
                ask_gateway(path, ASK)


def test_an_asker_who_leaves_before_the_answer_harms_nobody(granting: Granting) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(granting.path))
            connection.sendall(b'{"request": "close_test", "post": "a-b", "technician": "A"}\n')
    assert ask_gateway(granting.path, ASK).until == UNTIL
    assert granting.control.alive()


def test_a_socket_that_a_crash_left_behind_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.close()
    made = Granting(path)
    assert ask_gateway(path, ASK).until == UNTIL
    made.control.close(5.0)
    assert not path.exists()


def test_a_socket_that_somebody_listens_at_is_left_alone(granting: Granting) -> None:
    with pytest.raises(ControlError, match="another process listens there"):
        Control(granting.path, lambda _event: True)
    assert ask_gateway(granting.path, ASK).until == UNTIL


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "control.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ControlError, match="is no socket; it is not removed"):
        Control(path, lambda _event: True)
    assert os.path.lexists(path)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="No such file or directory"):
        Control(tmp_path / "no" / "control.sock", lambda _event: True)


def test_nobody_at_the_socket_is_said_with_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="is it running"):
        ask_gateway(tmp_path / "control.sock", ASK)


def test_something_else_at_the_socket_is_said(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ControlError, match="is no gateway"):
            ask_gateway(path, ASK)
        thread.join(5)


STRANGER = """
import os, sys
from pathlib import Path
from gateway.control import CloseTest, ControlError, ask_gateway
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    ask_gateway(Path(sys.argv[1]), CloseTest(post="a-b", technician="A"))
except ControlError as error:
    print(error)
"""


def test_a_person_without_the_right_is_told_who_has_it() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # he reaches the socket, and its mode decides
        made = Granting(Path(name) / "control.sock")
        made.path.chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, str(made.path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        made.control.close(5.0)
    assert "only root and the gateway's own user may ask" in done.stdout, done.stderr
    assert made.asked == []
