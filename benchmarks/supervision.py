"""The part `supervision`: what it costs to watch many posts, and how soon one is missed.

The gateway is the real process with a real broker; generator and broker are not counted. Its
processor time over the span is what the kernel counted for it.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks.centre import Centre, NotMeasured
from benchmarks.ground import with_broker
from benchmarks.heartbeats import Found, Span
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, Plot, table
from gateway.supervision import SILENT_AFTER_S

GATEWAY = "crowd-gw"
CONNECTIONS = 50
QUIET = 20
INTERVAL_S, STRICT_S = 30.0, 5.0
STRICT_SILENT_AFTER_S = 20
NEVER_S = 9_999.0  # JSON knows no infinity
ARRIVING_PER_S = 1_900.0  # a gateway shows 2,000 documents a second
CORES, GROWTH, DETECTED_S, STRICT_DETECTED_S = 1.0, 1.2, 90.0, 20.0
LOOK_S = 0.1
OPEN_AGAIN_S = 600.0  # a post's document is said again about so often


def part(setting: Setting) -> Outcome:
    """A thousand, ten thousand, a hundred thousand; and 40,000 as often as the strict setting."""
    small = setting.sized(1, 5)
    sizes = [1_000 // small, 10_000 // small, 100_000 // small]
    strict = 40_000 // small
    quiet = setting.sized(QUIET, 0)
    with ThreadPoolExecutor(1) as beside:  # it has to wait for a silence, and costs next to nothing
        first = beside.submit(_watched, setting, sizes[0], INTERVAL_S, quiet)
        found: list[tuple[int, float, Found, int]] = [
            (posts, INTERVAL_S, *_watched(setting, posts, INTERVAL_S, 0)) for posts in sizes[1:2]
        ]
        found.insert(0, (sizes[0], INTERVAL_S, *first.result()))
    found.append((sizes[2], INTERVAL_S, *_watched(setting, sizes[2], INTERVAL_S, 0)))
    found.append((strict, STRICT_S, *_watched(setting, strict, STRICT_S, quiet)))
    rows = [
        (
            "posts, heartbeat every",
            "heartbeats/s",
            "answered",
            "CPU ms each",
            "cores",
            "others' cores",
            "kB a post",
            "false silences",
        )
    ]
    for posts, every_s, one, empty in found:
        rows.append(
            (
                f"{posts:,}, {every_s:g} s",
                f"{one.heartbeats / one.seconds:.0f}",
                f"{one.answers / one.heartbeats:.1%}",
                f"{_each_ms(one):.3f}",
                f"{one.cpu_s / one.seconds:.2f}",
                f"{one.others_cpu_s / one.seconds:.2f}",
                f"{(one.memory_bytes - empty) / posts / 1000:.2f}",
                str(one.false_silences),
            )
        )
    least, most = found[0][2], found[2][2]
    arriving_s = most.cpu_before_s - most.heartbeats_before * _each_ms(most) / 1000
    document_ms = max(0.0, arriving_s / most.documents_before * 1000)
    cores = most.cpu_s / most.seconds + found[2][0] / OPEN_AGAIN_S * document_ms / 1000
    lines = [
        table(rows),
        "",
        f"a document of a post shown at the MCC: {document_ms:.3f} ms of processor time;"
        f" each is said again about every {OPEN_AGAIN_S / 60:.0f} minutes",
    ]
    silences = []
    for (posts, every_s, one, _), limit_s in (
        (found[0], DETECTED_S),
        (found[3], STRICT_DETECTED_S),
    ):
        if not quiet:
            continue
        detected = one.detected_s
        words = "none was shown silent"
        if detected:
            words = f"after their last heartbeat, {min(detected):.1f} to {max(detected):.1f} s"
        lines.append(
            f"{quiet} of {posts:,} posts fall silent, {len(detected)} are shown silent: {words}"
        )
        silences.append(
            Goal(
                what="supervision: last heartbeat to silent at the MCC, heartbeat every"
                f" {every_s:g} s, slowest",
                found=max(detected) if len(detected) == quiet else NEVER_S,
                limit=limit_s,
                unit="s",
            )
        )
    return Outcome(
        text="\n".join(lines),
        goals=(
            Goal(
                what=f"supervision: {found[2][0]:,} posts, their documents said again, cores",
                found=cores,
                limit=CORES,
                unit="cores",
                why_not=(
                    f"{_each_ms(most):.2f} ms of Python for each heartbeat; by py-spy three fifths"
                    " of it in the links (paho takes packets apart, PUBACKs of the answers), a"
                    " seventh in the core; posts on more gateways, or an MQTT client in a compiled"
                    " language, would change it"
                ),
            ),
            Goal(
                what=f"supervision: cost of a heartbeat at {found[2][0]:,} posts, times that at"
                f" {found[0][0]:,}",
                found=_each_ms(most) / _each_ms(least),
                limit=GROWTH,
                unit="x",
            ),
            Goal(
                what="supervision: false silences",
                found=sum(one.false_silences for _, _, one, _ in found),
                limit=0,
                unit="posts",
            ),
            *silences,
        ),
        plots=(
            Plot(
                name="bench-supervision",
                title="The gateway's processor time for one heartbeat",
                unit="ms",
                series={
                    f"{posts:,} posts, {every_s:g} s": [_each_ms(one)]
                    for posts, every_s, one, _ in found
                },
            ),
        ),
    )


def _each_ms(found: Found) -> float:
    return found.cpu_s / found.heartbeats * 1000


def _watched(setting: Setting, posts: int, every_s: float, quiet: int) -> tuple[Found, int]:
    """One size: what was found, and the gateway's memory before anybody came (bytes)."""
    directory = setting.directory / f"{posts}-{every_s:g}"
    directory.mkdir()
    with ExitStack() as ending:
        ground = with_broker(directory, setting.mosquitto, ending)
        ending.enter_context(Centre(ground.port))
        silent_after_s = SILENT_AFTER_S if every_s == INTERVAL_S else STRICT_SILENT_AFTER_S
        settings = ground.write_gateway(GATEWAY, silent_after_s=silent_after_s)
        broker = None if ground.broker is None else ground.broker.pid
        assert broker is not None
        process = ground.start(GATEWAY, "gateway.cli", "run", "--config", settings)
        for link in ("posts", "mcc"):
            ground.until_said(GATEWAY, f"event=link_up link={link}")
        pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
        span = Span(
            port=ground.port,
            gateway=process.pid,
            broker=broker,
            posts=posts,
            interval_s=every_s,
            arriving_s=max(3.0, posts / ARRIVING_PER_S),
            span_s=setting.sized(30 if every_s == INTERVAL_S else 15, 8),
            quiet=quiet,
            patience_s=100.0 if every_s == INTERVAL_S else 40.0,
        )
        left = directory / "found.json"
        words = msgspec.json.encode(span).decode()
        ground.start("crowd", "benchmarks.heartbeats", words, str(CONNECTIONS), left)
        give_up_s = time.monotonic() + 250
        while not left.exists():
            ground.look_whole()
            if time.monotonic() > give_up_s:
                raise NotMeasured(f"{posts} posts were not watched in time")
            time.sleep(LOOK_S)
        found = msgspec.convert(json.loads(left.read_text()), Found)
    setting.say(f"{posts} posts: {_each_ms(found):.3f} ms a heartbeat")
    return found, int(pages) * 4096
