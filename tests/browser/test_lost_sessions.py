"""Who is signed in changes under an open page: no page takes that for a success, or shows on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import BrowserContext, Route, expect

from tests.browser.ground import POSTS, Ground
from tests.browser.test_console import row
from tests.mcc.centre import PASSWORD


@contextmanager
def without_session(ground: Ground, account: str) -> Iterator[None]:
    """Its session has ended, and is there again afterwards."""
    key = (ground.sessions[account],)
    with sqlite3.connect(ground.directory / "site.db") as database:
        held = database.execute("SELECT * FROM django_session WHERE session_key = ?", key)
        [kept] = held.fetchall()
        database.execute("DELETE FROM django_session WHERE session_key = ?", key)
    try:
        yield
    finally:
        with sqlite3.connect(ground.directory / "site.db") as database:
            database.execute("INSERT INTO django_session VALUES (?, ?, ?)", kept)


def sign_in(ground: Ground, context: BrowserContext, account: str) -> None:
    """What a log-in in another tab leaves in the browser, in English."""
    cookies = {"sessionid": ground.sessions[account], "django_language": "en"}
    context.add_cookies(
        [{"name": name, "value": text, "url": ground.address} for name, text in cookies.items()]
    )


def answers(ground: Ground, alarm_id: str) -> list[str]:
    """What gateways were asked for about an alarm, beside receipts."""
    orders = [one.action for one in ground.double.commands if one.alarm_id == alarm_id]
    return [one for one in orders if one != "receive"]


def test_an_answer_after_the_session_has_ended_is_said_to_be_none(ground: Ground) -> None:
    context = ground.context("budi")
    sign_in(ground, context, "budi")
    page = ground.open(context)
    alarm = ground.alarm()
    tags = page.locator(row(page, alarm.alarm_id) + " .more")
    expect(page.locator("#map .mark.calling")).to_have_count(1)
    with without_session(ground, "budi"):
        page.keyboard.press("a")
        expect(page.locator("#said .refused")).to_contain_text("NOT SENT: you are signed out")
        expect(page.locator("#banners")).to_contain_text("SIGNED OUT")
        expect(tags).not_to_contain_text("sending")
        expect(page.locator("#map .mark.calling")).to_have_count(1)
    assert answers(ground, alarm.alarm_id) == []
    # Logged in again in another tab: the page goes on by itself.
    sign_in(ground, context, "budi")
    expect(page.locator("#banners")).not_to_contain_text("SIGNED OUT", timeout=20_000)
    page.keyboard.press("a")
    expect(page.locator("#map .mark.calling")).to_have_count(0)
    assert answers(ground, alarm.alarm_id) == ["acknowledge"]


def test_a_console_that_nobody_touches_says_within_seconds_that_it_is_signed_out(
    ground: Ground,
) -> None:
    page = ground.page("budi")
    with without_session(ground, "budi"):
        expect(page.locator("#banners")).to_contain_text("SIGNED OUT", timeout=8_000)


def test_a_telephone_notes_nothing_when_its_session_has_ended(ground: Ground) -> None:
    ground.alarm(POSTS[3][0])
    phone = ground.page("agus", "/phone/")
    going = phone.locator("#alarms > li button", has_text="on the way")
    with without_session(ground, "agus"):
        going.click()
        expect(phone.locator("#said .refused")).to_contain_text("NOT SENT: you are signed out")
        expect(phone.locator("#again a")).to_be_visible()
        expect(going).not_to_contain_text("✓")


def test_when_another_officer_signs_in_beside_it_a_telephone_shows_the_cases_of_that_one(
    ground: Ground,
) -> None:
    ground.alarm(POSTS[1][0])
    ground.alarm(POSTS[2][0])
    context = ground.context("wibowo")
    sign_in(ground, context, "wibowo")
    statuses: list[int] = []

    def arrive_after_the_log_in(route: Route) -> None:
        # Asked with the session that has ended, answered when the new one's cookie is there.
        with without_session(ground, "wibowo"):
            answer = route.fetch(max_redirects=0)
        sign_in(ground, context, "hadi")
        statuses.append(answer.status)
        route.fulfill(response=answer)

    context.route("**/stream*", arrive_after_the_log_in, times=1)
    page = ground.open(context, "/phone/")
    expect(page.locator("#alarms > li h3")).to_have_text([POSTS[2][1]])
    expect(page.locator("header .who")).to_contain_text("Hadi")
    assert statuses == [302]


def test_an_officer_whose_session_has_ended_is_shown_no_case(ground: Ground) -> None:
    ground.alarm(POSTS[2][0])
    page = ground.page("hadi", "/phone/")
    card = page.locator("#alarms > li")
    expect(card).to_have_count(1)
    card.locator("input").fill("x")
    with without_session(ground, "hadi"):
        ground.alarm(POSTS[2][0])  # something happens, and its stream ends
        expect(card).to_have_count(0)
        expect(page.locator("#again a")).to_be_visible()
        expect(page.locator("#quiet")).to_be_hidden()
    sign_in(ground, page.context, "hadi")
    expect(card).to_have_count(2)
    expect(card.locator("input").first).to_have_value("x")


def test_when_somebody_else_signs_in_beside_it_a_console_says_whose_its_deeds_are(
    ground: Ground,
) -> None:
    context = ground.context("sari")
    sign_in(ground, context, "sari")
    page = ground.open(context)
    sign_in(ground, context, "budi")
    said = "Budi has signed in: what is done here stands in the record as theirs, not as Sari's"
    expect(page.locator("#banners")).to_contain_text(said, timeout=8_000)
    page.click("text=Load anew")
    expect(page.locator("#who")).to_have_text("Budi")
    expect(page.locator("#banners")).not_to_contain_text("has signed in")


def test_going_back_after_logging_out_shows_no_console(ground: Ground) -> None:
    # A session of its own: it is really ended.
    context = ground.context(None)
    page = context.new_page()
    page.goto(f"{ground.address}/login/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", PASSWORD)
    page.click("main form button")
    page.wait_for_load_state()
    page.goto(f"{ground.address}/code/app/")
    page.locator("form[action='/logout/'] button").click()
    page.wait_for_url("**/login/")
    page.go_back()
    page.wait_for_load_state()
    assert "/login/" in page.url
    assert page.locator("img.qr").count() == 0
