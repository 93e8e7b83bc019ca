"""Bounds of the site: what browsers send, what waits for them, and how far behind they may be."""

from __future__ import annotations

import asyncio
import io
import socket
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from django.http import HttpRequest
from django.test import RequestFactory
from PIL import Image

from mcc.console.hub import BACKLOG_MAX, END, STREAMS_MAX, WAITING_MAX, Hub, Pulse, steps_after
from mcc.console.views import WISH_BYTES_MAX, do
from mcc.people.models import User
from mcc.registers import photos
from mcc.registers.photos import PHOTO_BYTES_MAX, SIDE_PIXELS_MAX, Unusable, prepared
from mcc.settings import DatabaseSettings, MccFile, MqttSettings
from mcc.site import commands, serve
from mcc.site.commands import PASSWORD_BYTES_MAX
from mcc.site.serve import REQUESTS_MAX
from mcc.site.settings import WAL_BYTES_MAX, database_of


def test_so_many_streams_are_open_and_one_more_is_asked_to_come_again() -> None:
    hub = Hub()
    open_ones = [hub.subscribe() for _ in range(STREAMS_MAX)]
    assert None not in open_ones
    assert hub.subscribe() is None
    first = open_ones[0]
    assert first is not None
    hub.unsubscribe(first)
    assert hub.subscribe() is not None


def test_a_stream_that_cannot_keep_up_is_ended_and_never_thinned() -> None:
    async def one_that_never_reads() -> tuple[int, object]:
        one = Hub().subscribe()
        assert one is not None
        for _ in range(WAITING_MAX - 1):  # its first pulse waits already
            one.offer(Pulse(1, database=True))
        waiting = one._queue.qsize()
        one.offer(Pulse(2, database=True))
        return waiting, await one.take()

    assert asyncio.run(one_that_never_reads()) == (WAITING_MAX, END)


def test_a_reader_further_behind_than_the_bound_takes_the_whole_anew() -> None:
    assert steps_after(100, 100 + BACKLOG_MAX + 1) is None
    assert steps_after(101, 100) is None  # it has seen another database


def test_a_wish_of_a_browser_that_is_too_long_is_not_read() -> None:
    words = b'{"action": "?"}'
    assert do(_posted(words.ljust(WISH_BYTES_MAX))).status_code == 400  # read: fields are missing
    assert do(_posted(words.ljust(WISH_BYTES_MAX + 1))).status_code == 413


def _posted(body: bytes) -> HttpRequest:
    request: HttpRequest = RequestFactory().post("/do", body, content_type="application/json")
    request.user = User(username="sari", role="operator")
    return request


def _picture(width: int, height: int, kind: str = "JPEG") -> io.BytesIO:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, kind)
    return out


def test_a_photo_is_kept_small_whatever_its_size() -> None:
    with Image.open(prepared(_picture(4_000, 1_000))) as kept:
        assert kept.size == (SIDE_PIXELS_MAX, SIDE_PIXELS_MAX // 4)


def test_a_file_that_is_too_large_for_a_photo_is_refused_in_words() -> None:
    photo = _picture(10, 10).getvalue()
    prepared(io.BytesIO(photo.ljust(PHOTO_BYTES_MAX, b"\0")))
    with pytest.raises(Unusable, match="12"):
        prepared(io.BytesIO(photo.ljust(PHOTO_BYTES_MAX + 1, b"\0")))


def test_a_photo_of_too_many_pixels_is_refused_before_they_take_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(photos, "PHOTO_PIXELS_MAX", 2_000_000)
    prepared(_picture(2_000, 1_000))
    with pytest.raises(Unusable, match="2"):
        prepared(_picture(2_000, 1_001))


def test_a_piped_password_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe(count: int) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"x" * count)))

    pipe(PASSWORD_BYTES_MAX)
    assert commands._piped() == "x" * PASSWORD_BYTES_MAX
    pipe(PASSWORD_BYTES_MAX + 1)
    with pytest.raises(commands._Wrong, match="longer than 1024 bytes"):
        commands._piped()


def test_the_site_serves_so_many_requests_at_once_of_which_streams_leave_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[uvicorn.Config] = []
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda self, sockets=None: served.append(self.config)
    )
    monkeypatch.setattr(serve, "_end_in_time", lambda: None)
    with socket.socket() as listener:
        serve._serve(MccFile(mqtt=MqttSettings(url="mqtt://127.0.0.1:1")), listener)
    assert [config.limit_concurrency for config in served] == [REQUESTS_MAX]
    assert REQUESTS_MAX >= 2 * STREAMS_MAX


def test_the_sites_database_cuts_its_write_ahead_log(tmp_path: Path) -> None:
    options = database_of(DatabaseSettings(url=f"sqlite:///{tmp_path}/site.db"))["OPTIONS"]
    connection = sqlite3.connect(tmp_path / "site.db")
    connection.executescript(options["init_command"])
    assert connection.execute("PRAGMA journal_size_limit").fetchone() == (WAL_BYTES_MAX,)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()
