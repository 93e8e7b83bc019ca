"""The console with as many posts as one picture shows: how long it takes, beside one with ten.

The site, the ingest and the page are the product's own. The posts' documents come over the broker,
as a gateway's would, from a bare client; alarms are committed by the ingest's own door. Both sizes
run one after the other, in the same processes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from threading import Event, Thread

import paho.mqtt.client as mqtt
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, sync_playwright

from benchmarks.alarms import GATEWAY
from benchmarks.centre import NotMeasured
from benchmarks.console import FLAGS, Desk, clock_of, open_console
from benchmarks.figures import CIRCLE_P95_US, percentile
from benchmarks.firmware import cpu_s
from benchmarks.floor import client
from benchmarks.ground import READY_TIMEOUT_S, Ground, with_broker
from benchmarks.heartbeats import resident_bytes
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, table
from demo.broker import free_port
from protocol.codec import encode
from protocol.messages import MccGateway, MccPost, Place
from protocol.topics import Topics
from protocol.values import new_id, timestamp

SMALL = 10
CHANGES = 30
BEAT_S = 8.0
ASK_S = 0.2
# The city of Malang, roughly (WGS 84 degrees).
LATS, LONS = (-8.05, -7.91), (112.57, 112.69)
SEEN = "count => Object.keys(window.bench).length === count"


@dataclass(frozen=True)
class _Size:
    """What was seen with so many posts; microseconds, but for `pictured_s`."""

    posts: int
    taken_s: float
    pictured_s: float
    weight: int
    circles_us: tuple[int, ...]
    site_mb: float


def part(setting: Setting) -> Outcome:
    """Both sizes, and what the ingest took for the larger one."""
    program = shutil.which("chromium")
    if program is None:
        raise NotMeasured("it needs Chromium: apt-get install chromium")
    with ExitStack() as ending:
        ground = with_broker(setting.directory, setting.mosquitto, ending)
        port = free_port()
        thread = ending.enter_context(ThreadPoolExecutor(1))
        desk = Desk(ground.directory, ground.port, port)
        cookie = thread.submit(desk.set_up).result()

        from mcc.cases.picture import POSTS_SHOWN_MAX  # Django is set up by now

        many = setting.sized(POSTS_SHOWN_MAX, 200)
        gateway = ending.enter_context(_Gateway(ground.port))
        ground.start("ingest", "mcc.cli", "ingest", "--config", desk.config)
        ground.start("site", "mcc.cli", "serve", "--config", desk.config)
        ground.until_said("site", "event=serving")
        ingest = ground.process("ingest").pid
        sizes: list[_Size] = []
        rng = Random(1)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
                for posts in (SMALL, many):
                    known = sizes[-1].posts if sizes else 0
                    used_s, began_s = cpu_s(ingest), time.monotonic()
                    gateway.shows(range(known, posts), rng)
                    _until_stored(thread, posts, ground)
                    taken_s, used_s = time.monotonic() - began_s, cpu_s(ingest) - used_s
                    page, weights, pictured_s = open_console(
                        browser, f"http://127.0.0.1:{port}", cookie
                    )
                    circles_us = _circles(page, desk, thread, rng)
                    page.context.close()
                    sizes.append(
                        _Size(
                            posts,
                            taken_s,
                            pictured_s,
                            sum(weights),
                            circles_us,
                            resident_bytes(ground.process("site").pid) / 2**20,
                        )
                    )
                    setting.say(f"{posts} posts")
                browser.close()
        except BrowserError as error:
            raise NotMeasured(f"the browser: {error}") from None
        thread.submit(desk.close).result()
        ground.stop("ingest", "site")
    return Outcome(
        text=_report(sizes, used_s),
        goals=(
            Goal(
                what=f"console with {many} posts: commit to circle, p95",
                found=percentile(sizes[-1].circles_us, 0.95) / 1000,
                limit=CIRCLE_P95_US / 1000,
                unit="ms",
            ),
        ),
    )


class _Gateway:
    """What a gateway says of itself and its posts, by a bare client; it beats until the end."""

    def __init__(self, port: int) -> None:
        self._topics = Topics()
        self._client: mqtt.Client = client(GATEWAY, port)
        self._ending = Event()
        self._beating = Thread(target=self._beat, name="beat", daemon=True)
        self._journal_id = new_id()

    def __enter__(self) -> _Gateway:
        self._client.loop_start()
        self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._beating.join()
        self._client.disconnect()
        self._client.loop_stop()

    def shows(self, numbers: Sequence[int], rng: Random) -> None:
        """These posts are online, somewhere in the city."""
        for number in numbers:
            post = MccPost(
                post=f"crowd-{number}",
                gateway=GATEWAY,
                connection="online",
                at=_now(),
                name=f"Pos RW {number}",
                place=Place(lat=rng.uniform(*LATS), lon=rng.uniform(*LONS)),
            )
            topic = self._topics.mcc("posts", post.post)
            self._client.publish(topic, encode(post), qos=1, retain=True)

    def _beat(self) -> None:
        while True:
            gateway = MccGateway(
                gateway=GATEWAY, online=True, at=_now(), journal_id=self._journal_id
            )
            topic = self._topics.mcc("gateways", GATEWAY)
            self._client.publish(topic, encode(gateway), qos=1, retain=True)
            if self._ending.wait(BEAT_S):
                return


def _now() -> str:
    return timestamp(time.time_ns() // 1_000_000)


def _until_stored(thread: ThreadPoolExecutor, posts: int, ground: Ground) -> None:
    give_up_s = time.monotonic() + READY_TIMEOUT_S
    while (stored := thread.submit(_stored).result()) < posts:
        ground.look_whole()
        if time.monotonic() > give_up_s:
            raise NotMeasured(f"{stored} of {posts} posts stored within {READY_TIMEOUT_S:g} s")
        time.sleep(ASK_S)


def _stored() -> int:
    from mcc.cases.models import PostDocument

    return PostDocument.objects.count()


def _circles(page: Page, desk: Desk, thread: ThreadPoolExecutor, rng: Random) -> tuple[int, ...]:
    """From the end of each commit to the circle in the page (us); each is over before the next."""
    offset_us, _ = clock_of(page)
    took_us = []
    for number in range(1, CHANGES + 1):
        alarm_id, _, ended_us = thread.submit(desk.change, rng).result()
        page.wait_for_function(SEEN, arg=number, polling=50)
        circle_ms: float = page.evaluate("id => window.bench[id].circle_ms", alarm_id)
        took_us.append(round(circle_ms * 1000) + offset_us - ended_us)
        thread.submit(desk.end).result()
    return tuple(took_us)


def _report(sizes: Sequence[_Size], ingest_s: float) -> str:
    rows = [
        ("", *(f"{one.posts} posts" for one in sizes)),
        ("commit to circle, p50 (ms)", *(_ms(one, 0.5) for one in sizes)),
        ("commit to circle, p95 (ms)", *(_ms(one, 0.95) for one in sizes)),
        ("page opened to its picture (s)", *(f"{one.pictured_s:.2f}" for one in sizes)),
        ("first load, without tiles (kB)", *(f"{one.weight / 1000:.1f}" for one in sizes)),
        ("the site's memory, RSS (MiB)", *(f"{one.site_mb:.1f}" for one in sizes)),
    ]
    added = sizes[-1].posts - sizes[0].posts
    return (
        f"{table(rows)}\n\n{added} posts' documents, published at once, stored after"
        f" {sizes[-1].taken_s:.1f} s; the ingest's processor time {ingest_s:.1f} s"
    )


def _ms(size: _Size, share: float) -> str:
    return f"{percentile(size.circles_us, share) / 1000:.1f}"
