"""From stamps to figures: the hops of an alarm, percentiles, ratios and the table. Pure.

It never measures anything, and it never drops a sample: the slowest alarm counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

DAY_S = 86_400.0
# What the console is to keep to.
CIRCLE_P95_US = 1_000_000
STREAMS_P99_US = 200_000
PAGE_BYTES = 500_000

# What the four hops of an alarm are called, in their order.
HOPS = (
    "post: accepted to committed",
    "post to gateway, by the broker",
    "gateway: heard to committed",
    "gateway to MCC, by the broker",
)


@dataclass(frozen=True)
class Passage:
    """One alarm on its way; every stamp is uptime (CLOCK_BOOTTIME) in microseconds.

    `accepted_us`: the third press is accepted. `offered_us`: the post has it on disk and hands it
    over. `heard_us`: the gateway has read it. `told_us`: the gateway has it on disk and hands it
    over. `arrived_us`: the MCC's subscriber has it.
    """

    accepted_us: int
    offered_us: int
    heard_us: int
    told_us: int
    arrived_us: int

    def __post_init__(self) -> None:
        """Raises ValueError when the stamps are not in the order of the way."""
        if list(self._stamps) != sorted(self._stamps):
            raise ValueError(f"the stamps fall: {self._stamps}")

    @property
    def whole_us(self) -> int:
        """From the accepted press to the MCC's subscriber."""
        return self.arrived_us - self.accepted_us

    @property
    def hops_us(self) -> tuple[int, ...]:
        """What each of `HOPS` took; together they are the whole."""
        stamps = self._stamps
        return tuple(after - before for before, after in itertools.pairwise(stamps))

    @property
    def _stamps(self) -> tuple[int, ...]:
        return (
            self.accepted_us,
            self.offered_us,
            self.heard_us,
            self.told_us,
            self.arrived_us,
        )


@dataclass(frozen=True)
class Press:
    """One press; uptimes in microseconds.

    `closed_us`: the contact closed. `accepted_us`: the press counts. `answered_us`: lamp and buzzer
    pins are set.
    """

    closed_us: int
    accepted_us: int
    answered_us: int


@dataclass(frozen=True)
class Firmware:
    """What one resting post costs; the lamp is armed, for `span_s` seconds.

    `starts_us`: from the start of a process to listening. `proof_bytes`: what one proof that the
    disk works has written to it, which a post asks for every `proof_every_s` without an alarm.
    """

    rss_bytes: int
    pss_bytes: int
    cpu_share: float  # of one core
    span_s: float
    wakes_per_s: float
    written_bytes: int
    proof_bytes: int
    proof_every_s: float
    starts_us: tuple[int, ...]

    @property
    def day_bytes(self) -> float:
        """Written in a day without an alarm: what was seen to be written, and the proofs."""
        resting = self.written_bytes / self.span_s * DAY_S
        return resting + DAY_S / self.proof_every_s * self.proof_bytes


@dataclass(frozen=True)
class Circle:
    """One alarm on its way to the screen; uptimes in microseconds.

    `accepted_us`: the third press is accepted. `circle_us`: its circle stands in the page.
    `frame_us`: the page has made the frame with it.
    """

    accepted_us: int
    circle_us: int
    frame_us: int


@dataclass(frozen=True)
class Console:
    """What was measured of the console; durations in microseconds.

    `clock_error_us`: how far the page's clock may be off. `streams_us`: from the end of each commit
    to each of the `streams`. `site_cpu_s`: the site's processor time while the changes were made,
    all of them (seconds). `weights`: the bytes of each answer of the first load, headers and all,
    as they came.
    """

    browser: str
    circles: tuple[Circle, ...]
    clock_error_us: int
    streams: int
    commits_us: tuple[int, ...]
    streams_us: tuple[int, ...]
    floor_us: tuple[int, ...]
    event_bytes: int
    site_cpu_s: float
    weights: tuple[int, ...]


def percentile(samples: Iterable[float], share: float) -> float:
    """The smallest sample that at least `share` (0..1] of all do not exceed (nearest rank).

    Raises:
        ValueError: there are no samples, or `share` is out of range.
    """
    ordered = sorted(samples)
    if not ordered or not 0 < share <= 1:
        raise ValueError(f"no percentile {share} of {len(ordered)} samples")
    return ordered[math.ceil(share * len(ordered)) - 1]


def ratio_line(product: Sequence[Passage], floor: Sequence[Passage]) -> str:
    """The last line of the output: how many times the floor the product takes.

    Raises:
        ValueError: one of them is empty.
    """
    ratios = (_ratio(product, floor, share) for share in (0.50, 0.99))
    return "press_to_mcc ratio_p50={:.2f} ratio_p99={:.2f}".format(*ratios)


