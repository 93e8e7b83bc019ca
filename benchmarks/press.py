"""The part `press`: from the accepted third press to the command centre, product and floor."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

from benchmarks.alarms import POSTS, Alarms
from benchmarks.centre import Centre
from benchmarks.figures import HOPS, Passage, percentile, ratio_line, report
from benchmarks.ground import with_broker
from benchmarks.part import Setting
from benchmarks.results import Goal, Outcome, Plot
from device.presses import CLOSED_US

ALARMS = 600
MEASURING_S = 100.0  # of the 210 s that the part has: starting and ending 27 processes too
RATIO_P50, RATIO_P99 = 1.5, 2.0


def part(setting: Setting) -> Outcome:
    """Product and floor in turn, on one broker."""
    with ExitStack() as ending:
        ground = with_broker(setting.directory, setting.mosquitto, ending)
        centre = ending.enter_context(Centre(ground.port))
        path = Alarms(ground, centre, Random(), POSTS[: setting.sized(len(POSTS), 4)])
        path.start()
        path.measure(setting.sized(ALARMS, 12), setting.say, MEASURING_S)
        measured = path.stop()
    product, floor = measured.product, measured.floor
    why = _where(product, floor)
    return Outcome(
        text=report(
            product=product,
            fresh=measured.fresh,
            floor=floor,
            presses=measured.presses,
            debounce_us=CLOSED_US,
        ),
        goals=tuple(
            Goal(
                what=f"accepted press to MCC, {name}, times the floor",
                found=percentile(_wholes(product), share) / percentile(_wholes(floor), share),
                limit=limit,
                unit="x",
                why_not=why,
            )
            for name, share, limit in (("p50", 0.5, RATIO_P50), ("p99", 0.99, RATIO_P99))
        ),
        plots=(
            Plot(
                name="bench-press",
                title="Accepted press to command centre, share of alarms",
                unit="ms",
                series={
                    "product": [us / 1000 for us in _wholes(product)],
                    "floor": [us / 1000 for us in _wholes(floor)],
                },
            ),
        ),
        closing=ratio_line(product, floor),
    )


def _wholes(passages: list[Passage]) -> list[int]:
    return [passage.whole_us for passage in passages]


def _where(product: list[Passage], floor: list[Passage]) -> str:
    """How much longer than the floor each hop takes, at its median."""
    beyond = []
    for place, name in enumerate(HOPS):
        medians = [percentile([one.hops_us[place] for one in of], 0.5) for of in (product, floor)]
        beyond.append(f"{name} {(medians[0] - medians[1]) / 1000:+.2f} ms")
    return "beyond the floor's medians: " + ", ".join(beyond)
