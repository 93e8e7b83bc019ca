"""`make screenshots`: the pictures of the pages and of README, taken from the real page.

A city with some posts, one call at the mock post, others in other states. No picture may weigh
more than `BYTES_MAX`; none shows a real person.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from protocol.messages import Step
from tests.browser.conftest import FLAGS
from tests.browser.ground import POSTS, Ground, now
from tests.mcc.rig import post as post_document

BYTES_MAX = 200_000


def take(target: Path) -> None:
    """Write every picture into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory(prefix="kentongan-pictures-") as directory,
    ):
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        with Ground(Path(directory), chromium) as ground:
            _take(ground, target)
        chromium.close()


def _take(ground: Ground, target: Path) -> None:
    console = ground.page("sari", language="id")
    console.keyboard.press("t")
    _say_more(ground)
    ground.press()
    expect(console.locator("#map .mark.calling")).to_have_count(1)
    expect(console.locator("#alarms .alarm")).to_have_count(4)
    expect(console.locator("#chain li.good")).to_have_count(5)
    expect(console.locator("#case dl")).to_contain_text("Wibowo")
    _still(console, target / "console-map.png")

    console.keyboard.press("h")
    _still(console, target / "console-city.png")

    console.keyboard.press("a")
    expect(console.locator("#map .mark.acknowledged")).to_have_count(2)
    console.keyboard.press("d")
    _still(console, target / "console-dispatch.png")
    console.keyboard.press("Tab")
    console.keyboard.press("Tab")
    console.keyboard.press("Enter")
    expect(console.locator("#map .mark.dispatched")).to_have_count(2)
    expect(console.locator(".history")).to_contain_text("Polsek Lowokwaru")
    expect(console.locator("#said p")).to_have_count(0, timeout=15_000)
    console.keyboard.press("z")
    _still(console, target / "console-case.png")

    hand_over = ground.page("budi", language="id")
    hand_over.goto(f"{ground.address}/shift/")
    _still(hand_over, target / "hand-over.png")

    phone = ground.page("dewi", "/phone/", language="id")
    phone.set_viewport_size({"width": 390, "height": 700})
    phone.locator("button", has_text="menuju lokasi").first.click()
    expect(phone.locator("button", has_text="✓")).to_have_count(1)
    expect(phone.locator("#said p")).to_have_count(0, timeout=15_000)
    _still(phone, target / "phone.png")

    officer = ground.page("hadi", "/phone/", language="id")
    officer.set_viewport_size({"width": 390, "height": 700})
    officer.locator("#alarms input").fill("Saya kenal ketua RW, saya telepon beliau")
    officer.locator("#alarms form button").click()
    expect(officer.locator(".said-line")).to_have_count(1)
    expect(officer.locator("#said p")).to_have_count(0, timeout=15_000)
    _still(officer, target / "officer-cases.png")

    ground.centre.kill("serve")
    expect(console.locator("#stale")).to_be_visible(timeout=20_000)
    _still(console, target / "console-not-live.png")


def _say_more(ground: Ground) -> None:
    """Posts that are not well, and calls in other states."""
    for post, name, *_ in POSTS[4:6]:
        ground.double.say(
            post_document(
                post=post, name=name, at=now(), connection="silent", last_seen=now(), faults=()
            )
        )
    ground.double._put(ground.alarm(POSTS[3][0]), state="dispatched", unit="Polsek Sukun")
    at = now()
    reached = {"received": Step(at=at), "acknowledged": Step(at=at, operator="Budi")}
    ground.alarm(POSTS[2][0], state="acknowledged", reached=reached, repeats=1)
    ground.alarm(POSTS[1][0], kind="test")


def _still(page: Page, path: Path) -> None:
    """One picture, at the bright half of the blinking."""
    page.wait_for_timeout(300)
    page.evaluate(
        "document.getAnimations().forEach(one => { one.pause(); one.currentTime = 100; })"
    )
    page.screenshot(path=path)
    page.evaluate("document.getAnimations().forEach(one => one.play())")
    # A screen has few colours; a palette makes a third of it.
    with Image.open(path) as shot:
        shot.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    weight = path.stat().st_size
    if weight >= BYTES_MAX:
        raise SystemExit(f"{path.name} weighs {weight} bytes; at most {BYTES_MAX}")


if __name__ == "__main__":
    take(Path(sys.argv[1]))