def report(
    *,
    product: Sequence[Passage],
    fresh: Sequence[Passage],
    floor: Sequence[Passage],
    presses: Sequence[Press],
    debounce_us: int,
) -> str:
    """What was measured of the way of a call, as lines of text.

    `fresh` are the first alarms of their posts, which are not in `product`.
    """
    beyond_us = [press.accepted_us - press.closed_us - debounce_us for press in presses]
    answer_us = [press.answered_us - press.closed_us for press in presses]
    lines = [
        f"{len(product)} alarms of the product, {len(floor)} of the floor, in turn",
        "",
        f"{'milliseconds':<36}{'p50':>9}{'p99':>9}{'max':>9}",
        _row("third press to MCC, product", _wholes(product)),
        _row("third press to MCC, floor", _wholes(floor)),
        _row("  a post's first alarm", _wholes(fresh)),
        "",
        f"{'where the time goes':<36}{'product':>18}{'floor':>18}",
        f"{'milliseconds':<36}" + f"{'p50':>9}{'p99':>9}" * 2,
        *(_hop_row(place, name, product, floor) for place, name in enumerate(HOPS)),
        "",
        f"{'milliseconds':<36}{'p50':>9}{'p99':>9}{'max':>9}",
        _row(f"edge to accepted, beyond {debounce_us / 1000:g} ms", beyond_us),
        _row("edge to lamp and buzzer", answer_us),
    ]
    return "\n".join(lines)


def firmware_report(firmware: Firmware) -> str:
    """What one resting post costs, as lines of text."""
    starts_us = firmware.starts_us
    lines = [
        f"{'milliseconds':<36}{'p50':>9}{'p99':>9}{'max':>9}",
        _row(f"start to listening, {len(starts_us)} starts", starts_us),
        "",
        f"memory: RSS {firmware.rss_bytes / 2**20:.1f} MiB,"
        f" PSS {firmware.pss_bytes / 2**20:.1f} MiB",
        f"over {firmware.span_s:.0f} s with the lamp armed: {firmware.cpu_share:.3%} of one core,"
        f" {firmware.wakes_per_s:.1f} wake-ups a second, {firmware.written_bytes} bytes written",
        f"a proof that the disk works, as every {firmware.proof_every_s:.0f} s:"
        f" {firmware.proof_bytes / 1000:.1f} kB written",
        f"so in a day without an alarm: {firmware.day_bytes / 1e6:.2f} MB",
    ]
    return "\n".join(lines)


def console_report(console: Console) -> str:
    """What was measured of the console, as lines of text.

    Raises:
        ValueError: there are no samples.
    """
    circle_us = [one.circle_us - one.accepted_us for one in console.circles]
    frame_us = [one.frame_us - one.accepted_us for one in console.circles]
    weight = sum(console.weights)
    rows = (
        ("accepted press to circle on the page", circle_us),
        ("  and to the frame that shows it", frame_us),
        (f"commit to each of {console.streams} streams", console.streams_us),
        (f"  floor: one loop, {console.streams} sockets", console.floor_us),
        ("  the commit itself", console.commits_us),
    )
    lines = [
        f"{console.browser}; {len(circle_us)} alarms;"
        f" {len(console.commits_us)} changes of {console.event_bytes} bytes"
        f" to {console.streams} streams",
        "",
        f"{'milliseconds':<38}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}",
        *(f"{name:<38}" + _cells(us, (0.50, 0.95, 0.99, 1.0)) for name, us in rows),
        "",
        "the site's processor time, for one change to all streams:"
        f" {1000 * console.site_cpu_s / len(console.commits_us):.1f} ms",
        f"the page's clock is known to {console.clock_error_us / 1000:.2f} ms",
        f"first load of the console, without tiles: {weight / 1000:.1f} kB"
        f" in {len(console.weights)} answers",
    ]
    return "\n".join(lines)


def _wholes(passages: Sequence[Passage]) -> list[int]:
    return [passage.whole_us for passage in passages]


def _ratio(product: Sequence[Passage], floor: Sequence[Passage], share: float) -> float:
    return percentile(_wholes(product), share) / percentile(_wholes(floor), share)


def _row(name: str, samples_us: Sequence[int]) -> str:
    return f"{name:<36}" + _cells(samples_us, (0.50, 0.99, 1.0))


def _hop_row(place: int, name: str, product: Sequence[Passage], floor: Sequence[Passage]) -> str:
    def hop(of: Passage) -> int:
        return of.hops_us[place]

    return f"{name:<36}" + _hop_cells(hop, product) + _hop_cells(hop, floor)


def _hop_cells(hop: Callable[[Passage], int], passages: Sequence[Passage]) -> str:
    return _cells([hop(passage) for passage in passages], (0.50, 0.99))


def _cells(samples_us: Sequence[int], shares: Iterable[float]) -> str:
    return "".join(f"{percentile(samples_us, share) / 1000:9.2f}" for share in shares)
