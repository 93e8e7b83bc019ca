"""axe-core on the pages beside the console (`test_console.py`), as each role sees them."""

from __future__ import annotations

import re
import time
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from mcc.anev.figures import week_name, week_of
from tests.browser.axe import serious
from tests.browser.ground import ATTEMPTS, POSTS, SIZE, Ground
from tests.mcc.test_urls import ROUTES

Scheme = Literal["light", "dark"]
# Account (None: nobody has signed in) -> the pages that are looked at as that person; one that is
# the same to several is looked at once.
PAGES: dict[str | None, tuple[str, ...]] = {
    None: ("/login/", "/info/", "/info/?lang=en", "/info/post/POST"),
    "sari": ("/shift/", "/password/", "/code/app/"),
    "dewi": ("/phone/", "/anev/"),
    "wibowo": ("/phone/", "/anev/WEEK/0/"),
    "joko": ("/admin/", "/admin/registers/post/POST/change/"),
    "owes-rini": ("/code/",),
    "rini": (
        "/shift/",
        "/practice/",
        "/practice/DRILL/",
        "/posters/",
        "/false-alarms/",
        "/false-alarms/POST",
        "/admin/community/section/",
        "/admin/community/section/law/change/",
        "/figures/",
        "/proofs/",
        "/anev/",
        "/anev/WEEK/0/",
        "/anev/WEEK/0/events?scope=city&number=posts.registered",
        "/anev/WEEK/0/events?scope=city&number=calls.panic",
        "/admin/",
        "/admin/registers/",
        "/admin/registers/post/",
        "/admin/registers/post/add/",
        "/admin/registers/post/import/",
        "/admin/registers/post/POST/change/",
        "/admin/registers/post/POST/history/",
        "/admin/registers/post/POST/delete/",
        "/admin/registers/officer/",
        "/admin/registers/officer/add/",
        "/admin/registers/unit/",
        "/admin/registers/unit/polsek-klojen/change/",
        "/admin/registers/kecamatan/",
    ),
    "wati": (
        "/figures/",
        "/admin/",
        "/admin/people/user/",
        "/admin/people/user/add/",
        "/admin/people/user/1/change/",
        "/admin/people/user/1/password/",
        "/admin/api/token/",
        "/admin/api/token/add/",
        "/admin/api/hook/",
        "/admin/api/hook/add/",
    ),
}
# What the site answers with data, pictures, scripts and files, and what it only takes.
NO_PAGES = frozenset(
    (
        "health",
        "words.js",
        "language",
        "info/sw.js",
        "picture",
        "stream",
        "do",
        "screen",
        "logout/",
        "case/<uuid:alarm_id>",
        "post/<slug:post>",
        "post/<slug:post>/photo",
        "map/areas",
        "map/tiles/<int:z>/<int:x>/<int:y>",
        "shift/begin",
        "shift/end",
        "shift/take",
        "posters/file",
        "practice/<int:pk>/open",
        "practice/<int:pk>/end",
        "practice/<int:pk>/names",
        "false-alarms/<slug:post>/decide",
        "anev/make",
        "anev/<slug:week>/<int:number>/file/<slug:kind>",
        "anev/<slug:week>/<int:number>/plot/<slug:name>",
    )
)
# Looked at where they are opened with something on them: the console, the officers' pages.
ELSEWHERE = ("visits/", "admin/", "api/")
NARROW = ViewportSize(width=360, height=740)
LOOKS: tuple[tuple[str, Scheme], ...] = (("id", "light"), ("en", "dark"))
# More than `[people] attempts`.
TRIES = ATTEMPTS + 1


def browser_of(
    ground: Ground, account: str | None, language: str, scheme: Scheme
) -> BrowserContext:
    context = ground.context(account, color_scheme=scheme)
    chosen = {"name": "django_language", "value": language, "url": ground.address}
    context.add_cookies([chosen])  # type: ignore[list-item]
    return context


