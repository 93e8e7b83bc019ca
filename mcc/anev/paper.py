"""An anev on paper, in the form that an office signs: A4, black on white, fonts in the file.

What the office decides is left to be written by hand: its number, what follows, who signs. Texts
that came from outside are escaped: none is taken for markup.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from django.conf import settings
from django.utils.translation import gettext as _
from reportlab.lib.colors import Color, black
from reportlab.lib.enums import TA_CENTER, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    HRFlowable,
    KeepTogether,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from mcc.anev import words
from mcc.anev.editions import digest_of, within
from mcc.anev.figures import OUTCOMES, SMALL, STEPS, Number, Report, Scope, Section
from mcc.anev.models import Edition
from mcc.anev.plots import BOLD, PLAIN, WIDTH, drawing_of, plot_words, register_fonts
from mcc.anev.tables import TARGETS, broken_posts, case_of, false_posts, wanted_percent

# More cases fill no meeting; the rest is counted, and is on the page and in the sheets.
CASES_MAX = 300
ID_CHARS = 8
_LINES = 6
# What reportlab leaves free within its margins (points).
_FRAME = 6
_GRID = Color(0.6, 0.6, 0.6)
_HEAD = Color(0.9, 0.9, 0.9)


def pdf(
    report: Report, scope: str, *, edition: str, digest: str, letterhead: Sequence[str], place: str
) -> bytes:
    """The report of one scope as a PDF file. `edition`: its number in words, or that it is a draft.

    `digest`: of the whole edition, so that a paper can be told from another.
    """
    register_fonts()
    out = io.BytesIO()
    name = words.scope_name(report, scope)
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=(A4[0] - WIDTH) / 2 - _FRAME,
        rightMargin=(A4[0] - WIDTH) / 2 - _FRAME,
        topMargin=16 * mm,
        bottomMargin=20 * mm,
        title=f"{_('Anev')} {report.week}, {name}",
        # Two files made of the same are the same, byte by byte.
        invariant=1,
    )
    foot = f"Kentongan · {_('Anev')} {report.week} · {edition} · {name}"
    story = list(_story(report, scope, edition, digest, letterhead, place))
    document.build(story, canvasmaker=lambda *args, **fields: _Numbered(foot, *args, **fields))
    return out.getvalue()


def paper_of(report: Report, scope: str, edition: Edition | None) -> bytes:
    """The PDF of one scope of an edition, or of a draft, with the head that the settings name."""
    anev = settings.MCC.anev
    return pdf(
        report,
        scope,
        edition=_("edition %(number)s") % {"number": edition.number} if edition else _("DRAFT"),
        digest=digest_of(edition.body) if edition else "",
        letterhead=anev.letterhead,
        place=anev.place,
    )


class _Numbered(Canvas):
    """Writes *page n of m* below each page once all pages are there."""

    def __init__(self, foot: str, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._foot = foot
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802  (reportlab's name)
        self._pages.append(dict(self.__dict__))
        self._startPage()  # type: ignore[attr-defined]

    def save(self) -> None:
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            self.setFont(PLAIN, 7)
            left = (A4[0] - WIDTH) / 2
            self.drawString(left, 11 * mm, self._foot[:110])
            of = _("page %(number)s of %(pages)s")
            said = of % {"number": number, "pages": len(self._pages)}
            self.drawRightString(left + WIDTH, 11 * mm, said)
            super().showPage()
        super().save()


def _style(name: str, size: float, **fields: Any) -> ParagraphStyle:
    font = BOLD if fields.pop("bold", False) else PLAIN
    return ParagraphStyle(name, fontName=font, fontSize=size, leading=size * 1.35, **fields)


_BODY = _style("body", 8.5, spaceAfter=2)
_SMALL = _style("small", 7)
_CELL = _style("cell", 7.5)
_CELL_BOLD = _style("cell bold", 7.5, bold=True)
_NUMBER = _style("number", 7.5, alignment=TA_RIGHT)
_HEAD_PLAIN = _style("head", 6.2, bold=True)
_HEAD_NUMBER = _style("head number", 6.2, alignment=TA_RIGHT, bold=True)
_NUMBER_BOLD = _style("number bold", 7.5, alignment=TA_RIGHT, bold=True)
_CHAPTER = _style("chapter", 10, bold=True, spaceBefore=9, spaceAfter=3, keepWithNext=1)
_TOPIC = _style("topic", 8.5, bold=True, spaceBefore=6, spaceAfter=2, keepWithNext=1)
_KOP = _style("kop", 8.5, alignment=TA_CENTER)
_TITLE = _style("title", 11.5, alignment=TA_CENTER, bold=True)
_MIDDLE = _style("middle", 9, alignment=TA_CENTER)


def _story(
    report: Report, scope: str, edition: str, digest: str, letterhead: Sequence[str], place: str
) -> Iterator[Flowable]:
    section = report.sections[scope]
    yield from _head(report, scope, letterhead)
    yield _text(_("I. Introduction"), _CHAPTER)
    parts = {"edition": edition, "made": words.moment(report.made_ms), "digest": digest[:16]}
    made = _("Made by Kentongan from the record of the command centre: %(edition)s, %(made)s.")
    yield _text(made % parts, _BODY)
    if digest:
        trace = _(
            "Each number can be followed to its events on the page of this edition (digest"
            " %(digest)s)."
        )
        yield _text(trace % parts, _BODY)
    yield _text(_("II. Data"), _CHAPTER)
    yield from _data(report, section)
    yield _text(_("III. Analysis"), _CHAPTER)
    for said in words.summary(report, section):
        yield _text(f"–  {said}", _BODY)
    for name in ("times", "trend", "heat"):
        plot: Any = drawing_of(name, report, section)
        yield KeepTogether([_text(plot_words(name), _TOPIC), plot])
    yield _text(_("IV. Cases, with remarks"), _CHAPTER)
    yield from _cases(report, section)
    follows = _text(_("V. Evaluation and what follows"), _CHAPTER)
    # Nobody signs a page on which nothing else stands.
    yield KeepTogether([follows, *_ruled(), *_signatures(place)])
    if len(within(report, scope)) > 1:
        yield PageBreak()
        yield _text(_("Annex: area by area"), _CHAPTER)
        yield from _annex(report, scope)
    counted = [_text(f"–  {one}", _SMALL) for one in words.definitions(report.limits)]
    yield KeepTogether([_text(_("How it is counted"), _CHAPTER), *counted])


def _head(report: Report, scope: str, letterhead: Sequence[str]) -> Iterator[Flowable]:
    if letterhead:
        if scope.startswith("kec/") and (kecamatan := report.scope(scope)):
            letterhead = [*letterhead, f"SEKTOR {kecamatan.name.upper()}"]
        kop = Table(
            [[_text(line, _KOP)] for line in letterhead], colWidths=[WIDTH * 0.5], hAlign="LEFT"
        )
        kop.setStyle(TableStyle([*_PADDING, ("LINEBELOW", (0, -1), (-1, -1), 0.8, black)]))
        yield kop
    yield Spacer(1, 12)
    yield _text(_("WEEKLY REPORT OF ANALYSIS AND EVALUATION (ANEV)"), _TITLE)
    yield _text(words.scope_name(report, scope), _MIDDLE)
    yield _text(f"{report.week}: {words.days(report.begin_ms)}", _MIDDLE)
    yield Spacer(1, 3)
    yield _text(_("Number: ......................................"), _MIDDLE)


# --- data ---------------------------------------------------------------------------------------


def _data(report: Report, section: Section) -> Iterator[Flowable]:
    def said(name: str) -> str:
        # An edition of an earlier version may know less.
        return words.value(section[name]) if name in section else ""

    rows = [
        [str(kind), said(f"calls.{key}"), *(said(f"calls.{key}.{one}") for one in OUTCOMES)]
        for key, kind in words.KINDS.items()
    ]
    head = [_("Kind"), _("All"), *(str(words.OUTCOMES[one]) for one in OUTCOMES)]
    yield from _table(_("Calls by kind and outcome"), head, rows, first=0.26)

    rows = []
    for step in STEPS:
        few = section[f"time.{step}.n"].n < SMALL
        single = [f"time.{step}.{place}" for place in range(1, SMALL)]
        values = "; ".join(said(name) for name in single if name in section)
        rows.append(
            [
                str(words.STEP_WORDS[step]),
                said(f"time.{step}.n"),
                values if few else said(f"time.{step}.median"),
                "" if few else said(f"time.{step}.p90"),
            ]
        )
    head = [_("Step"), _("Calls"), _("Median (few: each)"), _("90th percentile")]
    yield from _table(_("How long each step took"), head, rows, first=0.4)

    rows = [
        [
            words.target_words(name, report.limits),
            said(f"target.{name}.within"),
            said(f"target.{name}.counted"),
            said(f"target.{name}.percent"),
            wanted_percent(report, name),
        ]
        for name in TARGETS
    ]
    head = [_("Target"), _("In time"), _("Counted"), _("Share"), _("Wanted")]
    yield from _table(_("Against the targets"), head, rows, first=0.48)

    rows = [
        [words.label(name, report.limits), said(name)]
        for name in ("false.alarms", "false.counted", "false.percent")
    ]
    yield from _table(_("False alarms"), [_("What"), _("Number")], rows, first=0.8)
    if by_post := false_posts(report, section):
        named = ", ".join(f"{post} ({said(name)})" for post, name in by_post)
        yield Spacer(1, 2)
        yield _text(_("Posts with false alarms: %(posts)s") % {"posts": named}, _SMALL)

    names = ["posts.registered", "posts.out_of_order", "posts.silent", "posts.silent_hours"]
    names += ["posts.unheard", "posts.not_proven", "posts.not_pressed"]
    names += sorted(name for name in section if name.startswith("posts.standing."))
    names += [name for name in ("gateways.silent_hours",) if name in section]
    names += ["visits.made", "visits.posts", "visits.coverage", "visits.unheard"]
    rows = [[words.label(name, report.limits), said(name)] for name in names]
    yield from _table(_("Posts and visits"), [_("What"), _("Number")], rows, first=0.8)
    if broken := broken_posts(report, section):
        rows = [[post, faults] for post, faults in broken]
        head = [_("Post"), _("Faults at the end of the week")]
        yield from _table("", head, rows, first=0.35, are_words=True)


# --- cases --------------------------------------------------------------------------------------


def _cases(report: Report, section: Section) -> Iterator[Flowable]:
    ids = section["calls.panic"].ids
    if not ids:
        yield _text(_("None."), _BODY)
        return
    rows = []
    for alarm_id in ids[:CASES_MAX]:
        one = case_of(report, alarm_id)
        remarks = "; ".join(f"{said.text} ({said.who})" for _at, said in one["remarks"])
        rows.append(
            [
                f"{words.short_moment(one['case'].raised_ms)} {alarm_id[:ID_CHARS]}",
                one["post"],
                str(one["outcome"]),
                one["answered"],
                one["there"],
                remarks,
            ]
        )
    head = [_("Pressed"), _("Post"), _("Outcome"), _("Answered after"), _("On scene after"),
            _("Remarks")]  # fmt: skip
    widths = [0.2, 0.23, 0.1, 0.1, 0.1, 0.27]
    yield _grid([head, *rows], [WIDTH * one for one in widths], numbers=(3, 4))
    if len(ids) > CASES_MAX:
        more = _("and %(count)s more, on the page of this edition")
        yield _text(more % {"count": len(ids) - CASES_MAX}, _BODY)


def _ruled() -> Iterator[Flowable]:
    """Lines to write on."""
    for _line in range(_LINES):
        yield Spacer(1, 16)
        yield HRFlowable(width="100%", thickness=0.5, color=_GRID)


def _signatures(place: str) -> Iterator[Flowable]:
    yield Spacer(1, 18)
    dated = f"{place}, ...................................."
    line = "........................................"
    rows = [
        ["", dated],
        [_("Made by"), _("Known and approved:")],
        ["", _("HEAD OF ............................")],
        ["", ""],
        [line, line],
        [_("rank and service number"), _("rank and service number")],
    ]
    table = Table(
        [[_text(cell, _MIDDLE) for cell in row] for row in rows],
        colWidths=[WIDTH / 2] * 2,
        rowHeights=[15, 14, 14, 46, 14, 13],
    )
    table.setStyle(TableStyle(_PADDING))
    yield table


# --- the annex ----------------------------------------------------------------------------------


def _annex(report: Report, scope: str) -> Iterator[Flowable]:
    below = within(report, scope)[1:]
    areas = []
    for one in report.below(scope):
        areas += [area for area in within(report, one.key) if not _is_officer(area)]
    names = ("calls.panic", "calls.panic.real", "false.alarms", "false.percent",
             "time.press_acknowledged.median", "posts.registered", "posts.out_of_order",
             "posts.not_pressed", "visits.made")  # fmt: skip
    head = [_("Area"), _("Calls"), _("Real"), _("False"), _("Share of false ones"),
            _("Median to answer"), _("Posts"), _("With a fault"), _("Not pressed"),
            _("Visits")]  # fmt: skip
    rows = [
        [
            one.name if one.key.startswith("kel/") else words.scope_name(report, one.key),
            *(_said(report, one.key, name) for name in names),
        ]
        for one in areas
    ]
    bold = [place for place, one in enumerate(areas, 1) if one.key.startswith("kec/")]
    if rows:
        widths = [WIDTH * 0.163, *([WIDTH * 0.093] * 9)]
        yield _grid([head, *rows], widths, numbers=range(1, 10), bold=bold)
    officers = [one for one in below if _is_officer(one)]
    if officers:
        head = [_("Officer"), _("Area"), _("Visits"), _("Posts checked"),
                _("Share of the posts"), _("Calls there")]  # fmt: skip
        done = ("visits.made", "visits.posts", "visits.coverage", "calls.panic")
        rows = [
            [
                one.name,
                words.scope_name(report, one.parent or ""),
                *(_said(report, one.key, name) for name in done),
            ]
            for one in officers
        ]
        yield Spacer(1, 10)
        widths = [WIDTH * one for one in (0.28, 0.28, 0.1, 0.11, 0.12, 0.11)]
        yield _grid([head, *rows], widths, numbers=range(2, 6))


def _is_officer(scope: Scope) -> bool:
    return scope.key.startswith("officer/")


def _said(report: Report, scope: str, name: str) -> str:
    number: Number | None = report.number(scope, name)
    return "" if number is None else words.value(number)


# --- pieces -------------------------------------------------------------------------------------

_PADDING: list[Any] = [
    ("TOPPADDING", (0, 0), (-1, -1), 1.2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.8),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
]


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(text), style)


def _table(
    title: str, head: list[str], rows: list[list[str]], *, first: float, are_words: bool = False
) -> Iterator[Flowable]:
    """A table whose first column has this share of the width, under its title."""
    others = len(head) - 1
    widths = [WIDTH * first, *([WIDTH * (1 - first) / others] * others)]
    grid = _grid([head, *rows], widths, numbers=() if are_words else range(1, len(head)))
    yield _text(title, _TOPIC) if title else Spacer(1, 4)
    yield grid


def _grid(
    rows: list[list[str]],
    widths: list[float],
    *,
    numbers: Sequence[int],
    bold: Sequence[int] = (),
) -> Table:
    """A table with a head that is repeated on each page."""
    cells = []
    for place, row in enumerate(rows):
        number, plain = (_NUMBER_BOLD, _CELL_BOLD) if place in bold else (_NUMBER, _CELL)
        if place == 0:
            number, plain = _HEAD_NUMBER, _HEAD_PLAIN
        cells.append([_text(cell, number if n in numbers else plain) for n, cell in enumerate(row)])
    table = Table(cells, colWidths=widths, repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                *_PADDING,
                ("GRID", (0, 0), (-1, -1), 0.4, _GRID),
                ("BACKGROUND", (0, 0), (-1, 0), _HEAD),
            ]
        )
    )
    return table
