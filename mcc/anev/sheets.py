"""An anev as CSV and as an XLSX workbook: every number with its events, and every case.

A cell that a spreadsheet would take for a formula is one that somebody typed: in CSV it gets an
apostrophe before it, in XLSX it is written as text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import xlsxwriter
from django.utils.translation import gettext as _

from mcc.anev import words
from mcc.anev.figures import TREND_WEEKS, WEEK_MS, Report, Scope, day_of
from mcc.anev.tables import post_name

# Excel's own bound of a cell; the ids of more events stand on the page.
CELL_CHARS_MAX = 32_767
_COLUMN_CHARS = 18
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
Cell = str | float | int | None


def numbers(report: Report, scopes: Sequence[Scope]) -> Iterator[list[Cell]]:
    """A head, then a line for each number: of what, its name, its value, how many events, which."""
    yield ["week", "scope", "name", "number", "meaning", "value", "unit", "events", "ids"]
    for scope in scopes:
        name = words.scope_name(report, scope.key)
        for key, number in report.sections[scope.key].items():
            meaning = words.label(key, report.limits)
            yield [report.week, scope.key, name, key, meaning, number.value, number.unit,
                   number.n, " ".join(number.ids)]  # fmt: skip


def cases(report: Report, scope: str) -> Iterator[list[Cell]]:
    """A head, then a line for each call of the week: times in seconds, remarks in one cell."""
    yield ["alarm_id", "post", "post_name", "kind", "outcome", "raised", "press_received_s",
           "press_acknowledged_s", "acknowledged_sent_s", "press_on_scene_s",
           "remarks"]  # fmt: skip
    section = report.sections[scope]
    for alarm_id in (*section["calls.panic"].ids, *section["calls.test"].ids):
        case = report.cases[alarm_id]
        took = [
            case.took_ms(step)
            for step in (
                "press_received",
                "press_acknowledged",
                "acknowledged_sent",
                "press_on_scene",
            )
        ]
        said = "; ".join(f"{one.text} ({one.who})" for one in case.remarks)
        yield [alarm_id, case.post, post_name(report, case.post), case.kind, case.ended,
               words.moment(case.raised_ms), *(None if ms is None else ms / 1000 for ms in took),
               said]  # fmt: skip


def csv_file(lines: Iterator[list[Cell]]) -> bytes:
    """UTF-8 with a mark of it, as spreadsheets want."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for line in lines:
        writer.writerow([_plain(cell) for cell in line])
    return out.getvalue().encode("utf-8-sig")


def _plain(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def workbook(report: Report, scopes: Sequence[Scope]) -> bytes:
    """Sheets: the numbers, the cases, hours and weekdays, thirteen weeks. The first scope is it."""
    out = io.BytesIO()
    top = scopes[0].key
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        strong = book.add_format({"bold": True})
        for title, lines in (
            (_("Numbers"), numbers(report, scopes)),
            (_("Cases"), cases(report, top)),
            (_("Hours"), _hours(report, top)),
            (_("Weeks"), _weeks(report, top)),
        ):
            sheet = book.add_worksheet(title)
            sheet.freeze_panes(1, 0)
            for row, line in enumerate(lines):
                for column, cell in enumerate(line):
                    _write(sheet, row, column, cell, strong if row == 0 else None)
            sheet.set_column(0, 10, _COLUMN_CHARS)
        sheet = book.add_worksheet(_("How it is counted"))
        about = [f"{words.scope_name(report, top)}, {report.week}, {words.days(report.begin_ms)}"]
        for row, said in enumerate([*about, *words.definitions(report.limits)]):
            sheet.write_string(row, 0, said)
    return out.getvalue()


def _write(sheet: Any, row: int, column: int, cell: Cell, look: Any) -> None:
    if isinstance(cell, str):
        sheet.write_string(row, column, cell[:CELL_CHARS_MAX], look)
    elif cell is not None:
        sheet.write_number(row, column, cell, look)


def _hours(report: Report, scope: str) -> Iterator[list[Cell]]:
    yield [_("Hour"), *range(24)]
    for day, name in enumerate(words.DAYS):
        found = (report.number(scope, f"heat.{day}.{hour}") for hour in range(24))
        yield [str(name), *(one.n if one else 0 for one in found)]


def _weeks(report: Report, scope: str) -> Iterator[list[Cell]]:
    yield [_("Week that began on"), _("Calls"), _("Real"), _("False"),
           _("Median, press to acknowledged (s)")]  # fmt: skip
    for back in range(TREND_WEEKS, -1, -1):
        day = f"{day_of(report.begin_ms - back * WEEK_MS):%Y-%m-%d}"
        names = ("calls", "real", "false", "median")
        found = [report.number(scope, f"trend.{back}.{name}") for name in names]
        values = [one.value if one else None for one in found]
        median = values.pop()
        yield [day, *values, None if median is None else median / 1000]
