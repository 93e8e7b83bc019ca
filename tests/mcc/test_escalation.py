"""People are told of what nobody answers: durable, once, to real receivers, on both databases."""

from __future__ import annotations

import email
import html
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
import requests
from aiosmtpd.controller import Controller
from django.db import connections

from mcc.cases.actions import act
from mcc.cases.models import Alarm, Change, Entry, Fault, Process
from mcc.escalation import desk
from mcc.escalation.ladder import Now
from mcc.escalation.models import Notice
from mcc.escalation.words import NAMED_MAX, message
from mcc.escalation.worker import Worker, send
from mcc.people.models import Screen, Shift, User
from mcc.registers.models import Post
from mcc.settings import EscalationSettings, MccFile, MqttSettings
from tests.broker import free_port
from tests.mcc.rig import POST, uid
from tests.mcc.test_actions import FROM, a_user, registered, stored

pytestmark = pytest.mark.usefixtures("database")


class Receiver:
    """A web server that takes what it is sent, and refuses while `refuses`."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.refuses = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not receiver.refuses:
                    receiver.got.append(json.loads(body))
                self.send_response(503 if receiver.refuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"json://127.0.0.1:{self._server.server_port}/{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def a_worker(receiver: Receiver, **fields: Any) -> Worker:
    fields = {"supervisor": (receiver.url("supervisor"),)} | fields
    escalation = EscalationSettings(**fields)
    return Worker(MccFile(mqtt=MqttSettings(url="mqtt://127.0.0.1"), escalation=escalation))


def pressed_ago(seconds: float, n: int = 1) -> Now:
    """An unanswered alarm, and the moment so long after its press."""
    stored(n)
    now_ms = time.time_ns() // 1_000_000
    pressed_ms = now_ms - int(seconds * 1000)
    Alarm.objects.filter(alarm_id=uid(n)).update(raised_ms=pressed_ms, heard_ms=pressed_ms)
    return Now(1_000.0, now_ms)


def look(worker: Worker, now: Now) -> None:
    worker.look(now)
    worker.finish(30)


def manned() -> User:
    user = a_user("siti")
    now_ms = time.time_ns() // 1_000_000
    Shift.objects.create(user=user, began_ms=now_ms)
    Screen.objects.create(screen_id=uid(99), user=user, seen_ms=now_ms, sound=True)
    return user


def states() -> list[str]:
    return list(Notice.objects.order_by("id").values_list("state", flat=True))


def test_a_call_that_nobody_answers_reaches_the_supervisor_and_the_record(
    receiver: Receiver,
) -> None:
    now = pressed_ago(61)
    registered()
    look(a_worker(receiver), now)
    [got] = [one for one in receiver.got if "Pos RW 05" in one["message"]]
    assert "Dinoyo, Lowokwaru" in got["message"]
    assert states() == ["sent"]
    [entry] = Entry.objects.filter(action="told")
    assert (entry.alarm_id, entry.operator) == (uid(1), "kentongan")
    assert entry.detail["rung"] == "supervisor"
    assert entry.detail["delivered"] is True
    assert receiver.url("supervisor") not in json.dumps(entry.detail)
    assert Change.objects.filter(kind="alarm", key=uid(1)).exists()


def test_pickets_of_the_registered_kelurahan_are_told_and_those_of_others_are_not(
    receiver: Receiver,
) -> None:
    now = pressed_ago(91)
    registered()
    pickets = {
        "polsek-lowokwaru": (receiver.url("lowokwaru"),),
        "polsek-klojen": (receiver.url("klojen"),),
    }
    look(a_worker(receiver, supervisor=(), pickets=pickets), now)
    assert [one.unit for one in Notice.objects.filter(rung="pickets")] == ["polsek-lowokwaru"]
    # And that no supervisor can be told is said.
    assert Fault.objects.get(name=desk.NO_TARGET).detail == "supervisor"


def test_an_unregistered_post_is_told_to_the_polresta(receiver: Receiver) -> None:
    now = pressed_ago(91)
    pickets = {"polresta": (receiver.url("polresta"),)}
    look(a_worker(receiver, pickets=pickets), now)
    assert {one.rung for one in Notice.objects.filter(state="sent")} == {"supervisor", "pickets"}


def test_nothing_is_told_before_its_time_or_after_the_answer(receiver: Receiver) -> None:
    now = pressed_ago(59)
    registered()
    user = manned()
    worker = a_worker(receiver)
    look(worker, now)
    assert receiver.got == []
    act(user, "acknowledge", alarm_id=uid(1), **FROM)
    look(worker, Now(now.mono_s + 60, now.wall_ms + 60_000))
    assert receiver.got == []
    assert states() == []


def test_an_answer_between_writing_and_sending_stops_a_notice(receiver: Receiver) -> None:
    now = pressed_ago(61)
    registered()
    user = manned()
    receiver.refuses = True
    worker = a_worker(receiver)
    look(worker, now)
    assert states() == ["waiting"]
    act(user, "acknowledge", alarm_id=uid(1), **FROM)
    receiver.refuses = False
    later = now.wall_ms + desk.PAUSE_MS_MAX
    assert desk.claim(Notice.objects.get().target, later) == []
    assert states() == ["stopped"]
    assert receiver.got == []


def test_a_practice_call_wakes_nobody(receiver: Receiver) -> None:
    manned()
    stored(1, kind="test")
    Alarm.objects.update(raised_ms=1, heard_ms=1)
    look(a_worker(receiver), Now(0.0, time.time_ns() // 1_000_000))
    assert states() == []


def test_looking_again_and_starting_anew_tell_nobody_twice(receiver: Receiver) -> None:
    now = pressed_ago(61)
    manned()
    worker = a_worker(receiver)
    for second in range(3):
        look(worker, Now(now.mono_s + second, now.wall_ms + 1_000 * second))
    look(a_worker(receiver), now)
    assert len(receiver.got) == 1
    assert states() == ["sent"]


def test_of_many_workers_one_gets_a_notice(receiver: Receiver) -> None:
    now = pressed_ago(61)
    manned()
    worker = a_worker(receiver)
    desk.write(worker._ladder.rises(desk.unanswered(), now), worker._settings.escalation, 1)
    [notice] = Notice.objects.all()
    start = threading.Barrier(6)
    got: list[int] = []

    def claim() -> None:
        start.wait()
        got.append(len(desk.claim(notice.target, 10)))
        connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 0, 0, 0, 0, 1]


def test_what_a_dead_worker_had_claimed_is_sent_when_its_lease_is_over(
    receiver: Receiver,
) -> None:
    now = pressed_ago(61)
    manned()
    worker = a_worker(receiver)
    desk.write(worker._ladder.rises(desk.unanswered(), now), worker._settings.escalation, 1)
    target = Notice.objects.get().target
    assert len(desk.claim(target, 1_000)) == 1
    assert desk.claim(target, 1_000 + desk.LEASE_MS - 1) == []
    assert len(desk.claim(target, 1_000 + desk.LEASE_MS)) == 1


def test_a_failure_is_seen_tried_again_and_mended_by_a_delivery(receiver: Receiver) -> None:
    now = pressed_ago(61)
    manned()
    receiver.refuses = True
    worker = a_worker(receiver)
    look(worker, now)
    assert states() == ["waiting"]
    assert "127.0.0.1" in Fault.objects.get(name=desk.UNDELIVERED).detail
    receiver.refuses = False
    look(worker, Now(now.mono_s + 1, now.wall_ms + desk.PAUSE_MS_MAX))
    assert states() == ["sent"]
    assert not Fault.objects.filter(name=desk.UNDELIVERED).exists()


def test_a_notice_is_given_up_after_so_many_attempts_and_the_record_says_so(
    receiver: Receiver,
) -> None:
    now = pressed_ago(61)
    manned()
    worker = a_worker(receiver)
    desk.write(worker._ladder.rises(desk.unanswered(), now), worker._settings.escalation, 1)
    target = Notice.objects.get().target
    at_ms = 1_000
    for _ in range(desk.ATTEMPTS_MAX):
        claimed = desk.claim(target, at_ms)
        desk.settle(claimed, delivered=False, now_ms=at_ms)
        at_ms += desk.PAUSE_MS_MAX
    assert states() == ["failed"]
    assert desk.claim(target, at_ms) == []
    [entry] = Entry.objects.filter(action="told")
    assert entry.detail["delivered"] is False
    assert Fault.objects.filter(name=desk.UNDELIVERED).exists()
    desk.drop_targets((), at_ms)
    assert not Fault.objects.filter(name=desk.UNDELIVERED).exists()


def test_a_storm_of_calls_is_one_message(receiver: Receiver) -> None:
    manned()
    for n in range(1, 31):
        now = pressed_ago(61, n)
    look(a_worker(receiver), now)
    assert len(receiver.got) == 1
    assert len(receiver.got[0]["message"].splitlines()) == NAMED_MAX + 1
    assert states() == ["sent"] * 30


def test_settled_notices_are_forgotten_beyond_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "SETTLED_STORED_MAX", 3)
    for n, (kind, rung) in itertools.product(range(6), (("alarm", "pickets"), ("anev", "anev"))):
        Notice.objects.create(
            call=f"{kind}/{n}",
            rung=rung,
            target="t",
            label="",
            state="sent",
            next_ms=0,
            created_ms=0,
            settled_ms=n,
        )
    desk.forget_settled()
    kept = list(Notice.objects.order_by("id").values_list("call", flat=True))
    assert kept == [f"{kind}/{n}" for n in (3, 4, 5) for kind in ("alarm", "anev")]


# --- the command centre itself ------------------------------------------------------------------


def test_a_command_centre_where_nobody_would_answer_says_so_and_tells_the_supervisor(
    receiver: Receiver,
) -> None:
    worker = a_worker(receiver)
    wall_ms = time.time_ns() // 1_000_000
    look(worker, Now(0.0, wall_ms))
    names = ["no_console_with_sound", "nobody_on_shift"]
    assert list(Fault.objects.order_by("name").values_list("name", flat=True)) == names
    assert Change.objects.filter(kind="fault").count() == 2
    assert receiver.got == []
    look(worker, Now(61.0, wall_ms + 61_000))
    [got] = receiver.got
    assert len(got["message"].splitlines()) == 2
    manned()
    look(worker, Now(62.0, time.time_ns() // 1_000_000))
    assert not Fault.objects.exists()


def test_faults_that_stay_change_nothing(receiver: Receiver) -> None:
    worker = a_worker(receiver, supervisor=())
    wall_ms = time.time_ns() // 1_000_000
    for second in range(3):
        look(worker, Now(float(second), wall_ms + second))
    assert Change.objects.count() == 2
    assert Process.objects.get(name="escalate").beat == 2


def test_a_forgotten_shift_does_not_man_the_desk(receiver: Receiver) -> None:
    manned()
    Shift.objects.update(began_ms=1)
    look(a_worker(receiver), Now(0.0, time.time_ns() // 1_000_000))
    assert Fault.objects.filter(name="nobody_on_shift").exists()


# --- words and real receivers --------------------------------------------------------------------


class Mailbox:
    """What a mail server hands its messages to."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def handle_DATA(  # noqa: N802 - aiosmtpd names it
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.got.append(envelope.content.decode())
        return "250 OK"


