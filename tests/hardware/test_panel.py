"""The panel: another process moves the button; bad requests and leftovers harm nothing."""

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardware.button import Button
from hardware.panel import (
    CONNECTIONS_MAX,
    EDGES_MAX,
    REQUEST_BYTES_MAX,
    Panel,
    PanelError,
    ask,
    check_edges,
    read_edges_file,
)
from hardware.pins import MockPins

BUTTON, CANCEL = 17, 24


class Post:
    """Mock pins with a button and a cancel key, and a panel before them."""

    def __init__(self, path: str, cancel: int | None = CANCEL) -> None:
        self.path = path
        self.pins = MockPins()
        self.edges: list[tuple[int, bool]] = []
        self.cancel_edges: list[tuple[int, bool]] = []
        self.said: dict[str, Any] = {"lamp": "armed"}
        Button(self.pins, BUTTON, lambda at_us, closed: self.edges.append((at_us, closed)))
        if cancel is not None:
            Button(
                self.pins,
                cancel,
                lambda at_us, closed: self.cancel_edges.append((at_us, closed)),
                "cancel key",
            )
        self.panel = Panel(path, self.pins, BUTTON, cancel, lambda: self.said)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    post = Post(str(tmp_path / "panel"))
    yield post
    post.panel.close()


def _send_raw(path: str, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        connection.sendall(line)
        answer: dict[str, Any] = json.loads(connection.makefile().readline())
    return answer


def test_press_closes_and_release_opens(post: Post) -> None:
    assert ask(post.path, {"request": "press"})["edges"] == 1
    assert post.pins.level(BUTTON) == 0
    ask(post.path, {"request": "release"})
    assert [closed for _, closed in post.edges] == [True, False]


def test_press3_is_three_presses_in_less_than_two_seconds(post: Post) -> None:
    began_s = time.monotonic()
    ask(post.path, {"request": "press3"})
    assert time.monotonic() - began_s < 2
    assert [closed for _, closed in post.edges] == [True, False] * 3


def test_edges_keep_their_microseconds(post: Post) -> None:
    times_us = [0, 1, 2, 500, 501, 20_000]
    ask(post.path, {"request": "edges", "edges": [[t, n % 2] for n, t in enumerate(times_us)]})
    first_us = post.edges[0][0]
    assert [at_us - first_us for at_us, _ in post.edges] == times_us


def test_edges_happen_at_their_time_not_before(post: Post) -> None:
    began_s = time.monotonic()
    ask(post.path, {"request": "edges", "edges": [[0, 0], [200_000, 1]]})
    assert time.monotonic() - began_s >= 0.2


def test_cancel_holds_the_cancel_key_for_more_than_three_seconds(post: Post) -> None:
    ask(post.path, {"request": "cancel"})
    (down_us, down), (up_us, up) = post.cancel_edges
    assert (down, up) == (True, False)
    assert up_us - down_us == 3_200_000
    assert post.edges == []


def test_a_post_without_a_cancel_key_says_so(tmp_path: Path) -> None:
    post = Post(str(tmp_path / "panel"), cancel=None)
    with pytest.raises(PanelError, match=r"\[cancel\] pin"):
        ask(post.path, {"request": "cancel"})
    post.panel.close()


NC, TAMPER, MAINS = 5, 6, 13


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[tuple[str, MockPins]]:
    """A panel of a post with everything fitted, at rest."""
    pins = MockPins()
    Button(pins, BUTTON, lambda at_us, closed: None)
    pins.close_loops((NC, TAMPER, MAINS))
    path = str(tmp_path / "panel")
    panel = Panel(path, pins, BUTTON, CANCEL, dict, button_nc=NC, tamper=TAMPER, mains=MAINS)
    yield path, pins
    panel.close()


def test_a_press_moves_both_contacts_of_a_pair(wired: tuple[str, MockPins]) -> None:
    path, pins = wired
    assert (pins.level(BUTTON), pins.level(NC)) == (1, 0)
    ask(path, {"request": "press"})
    assert (pins.level(BUTTON), pins.level(NC)) == (0, 1)
    ask(path, {"request": "release"})
    assert (pins.level(BUTTON), pins.level(NC)) == (1, 0)


@pytest.mark.parametrize(("to", "level"), [("cut", 1), ("short", 0)])
def test_a_fault_of_the_wires_hides_the_finger_until_it_is_mended(
    wired: tuple[str, MockPins], to: str, level: int
) -> None:
    path, pins = wired
    ask(path, {"request": "wire", "to": to})
    assert (pins.level(BUTTON), pins.level(NC)) == (level, level)
    ask(path, {"request": "press"})
    assert (pins.level(BUTTON), pins.level(NC)) == (level, level)
    ask(path, {"request": "wire", "to": "ok"})
    assert (pins.level(BUTTON), pins.level(NC)) == (0, 1)


@pytest.mark.parametrize(
    ("name", "number", "away", "back"),
    [("tamper", TAMPER, "open", "close"), ("mains", MAINS, "lost", "back")],
)
def test_lid_and_mains_open_their_loop_and_close_it(
    wired: tuple[str, MockPins], name: str, number: int, away: str, back: str
) -> None:
    path, pins = wired
    ask(path, {"request": name, "to": away})
    assert pins.level(number) == 1
    ask(path, {"request": name, "to": back})
    assert pins.level(number) == 0


@pytest.mark.parametrize("to", [None, "", 3, ["cut"], "open"])
def test_what_a_wire_cannot_do_is_refused(wired: tuple[str, MockPins], to: object) -> None:
    with pytest.raises(PanelError, match="cut or short or ok"):
        ask(wired[0], {"request": "wire", "to": to})


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        ({"request": "wire", "to": "cut"}, r"\[button\] nc_pin"),
        ({"request": "tamper", "to": "open"}, r"\[tamper\] pin"),
        ({"request": "mains", "to": "lost"}, r"\[mains\] pin"),
    ],
)
def test_an_input_that_is_not_fitted_is_named_with_its_key(
    post: Post, request_: dict[str, Any], key: str
) -> None:
    with pytest.raises(PanelError, match=key):
        ask(post.path, request_)


