"""The page of the figures, written by the command that measured them. Pure.

It never leaves out a goal that was missed or a part that failed: those stand first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Goal, Outcome, Plot

BEGIN = "<!-- begin: output of make bench -->"
END = "<!-- end: output of make bench -->"


@dataclass(frozen=True)
class Run:
    """One run of the command: when, where, how busy, and what each part left.

    `failed`: parts without an outcome, and why. `titles`: of every part, in the page's order.
    """

    at: str
    machine: str
    load_before: float
    load_after: float
    minutes: float
    scale: str
    titles: Mapping[str, str]
    outcomes: Mapping[str, Outcome]
    failed: Mapping[str, str]

    @property
    def goals(self) -> list[tuple[str, Goal]]:
        """Every goal with the part it belongs to."""
        return [
            (part, goal)
            for part in self.titles
            if part in self.outcomes
            for goal in self.outcomes[part].goals
        ]

    @property
    def plots(self) -> list[Plot]:
        """Every plot."""
        return [plot for outcome in self.outcomes.values() for plot in outcome.plots]

    @property
    def is_whole(self) -> bool:
        """Whether every part was measured. A goal that was missed is measured all the same."""
        return not self.failed


def in_words(run: Run) -> str:
    """For the terminal: head, goals, each part; the closing line is not in it."""
    pieces = [_head(run), _goals_plain(run.goals)]
    for part, title in run.titles.items():
        pieces.append(f"== {title}\n" + _text_of(run, part))
    return "\n\n".join(piece for piece in pieces if piece)


def in_markdown(run: Run, pictures: str) -> str:
    """For the page; `pictures` is where the plots lie, seen from it."""
    pieces = [_head(run), _goals_table(run.goals)]
    missed = [goal for _, goal in run.goals if not goal.held and goal.why_not]
    if missed:
        lines = [f"- **{goal.what}**: {goal.why_not}" for goal in missed]
        pieces.append("Why not, as far as the same run shows:\n\n" + "\n".join(lines))
    for part, title in run.titles.items():
        pieces.append(f"### {title}")
        outcome = run.outcomes.get(part)
        pieces.append(f"```\n{_text_of(run, part)}\n```")
        if outcome is not None:
            pieces += [f"![{plot.title}]({pictures}/{plot.name}.svg)" for plot in outcome.plots]
    return "\n\n".join(piece for piece in pieces if piece)


def with_output(page: str, output: str) -> str:
    """The page with its part between the two marks replaced by `output`.

    Raises:
        ValueError: the page has no such part.
    """
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"it has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{output}\n{END}{after}"


def _head(run: Run) -> str:
    words = (
        f"Measured {run.at} on {run.machine}; load {run.load_before:.1f} before,"
        f" {run.load_after:.1f} after; {run.minutes:.1f} minutes; {run.scale} scale."
    )
    failed = [f"**Not measured**: {run.titles[part]}: {why}" for part, why in run.failed.items()]
    return "\n\n".join([words, *failed])


def _goals_table(goals: Sequence[tuple[str, Goal]]) -> str:
    if not goals:
        return ""
    rows = ["| goal | found | held |", "|---|---|---|"]
    for _, goal in goals:
        held = "yes" if goal.held else "**no**"
        rows.append(f"| {goal.what} {_limit(goal)} | {goal.found:.4g} {goal.unit} | {held} |")
    return "\n".join(rows)


def _goals_plain(goals: Sequence[tuple[str, Goal]]) -> str:
    return "\n".join(
        f"{'held ' if goal.held else 'MISSED'} {goal.what} {_limit(goal)}:"
        f" {goal.found:.4g} {goal.unit}"
        for _, goal in goals
    )


def _limit(goal: Goal) -> str:
    return f"{'>=' if goal.at_least else '<='} {goal.limit:g} {goal.unit}".rstrip()


def _text_of(run: Run, part: str) -> str:
    outcome = run.outcomes.get(part)
    if outcome is not None:
        return outcome.text
    return f"not measured: {run.failed.get(part, 'it was not asked for')}"
