"""The officers' page in a real browser: without a network, after a restart, with bad files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.axe import serious
from tests.browser.conftest import FLAGS
from tests.browser.ground import WAIT_MS, Ground
from tests.mcc.centre import PASSWORD
from tests.mcc.test_photos import GPS_TAG, a_photo

PHONE = {"width": 390, "height": 760}
# So many visits wait already.
FILL = """async (most) => {
  const asked = indexedDB.open("kentongan-visits", 1);
  await new Promise((done) => { asked.onsuccess = done; });
  const all = asked.result.transaction("visits", "readwrite");
  for (let n = 0; n < most; n += 1)
    all.objectStore("visits").add({ visit_id: `${n}`, user_id: 0, added_ms: n, body: "{}" });
  await new Promise((done) => { all.oncomplete = done; });
}"""

# How many are half entered, whosever they are.
DRAFTS = """async () => {
  const asked = indexedDB.open("kentongan-visits", 1);
  await new Promise((done) => { asked.onsuccess = done; });
  const counted = asked.result.transaction("drafts").objectStore("drafts").count();
  await new Promise((done) => { counted.onsuccess = done; });
  asked.result.close();
  return counted.result;
}"""

# From now on a photo is made small only when `release()` says so.
SLOW_PHOTOS = """() => {
  const real = createImageBitmap;
  window.createImageBitmap = async (...all) => {
    await new Promise((done) => { window.release = done; });
    return real(...all);
  };
}"""
# What was half entered, with a signature that is none.
BROKEN_DRAFT = """async () => {
  const { user_id } = JSON.parse(document.getElementById("config").textContent);
  const asked = indexedDB.open("kentongan-visits", 1);
  await new Promise((done) => { asked.onsuccess = done; });
  const all = asked.result.transaction("drafts", "readwrite");
  const fields = [["name", "Bu Tini"]];
  const draft = { fields, photo: null, signature: new Blob(["none"]), place: null, replaces: null };
  all.objectStore("drafts").put(draft, `draft/${user_id}`);
  await new Promise((done) => { all.oncomplete = done; });
}"""


@contextmanager
def a_telephone_with_a_memory(ground: Ground, profile: Path) -> Iterator[Page]:
    """A browser of its own, whose memory outlives it; closed at the end."""
    context = ground.browser.browser_type.launch_persistent_context(
        str(profile),
        executable_path=shutil.which("chromium"),
        args=FLAGS,
        viewport=PHONE,  # type: ignore[arg-type]
    )
    context.set_default_timeout(WAIT_MS)
    try:
        if not context.cookies():
            sign_in(ground, context, "wibowo")
        yield context.pages[0]
    finally:
        context.close()


def a_telephone(ground: Ground) -> Page:
    """The officers' page in a browser that forgets."""
    context = ground.context(None)
    sign_in(ground, context, "wibowo")
    page = context.new_page()
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    return opened(ground, page)


def sign_in(ground: Ground, context: BrowserContext, account: str) -> None:
    expires = time.time() + 3_600
    context.add_cookies(
        [
            {
                "name": "sessionid",
                "value": ground.sessions[account],
                "url": ground.address,
                "expires": expires,
            },
            {
                "name": "django_language",
                "value": "id",
                "url": ground.address,
                "expires": expires,
            },
        ]
    )


def handed_to(ground: Ground, page: Page, account: str) -> Page:
    """The same telephone, after another officer has signed in on it."""
    page.context.clear_cookies()
    sign_in(ground, page.context, account)
    return opened(ground, page)


@contextmanager
def the_page_of_the_officer_before(ground: Ground, page: Page) -> Iterator[None]:
    """Hadi has signed in on Wibowo's telephone; the server is so slow that his page is shown."""
    page.context.clear_cookies()
    sign_in(ground, page.context, "hadi")
    ground.centre.freeze("serve")
    try:
        page.goto(f"{ground.address}/visits/phone/", wait_until="commit")
        page.wait_for_selector("html[data-ready]")
        expect(page.locator("footer")).to_contain_text("Wibowo")
        yield
    finally:
        ground.centre.thaw("serve")


