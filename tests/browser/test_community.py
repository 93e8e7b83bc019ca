"""The community's side in a real browser: a practice day on the real chain, the operator's keys for
it, and the public's page on an old telephone without a network.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.stage import until
from tests.browser.axe import serious
from tests.browser.ground import POST, POSTS, Ground
from tests.browser.test_console import CALL, EAR, row

NAME = POSTS[0][1]
PAUSE_S = 2.1  # of a finger, after which three presses are a repeat
TEST_CHIME = ["sine", 523]
OLD_PHONE = {"width": 320, "height": 533}


def plain(ground: Ground, account: str | None, path: str) -> Page:
    """A page without the console's picture, in English."""
    context = ground.context(account)
    chosen = {"name": "django_language", "value": "en", "url": ground.address}
    context.add_cookies([chosen])  # type: ignore[list-item]
    page = context.new_page()
    page.goto(ground.address + path)
    return page


def heard(page: Page) -> list[list[object]]:
    """The voices that have started since the last question."""
    played: list[list[object]] = page.evaluate("window.played.splice(0)")
    return [voice for did, *voice in played if did == "start"]


def at_the_post(page: Page) -> Locator:
    return page.locator("#alarms .alarm", has_text=NAME)


def is_practising(ground: Ground) -> bool:
    return ground.stage.status().get("practice_until") is not None


def finish(page: Page) -> None:
    """To the last button of the question that is open, and press it."""
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def test_a_real_call_within_a_practice_day_and_one_elsewhere_meanwhile_are_treated_as_real(
    ground: Ground,
) -> None:
    console, desk = ground.page("sari"), plain(ground, "budi", "/practice/")
    console.evaluate(EAR)
    console.keyboard.press("b")
    desk.fill("[name=name]", "Latihan RW 05")
    desk.select_option("[name=posts]", POST)
    desk.click("text=Plan it")
    desk.click("text=Open a window of 15 minutes")
    until("the post knows of the window", lambda: is_practising(ground), 20)

    real = ground.alarm(POSTS[2][0])
    calling = console.locator("#map .mark.calling")
    expect(console.locator(f"#map [data-alarm='{real.alarm_id}'] .mark.calling")).to_be_visible()
    console.keyboard.press("s")
    expect(console.locator("#said")).to_contain_text("NOT acknowledged")
    heard(console)
    buzzes = ground.stage.status()["acknowledgement_buzzes"]
    ground.press()
    expect(console.locator("#map .mark.trial")).to_have_count(1)
    expect(at_the_post(console).locator(".what")).to_contain_text("test")
    expect(calling).to_have_count(1)
    voices = heard(console)
    assert TEST_CHIME in voices
    assert CALL not in voices
    assert ground.stage.status()["acknowledgement_buzzes"] == buzzes  # only a person answers

    time.sleep(PAUSE_S)
    ground.press()
    expect(calling).to_have_count(2)
    expect(console.locator("#map .mark.trial")).to_have_count(0)
    assert CALL in heard(console)
    at_the_post(console).click()
    expect(console.locator("#case")).to_contain_text("call for help")
    console.keyboard.press("a")
    until(
        "the buzzer at the post",
        lambda: ground.stage.status()["acknowledgement_buzzes"] == buzzes + 1,
    )
    ground.stage.until_lamp("answered")
    # The one elsewhere has called all the while, and goes on until it is answered itself.
    expect(calling).to_have_count(1)
    console.click(row(console, real.alarm_id))
    console.keyboard.press("a")
    expect(calling).to_have_count(0)
    orders = [one.action for one in ground.double.commands if one.alarm_id == real.alarm_id]
    assert "acknowledge" in orders

    desk.reload()
    counted = desk.locator("tbody tr", has_text=NAME).locator("td.number")
    expect(counted).to_have_text(["1", "0", "0", "1"])  # windows, tests, answered, real calls
    desk.click("text=End it and close its windows")
    until("the post knows that it is over", lambda: not is_practising(ground), 20)
    at_the_post(console).click()
    console.keyboard.press("r")
    console.keyboard.press("1")
    console.keyboard.press("Tab")
    finish(console)
    expect(at_the_post(console)).to_have_count(0)
    ground.stage.until_lamp("armed")


def test_call_back_help_and_message_by_keys_alone_hold_up_nothing(ground: Ground) -> None:
    console = ground.page("sari")
    alarm = ground.alarm(POSTS[3][0])
    tags = console.locator(row(console, alarm.alarm_id) + " .more")
    expect(console.locator("#case h2")).to_have_text(POSTS[3][1])
    console.keyboard.press("y")
    expect(console.locator("#ask")).to_contain_text("Ketua RW 04")
    expect(console.locator("#ask")).to_contain_text("closes nothing")
    console.keyboard.press("2")
    console.keyboard.press("Tab")
    console.keyboard.type("Katanya salah tekan")
    finish(console)
    expect(tags).to_contain_text("by phone: false")
    expect(console.locator("#map .mark.calling")).to_have_count(1)  # whoever answered may be forced
    console.keyboard.press("i")
    for _ in range(3):
        console.keyboard.press("ArrowDown")
    expect(console.locator("#ask select")).to_have_value("polsek-klojen")
    finish(console)
    expect(tags).to_contain_text("asked to help: Polsek Klojen")
    console.keyboard.press("m")
    console.keyboard.type("Pelaku lari ke utara")
    finish(console)
    expect(console.locator(".thread")).to_contain_text("Sari, operator Pelaku lari ke utara")
    # On the telephone of the picket whose place it is.
    phone = ground.page("agus", "/phone/")
    expect(phone.locator("#alarms > li", has_text=POSTS[3][1])).to_contain_text("lari ke utara")
    console.keyboard.press("a")
    expect(console.locator("#map .mark.calling")).to_have_count(0)