def test_status_is_what_the_service_says(post: Post) -> None:
    post.said = {"lamp": "calling", "alarms": [{"id": "x", "state": "raised", "committed": True}]}
    assert ask(post.path, {"request": "status"}) == post.said


def test_status_answers_while_edges_are_driven(post: Post) -> None:
    driver = threading.Thread(
        target=ask, args=(post.path, {"request": "edges", "edges": [[0, 0], [1_000_000, 1]]})
    )
    driver.start()
    began_s = time.monotonic()
    assert ask(post.path, {"request": "status"}) == post.said
    assert time.monotonic() - began_s < 0.5
    driver.join()


def test_two_drivers_take_turns(post: Post) -> None:
    drivers = [
        threading.Thread(target=ask, args=(post.path, {"request": "press3"})) for _ in range(3)
    ]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [closed for _, closed in post.edges] == [True, False] * 9
    stamps = [at_us for at_us, _ in post.edges]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b"null\n",
        b'{"request": 3}\n',
        b'{"request": "explode"}\n',
        b'{"request": "edges"}\n',
        b'{"request": "edges", "edges": []}\n',
        b'{"request": "edges", "edges": [[0, 2]]}\n',
        b'{"request": "edges", "edges": [[5, 0], [4, 1]]}\n',
        b'{"request": "edges", "edges": [[true, 0]]}\n',
        b'{"request": "edges", "edges": [[NaN, 0]]}\n',
        b'{"request": "edges", "edges": [[0]]}\n',
        b'{"request": "edges", "edges": [[99999999999999, 0]]}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_bad_request_is_answered_and_the_next_one_served(post: Post, line: bytes) -> None:
    assert "error" in _send_raw(post.path, line)
    assert post.edges == []
    assert ask(post.path, {"request": "status"}) == post.said


def test_a_request_of_more_than_a_mebibyte_is_refused(post: Post) -> None:
    with pytest.raises(PanelError, match="bytes"):
        ask(post.path, {"request": "status", "padding": "x" * REQUEST_BYTES_MAX})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(post.path)
        connection.settimeout(5)
        with pytest.raises(OSError, match=r"pipe|reset"):
            connection.sendall(b"x" * 8 * REQUEST_BYTES_MAX)
    assert ask(post.path, {"request": "status"}) == post.said