def opened(ground: Ground, page: Page) -> Page:
    page.goto(f"{ground.address}/visits/phone/")
    page.wait_for_selector("html[data-ready][data-kept]")
    return page


def a_photo_from_a_home() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(GPS_TAG)[2] = (7.0, 57.0, 4.0)
    return a_photo((2_400, 1_200), exif=exif).getvalue()


def choose(page: Page, content: bytes, name: str = "foto.jpg") -> None:
    file = {"name": name, "mimeType": "image/jpeg", "buffer": content}
    page.set_input_files("[name=photo]", file)  # type: ignore[arg-type]


def keep(page: Page, name: str, photo: bytes | None = None) -> None:
    page.fill("[name=name]", name)
    page.fill("[name=findings]", f"Ditemui: {name}")
    if photo is not None:
        choose(page, photo)
        expect(page.locator("#preview")).to_be_visible()
    page.click("#keep")
    expect(page.locator("#kept")).not_to_be_empty()


def kept_by(ground: Ground) -> list[tuple[str, str]]:
    """Name and photo of every visit that the server holds."""
    with sqlite3.connect(f"file:{ground.directory / 'site.db'}?mode=ro", uri=True) as database:
        return list(database.execute("SELECT name, photo FROM visits_visit ORDER BY received_ms"))


def test_five_visits_without_a_network_outlive_the_browser_and_arrive_once_each(
    ground: Ground, tmp_path: Path
) -> None:
    before = len(kept_by(ground))
    names = [f"Bu Sumarni {n}" for n in range(5)]
    photo = a_photo_from_a_home()
    with a_telephone_with_a_memory(ground, tmp_path / "profile") as page:
        opened(ground, page)
        page.context.set_offline(True)
        page.reload()
        page.wait_for_selector("html[data-ready]")
        for name in names:
            keep(page, name, photo)
        expect(page.locator("#queue > li")).to_have_count(5)
        expect(page.locator("#count")).to_contain_text("5")
    assert len(kept_by(ground)) == before
    with a_telephone_with_a_memory(ground, tmp_path / "profile") as page:
        page.context.set_offline(True)
        page.goto(f"{ground.address}/visits/phone/")
        expect(page.locator("#queue > li")).to_have_count(5)
        expect(page.locator("#network")).to_contain_text("jaringan")
        page.context.set_offline(False)
        expect(page.locator("#queue > li")).to_have_count(0)
        expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
        page.reload()
        expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    arrived = kept_by(ground)[before:]
    assert [name for name, _ in arrived] == names
    for _, path in arrived:
        with Image.open(ground.directory / "photos" / path) as image:
            assert image.size == (1_600, 800)
            assert not image.getexif()
            assert GPS_TAG not in image.getexif()


def test_a_request_or_an_answer_that_is_lost_loses_no_visit_and_makes_no_second(
    ground: Ground,
) -> None:
    before = len(kept_by(ground))
    page = a_telephone(ground)
    sent: list[int] = []

    def lose_the_answer(route: Route) -> None:
        sent.append(route.fetch().status)
        route.abort()

    page.route("**/visits/send", lambda route: route.abort())
    keep(page, "Pak Harto")
    expect(page.locator("#network")).to_contain_text("jaringan")
    opened(ground, page)
    expect(page.locator("#queue > li")).to_have_count(1)
    assert len(kept_by(ground)) == before
    page.route("**/visits/send", lose_the_answer)  # the latest rule is asked first: no gap
    opened(ground, page)
    expect(page.locator("#network")).to_contain_text("jaringan")
    expect(page.locator("#queue > li")).to_have_count(1)
    assert sent[0] == 200
    page.unroute("**/visits/send")
    opened(ground, page)
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    assert [name for name, _ in kept_by(ground)[before:]] == ["Pak Harto"]


