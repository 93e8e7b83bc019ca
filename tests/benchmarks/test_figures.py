"""The arithmetic of the figures: nothing is rounded away, dropped or put in a better light."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    BEGIN,
    CONSOLE_BEGIN,
    CONSOLE_END,
    END,
    HOPS,
    Circle,
    Console,
    Firmware,
    Passage,
    Press,
    console_report,
    percentile,
    ratio_line,
    report,
    with_output,
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
        machine="a machine",
        product=product,
        fresh=product[:1],
        floor=floor,
        presses=[Press(closed_us=0, accepted_us=12_150, answered_us=12_400)],
        debounce_us=12_000,
        firmware=Firmware(30 * 2**20, 20 * 2**20, 0.0123, 30.0, (400_000, 500_000)),
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


def test_the_report_shows_each_figure_in_its_unit_and_ends_with_the_ratios() -> None:
    lines = a_report([a_passage(whole_us=6_000)], [a_passage(whole_us=4_000)]).splitlines()
    rows = {line[:36].strip(): line[36:].split() for line in lines}
    assert lines[0] == "a machine"
    assert rows["third press to MCC, product"] == ["6.00"] * 3
    assert rows["third press to MCC, floor"] == ["4.00"] * 3
    assert all(rows[hop] == ["1.50", "1.50", "1.00", "1.00"] for hop in HOPS)
    assert rows["edge to accepted, beyond 12 ms"] == ["0.15"] * 3
    assert rows["edge to lamp and buzzer"] == ["12.40"] * 3
    assert rows["start to listening, 2 starts"] == ["400.00", "500.00", "500.00"]
    assert "memory of the firmware: RSS 30.0 MiB, PSS 20.0 MiB" in lines
    assert "idle CPU, lamp armed, over 30 s: 1.23% of one core" in lines
    assert lines[-1] == "press_to_mcc ratio_p50=1.50 ratio_p99=1.50"


def a_console(*, circle_us: int = 60_000, streams_us: int = 40_000, bytes_: int = 1_000) -> Console:
    return Console(
        browser="a browser",
        circles=(Circle(1_000, 1_000 + circle_us, 21_000 + circle_us),),
        clock_error_us=720,
        streams=2,
        commits_us=(9_000,),
        streams_us=(1_000, streams_us),
        floor_us=(500, 700),
        event_bytes=600,
        site_cpu_s=0.0123,
        weights=(bytes_, 500),
    )


def test_the_console_has_a_row_for_each_way_and_says_whether_it_kept_to_its_targets() -> None:
    lines = console_report("a machine", a_console()).splitlines()
    rows = {line[:38].strip(): line[38:].split() for line in lines}
    assert lines[0] == "a machine, a browser"
    assert lines[1] == "1 alarms; 1 changes of 600 bytes to 2 streams"
    assert rows["milliseconds"] == ["p50", "p95", "p99", "max"]
    assert rows["accepted press to circle on the page"] == ["60.00"] * 4
    assert rows["and to the frame that shows it"] == ["80.00"] * 4
    assert rows["commit to each of 2 streams"] == ["1.00", "40.00", "40.00", "40.00"]
    assert rows["floor: one loop, 2 sockets"] == ["0.50", "0.70", "0.70", "0.70"]
    assert rows["the commit itself"] == ["9.00"] * 4
    assert "the site's processor time, for one change to all streams: 12.3 ms" in lines
    assert "the page's clock is known to 0.72 ms" in lines
    assert "first load of the console, without tiles: 1.5 kB in 2 answers" in lines
    assert [line.rpartition(": ")[2] for line in lines[-3:]] == ["yes"] * 3


@pytest.mark.parametrize(
    ("console", "missed"),
    [
        (a_console(circle_us=1_000_000), "press to circle, p95 under 1000 ms: NO"),
        (a_console(streams_us=200_000), "commit to streams, p99 under 200 ms: NO"),
        (a_console(bytes_=499_500), "first load under 500 kB: NO"),
    ],
)
def test_a_target_that_is_only_reached_is_missed(console: Console, missed: str) -> None:
    lines = console_report("a machine", console).splitlines()
    assert missed in lines
    assert sum(line.endswith(": NO") for line in lines) == 1


def test_the_console_has_a_part_of_its_own_in_the_page() -> None:
    page = f"{CONSOLE_BEGIN}\nold\n{CONSOLE_END}\n{BEGIN}\nkept\n{END}\n"
    written = with_output(page, "new", CONSOLE_BEGIN, CONSOLE_END)
    assert written == f"{CONSOLE_BEGIN}\n```\nnew\n```\n{CONSOLE_END}\n{BEGIN}\nkept\n{END}\n"


def test_the_committed_page_has_both_parts_and_the_console_its_whole_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert with_output(page, "new") != page
    table = page.partition(CONSOLE_BEGIN)[2].partition(CONSOLE_END)[0]
    made = console_report("a machine", dataclasses.replace(a_console(), streams=100))
    names = [line[:20] for line in made.splitlines() if line.endswith(".00") or ": yes" in line]
    assert len(names) > 5
    assert all(name in table for name in names)


def test_only_the_marked_part_of_a_page_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = with_output(page, "new")
    assert written == f"before\n{BEGIN}\n```\nnew\n```\n{END}\nafter\n"
    assert with_output(written, "new") == written


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}"])
def test_a_page_without_the_marked_part_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="it has no lines"):
        with_output(page, "new")
