"""The arithmetic of the figures: nothing is rounded away, dropped or put in a better light."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    BEGIN,
    END,
    HOPS,
    Firmware,
    Passage,
    Press,
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


def test_only_the_marked_part_of_a_page_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = with_output(page, "new")
    assert written == f"before\n{BEGIN}\n```\nnew\n```\n{END}\nafter\n"
    assert with_output(written, "new") == written


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}"])
def test_a_page_without_the_marked_part_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="it has no lines"):
        with_output(page, "new")