def test_a_wrong_or_huge_file_is_said_and_the_form_keeps_its_content(
    ground: Ground, tmp_path: Path
) -> None:
    page = a_telephone(ground)
    page.fill("[name=name]", "Bu Tini")
    page.fill("[name=findings]", "Pagar roboh")
    page.click("#add-task")
    page.fill("[name=task]", "Lapor RW")
    choose(page, b"this is no photo")
    expect(page.locator("#wrong")).to_contain_text("bukan foto")
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(26 * 1024 * 1024)
    page.set_input_files("[name=photo]", huge)
    expect(page.locator("#wrong")).to_contain_text("25 MB")
    values = [
        page.input_value(f"[name={name}]") for name in ("name", "findings", "task", "kelurahan")
    ]
    assert values == ["Bu Tini", "Pagar roboh", "Lapor RW", "35.73.05.1004"]
    choose(page, a_photo((300, 200)).getvalue())
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#wrong")).to_be_empty()


def test_what_was_entered_is_there_again_after_the_telephone_closed_the_page(
    ground: Ground,
) -> None:
    page = a_telephone(ground)
    page.fill("[name=name]", "Bu Tini")
    choose(page, a_photo((300, 200)).getvalue())
    expect(page.locator("#preview")).to_be_visible()
    page.click("#add-task")
    page.fill("[name=task]", "Lapor RW")
    page.wait_for_timeout(700)  # the draft is written 400 ms after the last key
    page.reload()
    expect(page.locator("#preview")).to_be_visible()
    assert page.input_value("[name=name]") == "Bu Tini"
    assert page.input_value("[name=task]") == "Lapor RW"


def test_a_session_that_ended_keeps_the_queue_and_asks_to_sign_in_again(ground: Ground) -> None:
    before = len(kept_by(ground))
    page = a_telephone(ground)
    page.context.clear_cookies()
    keep(page, "Pak Slamet")
    expect(page.locator("#sign-in a")).to_be_visible()
    expect(page.locator("#queue > li")).to_have_count(1)
    sign_in(ground, page.context, "hadi")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(ground, page)
    expect(page.locator("#queue > li")).to_contain_text("Wibowo")
    page.wait_for_load_state("networkidle")
    assert not [one for one in asked if one.endswith("/visits/send")]
    assert len(kept_by(ground)) == before
    page.context.clear_cookies()
    sign_in(ground, page.context, "wibowo")
    opened(ground, page)
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    assert [name for name, _ in kept_by(ground)[before:]] == ["Pak Slamet"]


def test_what_the_server_refuses_stays_and_can_be_changed(ground: Ground) -> None:
    before = len(kept_by(ground))
    page = a_telephone(ground)
    page.fill("[name=visited]", "2049-01-01T10:00")
    keep(page, "Bu Rahayu")
    expect(page.locator("#queue .wrong")).to_contain_text("masa depan")
    page.locator("#queue button").first.click()
    assert page.input_value("[name=name]") == "Bu Rahayu"
    page.fill("[name=visited]", time.strftime("%Y-%m-%dT%H:%M"))
    page.click("#keep")
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    assert [name for name, _ in kept_by(ground)[before:]] == ["Bu Rahayu"]


def test_at_the_bound_of_the_queue_the_visit_stays_in_the_form(ground: Ground) -> None:
    page = a_telephone(ground)
    page.context.set_offline(True)
    most = json.loads(page.locator("#config").text_content() or "")["queue_max"]
    page.evaluate(FILL, most)
    page.fill("[name=name]", "Satu terlalu banyak")
    page.click("#keep")
    expect(page.locator("#wrong")).to_contain_text(str(most))
    assert page.input_value("[name=name]") == "Satu terlalu banyak"


def test_a_photo_that_is_still_being_made_small_goes_with_its_own_visit(ground: Ground) -> None:
    before = len(kept_by(ground))
    page = a_telephone(ground)
    page.evaluate(SLOW_PHOTOS)
    page.fill("[name=name]", "Bu Pertama")
    choose(page, a_photo((300, 200)).getvalue())
    page.click("#keep")
    page.evaluate("release()")
    expect(page.locator("#kept")).not_to_be_empty()
    expect(page.locator("#preview")).to_be_hidden()
    keep(page, "Bu Kedua")
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    arrived = [(name, bool(photo)) for name, photo in kept_by(ground)[before:]]
    assert arrived == [("Bu Pertama", True), ("Bu Kedua", False)]


