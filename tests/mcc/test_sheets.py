"""Registers from a CSV file: every mistake with its line, looked at first, all or nothing."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import translation

from mcc.registers import sheets
from mcc.registers.models import Officer, Post
from mcc.registers.sheets import OFFICERS, POSTS, read, save
from tests.mcc.people_rig import an_account, signed_in

pytestmark = [
    pytest.mark.usefixtures("database", "quick_passwords"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]
GOOD = b"""post_id,name,kelurahan,rw,lat,lon
mlg-dinoyo-rw05,Pos RW 05,35.73.05.1004,05,-7.94,112.61
mlg-dinoyo-rw06,"Pos RW 06, timur",,06,,
"""


def mistakes(content: bytes, kind: sheets.Kind = POSTS) -> tuple[str, ...]:
    with translation.override("en"):
        found = read(kind, content)
    assert (found.new, found.changed) == ((), ())
    return found.problems


def test_a_good_file_says_what_it_would_do_and_then_does_it() -> None:
    looked = read(POSTS, GOOD)
    assert (len(looked.new), looked.changed, looked.problems) == (2, (), ())
    assert not Post.objects.exists()
    save(POSTS, GOOD)
    post = Post.objects.get(post_id="mlg-dinoyo-rw05")
    assert (post.name, post.kelurahan_id, post.lat) == ("Pos RW 05", "35.73.05.1004", -7.94)
    assert read(POSTS, GOOD).same == 2


def test_only_the_columns_of_the_file_are_changed() -> None:
    save(POSTS, GOOD)
    changed = save(POSTS, b"post_id;name\nmlg-dinoyo-rw05;Pos baru\n")
    assert len(changed.changed) == 1
    post = Post.objects.get(post_id="mlg-dinoyo-rw05")
    assert (post.name, post.rw) == ("Pos baru", "05")
    assert Post.objects.count() == 2


def test_officers_with_their_unit_and_a_spreadsheets_mark() -> None:
    content = "\ufeffnumber;name;unit;on_duty\n8801;Sari;polsek-klojen;ya\n8802;Budi;;tidak\n"
    save(OFFICERS, content.encode())
    officer = Officer.objects.get(number="8801")
    assert (officer.name, officer.unit_id, officer.on_duty) == ("Sari", "polsek-klojen", True)
    assert read(OFFICERS, content.encode()).same == 2


def test_every_mistake_is_named_with_its_line_and_column() -> None:
    found = mistakes(
        b"post_id,name,kelurahan,lat\n"
        b"Not A Name,Pos,35.73.05.1004,1\n"
        b"ok-1,,,\n"
        b"ok-2,Pos,99.99,\n"
        b"ok-3,Pos,,north\n"
        b"ok-4,Pos,,91\n"
        b"ok-5,Pos,,1,2,3\n"
    )
    lines = " ".join(found)
    assert "Line 7: more values than columns" in lines
    found = mistakes(
        b"post_id,name,kelurahan,lat\n"
        b"Not A Name,Pos,35.73.05.1004,1\n"
        b"ok-1,,,\n"
        b"ok-2,Pos,99.99,\n"
        b"ok-3,Pos,,north\n"
        b"ok-4,Pos,,91\n"
        b"ok-4,Pos,,9\n"
        b"ok-5,Pos,,nan\n"
    )
    for number, part in enumerate(
        ("post_id", "name", "kelurahan", "lat: not a number", "lat", "line 6 again", "lat"), 2
    ):
        assert any(one.startswith(f"Line {number}:") and part in one for one in found), number


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"post_id,nama\n", "is name meant"),
        (b"post_id,colour\n", "no column colour"),
        (b"name,rw\n", "post_id is missing"),
        (b'post_id,name\nx,"open\n', "Line"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content: bytes, why: str) -> None:
    assert why in mistakes(content)[0]


def test_one_mistake_keeps_the_whole_file_out() -> None:
    done = save(POSTS, GOOD + b"BAD ID,Pos,,,,\n")
    assert done.problems
    assert not Post.objects.exists()


def test_a_file_over_a_bound_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "LINES_MAX", 1)
    assert "more than 1 lines" in mistakes(GOOD)[0]
    monkeypatch.setattr(sheets, "FILE_BYTES_MAX", 20)
    assert "more than" in mistakes(GOOD)[0]


def test_of_many_mistakes_some_are_named_and_the_rest_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sheets, "PROBLEMS_SHOWN_MAX", 2)
    found = read(POSTS, b"post_id,name\n" + b"".join(b"BAD %d,Pos\n" % n for n in range(5)))
    assert (len(found.problems), found.problems_left_out) == (2, 3)


def test_in_the_register_a_file_is_looked_at_and_then_put_in() -> None:
    desk = signed_in(an_account(role="technician"))
    page = desk.post(
        "/admin/registers/post/import/", {"file": SimpleUploadedFile("p.csv", GOOD)}
    ).content.decode()
    assert "Pos RW 06, timur" in page
    assert not Post.objects.exists()
    done = desk.post("/admin/registers/post/import/", {"put_in": "1", "content": GOOD.decode()})
    assert done.status_code == 302
    assert Post.objects.count() == 2
    bad = SimpleUploadedFile("p.csv", GOOD + b"<script>,x,,,,\n")
    page = desk.post("/admin/registers/post/import/", {"file": bad}).content.decode()
    assert "Baris 4" in page
    assert "<script>,x" not in page


def test_who_may_not_keep_a_register_up_imports_nothing() -> None:
    desk = signed_in(an_account(role="technician"))
    content = {"put_in": "1", "content": "number,name\n1,x\n"}
    assert desk.post("/admin/registers/officer/import/", content).status_code == 403
    assert not Officer.objects.exists()
