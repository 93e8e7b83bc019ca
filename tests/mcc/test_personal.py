"""What is held about people: all of it is found, exported and removed, or it is said why not."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test import Client

from mcc.cases.actions import Refused
from mcc.cases.models import Entry
from mcc.community.models import Drill, Participant
from mcc.escalation.ladder import Now
from mcc.escalation.worker import Worker
from mcc.people.models import User
from mcc.registers.models import Officer, Post
from mcc.settings import DatabaseSettings, MccFile, MqttSettings, VisitSettings
from mcc.visits import person_views, personal
from mcc.visits.models import FollowUp, Visit
from mcc.visits.personal import NOT_SEARCHED, SOURCES, Needle, expired, find, forget
from tests.mcc.centre import Centre
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST
from tests.mcc.test_actions import stored
from tests.mcc.test_photos import a_photo
from tests.mcc.visits_rig import DAY_MS, DINOYO, a_visit, an_officer, send

on_both = pytest.mark.usefixtures("database", "quick_passwords", "photos")
_on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def sqlite_only(test: Any) -> Any:
    return on_both(_on_sqlite(test))


SEARCH = {"name": "sumarni", "phone": "+62 812 3456 7890"}
REQUEST = SEARCH | {"reference": "PDP-7/2026"}


@pytest.fixture
def photos(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "photos")
    return tmp_path / "photos"


def files_in(photos: Path) -> list[str]:
    return sorted(one.name for one in photos.rglob("*") if one.is_file())


def a_person_everywhere() -> dict[str, Any]:
    """Bu Sumarni in every table that may name her, and somebody else beside her."""
    officer = an_officer()
    browser = signed_in(officer)
    photo = a_photo((30, 30)).getvalue()
    tasks = [{"text": "Telepon anaknya", "due": "2026-12-01"}]
    named = a_visit(officer, follow_ups=tasks)
    place = {"lat": -7.94, "lon": 112.61, "accuracy_m": 12.0, "consent": True}
    by_phone = a_visit(officer, name="", findings="hubungi 0812.3456-7890", phone="", place=place)
    in_task = a_visit(
        officer,
        name="Pak Harto",
        phone="",
        follow_ups=[{"text": "Tanya  SUMARNI lagi", "due": "2026-12-01"}],
    )
    other = a_visit(officer, name="Pak Harto", phone="0812-9999-0000")
    for one in (named, by_phone, in_task, other):
        assert send(browser, one, photo=photo, signature=photo).status_code == 200
    drill = Drill.objects.create(name="Latihan", day=dt.date(2026, 11, 1), planned_by=officer)
    for name in ("Ibu Sumarni", "Pak Harto"):
        Participant.objects.create(drill=drill, post=POST, name=name)
    Post.objects.create(
        post_id=POST,
        name="Pos RW 05",
        kelurahan_id=DINOYO,
        address="depan rumah Bu Sumarni",
        contacts="Ketua RW: Pak Harto 0812-9999-0000\nSekretaris: 081234567890",
        notes="Kunci di Bu Sumarni",
    )
    Officer.objects.create(name="Sumarni", number="77")
    stored(1, note="pelapor Bu Sumarni")
    Entry(at_ms=1, action="note", operator="budi", role="", detail={"note": "Bu Sumarni"}).save()
    ids = {"named": named, "by_phone": by_phone, "in_task": in_task, "other": other}
    return {name: one["visit_id"] for name, one in ids.items()}


def choices(client: Client) -> list[str]:
    page = client.post("/visits/person/", SEARCH)
    assert page.status_code == 200
    return [one.choice for one in page.context["hits"]]


# --- finding ------------------------------------------------------------------------------------


def test_every_column_in_which_somebody_could_be_named_is_searched_or_named_as_not() -> None:
    searched = {f"{one.label}.{name}" for one in SOURCES for name in one.fields}
    forgotten = []
    for model in apps.get_models():
        label = model._meta.label
        for column in model._meta.concrete_fields:
            is_text = isinstance(column, models.CharField | models.TextField | models.JSONField)
            if not is_text or getattr(column, "choices", None) or label in NOT_SEARCHED:
                continue
            if f"{label}.{column.name}" not in searched | NOT_SEARCHED:
                forgotten.append(f"{label}.{column.name}")
    assert forgotten == []
    assert searched & NOT_SEARCHED == set()


@pytest.mark.parametrize(
    ("name", "phone", "text", "is_named"),
    [
        ("bu sumarni", "", "Keluarga BU  SUMARNI dan anak", True),
        ("sumarni", "", "Sumarno", False),
        ("", "0812-3456-7890", "WA +62 812 3456 7890.", True),
        ("", "+6281234567890", "0812.3456.7890", True),
        ("", "6281234567890", "(0812) 34567890", True),
        ("", "081234567890", "0812345678901", False),
        ("", "081234567890", "90812345678901", False),
        ("", "081234567890", "081234567891", False),
        ("harto", "081234567890", "telepon 81234567890", True),
    ],
)
def test_a_person_is_told_by_name_or_number_however_they_are_written(
    name: str, phone: str, text: str, is_named: bool
) -> None:
    assert Needle(name, phone).is_in(text) is is_named


@pytest.mark.parametrize(
    ("name", "phone"), [("", ""), ("bu", ""), ("", "0812"), ("sumarni", "12"), ("  ", "--")]
)
def test_what_could_be_anybody_is_refused(name: str, phone: str) -> None:
    with pytest.raises(Refused):
        Needle(name, phone)


@on_both
def test_everything_that_names_the_person_is_found_and_nothing_else() -> None:
    visits = a_person_everywhere()
    found = find(Needle(SEARCH["name"], SEARCH["phone"]))
    listed = {one.choice for one in found.hits}
    assert {f"visits.Visit:{visits[name]}" for name in ("named", "by_phone", "in_task")} < listed
    assert f"visits.Visit:{visits['other']}" not in listed
    assert len(listed) == 5
    kept = {source.label: len(rows) for source, rows in found.kept.items()}
    assert kept == {
        "registers.Post": 1,
        "registers.Officer": 1,
        "cases.Alarm": 1,
        "cases.Entry": 1,
    }


# --- removing -----------------------------------------------------------------------------------


@on_both
def test_what_is_chosen_is_removed_whole_and_what_is_not_stays(photos: Path) -> None:
    visits = a_person_everywhere()
    desk = signed_in(an_account("rini", "supervisor"))
    before = files_in(photos)
    assert len(before) == 8
    wanted = [one for one in choices(desk) if visits["in_task"] not in one]
    page = desk.post("/visits/person/remove", REQUEST | {"hit": wanted, "sure": "yes"})
    assert page.status_code == 200
    for name in ("named", "by_phone"):
        one = Visit.objects.get(pk=visits[name])
        texts = (one.name, one.phone, one.address, one.findings, one.photo, one.signature)
        assert not any(texts)
        assert (one.lat, one.lon, one.accuracy_m, one.digest) == (None, None, None, "")
        assert one.removed_ms is not None
        assert (one.kelurahan_id, one.kind, one.purpose) == (DINOYO, "household", "greeting")
    assert [one.text for one in FollowUp.objects.order_by("id")] == ["", "Tanya  SUMARNI lagi"]
    assert Visit.objects.get(pk=visits["in_task"]).name == "Pak Harto"
    assert len(files_in(photos)) == 4
    assert [one.name for one in Participant.objects.all()] == ["Pak Harto"]
    post = Post.objects.get()
    assert (post.contacts, post.notes) == ("Ketua RW: Pak Harto 0812-9999-0000", "")
    assert Officer.objects.filter(name="Sumarni").exists()
    assert choices(desk) == [f"visits.Visit:{visits['in_task']}"]
    [line] = Entry.objects.filter(action="person_removed")
    assert line.detail["reference"] == "PDP-7/2026"
    assert line.detail["rows"]["visits.Visit"] == 2
    said = json.dumps(list(Entry.objects.filter(role="supervisor").values("detail")))
    assert "umarni" not in said
    assert "3456" not in said


@sqlite_only
def test_what_was_removed_does_not_come_back_from_a_telephone(photos: Path) -> None:
    officer = an_officer()
    sent = a_visit(officer)
    assert send(signed_in(officer), sent).status_code == 200
    desk = signed_in(an_account("rini", "supervisor"))
    desk.post("/visits/person/remove", REQUEST | {"hit": choices(desk), "sure": "yes"})
    answer = send(signed_in(officer), sent, photo=a_photo((30, 30)).getvalue())
    assert answer.status_code == 200
    assert Visit.objects.get().name == ""
    assert files_in(photos) == []
    other = an_officer("joko")
    assert send(signed_in(other), sent | {"user_id": other.pk}).status_code == 409
    assert "data pribadi dihapus" in signed_in(officer).get("/visits/").content.decode()


@sqlite_only
@pytest.mark.parametrize(
    "fields",
    [
        {"sure": ""},
        {"reference": " "},
        {"reference": "x" * 121},
        {"reference": "PDP\x007"},
        {"hit": []},
        {"hit": ["visits.Visit:00000000-0000-4000-8000-000000000001", "people.User:1"]},
        {"name": "x", "phone": ""},
    ],
    ids=[
        "not sure",
        "no reference",
        "long reference",
        "no text",
        "nothing",
        "not found by it",
        "too short",
    ],
)
def test_without_all_that_is_asked_nothing_is_removed_and_what_was_typed_stays(
    fields: dict[str, Any],
) -> None:
    officer = an_officer()
    assert send(signed_in(officer), a_visit(officer)).status_code == 200
    desk = signed_in(an_account("rini", "supervisor"))
    asked = REQUEST | {"hit": choices(desk), "sure": "yes"} | fields
    page = desk.post("/visits/person/remove", asked)
    assert page.status_code == 200
    assert 'class="wrong" role="alert"' in page.content.decode()
    assert f'value="{asked["phone"]}"' in page.content.decode()
    assert Visit.objects.get().name == "Bu Sumarni"
    assert not Entry.objects.filter(action="person_removed").exists()


@sqlite_only
def test_only_a_supervisor_looks_for_people() -> None:
    for role in ("operator", "technician", "administrator", "picket"):
        client = signed_in(an_account(f"a-{role}", role))
        for path in ("", "export", "remove"):
            assert client.post(f"/visits/person/{path}", REQUEST).status_code == 403
    officer = signed_in(an_officer())
    assert officer.post("/visits/person/", SEARCH).status_code == 403


def three_on_pages_of_two(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(person_views, "HITS_MAX", 2)
    officer = an_officer()
    for _ in range(3):
        assert send(signed_in(officer), a_visit(officer)).status_code == 200
    return signed_in(an_account("rini", "supervisor"))


def ticked_on_the_first_and_then_on_the_next_page(desk: Client) -> dict[str, Any]:
    """What the form of the second page says when all of the first was ticked."""
    first = choices(desk)
    assert len(first) == 2
    page = desk.post("/visits/person/", REQUEST | {"hit": first, "page": "2"})
    shown = page.content.decode()
    assert "(3)" in shown
    assert "Dicentang di halaman lain: 2" in shown
    [last] = [one.choice for one in page.context["hits"]]
    assert last not in first
    [elsewhere] = re.findall(r'name="elsewhere" value="([^"]*)"', shown)
    assert elsewhere.split() == first
    return REQUEST | {"hit": [last], "elsewhere": elsewhere, "page": "2"}


@sqlite_only
def test_what_is_ticked_on_one_page_of_hits_is_removed_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = three_on_pages_of_two(monkeypatch)
    ticked = ticked_on_the_first_and_then_on_the_next_page(desk)
    # Back on the first they are ticked, and one that is no longer ticked stays.
    back = desk.post("/visits/person/", ticked | {"page": "1"})
    assert back.content.decode().count(" checked>") == 2
    stays, goes = [one.choice for one in back.context["hits"]]
    elsewhere = back.context["elsewhere"]
    asked = REQUEST | {"hit": [goes], "elsewhere": elsewhere, "sure": "yes"}
    assert desk.post("/visits/person/remove", asked).status_code == 200
    assert choices(desk) == [stays]


# --- export -------------------------------------------------------------------------------------


@on_both
def test_an_export_has_everything_that_was_chosen_with_the_pictures() -> None:
    visits = a_person_everywhere()
    desk = signed_in(an_account("rini", "supervisor"))
    every = choices(desk)
    asked = REQUEST | {"hit": every, "kept": ["cases.Alarm", "cases.Entry", "registers.Post"]}
    answer = desk.post("/visits/person/export", asked)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = set(archive.namelist())
        person = json.loads(archive.read("person.json"))
        assert archive.read(f"photo-{visits['named']}.jpg").startswith(b"\xff\xd8")
    assert len(names) == 7
    by_id = {one["visit_id"]: one for one in person["visits"]}
    assert set(by_id) == {visits[name] for name in ("named", "by_phone", "in_task")}
    named = by_id[visits["named"]]
    assert (named["name"], named["phone"], named["address"], named["findings"]) == (
        "Bu Sumarni",
        "0812-3456-7890",
        "Jl. MT Haryono 5",
        "Lampu jalan mati",
    )
    assert named["follow_ups"] == [
        {"text": "Telepon anaknya", "due": "2026-12-01", "done_ms": None}
    ]
    assert by_id[visits["by_phone"]]["lat"] == -7.94
    tables = sorted(one["table"] for one in person["rows"])
    assert tables == [
        "cases.Alarm",
        "cases.Entry",
        "community.Participant",
        "registers.Post",
        "registers.Post",
    ]
    assert person["not_covered"]
    [line] = Entry.objects.filter(action="person_exported")
    assert line.detail["rows"]["visits.Visit"] == 3
    assert Visit.objects.filter(name="Bu Sumarni").exists()


@sqlite_only
def test_an_export_reaches_every_page_of_hits_and_says_what_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = three_on_pages_of_two(monkeypatch)
    ticked = ticked_on_the_first_and_then_on_the_next_page(desk)
    for fields, counts in ((ticked, (3, 0)), (ticked | {"elsewhere": ""}, (1, 2))):
        answer = desk.post("/visits/person/export", fields)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            person = json.loads(archive.read("person.json"))
        assert (len(person["visits"]), person["not_chosen"]) == counts
    assert Visit.objects.filter(name="Bu Sumarni").count() == 3


@sqlite_only
def test_an_export_without_a_reference_or_a_choice_is_refused() -> None:
    officer = an_officer()
    assert send(signed_in(officer), a_visit(officer)).status_code == 200
    desk = signed_in(an_account("rini", "supervisor"))
    wrong: tuple[dict[str, Any], ...] = ({"hit": choices(desk), "reference": ""}, {"hit": []})
    for fields in wrong:
        answer = desk.post("/visits/person/export", REQUEST | fields)
        assert answer["Content-Type"].startswith("text/html")
    assert not Entry.objects.filter(action="person_exported").exists()


# --- retention ----------------------------------------------------------------------------------


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def old_and_new(officer: User) -> tuple[str, str]:
    photo = a_photo((30, 30)).getvalue()
    old, new = a_visit(officer, days_ago=300), a_visit(officer, days_ago=299)
    for one in (old, new):
        assert send(signed_in(officer), one, photo=photo).status_code == 200
    return old["visit_id"], new["visit_id"]


@on_both
def test_after_the_set_days_a_visit_is_about_nobody_and_still_counted(photos: Path) -> None:
    old, new = old_and_new(an_officer())
    stray = photos / "visits" / "stray.jpg"
    stray.write_bytes(b"x")
    week_before_s = time.time() - 8 * 86_400
    os.utime(stray, (week_before_s, week_before_s))
    # Half a day after the three hundredth day of the first.
    at_ms = now_ms() + DAY_MS // 2
    assert expired(at_ms - 300 * DAY_MS).count() == 1
    gone = forget(at_ms, 300)
    assert gone == {"visits": 1, "pictures": 1, "stray_files": 1}
    assert (Visit.objects.get(pk=old).name, Visit.objects.get(pk=new).name) == ("", "Bu Sumarni")
    assert Visit.objects.count() == 2
    assert len(files_in(photos)) == 1
    [line] = Entry.objects.filter(action="visits_forgotten")
    assert line.operator == "command line"
    assert line.detail["removed"]["visits"] == 1
    assert not forget(at_ms, 300).total()


@sqlite_only
def test_a_picture_whose_visit_is_just_being_kept_is_no_stray(photos: Path) -> None:
    (photos / "visits").mkdir(parents=True)
    new = photos / "visits" / "new.jpg"
    new.write_bytes(b"x")
    os.utime(new, (time.time() - 6 * 86_400,) * 2)
    forget(now_ms(), 300)
    assert files_in(photos) == ["new.jpg"]


@sqlite_only
def test_more_than_a_batch_goes_and_each_is_in_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(personal, "_BATCH", 1)
    officer = an_officer()
    for _ in range(3):
        assert send(signed_in(officer), a_visit(officer, days_ago=10)).status_code == 200
    assert forget(now_ms(), 5)["visits"] == 3
    assert Entry.objects.filter(action="visits_forgotten").count() == 3


@sqlite_only
def test_the_page_says_when_nobody_has_run_the_command(settings: Any) -> None:
    officer = an_officer()
    days = settings.MCC.visits.keep_days
    assert days > 366
    assert send(signed_in(officer), a_visit(officer)).status_code == 200
    Visit.objects.update(visited_ms=now_ms() - (days + 1) * DAY_MS)
    desk = signed_in(an_account("rini", "supervisor"))
    assert "escalate menghapusnya" in desk.get("/visits/person/").content.decode()
    forget(now_ms(), days)
    assert "escalate menghapusnya" not in desk.get("/visits/person/").content.decode()


@sqlite_only
def test_the_escalation_forgets_each_hour() -> None:
    old, _new = old_and_new(an_officer())
    settings = MccFile(
        mqtt=MqttSettings(url="mqtt://127.0.0.1"), visits=VisitSettings(keep_days=300)
    )
    worker, at_ms = Worker(settings), now_ms() + DAY_MS // 2

    def named_after(mono_s: float) -> bool:
        worker.look(Now(mono_s, at_ms))
        worker.finish(30)
        return bool(Visit.objects.get(pk=old).name)

    assert not named_after(1_000.0)
    Visit.objects.filter(pk=old).update(name="Bu Sumarni", removed_ms=None)
    assert named_after(1_000.0 + 3_599)
    assert not named_after(1_000.0 + 3_600)


@sqlite_only
def test_the_command_says_what_it_removed_and_a_dry_run_removes_nothing(
    database: DatabaseSettings, tmp_path: Path, settings: Any
) -> None:
    (tmp_path / "photos").mkdir()
    old_and_new(an_officer())
    centre = Centre(tmp_path, "mqtt://127.0.0.1:9", database, "[visits]\nkeep_days = 300\n")
    Visit.objects.filter(visited_ms__lt=now_ms() - 299.5 * DAY_MS).update(
        visited_ms=now_ms() - 301 * DAY_MS
    )
    dry = centre.run("forget", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, b"")
    assert dry.stdout.startswith(b"1 visits before ")
    assert not Visit.objects.exclude(removed_ms=None).exists()
    done = centre.run("forget")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"1 visits before " in done.stdout
    assert b"1 photos and signatures" in done.stdout
    assert Visit.objects.exclude(removed_ms=None).count() == 1
    assert len(files_in(tmp_path / "photos")) == 1