def test_a_visit_is_not_kept_without_the_photo_that_turns_out_to_be_none(ground: Ground) -> None:
    page = a_telephone(ground)
    page.evaluate(SLOW_PHOTOS)
    page.fill("[name=name]", "Bu Pertama")
    choose(page, b"this is no photo")
    page.click("#keep")
    page.evaluate("release()")
    expect(page.locator("#wrong")).to_contain_text("bukan foto")
    expect(page.locator("#kept")).to_be_empty()
    expect(page.locator("#queue > li")).to_have_count(0)
    assert page.input_value("[name=name]") == "Bu Pertama"


def test_what_was_refused_is_changed_or_thrown_away_only_by_whose_it_is(ground: Ground) -> None:
    page = a_telephone(ground)
    page.fill("[name=visited]", "2049-01-01T10:00")
    keep(page, "Bu Rahayu")
    expect(page.locator("#queue button")).to_have_count(2)
    handed_to(ground, page, "hadi")
    expect(page.locator("#queue > li")).to_contain_text("Wibowo")
    expect(page.locator("#queue > li")).not_to_contain_text("Rahayu")
    expect(page.locator("#queue button")).to_have_count(0)
    handed_to(ground, page, "wibowo")
    expect(page.locator("#queue button")).to_have_count(2)


def enter(page: Page, name: str) -> None:
    """Begin a visit, and wait until it is a draft."""
    page.fill("[name=name]", name)
    page.wait_for_timeout(700)  # it is written 400 ms after the last key
    assert page.evaluate(DRAFTS) == 1


def sign_in_by_the_page(ground: Ground, page: Page, account: str) -> None:
    page.goto(f"{ground.address}/login/")
    page.fill("[name=username]", account)
    page.fill("[name=password]", PASSWORD)
    page.click("main form button")
    page.wait_for_selector("html[data-ready][data-kept]")
    expect(page.locator("footer")).to_contain_text(account.title())


def test_signing_out_throws_away_what_is_half_entered_and_hides_what_waits(ground: Ground) -> None:
    before = len(kept_by(ground))
    page = ground.context(None).new_page()
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    sign_in_by_the_page(ground, page, "wibowo")
    page.context.route("**/visits/send", lambda route: route.abort())
    keep(page, "Bu Sumarni")
    beside = opened(ground, page.context.new_page())
    enter(beside, "Bu Tini")
    page.click("form[action='/logout/'] button")
    page.wait_for_url("**/login/")
    page.wait_for_function(f"async () => (await ({DRAFTS})()) === 0")

    def nothing_is_shown(said: str) -> None:
        page.wait_for_selector("html[data-ready]")
        expect(page.locator("#queue > li")).to_have_count(1)
        expect(page.locator("#queue > li")).to_contain_text("Wibowo")
        expect(page.locator("body")).not_to_contain_text("Sumarni")
        assert page.input_value("[name=name]") == ""
        if said:
            expect(page.locator("#anothers")).to_contain_text(said)
            expect(page.locator("#keep")).to_be_disabled()

    beside.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(beside.locator("[name=name]")).to_have_value("")
    expect(beside.locator("#keep")).to_be_disabled()
    beside.close()
    # Nobody is signed in, and the page that this telephone has kept is still that of Wibowo.
    page.context.set_offline(True)
    page.goto(f"{ground.address}/visits/phone/")
    nothing_is_shown("Wibowo sudah keluar")
    page.context.set_offline(False)
    sign_in_by_the_page(ground, page, "hadi")
    nothing_is_shown("")
    page.context.unroute("**/visits/send")
    sign_in_by_the_page(ground, page, "wibowo")
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    assert [name for name, _ in kept_by(ground)[before:]] == ["Bu Sumarni"]


