"""Visits: kept once under the telephone's key, pictures drawn anew, seen by whose they are."""

from __future__ import annotations

import os
import re
import threading
import uuid
from pathlib import Path
from typing import Any, get_args

import pytest
from django.core.management import call_command
from django.db import Error, IntegrityError, connections
from django.test import Client
from PIL import Image

from mcc.anev import rows
from mcc.anev.figures import WEEK_MS, week_of
from mcc.cases.models import Entry
from mcc.registers.models import Officer
from mcc.visits import intake
from mcc.visits.checks import latest_checks
from mcc.visits.models import FollowUp, Visit
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST
from tests.mcc.test_actions import registered
from tests.mcc.test_photos import GPS_TAG, ORIENTATION_TAG, a_photo
from tests.mcc.visits_rig import DINOYO, KASIN, a_visit, an_officer, send

pytestmark = pytest.mark.usefixtures("database", "quick_passwords", "photos")
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def photos(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "photos")
    return tmp_path / "photos"


def files_in(photos: Path) -> list[Path]:
    return [one for one in photos.rglob("*") if one.is_file()]


def a_photo_from_a_home() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    exif.get_ifd(GPS_TAG)[2] = (7.0, 57.0, 4.0)
    return a_photo(exif=exif, comment=b"taken at home").getvalue()


