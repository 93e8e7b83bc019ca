"""The weekly analysis comes by itself: once, whoever makes it, and to its list by real e-mail."""

from __future__ import annotations

import email
import email.policy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pypdfium2  # type: ignore[import-untyped]
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.db import connections

from mcc.anev import editions, mail, rows
from mcc.anev.figures import HOUR_MS, WEEK_MS, week_of
from mcc.anev.models import Edition
from mcc.anev.schedule import due
from mcc.cases.models import Alarm, Entry, Fault, Process
from mcc.escalation import desk
from mcc.escalation.ladder import Now
from mcc.escalation.models import Notice
from mcc.escalation.worker import ANEV_PAUSE_S, PROCESS, Worker
from mcc.registers.models import Unit
from mcc.settings import AnevSettings, DatabaseSettings, EscalationSettings, MccFile, MqttSettings
from tests.broker import free_port
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import START_MS
from tests.mcc.test_actions import stored
from tests.mcc.test_escalation import manned
from tests.mcc.test_escalation_process import PATIENCE_S, until

# The week in which the tests' one call came.
BEGIN_MS = week_of(START_MS)
MONDAY_MS = BEGIN_MS + WEEK_MS
AT_SIX_MS = MONDAY_MS + 6 * HOUR_MS


class Mailbox:
    """Keeps what a mail server takes; refuses while `refuses`."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], EmailMessage]] = []
        self.refuses = False

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.refuses:
            return "451 not now"
        assert isinstance(envelope.content, bytes)
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(letter, EmailMessage)
        self.got.append((list(map(str, envelope.rcpt_tos)), letter))
        return "250 OK"


class Post:
    """A real mail server on this machine."""

    def __init__(self) -> None:
        self.box = Mailbox()
        self._server = Controller(self.box, hostname="127.0.0.1", port=free_port())
        self._server.start()

    def url(self, to: str) -> str:
        port = self._server.port
        return f"mailto://127.0.0.1:{port}?from=mcc@example.org&to={to}@example.org&mode=insecure"

    def close(self) -> None:
        self._server.stop()


@pytest.fixture
def post() -> Iterator[Post]:
    one = Post()
    yield one
    one.close()


def papers(letter: EmailMessage) -> list[tuple[str, str]]:
    """Name and text of each PDF that goes with a letter."""
    found = []
    for part in letter.iter_attachments():
        content = part.get_content()
        pages = pypdfium2.PdfDocument(content)
        text = " ".join(one.get_textpage().get_text_range() for one in pages)
        found.append((str(part.get_filename()), " ".join(text.split())))
    return found


def settings_of(post: Post | None = None, **fields: Any) -> MccFile:
    if post is not None:
        fields.setdefault("mail", (post.url("kapolresta"),))
    return MccFile(mqtt=MqttSettings(url="mqtt://127.0.0.1"), anev=AnevSettings(**fields))


@pytest.fixture
def use(settings: Any) -> Any:
    """Makes these settings those of the process."""

    def used(one: MccFile) -> MccFile:
        settings.MCC = one
        return one

    return used


def look(one: Worker, at_ms: int, mono_s: float = 1_000.0) -> None:
    one.look(Now(mono_s, at_ms))
    one.finish(60)


def states() -> list[str]:
    return list(Notice.objects.order_by("id").values_list("state", flat=True))


# --- when ---------------------------------------------------------------------------------------


def test_the_week_before_is_due_on_monday_from_the_hour_on_until_the_next_one_is() -> None:
    anev = AnevSettings()
    assert due(anev, AT_SIX_MS - 1) == BEGIN_MS - WEEK_MS
    assert due(anev, AT_SIX_MS) == BEGIN_MS
    assert due(anev, AT_SIX_MS + WEEK_MS - 1) == BEGIN_MS
    assert due(AnevSettings(hour=0), MONDAY_MS) == BEGIN_MS
    assert due(AnevSettings(scheduled=False), AT_SIX_MS) is None


# --- once ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_the_schedule_makes_one_edition_and_the_record_says_so(use: Any) -> None:
    stored(state="resolved")
    one = Worker(use(settings_of()))
    look(one, AT_SIX_MS - 1)
    assert not Edition.objects.exists()
    for second in range(3):
        look(one, AT_SIX_MS + second * 1000, 1_000.0 + second)
    look(Worker(settings_of()), AT_SIX_MS + HOUR_MS)
    [edition] = Edition.objects.all()
    assert (edition.number, edition.made_by) == (1, "")
    assert editions.report_of(edition).sections["city"]["calls.panic"].value == 1
    assert editions.is_as_made(edition)
    [line] = Entry.objects.filter(action=editions.MADE)
    assert line.operator == "kentongan"
    assert line.detail["edition"] == 1


@pytest.mark.usefixtures("database", "quick_passwords")
def test_one_that_somebody_made_to_look_at_before_the_hour_is_the_week_s_letter_once(
    use: Any, post: Post
) -> None:
    stored(state="resolved")
    used, rini = use(settings_of(post)), an_account("rini", "supervisor")
    for _ in range(2):
        editions.make(used, BEGIN_MS, MONDAY_MS + HOUR_MS, rini, lambda _: None)
    one = Worker(used)
    look(one, AT_SIX_MS - 1)
    assert not Notice.objects.exists()
    for worker in (one, Worker(used)):
        for second in range(3):
            look(worker, AT_SIX_MS + second * 1000, 1_000.0 + ANEV_PAUSE_S + second)
    assert Edition.objects.count() == 2
    assert list(Notice.objects.values_list("call", "state")) == [("anev/2027-W02/2", "sent")]
    [(_, letter)] = post.box.got
    assert [name for name, _ in papers(letter)] == ["anev-2027-W02-2-city.pdf"]


@pytest.mark.usefixtures("database", "quick_passwords")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_that_was_made_and_sent_before_the_hour_is_not_sent_again(use: Any, post: Post) -> None:
    stored(state="resolved")
    used, rini = use(settings_of(post)), an_account("rini", "supervisor")
    editions.make(used, BEGIN_MS, MONDAY_MS + HOUR_MS, rini, mail.put_out)
    editions.make(used, BEGIN_MS, MONDAY_MS + HOUR_MS, rini, lambda _: None)
    one = Worker(used)
    for second in range(3):
        look(one, AT_SIX_MS + second * 1000, 1_000.0 + second)
    assert list(Notice.objects.values_list("call", flat=True)) == ["anev/2027-W02/1"]
    assert len(post.box.got) == 1


@pytest.mark.usefixtures("database")
def test_a_storm_of_calls_in_the_week_makes_no_letter_go_out_again(
    use: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "SETTLED_STORED_MAX", 3)
    stored(state="resolved")
    used = use(settings_of(post))
    look(first := Worker(used), AT_SIX_MS)
    look(first, AT_SIX_MS + 1_000)
    for n in range(4):
        Notice.objects.create(
            call=f"alarm/{n}",
            rung="supervisor",
            target="t",
            label="",
            state="sent",
            next_ms=0,
            created_ms=0,
            settled_ms=n,
        )
    # The process starts anew, and clears away what is too much.
    look(second := Worker(used), AT_SIX_MS + 2_000)
    look(second, AT_SIX_MS + 3_000)
    assert Edition.objects.count() == len(post.box.got) == 1
    kept = Notice.objects.order_by("id").values_list("call", flat=True)
    assert list(kept) == ["anev/2027-W02/1", "alarm/1", "alarm/2", "alarm/3"]


@pytest.mark.usefixtures("database")
def test_two_processes_at_once_make_one_edition_and_one_letter(use: Any, post: Post) -> None:
    stored(state="resolved")
    used = use(settings_of(post))
    together = threading.Barrier(2)
    made: list[Edition | None] = []

    def told(edition: Edition) -> None:
        mail.put_out(edition)

    def run() -> None:
        together.wait()
        try:
            made.append(editions.make_first(used, BEGIN_MS, AT_SIX_MS, told))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert len(made) == 2
    assert sum(one is not None for one in made) == 1
    assert Edition.objects.count() == Notice.objects.count() == 1
    workers = [Worker(used), Worker(used)]
    for worker in workers:
        worker.look(Now(1_000.0, AT_SIX_MS))
    for worker in workers:
        worker.finish(60)
    assert len(post.box.got) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_two_real_processes_that_are_killed_and_come_again_make_one_and_send_one(
    database: DatabaseSettings, tmp_path: Path, post: Post
) -> None:
    stored(state="resolved")
    Alarm.objects.update(raised_ms=1_700_000_000_000, heard_ms=1_700_000_000_000)
    (tmp_path / "mcc.secret").write_text("s" * 48)
    file = tmp_path / "mcc.toml"
    file.write_text(
        f'state_directory = "{tmp_path}"\n[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n'
        f'[database]\nurl = "{database.url}"\n'
        f'[anev]\nhour = 0\nmail = ["{post.url("kapolresta")}"]\n'
    )
    program = str(Path(sys.executable).with_name("kentongan-mcc"))

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen([program, "escalate", "--config", str(file)])

    running = [started(), started()]
    try:
        until(lambda: states() == ["sent"], running[0])
        for one in running:
            one.send_signal(signal.SIGKILL)
            one.wait(PATIENCE_S)
        beat = Process.objects.get(name=PROCESS).beat
        running = [started()]
        until(lambda: Process.objects.get(name=PROCESS).beat > beat + 1, running[0])
    finally:
        for one in running:
            one.kill()
            one.wait(PATIENCE_S)
    assert Edition.objects.count() == 1
    assert states() == ["sent"]
    assert len(post.box.got) == 1


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_new_command_centre_makes_none_of_weeks_before_its_first_record(use: Any) -> None:
    used = use(settings_of())
    look(Worker(used), AT_SIX_MS)
    stored()
    Alarm.objects.update(raised_ms=MONDAY_MS, heard_ms=MONDAY_MS)
    look(Worker(used), AT_SIX_MS)
    assert not Edition.objects.exists()
    look(Worker(used), AT_SIX_MS + WEEK_MS)
    assert Edition.objects.count() == 1


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_that_cannot_be_made_is_tried_again_after_a_pause(
    use: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for n in (1, 2):
        stored(n, state="resolved")
    one = Worker(use(settings_of()))
    monkeypatch.setattr(rows, "CASES_MAX", 1)
    look(one, AT_SIX_MS)
    look(one, AT_SIX_MS, 1_000.0 + ANEV_PAUSE_S - 1)
    assert capfd.readouterr().err.count("anev_not_made") == 1
    monkeypatch.undo()
    look(one, AT_SIX_MS, 1_000.0 + ANEV_PAUSE_S - 1)
    assert not Edition.objects.exists()
    look(one, AT_SIX_MS, 1_000.0 + ANEV_PAUSE_S)
    assert Edition.objects.count() == 1


# --- to whom ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_the_list_gets_the_city_s_paper_and_a_polsek_its_own_and_nobody_gets_it_twice(
    use: Any, post: Post
) -> None:
    stored(state="resolved")
    units = {
        "polsek-klojen": (post.url("klojen"), post.url("klojen")),
        "polsek-nowhere": (post.url("nowhere"),),
    }
    one = Worker(use(settings_of(post, units=units)))
    for second in range(4):
        look(one, AT_SIX_MS + second * 1000, 1_000.0 + second)
    got = sorted((to, letter) for to, letter in post.box.got)
    assert [to for to, _ in got] == [["kapolresta@example.org"], ["klojen@example.org"]]
    assert states() == ["sent", "sent"]
    city, klojen = (letter for _, letter in got)
    assert city["Subject"] == "Anev 2027-W02: Seluruh kota"
    [(name, text)] = papers(city)
    assert name == "anev-2027-W02-1-city.pdf"
    assert "1 panggilan tolong" in text
    body = city.get_body(("plain", "html"))
    assert body is not None
    assert "1 panggilan tolong" in body.get_content()
    [(name, text)] = papers(klojen)
    assert name == "anev-2027-W02-1-kec-35.73.02.pdf"
    assert "SEKTOR KLOJEN" in text
    told = Entry.objects.filter(action="told").order_by("id")
    assert [(one.detail["anev"], one.detail["delivered"]) for one in told] == [
        ("2027-W02/1", True),
        ("2027-W02/1", True),
    ]
    assert "klojen@" not in str([one.detail for one in told])


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_mail_server_that_is_away_for_hours_gets_it_when_it_is_back(use: Any, post: Post) -> None:
    stored(state="resolved")
    manned()
    one = Worker(use(settings_of(post)))
    post.box.refuses = True
    look(one, AT_SIX_MS)
    look(one, AT_SIX_MS + 1000)
    assert states() == ["waiting"]
    assert Fault.objects.filter(name=desk.UNDELIVERED).exists()
    Notice.objects.update(attempts=desk.ATTEMPTS_MAX + 5)
    look(one, AT_SIX_MS + HOUR_MS)
    assert states() == ["waiting"]
    post.box.refuses = False
    look(one, AT_SIX_MS + 2 * HOUR_MS)
    assert states() == ["sent"]
    assert not Fault.objects.filter(name=desk.UNDELIVERED).exists()
    assert len(post.box.got) == 1


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_mail_server_that_stays_away_is_given_up_and_the_record_says_so(
    use: Any, post: Post
) -> None:
    stored(state="resolved")
    used = use(settings_of(post))
    post.box.refuses = True
    editions.make_first(used, BEGIN_MS, AT_SIX_MS, mail.put_out)
    Notice.objects.update(attempts=desk.ANEV_ATTEMPTS_MAX - 1)
    look(Worker(used), AT_SIX_MS)
    assert states() == ["failed"]
    [line] = Entry.objects.filter(action="told")
    assert line.detail["delivered"] is False


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_was_claimed_by_one_who_died_is_sent_by_another(use: Any, post: Post) -> None:
    stored(state="resolved")
    used = use(settings_of(post))
    editions.make_first(used, BEGIN_MS, AT_SIX_MS, mail.put_out)
    [digest] = mail.targets(used.anev)
    assert desk.claim(digest, AT_SIX_MS)
    look(Worker(used), AT_SIX_MS + desk.LEASE_MS - 1)
    assert post.box.got == []
    look(Worker(used), AT_SIX_MS + desk.LEASE_MS)
    assert len(post.box.got) == 1


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_paper_that_cannot_be_drawn_is_noted_as_not_sent(
    use: Any, post: Post, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no ink")

    stored(state="resolved")
    used = use(settings_of(post))
    editions.make_first(used, BEGIN_MS, AT_SIX_MS, mail.put_out)
    monkeypatch.setattr(mail, "message", broken)
    look(Worker(used), AT_SIX_MS)
    assert states() == ["waiting"]
    assert "no ink" in capfd.readouterr().err


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_letter_and_a_call_for_help_to_the_same_address_are_two_messages(
    use: Any, post: Post
) -> None:
    """A call that nobody answers does not wait for a paper, nor does it come below one."""
    stored()
    url = post.url("kapolresta")
    used = use(
        MccFile(
            mqtt=MqttSettings(url="mqtt://127.0.0.1"),
            anev=AnevSettings(mail=(url,)),
            escalation=EscalationSettings(supervisor=(url,)),
        )
    )
    one = Worker(used)
    for second in range(3):
        look(one, AT_SIX_MS + second * 1000, 1_000.0 + second)
    subjects = sorted(str(letter["Subject"]) for _, letter in post.box.got)
    assert len(subjects) >= 2
    assert sum(one.startswith("Anev 2027-W02") for one in subjects) == 1
    assert any("TIDAK" in one.upper() or "BELUM" in one.upper() for one in subjects)
    for _, letter in post.box.got:
        is_letter = str(letter["Subject"]).startswith("Anev")
        assert bool(papers(letter)) is is_letter


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_unit_that_is_no_more_gets_no_figures(use: Any, post: Post) -> None:
    stored(state="resolved")
    used = use(settings_of(mail=(), units={"polsek-klojen": (post.url("klojen"),)}))
    editions.make_first(used, BEGIN_MS, AT_SIX_MS, mail.put_out)
    Unit.objects.filter(slug="polsek-klojen").delete()
    look(Worker(used), AT_SIX_MS)
    [(_, letter)] = post.box.got
    assert papers(letter) == []
    assert "polsek-klojen" in letter.as_string()


# --- on demand ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("database", "quick_passwords")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_edition_made_on_demand_is_sent_only_if_that_was_asked_for(
    use: Any, post: Post, database: DatabaseSettings
) -> None:
    stored(state="resolved")
    Alarm.objects.update(raised_ms=1_700_000_000_000, heard_ms=1_700_000_000_000)
    use(settings_of(post))
    client = signed_in(an_account("rini", "supervisor"))
    assert 'name="send"' in client.get("/anev/").content.decode()
    client.post("/anev/make", {"week": "2023-W46"})
    assert not Notice.objects.exists()
    client.post("/anev/make", {"week": "2023-W46", "send": "1"})
    assert Notice.objects.get().call == "anev/2023-W46/2"