def test_when_another_signs_in_what_was_half_entered_goes_and_is_on_no_page_that_was_kept(
    ground: Ground,
) -> None:
    page = a_telephone(ground)
    enter(page, "Bu Tini")
    # The last that this telephone has heard is that Hadi has signed in; the page kept is Wibowo's.
    who = page.evaluate("document.cookie.match(/kentongan_who=([0-9]+)/)[1]")
    page.evaluate(f"document.cookie = 'kentongan_who={int(who) + 1}; path=/'")
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.input_value("[name=name]") == ""
    expect(page.locator("#anothers")).to_contain_text("Orang lain sudah masuk")
    expect(page.locator("#keep")).to_be_disabled()
    assert page.evaluate(DRAFTS) == 0
    page.context.set_offline(False)
    for account, name in (("hadi", "Pak Karto"), ("wibowo", "Bu Rahayu"), ("hadi", "Pak Budi")):
        handed_to(ground, page, account)
        assert page.input_value("[name=name]") == ""
        enter(page, name)


def test_whoever_signs_in_again_after_the_session_has_ended_goes_on_where_it_was(
    ground: Ground,
) -> None:
    page = a_telephone(ground)
    enter(page, "Bu Tini")
    page.context.clear_cookies(name="sessionid")
    page.reload()  # leads to the page for signing in
    page.wait_for_url("**/login/**")
    page.wait_for_load_state("networkidle")
    sign_in_by_the_page(ground, page, "wibowo")
    assert page.input_value("[name=name]") == "Bu Tini"


@pytest.mark.parametrize("ends", [False, True], ids=["both stay", "one ends in between"])
def test_what_two_pages_of_an_officer_send_at_once_arrives_once_each(
    ground: Ground, ends: bool
) -> None:
    before = len(kept_by(ground))
    page = a_telephone(ground)
    other = opened(ground, page.context.new_page())
    page.context.set_offline(True)
    for n in range(3):
        keep(page, f"Bu Sumarni {n}")
        keep(other, f"Pak Karto {n}")
    sent: list[Page] = []

    def begin(one: Page) -> None:
        one.evaluate("dispatchEvent(new Event('online'))")

    def send(route: Route) -> None:
        sender = route.request.frame.page
        sent.append(sender)
        if len(sent) > 1:
            route.continue_()
            return
        # The server has it, the answer is on its way, and the other page begins as well.
        answer = route.fetch()
        begin(other if sender == page else page)
        if not ends:
            route.fulfill(response=answer)

    page.context.route("**/visits/send", send)
    page.context.set_offline(False)
    while not sent:
        page.wait_for_timeout(20)
    if ends:
        sent[0].close()
    for one in (page, other):
        if not one.is_closed():
            begin(one)
            expect(one.locator("#count")).to_have_text("Semuanya sudah terkirim.", timeout=40_000)
    names = sorted(f"{who} {n}" for who in ("Bu Sumarni", "Pak Karto") for n in range(3))
    assert sorted(name for name, _ in kept_by(ground)[before:]) == names
    # The page that ended had not read the answer to its first, so that one was sent again.
    assert len(sent) == len(names) + ends


def test_the_page_of_the_officer_before_keeps_nothing_for_the_next(ground: Ground) -> None:
    page = a_telephone(ground)
    with the_page_of_the_officer_before(ground, page):
        page.fill("[name=name]", "Pak Karto")
        page.click("#keep")
    expect(page.locator("#anothers")).to_contain_text("Hadi")
    expect(page.locator("#wrong")).to_contain_text("Hadi")
    expect(page.locator("#keep")).to_be_disabled()
    expect(page.locator("#queue > li")).to_have_count(0)
    # It is still there to be copied, and in nobody's draft.
    assert page.input_value("[name=name]") == "Pak Karto"
    page.wait_for_timeout(700)
    page.click("#anothers a")
    expect(page.locator("footer")).to_contain_text("Hadi")
    expect(page.locator("#anothers")).to_be_hidden()
    handed_to(ground, page, "wibowo")
    assert page.input_value("[name=name]") == ""


def test_the_page_of_the_officer_before_is_loaded_anew_when_nothing_was_entered(
    ground: Ground,
) -> None:
    page = a_telephone(ground)
    with the_page_of_the_officer_before(ground, page):
        pass
    expect(page.locator("footer")).to_contain_text("Hadi")
    expect(page.locator("#anothers")).to_be_hidden()
    expect(page.locator("#keep")).to_be_enabled()


