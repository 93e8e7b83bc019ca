"""`kentongan-mcc serve`: when it refuses to start, and what it says then."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SECRET = "of a test, and long enough to sign with it: 0123456789"


def settings(directory: Path, site: str = "") -> Path:
    path = directory / "mcc.toml"
    path.write_text(
        f'state_directory = "{directory}"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
        f'[database]\nurl = "sqlite:///{directory}/site.db"\n[site]\n{site}\n'
    )
    return path


def secret(directory: Path, text: str = SECRET, mode: int = 0o600) -> None:
    path = directory / "mcc.secret"
    path.write_text(text)
    path.chmod(mode)


def serve(config: Path) -> str:
    """What it says when it does not start; it has to end by itself, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "mcc.cli", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_off_the_loopback_it_wants_https(tmp_path: Path) -> None:
    secret(tmp_path)
    said = serve(settings(tmp_path, 'listen = "192.0.2.1"'))
    assert "off the loopback only by HTTPS" in said


def test_without_the_secret_it_says_what_makes_it(tmp_path: Path) -> None:
    said = serve(settings(tmp_path))
    assert "mcc.secret" in said
    assert "kentongan-mcc setup" in said


@pytest.mark.parametrize(
    ("text", "mode", "word"), [(SECRET, 0o644, "chmod 600"), ("short", 0o600, "too short")]
)
def test_a_secret_that_others_read_or_could_guess_is_refused(
    tmp_path: Path, text: str, mode: int, word: str
) -> None:
    secret(tmp_path, text, mode)
    assert word in serve(settings(tmp_path))


def test_on_a_database_that_setup_has_not_made_it_does_not_start(tmp_path: Path) -> None:
    secret(tmp_path)
    assert "run kentongan-mcc setup" in serve(settings(tmp_path))


def test_a_port_that_is_taken_is_named(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    secret(tmp_path)
    made: Path = request.getfixturevalue("_sqlite_template")
    (tmp_path / "site.db").write_bytes(made.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in serve(settings(tmp_path, f"port = {port}"))


@pytest.mark.parametrize("declares", [True, False])
def test_a_body_that_is_too_large_is_refused_before_it_fills_the_disk(declares: bool) -> None:
    from mcc.site.asgi import BODY_BYTES_MAX, application

    piece = bytes(1024 * 1024)
    taken, answers = 0, []

    async def receive() -> dict[str, object]:
        nonlocal taken
        assert taken <= 2 * BODY_BYTES_MAX
        taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Mapping[str, Any]) -> None:
        answers.append(message)

    length = [(b"content-length", str(BODY_BYTES_MAX + 1).encode())] if declares else []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/login/",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *length],
    }
    asyncio.run(application(scope, receive, send))
    assert [one["status"] for one in answers if "status" in one] == [413]
    assert taken <= (0 if declares else BODY_BYTES_MAX + len(piece))
