"""The webhook out: every alarm that changes, in order, signed, until the receiver has taken it."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db import connections

from mcc.api import hooks
from mcc.api.models import Hook
from mcc.cases.changes import changes
from mcc.cases.models import Change, Fault
from mcc.escalation.ladder import Now
from mcc.escalation.worker import Worker
from mcc.settings import MccFile, MqttSettings
from tests.broker import free_port
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import uid
from tests.mcc.test_actions import stored

pytestmark = pytest.mark.usefixtures("database", "quick_passwords")
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
SECRET = "a secret that signs"


class Receiver:
    """A web server that takes what it is sent, or answers `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers[hooks.SIGNATURE], body))
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", self.path)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alarms"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def told(self) -> list[list[str]]:
        """The ids of the alarms of each message."""
        return [[one["alarm_id"] for one in json.loads(body)["alarms"]] for _, body in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def a_hook(url: str, **fields: Any) -> Hook:
    return Hook.objects.create(name="dispatch", url=url, secret=SECRET, **fields)


def changed(*numbers: int, kind: Any = "alarm") -> None:
    with changes() as change:
        for n in numbers:
            change.note(kind, uid(n))


def tell(now_ms: int = 0) -> bool | None:
    """Tell the one hook; None: there was nothing to tell."""
    parcel = hooks.claim(Hook.objects.get().pk, now_ms)
    return None if parcel is None else hooks.deliver(parcel, now_ms)


def test_an_alarm_that_changes_is_told_once_and_signed(receiver: Receiver) -> None:
    a_hook(receiver.url)
    stored()
    changed(1)
    assert tell(1_000_000) is True
    assert tell(1_000_000) is None
    [(signature, body)] = receiver.got
    assert json.loads(body)["alarms"][0]["state"] == "received"
    said = dict(part.split("=") for part in signature.split(","))
    wanted = hmac.new(SECRET.encode(), f"{said['t']}.".encode() + body, hashlib.sha256)
    assert hmac.compare_digest(said["v1"], wanted.hexdigest())
    assert said["t"] == "1000"


def test_what_was_not_taken_is_told_again_after_a_growing_pause(receiver: Receiver) -> None:
    a_hook(receiver.url)
    stored()
    changed(1)
    receiver.status = 503
    now_ms = 0
    for attempt in range(1, 5):
        assert tell(now_ms) is False
        assert tell(now_ms + hooks.PAUSE_MS * 2 ** (attempt - 1) - 1) is None
        now_ms += hooks.PAUSE_MS * 2 ** (attempt - 1)
    assert Hook.objects.get().why == "HTTP 503"
    assert hooks.failing() == "dispatch"
    receiver.status = 200
    assert tell(now_ms) is True
    assert hooks.failing() == ""
    Hook.objects.update(failures=1_000)
    changed(1)
    receiver.status = 503
    assert tell(0) is False
    assert Hook.objects.get().next_ms == hooks.PAUSE_MS_MAX


def test_a_receiver_that_was_away_gets_everything_in_order(receiver: Receiver) -> None:
    hook = a_hook(f"http://127.0.0.1:{free_port()}/")
    for n in range(1, 4):
        stored(n)
        changed(n)
    assert tell() is False
    assert "refused" in Hook.objects.get().why
    Hook.objects.filter(pk=hook.pk).update(url=receiver.url, next_ms=0)
    assert tell() is True
    assert receiver.told == [[uid(1), uid(2), uid(3)]]


def test_many_changes_go_out_in_bounded_parcels(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "BATCH_MAX", 2)
    a_hook(receiver.url)
    for n in range(1, 6):
        stored(n)
    changed(1, 2, 3, 4, 5)
    while hooks.due(0):
        tell()
    assert receiver.told == [[uid(1), uid(2)], [uid(3), uid(4)], [uid(5)]]


def test_changes_that_concern_no_alarm_are_passed_over(receiver: Receiver) -> None:
    a_hook(receiver.url)
    changed(1, kind="post")
    assert tell() is None
    assert hooks.due(0) == []
    assert receiver.got == []


def test_who_was_away_for_longer_than_the_feed_is_told_so(receiver: Receiver) -> None:
    a_hook(receiver.url)
    stored()
    changed(1)
    changed(1)
    Change.objects.filter(sequence=1).delete()
    assert tell() is True
    assert json.loads(receiver.got[0][1])["missed"] is True


def test_of_many_workers_one_tells(receiver: Receiver) -> None:
    pk = a_hook(receiver.url).pk
    stored()
    changed(1)
    start = threading.Barrier(5)
    got: list[bool] = []

    def claim() -> None:
        start.wait()
        got.append(hooks.claim(pk, 1_000) is not None)
        connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(True) == 1
    assert hooks.claim(pk, 1_000 + hooks.LEASE_MS) is not None


@ON_SQLITE
def test_nothing_is_sent_on_to_another_address(receiver: Receiver) -> None:
    a_hook(receiver.url)
    stored()
    changed(1)
    receiver.status = 302
    assert tell() is False
    assert len(receiver.got) == 1


@ON_SQLITE
def test_the_worker_tells_and_shows_a_hook_that_fails(receiver: Receiver) -> None:
    a_hook(receiver.url)
    stored(1, "acknowledged")
    changed(1)
    worker = Worker(MccFile(mqtt=MqttSettings(url="mqtt://127.0.0.1")))
    now_ms = time.time_ns() // 1_000_000
    worker.look(Now(0.0, now_ms))
    worker.finish(30)
    assert receiver.told == [[uid(1)]]
    receiver.status = 503
    changed(1)
    for attempt in range(hooks.FAILURES_SHOWN + 1):
        worker.look(Now(1.0, now_ms + attempt * hooks.PAUSE_MS_MAX))
        worker.finish(30)
    assert Fault.objects.get(name=hooks.FAULT).detail == "dispatch"
    receiver.status = 200
    for attempt in (20, 21):
        worker.look(Now(1.0, now_ms + attempt * hooks.PAUSE_MS_MAX))
        worker.finish(30)
    assert not Fault.objects.filter(name=hooks.FAULT).exists()


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://hook.example.org/x", True),
        ("http://127.0.0.1:8000/", True),
        ("http://hook.example.org/", False),
        ("ftp://127.0.0.1/", False),
    ],
)
def test_alarms_go_nowhere_in_the_clear(url: str, is_taken: bool) -> None:
    desk = signed_in(an_account("admin", "administrator"))
    answer = desk.post("/admin/api/hook/add/", {"name": "x", "url": url, "enabled": "on"})
    assert (answer.status_code == 302) is is_taken
    if is_taken:
        hook = Hook.objects.get()
        page = desk.get(f"/admin/api/hook/{hook.pk}/change/").content.decode()
        assert "Simpan" in page
        assert desk.get("/admin/api/hook/").content.decode().count(hook.secret) <= 1
        assert hook.secret not in desk.get("/admin/api/hook/").content.decode()
