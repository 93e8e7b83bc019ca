"""The page that the benchmark writes: nothing that was missed or failed is left out."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import PARTS
from benchmarks.page import BEGIN, END, Run, in_markdown, in_words, with_output
from benchmarks.plots import svg
from benchmarks.results import Goal, Outcome, Plot, table

HELD = Goal(what="storm", found=2.0, limit=3.0, unit="s")
MISSED = Goal(what="kept", found=99, limit=100, unit="alarms", at_least=True, why_not="one | lost")
BARS = Plot(name="bench-bars", title="Kept", unit="alarms", series={"us": [100], "<them>": [0]})
CURVES = Plot(
    name="bench-curves", title="Way", unit="ms", series={"product": [2.0, 3.0, 40.0], "floor": [1]}
)


def a_run() -> Run:
    """One part measured, with a goal held and a goal missed; one part failed."""
    return Run(
        at="2026-11-29 02:30 UTC",
        machine="a machine",
        load_before=0.25,
        load_after=1.5,
        minutes=12.3,
        scale="whole",
        titles={"one": "The first", "two": "The second"},
        outcomes={"one": Outcome(text="a table", goals=(HELD, MISSED), plots=(BARS,))},
        failed={"two": "not over within 5 s"},
    )


def test_the_page_names_date_machine_and_load() -> None:
    head = in_markdown(a_run(), "pictures").splitlines()[0]
    assert "2026-11-29 02:30 UTC" in head
    assert "a machine; load 0.2 before, 1.5 after" in head


def test_every_goal_is_in_the_page_with_what_was_found_and_whether_it_held() -> None:
    page = in_markdown(a_run(), "pictures")
    assert "| storm <= 3 s | 2 s | yes |" in page
    assert "| kept >= 100 alarms | 99 alarms | **no** |" in page
    assert "- **kept**: one | lost" in page


def test_a_part_that_failed_is_named_first_and_in_its_place_and_the_run_is_not_whole() -> None:
    run = a_run()
    page = in_markdown(run, "pictures")
    assert page.index("**Not measured**: The second: not over within 5 s") < page.index("| goal |")
    assert "### The second\n\n```\nnot measured: not over within 5 s\n```" in page
    assert not run.is_whole
    assert "MISSED kept >= 100 alarms: 99 alarms" in in_words(run)


def test_every_plot_of_the_page_is_shown_from_where_it_lies() -> None:
    assert "![Kept](pictures/bench-bars.svg)" in in_markdown(a_run(), "pictures")


@pytest.mark.parametrize(
    ("goal", "held"),
    [
        (Goal(what="", found=3.0, limit=3.0, unit=""), True),
        (Goal(what="", found=3.001, limit=3.0, unit=""), False),
        (Goal(what="", found=3.0, limit=3.0, unit="", at_least=True), True),
        (Goal(what="", found=2.999, limit=3.0, unit="", at_least=True), False),
    ],
)
def test_a_goal_that_is_just_reached_is_held(goal: Goal, held: bool) -> None:
    assert goal.held is held


@pytest.mark.parametrize("plot", [BARS, CURVES])
def test_a_plot_is_well_formed_and_names_every_series(plot: Plot) -> None:
    words = [element.text for element in ET.fromstring(svg(plot)).iter() if element.text]
    assert all(name in words for name in plot.series)
    assert f"{plot.title} ({plot.unit})" in words


def test_a_plot_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        svg(Plot(name="empty", title="", unit="", series={"none": []}))


def test_columns_are_aligned() -> None:
    assert table([("name", "n"), ("longer", "10")]) == "name     n\nlonger  10"


def test_only_the_marked_part_of_a_page_is_replaced() -> None:
    written = with_output(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new")
    assert written == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert with_output(written, "new") == written


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}"])
def test_a_page_without_the_marked_part_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="it has no lines"):
        with_output(page, "new")


def test_what_a_part_leaves_is_read_back_as_it_was() -> None:
    outcome = Outcome(text="t", goals=(MISSED,), plots=(CURVES,), closing="press_to_mcc")
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome


def test_the_committed_page_holds_every_part_of_the_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert with_output(page, "new") != page
    output = page.partition(BEGIN)[2].partition(END)[0]
    assert all(f"### {part.title}" in output for part in PARTS)
