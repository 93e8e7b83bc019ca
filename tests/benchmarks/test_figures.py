"""The arithmetic of the figures: nothing is rounded away, dropped or put in a better light."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    HOPS,
    Circle,
    Console,
    Firmware,
    Passage,
    Press,
    console_report,
    firmware_report,
    percentile,
    ratio_line,
    report,
)


def a_passage(*, whole_us: int) -> Passage:
    """One that took so long, a quarter of it at each hop."""
    quarter = whole_us // 4
    return Passage(
        accepted_us=1_000,
        offered_us=1_000 + quarter,
        heard_us=1_000 + 2 * quarter,
        told_us=1_000 + 3 * quarter,
        arrived_us=1_000 + whole_us,
    )


def a_report(product: list[Passage], floor: list[Passage]) -> str:
    return report(
        product=product,
        fresh=product[:1],
        floor=floor,
        presses=[Press(closed_us=0, accepted_us=12_150, answered_us=12_400)],
        debounce_us=12_000,
    )


def test_the_hundredth_of_a_hundred_samples_is_in_no_percentile_below_the_last() -> None:
    samples = [*range(1, 100), 1_000_000]
    assert percentile(samples, 0.50) == 50
    assert percentile(samples, 0.99) == 99
    assert percentile(samples, 1.0) == 1_000_000


def test_the_slowest_of_few_samples_is_their_99th_percentile() -> None:
    assert percentile([3, 1, 2], 0.99) == 3


@given(st.lists(st.integers(0, 10**9), min_size=1), st.floats(0.001, 1.0))
def test_a_percentile_is_a_sample_that_the_share_does_not_exceed(
    samples: list[int], share: float
) -> None:
    found = percentile(samples, share)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= share * len(samples)


@pytest.mark.parametrize(("samples", "share"), [([], 0.5), ([1], 0.0), ([1], 1.1)])
def test_there_is_no_percentile_of_nothing(samples: list[int], share: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(samples, share)


def test_the_hops_of_a_passage_are_the_whole_of_it() -> None:
    passage = Passage(10, 310, 1_010, 1_510, 2_000)
    assert passage.hops_us == (300, 700, 500, 490)
    assert len(HOPS) == len(passage.hops_us)
    assert sum(passage.hops_us) == passage.whole_us == 1_990


def test_stamps_against_the_way_are_no_passage() -> None:
    with pytest.raises(ValueError, match="the stamps fall"):
        Passage(10, 310, 300, 1_510, 2_000)


def test_the_ratios_are_of_the_wholes_at_the_same_share() -> None:
    floor = [a_passage(whole_us=1_000 * n) for n in range(1, 101)]
    product = [a_passage(whole_us=1_500 * n) for n in range(1, 100)]
    product.append(a_passage(whole_us=10_000_000))
    assert ratio_line(product, floor) == "press_to_mcc ratio_p50=1.50 ratio_p99=1.50"
    product[0] = a_passage(whole_us=20_000_000)
    assert ratio_line(product, floor) == "press_to_mcc ratio_p50=1.53 ratio_p99=101.01"


def test_the_report_shows_each_figure_in_its_unit() -> None:
    lines = a_report([a_passage(whole_us=6_000)], [a_passage(whole_us=4_000)]).splitlines()
    rows = {line[:36].strip(): line[36:].split() for line in lines}
    assert rows["third press to MCC, product"] == ["6.00"] * 3
    assert rows["third press to MCC, floor"] == ["4.00"] * 3
    assert all(rows[hop] == ["1.50", "1.50", "1.00", "1.00"] for hop in HOPS)
    assert rows["edge to accepted, beyond 12 ms"] == ["0.15"] * 3
    assert rows["edge to lamp and buzzer"] == ["12.40"] * 3


def test_an_idle_day_holds_what_was_seen_and_the_proofs_of_a_day() -> None:
    firmware = Firmware(
        rss_bytes=30 * 2**20,
        pss_bytes=20 * 2**20,
        cpu_share=0.0123,
        span_s=60.0,
        wakes_per_s=2.5,
        written_bytes=60,
        proof_bytes=10_000,
        proof_every_s=900.0,
        starts_us=(400_000, 500_000),
    )
    assert firmware.day_bytes == 86_400 + 96 * 10_000
    lines = firmware_report(firmware).splitlines()
    assert lines[1].split()[-3:] == ["400.00", "500.00", "500.00"]
    assert "memory: RSS 30.0 MiB, PSS 20.0 MiB" in lines
    assert "so in a day without an alarm: 1.05 MB" in lines


def a_console() -> Console:
    return Console(
        browser="a browser",
        circles=(Circle(1_000, 61_000, 81_000),),
        clock_error_us=720,
        streams=2,
        commits_us=(9_000,),
        streams_us=(1_000, 40_000),
        floor_us=(500, 700),
        event_bytes=600,
        site_cpu_s=0.0123,
        weights=(1_000, 500),
    )


def test_the_console_has_a_row_for_each_way() -> None:
    lines = console_report(a_console()).splitlines()
    rows = {line[:38].strip(): line[38:].split() for line in lines}
    assert lines[0] == "a browser; 1 alarms; 1 changes of 600 bytes to 2 streams"
    assert rows["milliseconds"] == ["p50", "p95", "p99", "max"]
    assert rows["accepted press to circle on the page"] == ["60.00"] * 4
    assert rows["and to the frame that shows it"] == ["80.00"] * 4
    assert rows["commit to each of 2 streams"] == ["1.00", "40.00", "40.00", "40.00"]
    assert rows["floor: one loop, 2 sockets"] == ["0.50", "0.70", "0.70", "0.70"]
    assert rows["the commit itself"] == ["9.00"] * 4
    assert "the site's processor time, for one change to all streams: 12.3 ms" in lines
    assert "the page's clock is known to 0.72 ms" in lines
    assert "first load of the console, without tiles: 1.5 kB in 2 answers" in lines