def test_a_draft_that_cannot_be_read_whole_stops_nothing(ground: Ground) -> None:
    before = len(kept_by(ground))
    page = a_telephone(ground)
    page.route("**/visits/send", lambda route: route.abort())
    keep(page, "Pak Slamet")
    expect(page.locator("#network")).to_contain_text("jaringan")
    page.evaluate(BROKEN_DRAFT)
    page.unroute("**/visits/send")
    opened(ground, page)
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")
    expect(page.locator("#wrong")).to_contain_text("tidak dapat membaca")
    assert page.input_value("[name=name]") == "Bu Tini"
    assert [name for name, _ in kept_by(ground)[before:]] == ["Pak Slamet"]


def test_a_check_in_which_nothing_was_looked_at_stays_in_the_form(ground: Ground) -> None:
    page = a_telephone(ground)
    page.fill("[name=name]", "Pos RW 05")
    page.select_option("[name=post]", label="Pos Dinoyo RW 05")
    page.click("#keep")
    expect(page.locator("#wrong")).to_contain_text("Isi apa yang Anda lihat")
    expect(page.locator("#queue > li")).to_have_count(0)
    assert page.input_value("[name=name]") == "Pos RW 05"
    page.select_option("[name=lamp]", "no")
    page.click("#keep")
    expect(page.locator("#kept")).not_to_be_empty()
    expect(page.locator("#count")).to_have_text("Semuanya sudah terkirim.")


def test_a_visit_that_is_thrown_away_is_asked_about_and_gone(ground: Ground) -> None:
    page = a_telephone(ground)
    page.fill("[name=visited]", "2049-01-01T10:00")
    keep(page, "Bu Rahayu")
    page.fill("[name=name]", "Pak Karto")
    # Whoever says no keeps both: what waits, and what stands in the form.
    for button in page.locator("#queue button").all():
        button.click()
    assert page.input_value("[name=name]") == "Pak Karto"
    expect(page.locator("#queue > li")).to_have_count(1)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#queue button").last.click()
    expect(page.locator("#queue > li")).to_have_count(0)


@pytest.mark.parametrize("language", ["id", "en"])
def test_every_page_fits_a_telephone_and_axe_finds_nothing_serious(
    ground: Ground, language: str
) -> None:
    def page_of(account: str) -> Page:
        context = ground.context(account)
        chosen = {"name": "django_language", "value": language, "url": ground.address}
        context.add_cookies([chosen])  # type: ignore[list-item]
        page = context.new_page()
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        return page

    def fits(page: Page) -> None:
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], page.url
        assert serious(page) == [], page.url

    page = opened(ground, page_of("wibowo"))
    page.click("#add-task")
    page.fill("[name=task]", "Lapor PJU")
    keep(page, "Bu Sumarni", a_photo((300, 200)).getvalue())
    expect(page.locator("#queue > li")).to_have_count(0)
    page.context.set_offline(True)
    keep(page, "Bu Sumarni")
    page.click("#add-task")
    expect(page.locator("#queue > li")).to_have_count(1)
    fits(page)
    page.context.set_offline(False)
    expect(page.locator("#queue > li")).to_have_count(0)
    for path in ("/visits/", "/visits/follow-ups/", "/visits/coverage/"):
        page.goto(ground.address + path)
        fits(page)
    desk = page_of("rini")
    for path in ("/visits/", "/visits/follow-ups/", "/visits/coverage/", "/visits/activity/"):
        desk.goto(ground.address + path)
        fits(desk)
    expect(desk.locator("tbody")).to_contain_text("Aiptu Wibowo")
    desk.goto(f"{ground.address}/visits/")
    desk.click("tbody a")
    fits(desk)
    desk.goto(f"{ground.address}/visits/person/")
    desk.fill("[name=name]", "sumarni")
    desk.locator("main form button").first.click()
    expect(desk.locator("[name=hit]").first).to_be_visible()
    fits(desk)
    desk.fill("[name=reference]", "PDP-7")
    desk.locator("button[formaction]").click()
    expect(desk.locator("[role=alert]")).to_be_visible()
    fits(desk)
    desk.goto(f"{ground.address}/visits/coverage/")
    expect(desk.locator("#map .days")).to_have_count(57)