PLANTED = "Pos R&D <5> <script>alert(1)</script>"


def test_markup_in_a_register_is_words_in_a_telegram_and_in_a_mail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored()
    Post.objects.create(post_id=POST, name=PLANTED)
    what = message([Notice(call=f"alarm/{uid(1)}", rung="supervisor")], 0)
    assert PLANTED in what.body
    asked: list[Any] = []

    def telegram(url: str, *, data: str, **_: object) -> requests.Response:
        asked.append(json.loads(data))
        answer = requests.Response()
        answer.status_code = 200
        return answer

    monkeypatch.setattr(requests, "post", telegram)
    assert send(desk.target_of("tgram://123456789:abcdefg_hijklmnop/12315544/"), what)
    [said] = asked
    assert said["parse_mode"] == "HTML"
    # Nothing is left that its parser would take for a tag of the text's own.
    assert set(re.findall(r"</?([a-z]+)", said["text"])) <= {"b"}
    assert html.unescape(re.sub(r"</?b>", "", said["text"])).count(PLANTED) == 1
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        url = f"mailto://127.0.0.1:{server.port}?from=mcc@example.org&to=kapolsek@example.org"
        assert send(desk.target_of(f"{url}&mode=insecure"), what)
    finally:
        server.stop()
    mail = email.message_from_string(mailbox.got[0])
    assert {one.get_content_type() for one in mail.walk()} == {"text/plain"}
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert PLANTED in body.decode()


