"""From the accepted press to the circle on the console, from a commit to a hundred streams.

Broker, gateway, posts, ingest and site are the product's own processes; the page is the real one
in a Chromium without a screen. What is measured is watched from outside: the posts' cores as
everywhere here, the page by an observer of its map.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from playwright.sync_api import Browser, Page, Request, sync_playwright
from playwright.sync_api import Error as BrowserError

from benchmarks.alarms import EDGES_US, GATEWAY, HAMMERING_S, PAUSE_S
from benchmarks.centre import NotMeasured
from benchmarks.figures import (
    CIRCLE_P95_US,
    PAGE_BYTES,
    STREAMS_P99_US,
    Circle,
    Console,
    console_report,
    percentile,
)
from benchmarks.firmware import cpu_s
from benchmarks.ground import Ground, with_broker
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, Plot
from demo.broker import free_port
from hardware.clock import uptime_us
from mcc.site import configure
from protocol.messages import Location, MccAlarm, Raised, Step, Steps
from protocol.values import new_id, timestamp

POSTS = tuple(f"circle-{number:02}" for number in range(1, 11))
ROUNDS = 3
STREAMS = 100
CHANGES = 100
# Between two changes; the phase against the site's own rhythm is left to chance.
CHANGE_PAUSE_S = (0.1, 0.3)
SETTLED_S = 2.0
WAIT_MS = 20_000
ACCOUNT = "bench"
CLOCK_TRIES = 50
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Notes when an alarm's circle stands in the page, and when the frame that shows it has been made.
OBSERVER = """() => {
  window.bench = {};
  const map = document.getElementById("map");
  const look = () => {
    const at = performance.now();
    for (const one of map.querySelectorAll("[data-alarm]")) {
      const id = one.dataset.alarm;
      if (window.bench[id] || !one.querySelector(".calling")) continue;
      window.bench[id] = { circle_ms: at };
      const made = () => (window.bench[id].frame_ms = performance.now());
      requestAnimationFrame(() => setTimeout(made));
    }
  };
  new MutationObserver(look).observe(map, { childList: true, subtree: true, attributes: true });
}"""
SEEN = "count => Object.values(window.bench).filter((one) => one.frame_ms).length === count"


def part(setting: Setting) -> Outcome:
    """Press to circle, commit to a hundred streams, the page's weight."""
    with ExitStack() as ending:
        ground = with_broker(setting.directory, setting.mosquitto, ending)
        found = measure(ground, Random(), setting.say)
    circle_us = [one.circle_us - one.accepted_us for one in found.circles]
    return Outcome(
        text=console_report(found),
        goals=(
            Goal(
                what="console: accepted press to circle, p95",
                found=percentile(circle_us, 0.95) / 1000,
                limit=CIRCLE_P95_US / 1000,
                unit="ms",
            ),
            Goal(
                what=f"console: commit to {found.streams} streams, p99",
                found=percentile(found.streams_us, 0.99) / 1000,
                limit=STREAMS_P99_US / 1000,
                unit="ms",
            ),
            Goal(
                what="console: first load without tiles",
                found=sum(found.weights) / 1000,
                limit=PAGE_BYTES / 1000,
                unit="kB",
            ),
        ),
        plots=(
            Plot(
                name="bench-console",
                title="Commit to each of a hundred streams, share of samples",
                unit="ms",
                series={
                    "the site": [us / 1000 for us in found.streams_us],
                    "bare sockets": [us / 1000 for us in found.floor_us],
                },
            ),
        ),
    )


def measure(ground: Ground, rng: Random, say: Callable[[str], None]) -> Console:
    """Everything about the console, on a ground whose broker runs.

    Raises:
        NotMeasured: something did not happen in time, or a process died.
    """
    program = shutil.which("chromium")
    if program is None:
        raise NotMeasured("it needs Chromium: apt-get install chromium")
    port = free_port()
    with ExitStack() as ending:
        # Django's connections belong to one thread, and Playwright keeps this one.
        thread = ending.enter_context(ThreadPoolExecutor(1))
        desk = Desk(ground.directory, ground.port, port)
        cookie = thread.submit(desk.set_up).result()
        _start(ground, desk.config)
        try:
            # Gone before the streams: browsers do not sit on the command centre's server.
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
                version = f"Chromium {browser.version.split('.')[0]}"
                page, weights, _ = open_console(browser, f"http://127.0.0.1:{port}", cookie)
                seen, error_us = _circles(
                    ground, page, rng, lambda ids: thread.submit(desk.resolve, ids).result(), say
                )
                browser.close()
        except BrowserError as error:
            raise NotMeasured(f"the browser: {error}") from None
        ground.stop(*POSTS)
        accepted: dict[str, dict[str, int]] = {}
        for post in POSTS:
            accepted |= json.loads((ground.directory / f"{post}.json").read_text())["alarms"]
        circles = [Circle(accepted[one]["accepted_us"], *at) for one, at in seen.items()]
        say("the streams")
        commits, streams, size, site_cpu_s = _streams(
            ground, port, cookie, lambda: thread.submit(desk.change, rng).result()
        )
        floor = _floor(ground, size, rng)
        thread.submit(desk.close).result()
        ground.stop("ingest", "site", GATEWAY)
    return Console(
        browser=version,
        circles=tuple(circles),
        clock_error_us=error_us,
        streams=STREAMS,
        commits_us=tuple(commits),
        streams_us=tuple(streams),
        floor_us=tuple(floor),
        event_bytes=size,
        site_cpu_s=site_cpu_s,
        weights=tuple(weights),
    )


