"""The weekly analysis as people get it: pages, paper, sheets; each sees what is theirs."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html import unescape
from typing import Any

import openpyxl
import pypdfium2  # type: ignore[import-untyped]
import pytest
from django.db import connection
from django.test import Client
from django.utils import translation

from mcc.anev import editions, paper, plots, rows, sheets, views, words
from mcc.anev.editions import draft, within
from mcc.anev.figures import CITY, Report
from mcc.anev.models import Edition
from mcc.cases.models import Alarm, Entry
from mcc.people.models import User
from mcc.registers.models import Officer, Post
from tests.mcc.conftest import YEAR_ENDS_MS
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.test_anev_figures import BEGIN_MS, MADE_MS, SETTINGS

pytestmark = [pytest.mark.usefixtures("year", "quick_passwords")]
WEEK = "2026-W47"


@pytest.fixture(autouse=True)
def _tuesday_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_now_ms", lambda: MADE_MS)


@pytest.fixture
def english() -> Iterator[None]:
    with translation.override("en"):
        yield


def supervisor() -> User:
    return an_account("rini", "supervisor", first_name="Rini")


def made(user: User | None = None) -> Edition:
    return editions.make(SETTINGS, BEGIN_MS, MADE_MS, user or supervisor(), lambda _: None)


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def page(client: Client, path: str = "", **query: str) -> str:
    return text_of(client.get(f"/anev/{WEEK}/1/{path}", query))


# --- pages --------------------------------------------------------------------------------------


def test_every_number_on_the_page_leads_to_as_many_events_as_it_says() -> None:
    user = supervisor()
    report = editions.report_of(made(user))
    client = signed_in(user)
    client.cookies["django_language"] = "en"
    links = re.findall(r'<a href="(/anev/[^"]*/events\?[^"]+)">([^<]+)</a>', page(client))
    # One of each kind: not every hour, week, post and area.
    kinds = {
        re.sub(r"scope=.*number=|\d+|post\..*", "#", link): (link, said) for link, said in links
    }
    assert len(set(links)) > 150
    assert len(kinds) > 40
    for link, said in kinds.values():
        shown = text_of(client.get(link))
        query = dict(re.findall(r"(scope|number)=([^&]*)", link))
        number = report.number(query["scope"].replace("%2F", "/"), query["number"])
        assert number is not None, link
        assert f"{number.n} event" in shown
        if number.unit == "count":
            assert int(said) == number.n
        for event in number.ids:
            if number.of == "fault":
                life = report.faults[event]
                with translation.override("en"):
                    wanted = (words.fault_words(life.fault), words.moment(life.raised_ms))
                assert "<td>{}</td><td>{}</td>".format(*wanted) in shown
            else:
                assert event in shown
        assert shown.count("<tr>") == number.n + 1


def test_the_weeks_are_listed_with_what_was_made_of_them_and_by_whom() -> None:
    user = supervisor()
    made(user)
    said = text_of(signed_in(user).get("/anev/"))
    assert f"/anev/{WEEK}/1/" in said
    assert "Rini" in said
    assert said.count("/0/") == views.WEEKS_LISTED
    # The week that is not over can be looked at, and not made.
    assert "2026-W48" in said
    assert 'value="2026-W48"' not in said
    assert f'value="{WEEK}"' in said


def test_on_demand_an_edition_is_made_numbered_recorded_and_shown() -> None:
    client = signed_in(supervisor())
    for number in (1, 2):
        answer = client.post("/anev/make", {"week": WEEK})
        assert answer["Location"] == f"/anev/{WEEK}/{number}/"
    assert list(Edition.objects.order_by("number").values_list("number", "made_by")) == [
        (1, "Rini"), (2, "Rini"),
    ]  # fmt: skip
    lines = Entry.objects.filter(action=editions.MADE).order_by("id")
    assert [(one.operator, one.detail["week"], one.detail["edition"]) for one in lines] == [
        ("Rini", WEEK, 1), ("Rini", WEEK, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("week", "why"),
    [
        ("2026-W48", "belum berakhir"),
        ("2027-W10", "belum"),
        ("x", "ditulis seperti 2026-W48"),
        ("2026-W99", "ditulis seperti 2026-W48"),
    ],
)
def test_a_week_that_is_not_over_or_is_none_is_refused_in_words(week: str, why: str) -> None:
    answer = signed_in(supervisor()).post("/anev/make", {"week": week}, follow=True)
    assert why in text_of(answer)
    assert not Edition.objects.exists()


def test_more_calls_than_an_analysis_holds_are_said_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "CASES_MAX", 7)
    client = signed_in(supervisor())
    said = "Lebih dari 7 panggilan"
    for path in ("", "events?number=calls.panic", "plot/heat", "file/pdf"):
        answer = client.get(f"/anev/{WEEK}/0/{path}", follow=True)
        assert answer.redirect_chain == [("/anev/", 302)]
        assert said in text_of(answer)
    assert said in text_of(client.post("/anev/make", {"week": WEEK}, follow=True))
    assert not Edition.objects.exists()


def test_the_bound_of_editions_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editions, "EDITIONS_MAX", 1)
    client = signed_in(supervisor())
    client.post("/anev/make", {"week": WEEK})
    answer = client.post("/anev/make", {"week": WEEK}, follow=True)
    assert "1 edisi" in text_of(answer)
    assert Edition.objects.count() == 1


def test_an_edition_stays_as_it_was_made_and_a_draft_follows() -> None:
    user = supervisor()
    client = signed_in(user)
    before = editions.report_of(made(user)).sections[CITY]["calls.panic"].value
    Alarm.objects.filter(raised_ms__gte=BEGIN_MS, raised_ms__lt=YEAR_ENDS_MS).delete()
    after = editions.report_of(Edition.objects.get()).sections[CITY]["calls.panic"].value
    assert after == before
    assert f">{before:.0f}</a>" in page(client)
    assert "Tidak ada yang memanggil tolong" in text_of(client.get(f"/anev/{WEEK}/0/"))


def test_an_edition_that_was_changed_in_the_database_says_so() -> None:
    user = supervisor()
    client = signed_in(user)
    edition = made(user)
    assert "bukan yang dibuat" not in page(client)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE anev_edition SET body = replace(body, '\"prank\"', '\"real\"')")
    assert "bukan yang dibuat" in page(client)
    with pytest.raises(TypeError, match="never changed"):
        Edition.objects.get().save()
    with pytest.raises(TypeError, match="never deleted"):
        edition.delete()


def test_an_edition_of_an_earlier_version_that_knew_less_can_be_read() -> None:
    user = supervisor()
    made(user)
    with connection.cursor() as cursor:
        for name in ("visits.unheard", "posts.unheard"):
            cursor.execute("UPDATE anev_edition SET body = replace(body, %s, 'x.old')", [name])
        cursor.execute("UPDATE anev_edition SET body = replace(body, 'is_pressed', 'of_old')")
    client = signed_in(user)
    assert "Kunjungan" in page(client)
    assert client.get(f"/anev/{WEEK}/1/file/pdf").content.startswith(b"%PDF")


@pytest.mark.parametrize(
    "path",
    ["2026-W47/9/", "2026-W99/0/", "2027-W20/0/", "2026-W47/0/?scope=kec/99",
     "2026-W47/0/events?number=heat.9.9", "2026-W47/0/events", "2026-W47/0/plot/pie",
     "2026-W47/0/file/exe"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(path: str) -> None:
    assert signed_in(supervisor()).get(f"/anev/{path}").status_code == 404


# --- whose they are -----------------------------------------------------------------------------


def can_see(client: Client, scope: str) -> bool:
    asked = {"scope": scope, "number": "calls.panic"}
    paths = ["events", "plot/heat", "file/cases"]
    if scope.startswith("kel/"):
        paths += ["", "file/pdf", "file/numbers", "file/xlsx"]
    answers = {client.get(f"/anev/{WEEK}/1/{path}", asked).status_code for path in paths}
    assert len(answers) == 1, answers
    return answers == {200}


def test_a_picket_sees_its_own_polsek_s_area_and_nothing_else() -> None:
    made()
    client = signed_in(an_account("dewi", "picket"))
    assert "Kecamatan Lowokwaru" in page(client)
    seen = {
        scope: can_see(client, scope)
        for scope in ("city", "kec/35.73.05", "kel/35.73.05.1004", "kec/35.73.02",
                      "kel/35.73.02.1001")
    }  # fmt: skip
    assert seen == {
        "city": False,
        "kec/35.73.05": True,
        "kel/35.73.05.1004": True,
        "kec/35.73.02": False,
        "kel/35.73.02.1001": False,
    }
    for kind in ("numbers", "cases"):
        said = text_of(client.get(f"/anev/{WEEK}/1/file/{kind}"))
        posts = set(re.findall(r"mlg-[a-z-]+-rw\d\d", said))
        assert {post.split("-")[1] for post in posts} <= {"lowokwaru"}
    assert client.post("/anev/make", {"week": WEEK}).status_code == 403


def test_a_picket_of_the_polresta_sees_the_city() -> None:
    made()
    client = signed_in(an_account("joko", "picket", unit_id="polresta"))
    assert can_see(client, "city")
    assert can_see(client, "kec/35.73.02")


def test_an_officer_sees_the_own_figures_and_those_of_the_own_kelurahan() -> None:
    made()
    own, other = Officer.objects.filter(kelurahan__isnull=False).order_by("pk")[:2]
    client = signed_in(an_account("wibowo", "bhabinkamtibmas", officer=own))
    assert can_see(client, f"officer/{own.pk}")
    assert can_see(client, f"kel/{own.kelurahan_id}")
    for scope in ("city", "kec/35.73.01", f"officer/{other.pk}", f"kel/{other.kelurahan_id}"):
        assert not can_see(client, scope)


def test_an_officer_who_has_moved_sees_nothing_of_the_kelurahan_of_before() -> None:
    made()
    own, other = Officer.objects.filter(kelurahan__isnull=False).order_by("pk")[:2]
    before = own.kelurahan_id
    own.kelurahan_id = other.kelurahan_id
    own.save()
    client = signed_in(an_account("wibowo", "bhabinkamtibmas", officer=own))
    assert can_see(client, f"kel/{other.kelurahan_id}")
    for scope in (f"kel/{before}", f"officer/{own.pk}"):
        assert not can_see(client, scope)


def test_an_officer_of_no_kelurahan_sees_the_own_figures() -> None:
    own = Officer.objects.filter(kelurahan__isnull=False).order_by("pk")[0]
    ward, own.kelurahan_id = own.kelurahan_id, None
    own.save()
    made()
    client = signed_in(an_account("wibowo", "bhabinkamtibmas", officer=own))
    assert can_see(client, f"officer/{own.pk}")
    assert not can_see(client, f"kel/{ward}")


def test_an_officer_whom_the_register_does_not_know_sees_nothing() -> None:
    made()
    client = signed_in(an_account("wibowo", "bhabinkamtibmas"))
    assert client.get(f"/anev/{WEEK}/1/").status_code == 404


# --- sheets -------------------------------------------------------------------------------------


@pytest.fixture
def report() -> Report:
    return draft(SETTINGS, BEGIN_MS, MADE_MS)


def lines_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


@pytest.mark.usefixtures("english")
def test_csv_and_workbook_hold_every_number_with_its_events(report: Report) -> None:
    scopes = within(report, "kec/35.73.05")
    lines = lines_of(sheets.csv_file(sheets.numbers(report, scopes)))
    wanted = {
        (scope.key, name): number
        for scope in scopes
        for name, number in report.sections[scope.key].items()
    }
    assert {(one["scope"], one["number"]) for one in lines} == set(wanted)
    for one in lines:
        number = wanted[one["scope"], one["number"]]
        assert one["ids"].split() == list(number.ids)
        assert (float(one["value"]) if one["value"] else None) == number.value
        assert one["meaning"]
    book = openpyxl.load_workbook(io.BytesIO(sheets.workbook(report, scopes)))
    assert book.sheetnames == ["Numbers", "Cases", "Hours", "Weeks", "How it is counted"]
    rows = list(book["Numbers"].iter_rows(min_row=2, values_only=True))
    assert [(row[1], row[3]) for row in rows] == list(wanted)
    assert [row[5] for row in rows] == [number.value for number in wanted.values()]
    hours = sum(sum(row[1:]) for row in book["Hours"].iter_rows(min_row=2, values_only=True))  # type: ignore[arg-type,misc]
    weeks = sum(row[1] or 0 for row in book["Weeks"].iter_rows(min_row=2, values_only=True))  # type: ignore[misc]
    assert hours == weeks > 20


def test_no_cell_is_a_formula_whatever_people_and_posts_are_called() -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "\n=1"]
    calls = Alarm.objects.filter(kind="panic", raised_ms__gte=BEGIN_MS, raised_ms__lt=YEAR_ENDS_MS)
    of_posts = {row.post: row for row in calls.order_by("alarm_id")}
    for name, row in zip(evil, of_posts.values(), strict=False):
        Post.objects.update_or_create(post_id=row.post, defaults={"name": name})
        Entry(at_ms=BEGIN_MS, action="note", alarm_id=row.alarm_id, operator="x",
              detail={"note": name}).save()  # fmt: skip
    report = draft(SETTINGS, BEGIN_MS, MADE_MS)
    content = sheets.csv_file(sheets.cases(report, CITY))
    cells = [cell for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert {f"'{name}" for name in evil[:5]} <= set(cells)
    book = openpyxl.load_workbook(io.BytesIO(sheets.workbook(report, within(report, CITY)[:1])))
    found = [cell for row in book.worksheets[1].iter_rows() for cell in row]
    assert {cell.data_type for cell in found} <= {"s", "n"}
    assert "=1+1" in {cell.value for cell in found}


def test_a_cell_holds_what_a_spreadsheet_takes(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "CELL_CHARS_MAX", 40)
    book = openpyxl.load_workbook(io.BytesIO(sheets.workbook(report, within(report, CITY)[:1])))
    cells = [str(cell.value) for row in book.worksheets[0].iter_rows() for cell in row]
    assert max(map(len, cells)) == 40


# --- paper --------------------------------------------------------------------------------------


def pdf(report: Report, scope: str = CITY, **fields: Any) -> list[pypdfium2.PdfPage]:
    usual: dict[str, Any] = {
        "edition": "edition 1",
        "digest": "ab" * 32,
        "letterhead": ("KEPOLISIAN", "RESOR KOTA"),
        "place": "Malang",
    }
    return list(pypdfium2.PdfDocument(paper.pdf(report, scope, **(usual | fields))))


def words_of(pages: list[pypdfium2.PdfPage]) -> str:
    return " ".join(" ".join(one.get_textpage().get_text_range() for one in pages).split())


@pytest.mark.usefixtures("english")
def test_the_paper_has_the_office_s_form_and_the_same_figures(report: Report) -> None:
    pages = pdf(report)
    said = words_of(pages)
    city = report.sections[CITY]
    for wanted in ("KEPOLISIAN", "ANALYSIS AND EVALUATION", "16 November 2026", "Number: ....",
                   "V. Evaluation and what follows", "HEAD OF ....", "rank and service number",
                   "Malang, ....", "abababababababab", f"page 1 of {len(pages)}",
                   f"{city['calls.panic'].n} calls for help", "Aiptu Petugas Dinoyo"):  # fmt: skip
        assert wanted in said, wanted
    for alarm_id in city["calls.panic"].ids:
        assert alarm_id[:8] in said
    for one in city["calls.panic"].ids:
        for remark in report.cases[one].remarks:
            assert remark.text in said
    assert all(tuple(round(side) for side in one.get_size()) == (595, 842) for one in pages)


def test_the_paper_is_grey_only_keeps_its_margins_and_is_the_same_twice(report: Report) -> None:
    for one in pdf(report):
        image = one.render(scale=1).to_pil().convert("RGB")
        spread = max(max(pixel) - min(pixel) for _, pixel in image.getcolors(1 << 20) or [])
        assert spread == 0
        for box in ((0, 0, 36, 842), (560, 0, 595, 842), (0, 0, 595, 36), (0, 818, 595, 842)):
            assert image.convert("L").crop(box).getextrema() == (255, 255), box
    fields: dict[str, Any] = {"edition": "1", "digest": "", "letterhead": (), "place": "x"}
    assert paper.pdf(report, CITY, **fields) == paper.pdf(report, CITY, **fields)


def test_a_quiet_kelurahan_has_a_paper_and_a_polsek_s_has_its_name(report: Report) -> None:
    quiet = next(
        key
        for key, section in report.sections.items()
        if key.startswith("kel/") and not section["calls.panic"].n
    )
    assert "Tidak ada yang memanggil tolong" in words_of(pdf(report, quiet))
    assert "SEKTOR LOWOKWARU" in words_of(pdf(report, "kec/35.73.05"))


def test_texts_from_outside_are_no_markup_and_more_cases_than_fit_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = Alarm.objects.filter(kind="panic", raised_ms__gte=BEGIN_MS).order_by("raised_ms")[0]
    hostile = '<b onclick="x">&amp; <img src="/etc/passwd"/>'
    Entry(at_ms=BEGIN_MS, action="note", alarm_id=call.alarm_id, operator="x",
          detail={"note": hostile}).save()  # fmt: skip
    report = draft(SETTINGS, BEGIN_MS, MADE_MS)
    assert '<img src="/etc/passwd"/>' in words_of(pdf(report))
    user = supervisor()
    made(user)
    assert hostile not in signed_in(user).get(f"/anev/{WEEK}/1/").content.decode()
    monkeypatch.setattr(paper, "CASES_MAX", 2)
    left = report.sections[CITY]["calls.panic"].n - 2
    assert f"dan {left} lagi" in words_of(pdf(report))


# --- plots --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["heat", "trend", "times"])
def test_a_plot_is_grey_svg_without_styles_or_scripts(report: Report, name: str) -> None:
    made()
    answer = signed_in(an_account("dewi", "picket")).get(f"/anev/{WEEK}/1/plot/{name}")
    assert answer["Content-Type"].startswith("image/svg+xml")
    root = ET.fromstring(answer.content)
    for one in root.iter():
        assert one.tag.split("}")[1] in {"svg", "title", "clipPath", "g", "rect", "line", "circle",
                                         "path", "text", "polygon", "polyline"}  # fmt: skip
        assert "style" not in one.attrib
        for color in re.findall(r"rgb\(([^)]+)\)", " ".join(one.attrib.values())):
            assert len(set(color.replace(" ", "").split(","))) == 1, color


def test_a_plot_says_what_its_table_says(report: Report) -> None:
    section = report.sections[CITY]
    plots.register_fonts()
    texts = re.findall(r">(\d+)</text>", plots.svg(plots.trend(report, section), "x"))
    weeks = [section[f"trend.{back}.calls"].n for back in range(12, -1, -1)]
    assert [int(one) for one in texts] == weeks
    texts = re.findall(r">(\d+)</text>", plots.svg(plots.heat(section), "x"))
    fields = [section[name].n for day in range(7) for hour in range(24)
              if (name := f"heat.{day}.{hour}") in section]  # fmt: skip
    assert [int(one) for one in texts] == [*range(24), *fields]
    assert sum(fields) == sum(weeks)


def test_weeks_without_a_record_are_gaps_and_no_zeros(report: Report) -> None:
    section = {
        name: number
        for name, number in report.sections[CITY].items()
        if not re.match(r"trend\.([4-9]|1\d)\.", name)
    }
    drawn = plots.svg(plots.trend(report, section), "x")
    assert drawn.count(">?</text>") == 9