def test_a_notice_is_delivered_by_mail_to_a_real_server() -> None:
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        url = f"mailto://127.0.0.1:{server.port}?from=mcc@example.org&to=kapolsek@example.org"
        target = desk.target_of(f"{url}&mode=insecure")
        stored()
        notice = Notice(call=f"alarm/{uid(1)}", rung="supervisor")
        assert send(target, message([notice], time.time_ns() // 1_000_000))
    finally:
        server.stop()
    assert len(mailbox.got) == 1
    assert "kapolsek@example.org" in mailbox.got[0]


@pytest.mark.parametrize("url", ["json://127.0.0.1:9/", "nosuchservice://x", "tgram://short"])
def test_a_target_that_cannot_be_reached_is_a_failure_and_no_traceback(url: str) -> None:
    assert send(desk.target_of(url), message([], 0)) is False


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("tgram://123456:secret/chat", "tgram"),
        ("mailto://user:secret@mail.example.org", "mailto://mail.example.org"),
        ("jsons://user:secret@hook.example.org/secret", "jsons://hook.example.org"),
    ],
)
def test_what_is_shown_of_a_target_holds_no_secret(url: str, shown: str) -> None:
    assert desk.target_of(url).label == shown


def test_text_from_a_register_is_text_in_a_message() -> None:
    stored()
    Post.objects.create(post_id=POST, name="<b>Pos</b>", lat=-7.95, lon=112.61, address="Jl. A")
    text = message([Notice(call=f"alarm/{uid(1)}")], 0).body
    assert "<b>Pos</b>, Jl. A" in text
    assert "geo:-7.950000,112.610000" in text


def test_an_alarm_that_was_answered_is_not_on_the_ladder() -> None:
    stored(1, "acknowledged")
    stored(2)
    assert [one.key for one in desk.unanswered()] == [f"alarm/{uid(2)}"]
    assert msgspec.json.decode(Alarm.objects.get(alarm_id=uid(2)).body)["state"] == "received"


def test_the_oldest_calls_are_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "CALLS_MAX", 2)
    for n in range(1, 4):
        pressed_ago(100 - n, n)
    assert [one.key for one in desk.unanswered()] == [f"alarm/{uid(1)}", f"alarm/{uid(2)}"]