class Desk:
    """The command centre's database; every call but the making is on one thread."""

    def __init__(self, directory: Path, broker: int, port: int) -> None:
        self.config = directory / "mcc.toml"
        self.config.write_text(
            f'state_directory = "{directory / "mcc"}"\n'
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n'
            f'[database]\nurl = "sqlite:///{directory / "mcc" / "site.db"}"\n'
            f"[site]\nport = {port}\n"
        )

    def set_up(self) -> str:
        """The tables, and an operator who has signed in; the session's id."""
        from mcc.settings import MccFile
        from mcc.site.setup import make_places, make_tables
        from process.settings import read_settings

        settings = read_settings(self.config, MccFile)
        make_places(settings)
        configure(self.config)
        make_tables()

        from django.test import Client

        from mcc.cases.ingest import anchor_of
        from mcc.cases.store import CaseStore
        from mcc.people.models import User

        self._user = User.objects.create(username=ACCOUNT, role="operator", first_name="Bench")
        self._store = CaseStore(anchor_of(settings))
        client = Client()
        client.force_login(self._user, backend="django.contrib.auth.backends.ModelBackend")
        return client.cookies["sessionid"].value

    def resolve(self, alarm_ids: Sequence[str]) -> None:
        """End these alarms, as the page's own action does."""
        from mcc.cases.actions import act

        for alarm_id in alarm_ids:
            act(
                self._user,
                "resolve",
                alarm_id=alarm_id,
                outcome="test",
                address="127.0.0.1",
                screen=ACCOUNT,
            )

    def change(self, rng: Random) -> tuple[str, int, int]:
        """Commit a new alarm by the ingest's own door, after a pause: its id, and from when to
        when (us of uptime) the commit took."""
        from mcc.alarms import record_of
        from mcc.core import Commit

        time.sleep(rng.uniform(*CHANGE_PAUSE_S))
        document = self._newest = _document()
        commit = Commit(alarms=(record_of(document),), fresh=frozenset({document.alarm_id}))
        began_us = uptime_us()
        self._store.commit(commit)
        return document.alarm_id, began_us, uptime_us()

    def end(self) -> None:
        """The newest alarm that was committed here is over, as its gateway would say."""
        from mcc.alarms import record_of
        from mcc.core import Commit

        received = self._newest.reached.received
        over = msgspec.structs.replace(
            self._newest,
            state="resolved",
            reached=Steps(received=received, resolved=received),
            outcome="test",
            content="1" * 16,
        )
        self._store.commit(Commit(alarms=(record_of(over),)))

    def close(self) -> None:
        """Let go of the database."""
        from django.db import connections

        self._store.close()
        connections.close_all()