def test_an_officer_reads_and_writes_about_the_cases_of_the_own_kelurahan_only(
    ground: Ground,
) -> None:
    console, officer = ground.page("sari"), ground.page("hadi", "/phone/")
    officer.set_viewport_size({"width": 360, "height": 740})
    there, own = ground.alarm(POSTS[3][0]), ground.alarm(POSTS[2][0])
    console.click(row(console, own.alarm_id))
    console.keyboard.press("m")
    console.keyboard.type("Polsek Klojen berangkat")
    finish(console)
    card = officer.locator("#alarms > li")
    expect(card).to_have_count(1)
    expect(card.locator("h3")).to_have_text(POSTS[2][1])
    expect(card).to_contain_text("Jl. Kasin No. 2")
    expect(card).to_contain_text("calling, nobody has answered")
    expect(card.locator(".said-line")).to_contain_text("Sari, operator")
    expect(card.locator("button")).to_have_text(["Send"])
    card.locator("input").fill("Saya kenal ketua RW, saya telepon")
    card.locator("button").click()
    expect(card.locator(".said-line")).to_have_count(2)
    expect(card.locator("input")).to_have_value("")
    said = "Hadi, Bhabinkamtibmas Saya kenal ketua RW, saya telepon"
    expect(console.locator(".thread")).to_contain_text(said)
    picket = ground.page("agus", "/phone/")
    expect(picket.locator("#alarms > li", has_text=POSTS[3][1])).to_be_visible()
    # Over: the thread goes on; what is being typed moves with its case.
    card.locator("input").focus()
    officer.keyboard.type("Warga sudah ten")
    ground.double._put(own, state="resolved", outcome="false")
    over = officer.locator("#over > li").first
    expect(over).to_contain_text("resolved: false")
    expect(officer.locator("#quiet")).to_be_visible()
    officer.keyboard.type("ang")
    officer.keyboard.press("Enter")
    expect(over.locator(".said-line").last).to_contain_text("Warga sudah tenang")
    assert officer.evaluate("document.documentElement.scrollWidth") <= 360
    assert serious(officer) == []
    # By asking it gets nothing of the other kelurahan either.
    wish = {"action": "message", "screen": "s", "note": "x", "alarm_id": there.alarm_id}
    token = officer.evaluate("document.querySelector('[name=csrfmiddlewaretoken]').value")
    codes = [
        officer.context.request.post(
            f"{ground.address}/do",
            data=wish | {"alarm_id": alarm_id},
            headers={"X-CSRFToken": token, "Referer": ground.address},
        ).status
        for alarm_id in (there.alarm_id, str(uuid.uuid4()))
    ]
    assert codes == [404, 404]


@pytest.fixture
def public(ground: Ground) -> Iterator[Page]:
    """The information page of a post on a small telephone, opened once and kept."""
    context = ground.context(None, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.set_viewport_size(OLD_PHONE)  # type: ignore[arg-type]
    page.goto(f"{ground.address}/info/post/{POST}")
    page.wait_for_selector("html[data-kept=yes]")
    yield page
    context.set_offline(False)


def test_what_was_opened_once_is_there_without_a_network(ground: Ground, public: Page) -> None:
    address = public.url
    public.close()
    context = ground._contexts[-1]
    context.set_offline(True)
    page = context.new_page()
    page.goto(address)
    expect(page.locator("h1")).to_have_text(NAME)
    expect(page.locator(".own")).to_contain_text("Polsek Lowokwaru")
    assert page.evaluate("getComputedStyle(document.querySelector('.call')).display") != "inline"
    # Another post's page was never opened: the page about the button stands in for it.
    page.goto(f"{ground.address}/info/post/{POSTS[2][0]}")
    expect(page.locator("body")).to_contain_text("110")
    expect(page.locator("h1")).not_to_have_text(POSTS[2][1])


def test_it_fits_a_small_telephone_and_a_finger(public: Page) -> None:
    assert public.evaluate("document.documentElement.scrollWidth <= innerWidth")
    heights = public.eval_on_selector_all(
        "a.call", "all => all.map(e => e.getBoundingClientRect().height)"
    )
    assert heights
    assert min(heights) >= 44
    assert re.fullmatch("tel:110", public.get_attribute("a.call[href='tel:110']", "href") or "")
    assert serious(public) == []
