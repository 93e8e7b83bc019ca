"""What a part of the benchmark leaves: its text, its goals and its plots. Pure values.

A part runs in a process of its own and hands this over as JSON, so that one that hangs, fails or is
killed costs its own figures and no other's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure is to keep to. `at_least`: more is better; otherwise less is.

    `why_not`: what is known about the reason, shown when the goal was missed.
    """

    what: str
    found: float
    limit: float
    unit: str
    at_least: bool = False
    why_not: str = ""

    @property
    def held(self) -> bool:
        """Whether the figure kept to it."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Samples by series. One sample each makes bars; more make curves of their shares.

    `limit` is drawn as a line. `name` is the stem of the picture's file.
    """

    name: str
    title: str
    unit: str
    series: dict[str, list[float]]
    limit: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a part has measured; `closing` is a line that the whole command ends with."""

    text: str
    goals: tuple[Goal, ...] = ()
    plots: tuple[Plot, ...] = ()
    closing: str = ""


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Lines of aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
