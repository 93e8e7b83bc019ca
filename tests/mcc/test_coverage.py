"""Where nobody was for long, what officers do, follow-ups, and a check that silences nothing."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from mcc.cases.models import Entry
from mcc.people.models import User
from mcc.registers.models import Kelurahan, Officer, Post
from mcc.visits.activity import activity
from mcc.visits.checks import PRESS_NEAR_MS, press_near
from mcc.visits.coverage import places, wards
from mcc.visits.models import FollowUp, Visit
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import POST
from tests.mcc.test_actions import registered
from tests.mcc.test_proofs import pressed
from tests.mcc.visits_rig import DAY_MS, DINOYO, KASIN, a_visit, an_officer, send

pytestmark = [
    pytest.mark.usefixtures("database", "quick_passwords"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


@pytest.fixture(autouse=True)
def photos(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "photos")


def visited(user: User, **fields: Any) -> Visit:
    answer = send(signed_in(user), a_visit(user, **fields))
    assert answer.status_code == 200, answer.content
    return Visit.objects.get(pk=answer.json()["kept"])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# --- coverage -----------------------------------------------------------------------------------


def test_a_kelurahan_is_due_after_the_set_days_and_the_longest_unvisited_stand_first() -> None:
    wibowo, joko = an_officer(), an_officer("joko", KASIN)
    visited(wibowo, days_ago=29.9)
    visited(wibowo, days_ago=40)
    visited(joko, kelurahan=KASIN, days_ago=30.1)
    found = wards(Kelurahan.objects.all(), now_ms=now_ms(), not_visited_days=30)
    assert len(found) == 57
    by_code = {one.code: one for one in found}
    assert (by_code[DINOYO].days, by_code[DINOYO].is_due, by_code[DINOYO].visits) == (29, False, 1)
    assert (by_code[KASIN].days, by_code[KASIN].is_due, by_code[KASIN].visits) == (30, True, 0)
    assert [one.code for one in found[-2:]] == [KASIN, DINOYO]
    assert all(one.days is None and one.is_due for one in found[:-2])


def test_a_post_counts_as_visited_when_an_officer_looked_at_it() -> None:
    registered()
    Post.objects.create(post_id="other", name="Pos lain")
    visited(an_officer(), check={"post": POST, "lamp": False}, days_ago=3)
    found = places(Post.objects.all(), now_ms=now_ms(), not_visited_days=30)
    assert [(one.post, one.days, one.is_due) for one in found] == [
        ("other", None, True),
        (POST, 3, False),
    ]
    assert found[1].check is not None
    assert found[1].check.lamp is False


def test_an_officer_sees_the_coverage_of_the_own_kelurahan_and_a_supervisor_that_of_all() -> None:
    registered()
    Post.objects.create(post_id="kasin-1", name="Pos Kasin", kelurahan_id=KASIN)
    own = signed_in(an_officer()).get("/visits/coverage/").content.decode()
    assert "Dinoyo" in own
    assert "Pos RW 05" in own
    assert "Kasin" not in own
    assert "leaflet" not in own
    every = signed_in(an_account(role="supervisor")).get("/visits/coverage/").content.decode()
    assert "Pos Kasin" in every
    assert "leaflet" in every


# --- the check of a post, and the clock -----------------------------------------------------------


def not_pressed(client: Client) -> tuple[list[str], list[str]]:
    said = client.get("/proofs/", headers={"Accept": "application/json"}).json()
    return tuple([one["post"] for one in said[name]] for name in ("not_pressed", "unheard"))  # type: ignore[return-value]


def test_a_claim_that_nothing_came_of_sets_no_clock_back_and_is_listed_as_worse() -> None:
    registered()
    technician = signed_in(an_account(role="technician"))
    pressed(POST, 100)
    assert not_pressed(technician) == ([POST], [])
    visited(an_officer(), check={"post": POST, "pressed": True, "lamp": True}, days_ago=1)
    assert not_pressed(technician) == ([POST], [POST])
    page = technician.get("/proofs/").content.decode()
    assert "Petugas menekan" in page


def test_the_press_that_came_at_a_visit_sets_the_clock_back_and_the_visit_names_it() -> None:
    registered()
    technician = signed_in(an_account(role="technician"))
    pressed(POST, 1.02, "test")
    officer = an_officer()
    visit = visited(officer, check={"post": POST, "pressed": True}, days_ago=1)
    assert not_pressed(technician) == ([], [])
    press = press_near(POST, visit.visited_ms)
    assert press is not None
    assert press.kind == "test"
    page = signed_in(officer).get(f"/visits/{visit.pk}/").content.decode()
    assert "sampai di sini:" in page


def test_a_press_that_came_later_clears_the_claim_and_one_long_before_does_not() -> None:
    registered()
    technician = signed_in(an_account(role="technician"))
    officer = an_officer()
    visit = visited(officer, check={"post": POST, "pressed": True}, days_ago=10)
    pressed(POST, 10 + 1.1 * PRESS_NEAR_MS / DAY_MS)
    assert not_pressed(technician)[1] == [POST]
    assert press_near(POST, visit.visited_ms) is None
    page = signed_in(officer).get(f"/visits/{visit.pk}/").content.decode()
    assert "Tidak ada tekanan" in page
    pressed(POST, 5, "test")
    assert not_pressed(technician)[1] == []


def test_a_visit_without_a_press_claims_nothing() -> None:
    registered()
    visited(an_officer(), check={"post": POST, "pressed": False, "lamp": True})
    assert not_pressed(signed_in(an_account(role="technician"))) == ([POST], [])


# --- follow-ups -----------------------------------------------------------------------------------


def test_a_follow_up_is_listed_until_somebody_has_done_it_and_that_is_in_the_record() -> None:
    officer = an_officer()
    today = dt.date.today()
    tasks = [
        {"text": "Lapor PJU", "due": str(today + dt.timedelta(days=7))},
        {"text": "Telepon RW", "due": str(today - dt.timedelta(days=1))},
    ]
    visited(officer, follow_ups=tasks)
    browser = signed_in(officer)
    page = browser.get("/visits/follow-ups/").content.decode()
    assert page.index("Telepon RW") < page.index("Lapor PJU")
    assert page.count("terlambat") == 1
    late = FollowUp.objects.get(text="Telepon RW")
    for _ in range(2):
        browser.post(f"/visits/follow-ups/{late.pk}/done")
    late.refresh_from_db()
    assert late.done_by == officer
    assert Entry.objects.filter(action="follow_up_done").count() == 1
    page = browser.get("/visits/follow-ups/").content.decode()
    assert "Telepon RW" not in page
    assert "sudah selesai" in page


def test_nobody_does_a_follow_up_that_is_not_theirs() -> None:
    visited(an_officer(), follow_ups=[{"text": "Lapor PJU", "due": "2026-12-06"}])
    one = FollowUp.objects.get()
    other = signed_in(an_officer("joko", KASIN))
    assert "Lapor" not in other.get("/visits/follow-ups/").content.decode()
    assert other.post(f"/visits/follow-ups/{one.pk}/done").status_code == 404
    assert FollowUp.objects.get().done_ms is None
    assert (
        signed_in(an_account(role="supervisor"))
        .post(f"/visits/follow-ups/{one.pk}/done")
        .status_code
        == 302
    )
    assert FollowUp.objects.get().done_ms is not None


# --- activity and assignment --------------------------------------------------------------------


def test_each_officer_has_a_line_with_visits_and_follow_ups() -> None:
    wibowo = an_officer()
    today = dt.date(2026, 11, 29)
    for days in (1, 8, 31):
        visited(wibowo, days_ago=days)
    visited(wibowo, days_ago=2, follow_ups=[{"text": "a", "due": "2026-11-28"}])
    [line] = activity(now_ms=now_ms(), today=today).officers
    assert (line.account, line.week, line.month) == ("wibowo", 2, 3)
    assert (line.open, line.overdue) == (1, 1)
    assert line.latest_ms is not None
    page = signed_in(an_account(role="supervisor")).get("/visits/activity/").content.decode()
    assert "Aiptu Wibowo" in page
    assert signed_in(wibowo).get("/visits/activity/").status_code == 403


def test_what_is_not_one_officer_one_kelurahan_one_account_is_said() -> None:
    an_officer()
    second = an_officer("joko", DINOYO)
    Officer.objects.create(name="Tanpa Akun", number="9", kelurahan_id=KASIN)
    found = activity(now_ms=now_ms(), today=dt.date.today())
    assert len(found.without_officer) == 55
    assert found.with_several == ["Dinoyo"]
    assert found.without_account == ["Tanpa Akun"]
    assert found.without_kelurahan == []
    Officer.objects.filter(account=second).update(kelurahan=None)
    found = activity(now_ms=now_ms(), today=dt.date.today())
    assert found.with_several == []
    assert found.without_kelurahan == ["Aiptu Joko"]


def test_an_account_that_is_closed_counts_as_none() -> None:
    an_officer(is_active=False)
    assert activity(now_ms=now_ms(), today=dt.date.today()).without_account == ["Aiptu Wibowo"]