def _document() -> MccAlarm:
    at = timestamp(time.time_ns() // 1_000_000)
    return MccAlarm(
        post=POSTS[0],
        alarm_id=new_id(),
        gateway=GATEWAY,
        journal_id=new_id(),
        kind="panic",
        state="received",
        raised=Raised(at=at, known="computed"),
        reached=Steps(received=Step(at=at)),
        presses_ms=(-104, -52, 0),
        location=Location(lat=-7.944, lon=112.611, source="surveyed"),
        content="0" * 16,
    )


def _start(ground: Ground, config: Path) -> None:
    ground.start(GATEWAY, "gateway.cli", "run", "--config", ground.write_gateway(GATEWAY))
    ground.start("ingest", "mcc.cli", "ingest", "--config", config)
    ground.start("site", "mcc.cli", "serve", "--config", config)
    for post in POSTS:
        left = ground.directory / f"{post}.json"
        ground.start(post, "benchmarks.stamped", "post", ground.write_post(post), left)
    ground.until_said("site", "event=serving")
    for post in POSTS:
        ground.until_said(post, "event=listening")
        ground.until_shown(post, "lamp", "armed")


def open_console(browser: Browser, address: str, cookie: str) -> tuple[Page, list[int], float]:
    """The console with an empty cache, the bytes of each answer it took to load it, and after how
    many seconds it had the picture."""
    context = browser.new_context(viewport={"width": 1360, "height": 800})
    context.set_default_timeout(WAIT_MS)
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
    page = context.new_page()
    answered: list[Request] = []

    def note(request: Request) -> None:
        answered.append(request)

    page.on("requestfinished", note)
    began_s = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#quiet:not([hidden])")
    pictured_s = time.monotonic() - began_s
    page.wait_for_load_state("load")
    time.sleep(SETTLED_S)  # what the page asks for by itself once it stands
    sizes = [request.sizes() for request in answered]
    page.evaluate(OBSERVER)
    weights = [one["responseHeadersSize"] + one["responseBodySize"] for one in sizes]
    return page, weights, pictured_s


def _circles(
    ground: Ground,
    page: Page,
    rng: Random,
    resolve: Callable[[Sequence[str]], None],
    say: Callable[[str], None],
) -> tuple[dict[str, tuple[int, int]], int]:
    """Of each alarm when its circle stood in the page and when its frame had been made (us of
    uptime), and how far the two clocks may be apart."""
    offset_us, error_us = clock_of(page)
    pressed_s: dict[str, float] = {}
    over: set[str] = set()
    for turn in range(ROUNDS):
        for number, post in enumerate(POSTS, turn * len(POSTS) + 1):
            since_s = time.monotonic() - pressed_s.get(post, 0.0)
            time.sleep(max(0.0, HAMMERING_S - since_s) + rng.uniform(*PAUSE_S))
            ground.panel(post, "edges", edges=EDGES_US)
            pressed_s[post] = time.monotonic()
            page.wait_for_function(SEEN, arg=number, polling=50)
        opened = set(page.evaluate("Object.keys(window.bench)")) - over
        resolve(sorted(opened))
        over |= opened
        for post in POSTS:
            ground.until_shown(post, "alarms", [])
        say(f"{len(over)} of {ROUNDS * len(POSTS)} circles")
    later_us, later_error_us = clock_of(page)
    told: dict[str, dict[str, float]] = page.evaluate("window.bench")
    apart_us = max(error_us, later_error_us) + abs(later_us - offset_us)
    seen = {
        alarm_id: (
            round(one["circle_ms"] * 1000) + offset_us,
            round(one["frame_ms"] * 1000) + offset_us,
        )
        for alarm_id, one in told.items()
    }
    return seen, apart_us


def clock_of(page: Page) -> tuple[int, int]:
    """What to add to the page's clock for uptime, and by how much that may be wrong (us).

    Both run on the kernel's clock without steps, so that one distance holds for the run. The
    narrowest bracket counts; half of it is the error.
    """
    found = []
    for _ in range(CLOCK_TRIES):
        before_us = uptime_us()
        page_ms: float = page.evaluate("performance.now()")
        after_us = uptime_us()
        half_us = (after_us - before_us + 1) // 2
        found.append((half_us, before_us + half_us - round(page_ms * 1000)))
    half_us, offset_us = min(found)
    return offset_us, half_us


def _streams(
    ground: Ground, port: int, cookie: str, change: Callable[[], tuple[str, int, int]]
) -> tuple[list[int], list[int], int, float]:
    """What each commit took, from its end to each stream, how large an event was, and the site's
    processor time (s)."""
    name = "readers"
    left = _read(ground, name, port, cookie)
    site = ground.process("site").pid
    used_s = cpu_s(site)
    made = [change() for _ in range(CHANGES)]
    used_s = cpu_s(site) - used_s
    told = _left(ground, name, left)
    came = [
        at_us - ended_us
        for alarm_id, _, ended_us in made
        for at_us in _of_each(told["arrived"], alarm_id)
    ]
    return [ended_us - began_us for _, began_us, ended_us in made], came, told["bytes"], used_s


def _floor(ground: Ground, size: int, rng: Random) -> list[int]:
    """The same readers on bare sockets that one loop writes to."""
    port, name, began = free_port(), "floor-streams", ground.directory / "floor-streams.json"
    ground.start(name, "benchmarks.streams", "floor", str(port), str(size), began)
    ground.until_said(name, "ready")
    left = _read(ground, "floor-readers", port, "none")
    process = ground.process(name)
    assert process.stdin is not None
    for _ in range(CHANGES):
        time.sleep(rng.uniform(*CHANGE_PAUSE_S))
        process.stdin.write(new_id().encode() + b"\n")
        process.stdin.flush()
    arrived = _left(ground, "floor-readers", left)["arrived"]
    ground.stop(name)
    written: dict[str, int] = json.loads(began.read_text())
    return [
        at_us - began_us for key, began_us in written.items() for at_us in _of_each(arrived, key)
    ]


def _read(ground: Ground, name: str, port: int, cookie: str) -> Path:
    left = ground.directory / f"{name}.json"
    ground.start(name, "benchmarks.streams", "read", str(port), cookie, str(STREAMS), left)
    for number in range(1, STREAMS + 1):
        ground.until_said(name, f"open {number}\n")
    time.sleep(SETTLED_S)
    return left


def _left(ground: Ground, name: str, left: Path) -> Any:
    time.sleep(SETTLED_S)
    ground.look_whole()
    ground.stop(name)
    return json.loads(left.read_text())


def _of_each(arrived: dict[str, list[int]], key: str) -> list[int]:
    found = arrived.get(key, [])
    if len(found) != STREAMS:
        raise NotMeasured(f"the change {key} came {len(found)} times to {STREAMS} streams")
    return found