def test_a_visit_is_kept_with_all_that_was_written_and_stands_in_the_record(photos: Path) -> None:
    registered()
    officer = an_officer()
    sent = a_visit(
        officer,
        post=POST,
        place={"lat": -7.94, "lon": 112.61, "accuracy_m": 12.0, "consent": True},
        check={"post": POST, "pressed": True, "lamp": True, "poster": False},
        follow_ups=[{"text": "Lapor PJU", "due": "2026-12-06"}],
    )
    photo = a_photo_from_a_home()
    answer = send(signed_in(officer), sent, photo=photo, signature=a_photo((400, 200)).getvalue())
    assert answer.status_code == 200, answer.content
    assert answer.json() == {"kept": sent["visit_id"]}
    kept = Visit.objects.get()
    assert (kept.name, kept.phone, kept.findings) == (
        "Bu Sumarni",
        "0812-3456-7890",
        "Lampu jalan mati",
    )
    assert (kept.officer, kept.kelurahan_id, kept.lat) == (officer.officer, DINOYO, -7.94)
    assert (kept.post, kept.pressed, kept.lamp, kept.poster) == (POST, True, True, False)
    assert [(one.text, str(one.due)) for one in FollowUp.objects.all()] == [
        ("Lapor PJU", "2026-12-06")
    ]
    assert len(files_in(photos)) == 2
    image = Image.open(kept.photo.path)
    assert image.size == (intake.PHOTO_SIDE_PIXELS_MAX // 2, intake.PHOTO_SIDE_PIXELS_MAX)
    assert not image.getexif()
    assert "comment" not in image.info
    [line] = Entry.objects.filter(action="visit")
    assert (line.operator, line.role, line.detail) == (
        "wibowo",
        "bhabinkamtibmas",
        {"visit": sent["visit_id"]},
    )


def test_the_same_visit_sent_again_is_well_and_kept_once(photos: Path) -> None:
    officer = an_officer()
    browser, sent, photo = signed_in(officer), a_visit(officer), a_photo((30, 30)).getvalue()
    answers = [send(browser, sent, photo=photo) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 200]
    assert Visit.objects.count() == 1
    assert Entry.objects.filter(action="visit").count() == 1
    assert len(files_in(photos)) == 1


@sqlite_only
@pytest.mark.parametrize(
    "what",
    [
        {"name": "Pak Harto"},
        {"findings": ""},
        {"photo": a_photo((31, 30)).getvalue()},
        {"photo": None},
        {"signature": a_photo((30, 30)).getvalue()},
    ],
    ids=["name", "findings", "photo", "no photo", "signature"],
)
def test_another_content_under_the_same_key_is_refused_and_changes_nothing(
    photos: Path, what: dict[str, Any]
) -> None:
    officer = an_officer()
    browser, sent = signed_in(officer), a_visit(officer)
    pictures = {"photo": a_photo((30, 30)).getvalue()}
    assert send(browser, sent, **pictures).status_code == 200
    pictures |= {name: value for name, value in what.items() if name in ("photo", "signature")}
    fields = {name: value for name, value in what.items() if name not in pictures}
    answer = send(browser, sent | fields, **pictures)
    assert (answer.status_code, answer.json()["code"]) == (409, "already")
    kept = Visit.objects.get()
    assert (kept.name, bool(kept.signature)) == ("Bu Sumarni", False)
    assert len(files_in(photos)) == 1


@sqlite_only
def test_a_key_of_somebody_elses_visit_shows_nothing_of_it() -> None:
    sent = a_visit(first := an_officer())
    assert send(signed_in(first), sent).status_code == 200
    other = an_officer("joko", KASIN)
    answer = send(signed_in(other), sent | {"user_id": other.pk})
    assert answer.status_code == 409
    assert "Sumarni" not in answer.content.decode()


def test_sent_twice_at_the_same_moment_it_is_kept_once(photos: Path) -> None:
    officer = an_officer()
    sent, photo = a_visit(officer), a_photo((30, 30)).getvalue()
    browsers = [signed_in(officer) for _ in range(4)]
    codes, begin = [], threading.Barrier(4)

    def go(browser: Client) -> None:
        begin.wait()
        codes.append(send(browser, sent, photo=photo).status_code)
        connections.close_all()

    threads = [threading.Thread(target=go, args=(one,)) for one in browsers]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert codes == [200] * 4
    assert Visit.objects.count() == 1
    assert len(files_in(photos)) == 1


@sqlite_only
def test_nothing_is_left_and_nothing_is_said_when_the_database_refuses(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    officer = an_officer()

    def broken(*_: Any, **__: Any) -> None:
        raise Error("the disk is full")

    monkeypatch.setattr(intake, "write_down", broken)
    browser = signed_in(officer)
    browser.raise_request_exception = False
    sent = a_visit(officer)
    answer = send(browser, sent, photo=a_photo((30, 30)).getvalue())
    assert answer.status_code == 500
    assert not Visit.objects.exists()
    assert files_in(photos) == []
    monkeypatch.undo()
    assert send(browser, sent).status_code == 200


@sqlite_only
def test_a_disk_that_is_full_is_said_and_nothing_is_kept(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    officer = an_officer()
    answer = send(signed_in(officer), a_visit(officer), photo=a_photo((30, 30)).getvalue())
    assert (answer.status_code, answer.json()["code"]) == (503, "full")
    assert not Visit.objects.exists()


@sqlite_only
def test_pictures_leave_the_disk_to_the_alarms(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "FREE_BYTES_MIN", 2**62)
    officer = an_officer()
    sent = a_visit(officer)
    answer = send(signed_in(officer), sent, photo=a_photo((30, 30)).getvalue())
    assert (answer.status_code, answer.json()["code"]) == (503, "full")
    assert files_in(photos) == []
    assert send(signed_in(officer), sent).status_code == 200


@sqlite_only
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kelurahan": "35.73.99.9999"}, "Kelurahan"),
        ({"visited_ms": 4_000_000_000_000}, "masa depan"),
        ({"visited_ms": 1_000_000_000_000}, "masa depan"),
        ({"name": "x" * 65}, "Nama yang dikunjungi: "),
        ({"findings": "a\x00b"}, "Temuan: "),
        ({"findings": "\ud800"}, "tidak dapat membaca"),
        ({"kind": "palace"}, "Siapa: "),
        ({"visit_id": "1"}, "tidak dapat membaca"),
        ({"place": {"lat": -7.9, "lon": 112.6, "accuracy_m": 5, "consent": False}}, "Tempat: "),
        ({"place": {"lat": 97.9, "lon": 112.6, "accuracy_m": 5, "consent": True}}, "Tempat: "),
        ({"check": {"post": "nowhere", "lamp": True}}, "Pos ini"),
        ({"follow_ups": [{"text": "x", "due": "soon"}]}, "Tindak lanjut: "),
        ({"follow_ups": [{"text": "x", "due": "2026-12-01"}] * 11}, "Tindak lanjut: "),
    ],
)
def test_what_does_not_fit_is_refused_in_words_and_nothing_is_kept(
    fields: dict[str, Any], why: str
) -> None:
    officer = an_officer()
    answer = send(signed_in(officer), a_visit(officer, **fields))
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong")
    assert why in answer.json()["why"]
    # Of the library that reads it: English, and for programmers.
    assert not {"Expected", "Invalid", "JSON", "`"} & set(
        re.findall(r"`|\w+", answer.json()["why"])
    )
    assert not Visit.objects.exists()


@sqlite_only
def test_a_check_in_which_nothing_was_looked_at_is_refused_and_hides_no_earlier_one() -> None:
    registered()
    officer = an_officer()
    browser = signed_in(officer)
    dark = a_visit(officer, days_ago=1, check={"post": POST, "lamp": False})
    assert send(browser, dark).status_code == 200
    answer = send(browser, a_visit(officer, check={"post": POST}))
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong")
    assert "Isi apa yang Anda lihat" in answer.json()["why"]
    assert latest_checks()[POST].lamp is False


@sqlite_only
def test_a_check_of_a_post_of_another_kelurahan_is_refused() -> None:
    registered(KASIN)
    officer = an_officer()
    answer = send(signed_in(officer), a_visit(officer, check={"post": POST, "pressed": True}))
    assert answer.status_code == 400


@sqlite_only
@pytest.mark.parametrize(
    "photo", [b"", b"no photo", b"<svg onload='alert(1)'/>", a_photo().getvalue()[:2_000]]
)
def test_a_file_that_is_no_photo_is_refused_in_words(photos: Path, photo: bytes) -> None:
    officer = an_officer()
    answer = send(signed_in(officer), a_visit(officer), photo=photo)
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong")
    assert "foto" in answer.json()["why"]
    assert files_in(photos) == []


@sqlite_only
def test_a_queue_is_sent_only_by_whose_it_is() -> None:
    first, second = an_officer(), an_officer("joko", KASIN)
    answer = send(signed_in(second), a_visit(first))
    assert answer.status_code == 403
    assert not Visit.objects.exists()


@sqlite_only
def test_a_kept_page_that_is_older_or_newer_than_the_server_still_sends() -> None:
    officer = an_officer()
    assert send(signed_in(officer), a_visit(officer, colour="red")).status_code == 200
    least = {
        name: value
        for name, value in a_visit(officer).items()
        if name not in ("name", "phone", "address", "findings")
    }
    assert send(signed_in(officer), least).status_code == 200


@sqlite_only
def test_code_and_tables_name_the_same_kinds_and_purposes() -> None:
    assert set(get_args(intake.Kind)) == set(Visit.Kind.values)
    assert set(get_args(intake.Purpose)) == set(Visit.Purpose.values)


# --- who sees what ------------------------------------------------------------------------------


def seen_by(client: Client, visit_id: str) -> list[int]:
    paths = (f"/visits/{visit_id}/", f"/visits/{visit_id}/photo.jpg")
    return [client.get(path).status_code for path in paths]


def test_an_officer_sees_own_visits_and_those_of_the_own_kelurahan_and_no_other() -> None:
    wibowo, joko = an_officer(), an_officer("joko", KASIN)
    photo = a_photo((30, 30)).getvalue()
    at_home, helped, elsewhere = a_visit(wibowo), a_visit(joko), a_visit(joko, kelurahan=KASIN)
    assert send(signed_in(wibowo), at_home, photo=photo).status_code == 200
    for one in (helped, elsewhere):
        assert send(signed_in(joko), one, photo=photo).status_code == 200
    theirs = {
        one["visit_id"]: seen_by(signed_in(wibowo), one["visit_id"])
        for one in (at_home, helped, elsewhere)
    }
    assert list(theirs.values()) == [[200, 200], [200, 200], [404, 404]]
    assert seen_by(signed_in(joko), at_home["visit_id"]) == [404, 404]
    for path in ("/visits/", f"/visits/?kelurahan={KASIN}", "/visits/?kelurahan=%00&page=x"):
        listed = signed_in(wibowo).get(path).content.decode()
        assert helped["visit_id"] in listed
        assert elsewhere["visit_id"] not in listed


@sqlite_only
def test_with_the_kelurahan_its_visits_go_to_the_successor() -> None:
    wibowo, joko = an_officer(), an_officer("joko", KASIN)
    sent = a_visit(wibowo, kelurahan=DINOYO)
    assert send(signed_in(wibowo), sent, photo=a_photo((30, 30)).getvalue()).status_code == 200
    Officer.objects.filter(account=wibowo).update(kelurahan=None)
    Officer.objects.filter(account=joko).update(kelurahan=DINOYO)
    assert seen_by(signed_in(joko), sent["visit_id"]) == [200, 200]
    assert seen_by(signed_in(wibowo), sent["visit_id"]) == [200, 200]


@sqlite_only
@pytest.mark.parametrize(
    ("role", "code"),
    [
        ("supervisor", 200),
        ("operator", 403),
        ("picket", 403),
        ("technician", 403),
        ("administrator", 403),
    ],
)
def test_of_the_other_roles_only_a_supervisor_sees_visits(role: str, code: int) -> None:
    officer = an_officer()
    sent = a_visit(officer)
    assert send(signed_in(officer), sent, photo=a_photo((30, 30)).getvalue()).status_code == 200
    other = signed_in(an_account(role=role))
    assert seen_by(other, sent["visit_id"]) == [code, code]
    assert other.get("/visits/").status_code == code
    assert send(other, a_visit(officer)).status_code == 403


@sqlite_only
def test_a_picture_that_is_none_is_not_there() -> None:
    officer = an_officer()
    sent = a_visit(officer)
    assert send(signed_in(officer), sent).status_code == 200
    for which in ("photo", "signature", "digest", "name"):
        path = f"/visits/{sent['visit_id']}/{which}.jpg"
        assert signed_in(officer).get(path).status_code == 404
    assert signed_in(officer).get(f"/visits/{uuid.uuid4()}/").status_code == 404


@sqlite_only
def test_an_account_of_an_officer_needs_a_line_in_the_register() -> None:
    account = an_account("siti", "bhabinkamtibmas")
    with pytest.raises(Exception, match="Bhabinkamtibmas"):
        account.full_clean()
    answer = send(signed_in(account), a_visit(account))
    assert answer.status_code == 403
    assert signed_in(account).get("/visits/").status_code == 200
    assert signed_in(account).get("/visits/phone/").status_code == 200


def test_an_empty_check_of_an_earlier_version_is_no_check_and_its_visit_stays() -> None:
    registered()
    officer = an_officer()
    browser = signed_in(officer)
    seen, empty = (a_visit(officer, days_ago=days) for days in (3, 1))
    seen["check"] = {"post": POST, "lamp": False}
    assert [send(browser, one).status_code for one in (seen, empty)] == [200, 200]
    call_command("migrate", "visits", "0001", verbosity=0)
    Visit.objects.filter(pk=empty["visit_id"]).update(post=POST)
    call_command("migrate", verbosity=0)
    assert latest_checks()[POST].visited_ms == seen["visited_ms"]
    week_ms = week_of(empty["visited_ms"])
    told = {one.visit_id: one.post for one in rows.visits(week_ms - WEEK_MS, week_ms + WEEK_MS)}
    assert told == {seen["visit_id"]: POST, empty["visit_id"]: None}
    with pytest.raises(IntegrityError):
        Visit.objects.filter(pk=empty["visit_id"]).update(post=POST)
