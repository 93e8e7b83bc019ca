"""The console in a real browser, on the whole real chain."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Dialog, Page, Response, expect

from demo.stage import until
from protocol.messages import Step
from tests.browser.axe import serious
from tests.browser.ground import POST, POSTS, Ground, now
from tests.mcc.rig import post as post_document

PAGE_WEIGHT_BYTES = 500_000
TABS = 8
SITE_STOPS_S = 4.0


def row(page: Page, alarm_id: str) -> str:
    return f".alarm[data-alarm='{alarm_id}']"


def looks(page: Page, selector: str) -> dict[str, str]:
    """What the browser computes for an element."""
    style: dict[str, str] = page.eval_on_selector(
        selector,
        "e => { const s = getComputedStyle(e); return {name: s.animationName,"
        " duration: s.animationDuration, count: s.animationIterationCount,"
        " fill: s.fill, width: s.strokeWidth}; }",
    )
    return style


def test_three_presses_blink_red_at_the_post_and_the_answer_sounds_there(ground: Ground) -> None:
    page = ground.page()
    buzzes = ground.stage.status()["acknowledgement_buzzes"]
    ground.press()
    circle = page.locator("#map [data-alarm] .mark.calling circle.body")
    expect(circle).to_have_count(1)
    # Blinking: once a second, for ever, between the alarm's red and dark.
    style = looks(page, "#map .mark.calling circle.body")
    assert style["name"] == "calling"
    assert (style["duration"], style["count"]) == ("1s", "infinite")
    seen = page.evaluate(
        "async () => { const e = document.querySelector('#map .mark.calling circle.body');"
        " const seen = new Set();"
        " for (let n = 0; n < 24; n++) { seen.add(getComputedStyle(e).fill);"
        " await new Promise(done => setTimeout(done, 50)); } return [...seen]; }"
    )
    assert "rgb(255, 42, 61)" in seen
    assert len(seen) == 2
    # At the post's place: the map has moved there, and the circle stands in its middle.
    middle = page.locator("#map").bounding_box()
    at = circle.bounding_box()
    assert middle is not None
    assert at is not None
    assert abs(middle["x"] + middle["width"] / 2 - at["x"] - at["width"] / 2) < 3
    assert abs(middle["y"] + middle["height"] / 2 - at["y"] - at["height"] / 2) < 3
    expect(page.locator("#case h2")).to_have_text("Pos Dinoyo RW 05")
    expect(page.locator(".resident")).to_contain_text("Lamp flashes fast")

    page.keyboard.press("a")
    expect(page.locator("#map .mark.acknowledged")).to_have_count(1)
    expect(page.locator("#map .mark.calling")).to_have_count(0)
    assert looks(page, "#map .mark.acknowledged .body")["name"] == "none"
    until(
        "the buzzer at the post",
        lambda: ground.stage.status()["acknowledgement_buzzes"] == buzzes + 1,
    )
    ground.stage.until_lamp("answered")
    expect(page.locator(".resident")).to_contain_text("the buzzer sounded at")

    # By keyboard to the end: the unit comes from the registered kelurahan.
    page.keyboard.press("d")
    expect(page.locator("#ask select")).to_have_value("polsek-lowokwaru")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#map .mark.dispatched")).to_have_count(1)
    expect(page.locator("#alarms .what")).to_contain_text("unit sent: Polsek Lowokwaru")
    page.keyboard.press("o")
    expect(page.locator("#alarms .more")).to_contain_text("on scene")
    page.keyboard.press("r")
    page.keyboard.press("1")
    page.keyboard.press("Tab")
    page.keyboard.type("Pencuri tertangkap")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#quiet")).to_be_visible()
    ground.stage.until_lamp("armed")
    expect(page.locator(".history")).to_contain_text("resolved: real · Sari — Pencuri tertangkap")


def test_of_two_operators_one_acknowledges_and_the_other_reads_who_did(ground: Ground) -> None:
    sari, budi = ground.page("sari"), ground.page("budi")
    alarm = ground.alarm()
    for page in (sari, budi):
        page.click(row(page, alarm.alarm_id))
        # Both see it unanswered; what the first one did has not reached the second.
        expect(page.locator("[data-do=acknowledge]")).to_be_visible()
    answers: list[int] = []

    def note(answer: Response) -> None:
        if answer.url.endswith("/do"):
            answers.append(answer.status)

    for page in (sari, budi):
        page.on("response", note)
        page.evaluate("window.pressed = document.querySelector('[data-do=acknowledge]')")
    for page in (sari, budi):
        page.evaluate("void setTimeout(() => window.pressed.click())")
    for page in (sari, budi):
        expect(page.locator(row(page, alarm.alarm_id) + " .what")).to_contain_text("acknowledged:")
    winner = sari.locator(row(sari, alarm.alarm_id) + " .what").inner_text().split(": ")[-1]
    loser = budi if winner == "Sari" else sari
    expect(loser.locator("#said .refused")).to_contain_text(f"{winner} has acknowledged it already")
    assert sorted(answers) == [200, 409]
    orders = [one for one in ground.double.commands if one.alarm_id == alarm.alarm_id]
    assert {one.operator for one in orders if one.action == "acknowledge"} == {winner}


# Notes what the page lets the audio engine do: each voice with its wave and pitch, each end.
EAR = """() => {
window.played = [];
const start = OscillatorNode.prototype.start, stop = OscillatorNode.prototype.stop;
OscillatorNode.prototype.start = function (at) {
  window.played.push(['start', this.type, Math.round(this.frequency.value)]);
  return start.call(this, at);
};
OscillatorNode.prototype.stop = function (at) {
  if (at === undefined) window.played.push(['stop', this.type, Math.round(this.frequency.value)]);
  return stop.call(this, at);
};
}"""
CALL, KNOCK, NIGHT_TONE = ["square", 740], ["triangle", 1319], ["sawtooth", 980]


def test_a_call_a_repeat_and_silence_sound_different_and_silence_answers_nothing(
    ground: Ground,
) -> None:
    page = ground.page()

    def heard(what: str) -> list[list[object]]:
        played: list[list[object]] = page.evaluate("window.played.splice(0)")
        return [voice for did, *voice in played if did == what]

    page.evaluate(EAR)
    page.keyboard.press("b")
    expect(page.locator(".sound-off")).to_have_count(0)
    alarm = ground.alarm()
    expect(page.locator("#map .mark.calling")).to_have_count(1)
    voices = heard("start")
    assert CALL in voices
    assert KNOCK not in voices
    page.keyboard.press("s")
    expect(page.locator("#said")).to_contain_text("NOT acknowledged")
    expect(page.locator("#map .mark.calling")).to_have_count(1)
    assert CALL in heard("stop")
    ground.double._put(alarm, repeats=1)
    expect(page.locator("#alarms .more")).to_contain_text("repeated 1 time")
    # Five knocks of the drum, and the tone that was silenced.
    voices = heard("start")
    assert voices.count(KNOCK) == 5
    assert CALL in voices or NIGHT_TONE in voices
    assert "acknowledge" not in [
        one.action for one in ground.double.commands if one.alarm_id == alarm.alarm_id
    ]


def test_the_page_says_that_its_sound_is_off_until_a_key_and_again_after_a_reload(
    ground: Ground,
) -> None:
    page = ground.page()
    banner = page.locator(".sound-off")
    expect(banner).to_contain_text("SOUND OFF")
    page.click("#sound-on")
    expect(banner).to_have_count(0)
    page.reload()
    expect(banner).to_contain_text("SOUND OFF")


def test_a_storm_of_200_alarms_over_a_killed_site_is_complete_and_nothing_twice(
    ground: Ground,
) -> None:
    page = ground.page()
    post = POSTS[3][0]
    first = {ground.alarm(post).alarm_id for _ in range(70)}
    page.wait_for_selector("#alarms > li >> nth=5")
    ground.centre.kill("serve")
    second = {ground.alarm(post).alarm_id for _ in range(70)}
    expect(page.locator("#stale")).to_contain_text("NOT LIVE since")
    ground.start_site()
    third = {ground.alarm(post).alarm_id for _ in range(60)}
    wanted = first | second | third
    assert len(wanted) == 200
    expect(page.locator("#alarms .alarm")).to_have_count(200, timeout=30_000)
    shown = page.eval_on_selector_all("#alarms .alarm", "all => all.map(e => e.dataset.alarm)")
    assert sorted(shown) == sorted(wanted)
    circles = page.eval_on_selector_all("#map [data-alarm]", "all => all.map(e => e.dataset.alarm)")
    assert sorted(circles) == sorted(wanted)
    expect(page.locator("#stale")).to_be_hidden()


def test_a_broker_that_is_gone_is_said_and_so_is_its_return(ground: Ground) -> None:
    page = ground.page()
    chain = page.locator("#chain")
    expect(chain.locator("li.good", has_text="Broker")).to_have_count(1)
    ground.broker.kill()
    expect(chain.locator("li.bad", has_text="Broker")).to_have_count(1)
    expect(chain.locator("li.unsure", has_text="Gateway mlg-gw1")).to_have_count(1)
    ground.broker.start()
    expect(chain.locator("li.good", has_text="Broker")).to_have_count(1, timeout=30_000)
    expect(chain.locator("li.good", has_text="Gateway mlg-gw1")).to_have_count(1, timeout=30_000)


def test_an_ingest_that_is_killed_is_said(ground: Ground) -> None:
    page = ground.page()
    chain = page.locator("#chain")
    ground.centre.kill("ingest")
    expect(chain.locator("li.bad", has_text="Ingest")).to_have_count(1, timeout=40_000)
    ground.centre.start("ingest")
    expect(chain.locator("li.good", has_text="Ingest")).to_have_count(1, timeout=30_000)


def test_the_eighth_tab_of_one_browser_is_as_live_as_the_first(ground: Ground) -> None:
    context = ground.context()
    pages = [ground.open(context) for _ in range(TABS)]
    alarm = ground.alarm()
    for page in pages:
        expect(page.locator(row(page, alarm.alarm_id))).to_have_count(1)
    # The tab that reads the stream for all of them goes; another one takes over.
    pages[0].close()
    second = ground.alarm()
    for page in pages[1:]:
        expect(page.locator(row(page, second.alarm_id))).to_have_count(1)


def test_reduced_motion_means_a_marked_ring_that_does_not_blink(ground: Ground) -> None:
    page = ground.page(reduced_motion="reduce")
    ground.alarm()
    expect(page.locator("#map .mark.calling")).to_have_count(1)
    body = looks(page, "#map .mark.calling .body")
    halo = looks(page, "#map .mark.calling .halo")
    assert (body["name"], halo["name"]) == ("none", "none")
    assert body["width"] == "5px"


def test_keys_alone_reach_everything_and_the_overlay_lists_them(ground: Ground) -> None:
    page = ground.page()
    first, second = ground.alarm(POSTS[2][0]), ground.alarm(POSTS[4][0])
    expect(page.locator("#alarms .alarm")).to_have_count(2)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(row(page, second.alarm_id))).to_have_attribute("aria-current", "true")
    page.keyboard.press("ArrowUp")
    expect(page.locator(row(page, first.alarm_id))).to_have_attribute("aria-current", "true")
    page.keyboard.press("n")
    page.keyboard.type("Tetangga menelepon")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".history")).to_contain_text("note · Sari — Tetangga menelepon")
    page.keyboard.press("/")
    page.keyboard.type("buring")
    page.keyboard.press("Enter")
    expect(page.locator("#case h2")).to_have_text("Pos Buring RW 06")
    page.keyboard.press("e")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#case dl")).to_contain_text("Test window")
    page.keyboard.press("e")
    expect(page.locator("#case dl")).not_to_contain_text("Test window")
    page.keyboard.press("Escape")
    expect(page.locator("#case")).to_be_hidden()


def test_a_fault_is_seen_and_shelved_by_keys_and_stands_in_the_history_when_it_is_over(
    ground: Ground,
) -> None:
    page, post = ground.page(), f"mlg-klojen-{uuid.uuid4().hex[:8]}"
    ground.double.say(post_document(post=post, name="Pos Kauman", faults=("button_wire_cut",)))
    fault = page.locator("#faults .fault", has_text="Pos Kauman")
    expect(fault).to_have_count(1)
    page.keyboard.press("f")
    fault.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#case h2")).to_have_text("Pos Kauman: wire of the button cut")
    page.keyboard.press("k")
    expect(fault).to_contain_text("seen by Sari")
    page.keyboard.press("v")
    page.keyboard.press("Tab")
    page.keyboard.type("Teknisi di jalan")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(fault).to_contain_text("Teknisi di jalan")
    ground.double.say(post_document(post=post, name="Pos Kauman"))
    expect(fault).to_have_count(0)
    page.fill("#find", post)
    page.keyboard.press("Enter")
    expect(page.locator("#case .history")).to_contain_text("wire of the button cut")


def test_posts_that_call_near_each_other_stand_together(ground: Ground) -> None:
    page = ground.page()
    ground.alarm(POSTS[1][0])
    far = ground.alarm(POSTS[3][0])
    expect(page.locator(row(page, far.alarm_id))).to_have_count(1)
    expect(page.locator(".near")).to_have_count(0)
    # 320 m from the first.
    ground.alarm(POST)
    expect(page.locator(".near")).to_have_text(
        "2 posts near each other are calling: Pos Dinoyo RW 03, Pos Dinoyo RW 05"
    )


# The posts of Purwodadi: 100 to 250 m from each other.
CROWD = [post for post, name, *_ in POSTS if "Purwodadi" in name]
# What stands on the map: its marks and its names, each with its box and what it says.
SEEN = """() => {
const map = document.getElementById('map').getBoundingClientRect();
const box = ({ left, top, right, bottom }) => ({ left, top, right, bottom });
const of = (selector) => [...document.querySelectorAll(selector)]
  .filter((e) => e.checkVisibility())
  .map((e) => ({ text: e.textContent, ...box(e.getBoundingClientRect()) }));
return { map: box(map), names: of('#map .map-name'), calling: of('#map .mark.calling ~ .map-name'),
  marks: of('#map [data-alarm] .mark .body'), controls: of('#map .leaflet-control, #map-note') };
}"""


def lie_upon(one: dict[str, float], other: dict[str, float]) -> bool:
    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
    down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
    return across > 1 and down > 1


def test_the_names_of_near_posts_that_call_are_all_read_and_lie_upon_nothing(
    ground: Ground,
) -> None:
    page = ground.page()
    *calling, taken = CROWD
    said = [ground.alarm(post) for post in calling]
    reached = {"received": Step(at=now()), "acknowledged": Step(at=now(), operator="Budi")}
    ground.alarm(taken, state="acknowledged", reached=reached)
    expect(page.locator("#alarms .alarm")).to_have_count(len(CROWD))
    expect(page.locator(".near")).to_contain_text(f"{len(calling)} posts near each other")
    names = {name for post, name, *_ in POSTS if post in calling}
    # The neighbourhood, the whole city, and a post at the edge of the map.
    for look in ("x", "h", "edge"):
        if look == "edge":
            page.click(row(page, said[0].alarm_id))
            page.mouse.move(650, 400)
            page.mouse.down()
            page.mouse.move(400, 190, steps=4)
            page.wait_for_timeout(300)  # a finger that rests throws the map no further
            page.mouse.up()
        else:
            page.keyboard.press(look)
        page.wait_for_timeout(400)
        seen = page.evaluate(SEEN)
        frame = seen["map"]
        if look != "edge":
            assert {one["text"] for one in seen["calling"]} == names, look
        inside = [one for one in seen["names"] if lie_upon(one, frame)]
        assert inside, look
        for one in inside:
            for other in (*seen["names"], *seen["marks"], *seen["controls"]):
                if other != one:
                    assert not lie_upon(one, other), (look, one, other)
            assert one["left"] >= frame["left"], (look, one)
            assert one["right"] <= frame["right"], (look, one)
            assert one["top"] >= frame["top"], (look, one)
            assert one["bottom"] <= frame["bottom"], (look, one)


def test_posts_stand_in_clusters_when_far_out_and_an_alarm_never_does(ground: Ground) -> None:
    page = ground.page()
    first, ill = CROWD[:2]
    ground.double.say(post_document(post=ill, name="Pos Purwodadi RW 02", connection="silent"))
    alarm = ground.alarm(first)
    mark = page.locator(f"#map [data-alarm='{alarm.alarm_id}']")
    expect(mark.locator(".mark.calling")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    clusters = page.locator("#map .mark.many")
    expect(clusters).not_to_have_count(0)
    expect(page.locator("#map .map-count")).to_have_text(["⚠ 1"])
    expect(mark.locator(".mark.calling")).to_be_visible()
    counts = [int(text) for text in clusters.locator("text").all_text_contents()]
    alone = page.locator("#map .leaflet-marker-icon:not([data-alarm]) .mark:not(.many)").count()
    assert sum(counts) + alone == len(POSTS) - 1  # all but the one that calls
    assert max(counts) >= 3
    ground.double._put(alarm, state="resolved", outcome="test")
    expect(mark).to_have_count(0)
    page.locator("#map .leaflet-marker-icon", has=page.locator(".map-count")).click()
    expect(page.locator("#map .mark.silent")).to_be_visible()
    expect(clusters).to_have_count(0)
    ground.double.say(post_document(post=ill, name="Pos Purwodadi RW 02"))
    expect(page.locator("#map .mark.silent")).to_have_count(0)


def test_a_late_alarm_a_cancel_request_and_a_follower_say_so(ground: Ground) -> None:
    page = ground.page()
    first = ground.alarm(
        raised={"at": "2026-01-01T00:00:00.000Z", "known": "before"},
        cancel_requested_at="2026-01-01T00:01:00.000Z",
    )
    tags = page.locator(row(page, first.alarm_id) + " .more")
    expect(tags).to_contain_text("before it was heard here")
    expect(tags).to_contain_text("post asks to cancel (07:01:00): not closed")
    second = ground.alarm(follows=first.alarm_id)
    expect(page.locator(row(page, second.alarm_id) + " .more")).to_contain_text(
        "follows the call of 07:00:00"
    )
    order = page.eval_on_selector_all("#alarms .alarm", "all => all.map(e => e.dataset.alarm)")
    assert order == [first.alarm_id, second.alarm_id]


def test_what_posts_and_gateways_say_is_only_ever_text(ground: Ground) -> None:
    context = ground.context()
    page = ground.open(context)
    said: list[str] = []

    def note(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    planted = "<img src=x onerror=alert(1)>"
    post = f"mlg-klojen-{uuid.uuid4().hex[:8]}"
    ground.double.say(post_document(post=post, name=planted, firmware="<script>alert(2)</script>"))
    ground.alarm(post=POSTS[2][0])
    alarm = ground.alarm(unit="<svg onload=alert(3)>", note=planted)
    page.click(row(page, alarm.alarm_id))
    page.keyboard.press("Escape")
    page.fill("#find", post)
    page.keyboard.press("Enter")
    expect(page.locator("#case h2")).to_have_text(planted)
    expect(page.locator("#case dl")).to_contain_text("<script>alert(2)</script>")
    assert page.locator("#case img, #case script, #alarms img, #map img").count() == 0
    assert said == []


def test_a_picket_sees_its_own_area_only_and_says_that_it_is_on_the_way(ground: Ground) -> None:
    size = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    del size["viewport"]
    context = ground.context("agus", **size)
    english = {"name": "django_language", "value": "en", "url": ground.address}
    context.add_cookies([english])  # type: ignore[list-item]
    page = ground.open(context, "/phone/")
    page.set_viewport_size({"width": 390, "height": 844})
    ground.alarm(POSTS[2][0])
    own = ground.alarm(POSTS[3][0])
    card = page.locator("#alarms > li")
    expect(card).to_have_count(1)
    expect(card.locator("h3")).to_have_text("Pos Mulyorejo RW 04")
    lat, lon = own.location.lat, own.location.lon
    expect(card.locator("a.go")).to_have_attribute("href", re.compile(f"^geo:{lat},{lon}"))
    card.locator("button", has_text="on the way").click()
    expect(card.locator("button").first).to_contain_text("✓ on the way")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # What is not its own it does not get by asking either.
    assert context.request.get(f"{ground.address}/post/{POST}").status == 404
    operator = ground.page("sari")
    expect(operator.locator(row(operator, own.alarm_id) + " .more")).to_contain_text("on the way")


@pytest.mark.parametrize("language", ["id", "en"])
def test_axe_finds_nothing_serious(ground: Ground, language: str) -> None:
    ground.alarm(POSTS[2][0], repeats=2)
    page = ground.page(language=language)
    expect(page.locator("#case")).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("d")
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert serious(page) == []
    phone = ground.page("dewi", "/phone/", language=language)
    assert serious(phone) == []


def test_the_page_weighs_less_than_500_kb(ground: Ground) -> None:
    context = ground.context()
    page = context.new_page()
    weights: dict[str, int] = {}

    def weigh(answer: object) -> None:
        url = answer.url  # type: ignore[attr-defined]
        if "/stream" not in url:
            weights[url] = len(answer.body())  # type: ignore[attr-defined]

    page.on("requestfinished", lambda request: weigh(request.response()))
    page.goto(ground.address)
    page.wait_for_selector("#map path", state="attached")
    page.wait_for_selector("#quiet:not([hidden])")
    assert any("leaflet.js" in url for url in weights)
    assert all(url.startswith(ground.address) for url in weights)
    assert sum(weights.values()) < PAGE_WEIGHT_BYTES, weights


def test_the_site_ends_soon_though_streams_are_open(ground: Ground) -> None:
    page = ground.page()
    expect(page.locator("#chain li.good", has_text="Ingest")).to_have_count(1)
    took_s = ground.centre.stop("serve")
    ground.start_site()
    # A stream that was waited for would hold it up for ever; a busy machine, for a while.
    assert took_s < SITE_STOPS_S
    expect(page.locator("#stale")).to_be_hidden()