def test_a_status_that_cannot_be_written_is_an_error_for_the_asker_only(post: Post) -> None:
    post.said = {"lamp": object()}
    with pytest.raises(PanelError, match="TypeError"):
        ask(post.path, {"request": "status"})
    ask(post.path, {"request": "press"})


def test_silent_connections_take_no_more_than_their_places_and_not_for_long(post: Post) -> None:
    held = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS_MAX)]
    for connection in held:
        connection.connect(post.path)
    with pytest.raises(PanelError, match="at a time"):
        ask(post.path, {"request": "status"})
    began_s = time.monotonic()
    for connection in held:
        connection.settimeout(2)
        assert "did not come" in connection.makefile().readline()
    assert time.monotonic() - began_s < 2
    assert ask(post.path, {"request": "status"}) == post.said
    for connection in held:
        connection.close()


def test_the_socket_is_for_its_owner_only_and_goes_with_the_panel(tmp_path: Path) -> None:
    path = tmp_path / "panel"
    post = Post(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    post.panel.close()
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "panel"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    post = Post(str(path))
    assert ask(post.path, {"request": "status"}) == post.said
    post.panel.close()


def test_a_live_socket_is_left_alone(post: Post) -> None:
    with pytest.raises(PanelError, match="another process"):
        Post(post.path)
    assert ask(post.path, {"request": "status"}) == post.said


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(PanelError, match="is no socket"):
        Post(str(path))
    assert path.read_text() == "data"


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 120, "/nonexistent/panel"])
def test_a_path_that_cannot_be_is_said_in_words(path: str) -> None:
    with pytest.raises(PanelError, match=r"path of the socket|No such file"):
        Post(path)
    with pytest.raises(PanelError, match=r"path of the socket has|no panel answers"):
        ask(path, {"request": "status"})


def test_closing_ends_a_drive_between_two_edges(tmp_path: Path) -> None:
    post = Post(str(tmp_path / "panel"))
    failed: list[str] = []

    def drive() -> None:
        try:
            ask(post.path, {"request": "edges", "edges": [[0, 0], [60_000_000, 1]]})
        except PanelError as error:
            failed.append(str(error))

    driver = threading.Thread(target=drive)
    driver.start()
    until_s = time.monotonic() + 5
    while not post.edges and time.monotonic() < until_s:
        threading.Event().wait(0.005)
    post.panel.close()
    driver.join(5)
    assert failed == ["the post is stopping"]


# -- edges files


def test_an_edges_file_is_read_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "edges"
    path.write_text("# three\n0 0\n\n80000 1  # up\n80000 0\n")
    assert read_edges_file(str(path)) == [(0, 0), (80_000, 1), (80_000, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0\nfive 1\n", ":2: "),
        ("0 0\n5\n", ":2: "),
        ("0 0 0\n", ":1: "),
        ("-1 0\n", ":1: "),
        ("0 2\n", ":1: level"),
        ("9 0\n8 1\n", ":2: t_us falls from 9 to 8"),
        ("99999999999 0\n", ":1: t_us"),
        ("\u0663 0\n", ":1: "),
        ("# only\n", "no edges"),
        ("0 0\n" * (EDGES_MAX + 1), f":{EDGES_MAX + 1}: more than"),
        ("#" * (4 * 1024 * 1024 + 1), "characters"),
    ],
)
def test_a_wrong_edges_file_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "edges"
    path.write_text(text)
    with pytest.raises(PanelError, match="edges") as raised:
        read_edges_file(str(path))
    assert message in str(raised.value)


def test_an_edges_file_that_cannot_be_read_is_said_in_words(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "absent", binary):
        with pytest.raises(PanelError, match=str(path)):
            read_edges_file(str(path))


def test_a_list_of_the_greatest_length_is_taken() -> None:
    assert len(check_edges([[0, 0]] * EDGES_MAX)) == EDGES_MAX
    with pytest.raises(PanelError):
        check_edges([[0, 0]] * (EDGES_MAX + 1))