def this_week() -> str:
    return week_name(week_of(time.time_ns() // 1_000_000))


def found_on(page: Page, url: str) -> list[str]:
    answer = page.goto(url)
    assert answer is not None
    is_there = answer.status == 200 and page.url == url
    said = [] if is_there else [f"answers {answer.status} {page.url}"]
    found = serious(page)
    if "/admin/registers/post/" in url or "/admin/people/user/1/" in url:
        # Pages of each kind that the registers have, in the other look: it changes but colours.
        page.emulate_media(color_scheme="dark")
        page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
        found += serious(page, "color-contrast")
        page.emulate_media(color_scheme="light")
    elif "/admin/" not in url:
        page.set_viewport_size(NARROW)
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            said.append("is wider than a telephone")
        page.set_viewport_size(SIZE)
    return [*said, *(f"{rule}: {places}" for rule, places in found)]


def a_drill(ground: Ground) -> str:
    """The number of a practice day with one post in it."""
    page = browser_of(ground, "rini", "en", "light").new_page()
    page.goto(f"{ground.address}/practice/")
    page.fill("[name=name]", "Latihan bersama")
    page.select_option("[name=posts]", POSTS[0][0])
    page.click("text=Plan it")
    page.wait_for_url(re.compile(r"/practice/\d+/$"))
    return page.url.rstrip("/").rpartition("/")[2]


def test_axe_looks_at_every_page_that_the_site_has() -> None:
    looked_at = {path.partition("?")[0] for paths in PAGES.values() for path in paths}
    forgotten = [
        route
        for route in ROUTES
        if route
        and route not in NO_PAGES
        and not route.startswith(ELSEWHERE)
        and not any(re.fullmatch("/" + re.sub("<[^>]+>", "[^/]+", route), one) for one in looked_at)
    ]
    assert forgotten == []
    assert set(ROUTES) >= NO_PAGES


@pytest.mark.parametrize(("language", "scheme"), LOOKS)
def test_axe_finds_nothing_serious_on_any_page_of_any_role(
    ground: Ground, language: str, scheme: Scheme
) -> None:
    ground.alarm(POSTS[1][0])
    expect(ground.page("sari").locator("#alarms > li")).to_have_count(1)
    found: list[str] = []
    drill = a_drill(ground)
    for account, paths in PAGES.items():
        page = browser_of(ground, account, language, scheme).new_page()
        # The registers' own English is Django's; the pages beside them are looked at in both.
        for path in [one for one in paths if language == "id" or "/admin/" not in one]:
            where = path.replace("POST", POSTS[0][0]).replace("WEEK", this_week())
            where = where.replace("DRILL", drill)
            found += (f"{account} {where}: {one}" for one in found_on(page, ground.address + where))
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(("language", "scheme"), LOOKS)
def test_axe_finds_nothing_serious_where_something_was_refused(
    ground: Ground, language: str, scheme: Scheme
) -> None:
    def refused(account: str | None, path: str, fields: dict[str, str]) -> Page:
        page = browser_of(ground, account, language, scheme).new_page()
        page.goto(ground.address + path)
        for name, value in fields.items():
            page.fill(f"[name={name}]", value)
        page.locator("main form button").first.click()
        return page

    wrong = refused("owes-rini", "/code/", {"code": "000000"})
    expect(wrong.locator("[role=alert]")).to_be_visible()
    found = serious(wrong)
    own = {"old_password": "x", "new_password1": "y", "new_password2": "z"}
    wrong = refused("sari", "/password/", own)
    expect(wrong.locator("[role=alert]").first).to_be_visible()
    found += serious(wrong)
    wrong = refused(None, "/login/", {"username": f"nobody-{language}", "password": "x"})
    expect(wrong.locator("[role=alert]")).to_be_visible()
    found += serious(wrong)
    for _ in range(TRIES):
        if not wrong.locator("[name=password]").count():
            break
        wrong.fill("[name=username]", f"nobody-{language}")
        wrong.fill("[name=password]", "x")
        wrong.locator("main form button").click()
        wrong.wait_for_load_state()
    expect(wrong.locator("a[href='/login/']")).to_be_visible()
    found += serious(wrong)
    assert found == []


@pytest.mark.parametrize(("language", "scheme"), LOOKS)
def test_axe_finds_nothing_serious_in_an_import_and_where_a_token_is_shown(
    ground: Ground, language: str, scheme: Scheme
) -> None:
    page = browser_of(ground, "rini", language, scheme).new_page()
    head = "post_id,name,rw\n"
    for content, shown in (
        (f"{head}mlg-klojen-kasin-rw09,Pos Kasin RW 09,09\n", "[name=put_in]"),
        (f"{head}NOT AN ID,,09\n", ".errorlist li"),
    ):
        page.goto(f"{ground.address}/admin/registers/post/import/")
        sheet = {"name": "posts.csv", "mimeType": "text/csv", "buffer": content.encode()}
        page.set_input_files("#file", sheet)  # type: ignore[arg-type]
        page.locator("#content form button").last.click()
        expect(page.locator(shown).first).to_be_visible()
        assert serious(page) == []
    page = browser_of(ground, "wati", language, scheme).new_page()
    page.goto(f"{ground.address}/admin/api/token/add/")
    page.fill("[name=name]", f"of the test in {language}")
    page.select_option("[name=user]", index=1)
    page.click("[name=_save]")
    expect(page.locator(".messagelist .warning")).to_be_visible()
    assert serious(page) == []


@pytest.mark.parametrize("language", ["id", "en"])
def test_the_weekly_analysis_fits_a_telephone_and_prints_black_on_white(
    ground: Ground, language: str
) -> None:
    ground.alarm(POSTS[1][0])
    expect(ground.page("sari").locator("#alarms > li")).to_have_count(1)
    page = browser_of(ground, "dewi", language, "light").new_page()
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{ground.address}/anev/{this_week()}/0/")
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    plots = page.locator("img.plot")
    assert plots.count() == 3
    for plot in plots.all():
        plot.scroll_into_view_if_needed()
        expect(plot).to_have_js_property("complete", True)
        assert plot.evaluate("one => one.naturalWidth") > 0
    page.emulate_media(media="print")
    body = page.locator("body")
    assert body.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    colors = "all => [...new Set(all.map(one => getComputedStyle(one).color))]"
    assert page.locator("main *").evaluate_all(colors) == ["rgb(0, 0, 0)"]


def test_a_shift_is_handed_over_item_by_item_and_nobody_leaves_an_alarm_by_mistake(
    ground: Ground,
) -> None:
    def shift_of(account: str) -> Page:
        page = browser_of(ground, account, "en", "dark").new_page()
        page.goto(f"{ground.address}/shift/")
        page.click("text=Begin my shift")
        return page

    console = ground.page("sari")
    ground.alarm(POSTS[2][0])
    expect(console.locator("#map .mark.calling")).to_have_count(1)
    outgoing, incoming = shift_of("sari"), shift_of("budi")
    console.keyboard.press("a")
    expect(console.locator("#map .mark.calling")).to_have_count(0)
    outgoing.reload()
    incoming.reload()
    item = "tbody tr:has-text('Pos Kasin RW 02')"
    expect(incoming.locator(item)).to_contain_text("Sari")
    assert serious(incoming) == []
    # Whoever has something open leaves it to nobody by a slip.
    outgoing.locator("form[action='/shift/end'] button").click()
    expect(outgoing.locator("[role=alert]")).to_be_visible()
    assert serious(outgoing) == []
    incoming.locator(item).locator("button").click()
    expect(incoming.locator(item)).to_contain_text("Budi")
    outgoing.locator("form[action='/shift/end'] button").click()
    expect(outgoing.locator("main ul").first).not_to_contain_text("Sari")
    expect(outgoing.locator("main ul").first).to_contain_text("Budi")
    expect(console.locator("#on-shift")).to_have_text("On shift: Budi")
    incoming.reload()
    incoming.check("[name=anyway]")
    incoming.locator("form[action='/shift/end'] button").click()
    expect(console.locator("#on-shift")).to_have_text("On shift: nobody")
