"""The plots of an anev: drawn once, for the page as SVG and for the paper as PDF.

Drawn in points, black on white. Grey says nothing that a number, a shape or a hatching beside it
does not say too, so that a copy loses nothing. Beside each plot stands its table.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from django.utils.translation import gettext as _
from reportlab.graphics import renderSVG
from reportlab.graphics.shapes import Circle, Drawing, Group, Line, Polygon, Rect, String
from reportlab.lib.colors import Color, black, white
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from mcc.anev.figures import (
    SMALL,
    STEPS,
    TREND_WEEKS,
    WEEK_MS,
    Report,
    Section,
    day_of,
)
from mcc.anev.words import DAYS, STEP_WORDS, duration

WIDTH = 510.0
PLAIN, BOLD = "Vera", "VeraBd"
_LIGHT, _MIDDLE = Color(0.86, 0.86, 0.86), Color(0.55, 0.55, 0.55)
# The axis of times: from a tenth of a second to three hours.
_FROM_MS, _TO_MS = 100, 3 * 3_600_000
_TICKS_MS = (100, 1_000, 10_000, 60_000, 600_000, 3_600_000)


def register_fonts() -> None:
    """The fonts that come with reportlab and go into each file."""
    for font in (PLAIN, BOLD):
        if font not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(font, f"{font}.ttf"))


def svg(drawing: Drawing, title: str) -> str:
    """A drawing as SVG, without styles: a page that allows none shows it as it is."""
    text: str = renderSVG.drawToString(drawing)
    text = re.sub(r'style="([^"]*)"', _attributes, text)
    # A line that is closed runs back over the gaps between its dashes.
    text = re.sub(r' d="(M [\d., -]+ L [\d., -]+) Z"', r' d="\1"', text)
    text = re.sub(r"<title>[^<]*</title>", f"<title>{_escaped(title)}</title>", text)
    text = re.sub(r"\s*<desc>[^<]*</desc>", "", text)
    return re.sub(r"<!DOCTYPE[^>]*>\s*", "", text)


def _attributes(found: re.Match[str]) -> str:
    pairs = (one.split(":", 1) for one in found.group(1).split(";") if ":" in one)
    said = {name.strip(): value.strip() for name, value in pairs}
    if said.get("font-family") == BOLD:
        said["font-weight"] = "bold"
    if "font-family" in said:
        said["font-family"] = "Verdana, DejaVu Sans, sans-serif"
    return " ".join(f'{name}="{value}"' for name, value in said.items())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _shape(kind: type[Any], *where: Any, **look: Any) -> Any:
    """A shape with its looks, which reportlab's own types do not know."""
    return kind(*where, **look)


def _text(
    drawing: Drawing | Group,
    x: float,
    y: float,
    words: str,
    *,
    size: float = 7.5,
    anchor: str = "start",
    bold: bool = False,
    color: Color = black,
) -> None:
    font = BOLD if bold else PLAIN
    drawing.add(
        _shape(
            String, x, y, words, fontName=font, fontSize=size, textAnchor=anchor, fillColor=color
        )
    )


def _hatched(drawing: Drawing, x: float, y: float, width: float, height: float) -> None:
    """A white box with lines from below left to above right."""
    drawing.add(
        _shape(Rect, x, y, width, height, fillColor=white, strokeColor=black, strokeWidth=0.6)
    )
    gap = 3.0
    for n in range(1, int((width + height) / gap) + 1):
        along = n * gap
        x1, y1 = max(0.0, along - height), min(along, height)
        x2, y2 = min(along, width), max(0.0, along - width)
        if x2 > x1:
            drawing.add(_shape(Line, x + x1, y + y1, x + x2, y + y2, strokeWidth=0.5))


# --- hours and weekdays -------------------------------------------------------------------------


def heat(section: Section) -> Drawing:
    """Calls for help by hour and weekday: the darker the more, and the number in each field."""
    left, cell, high = 58.0, 18.8, 17.0
    drawing = Drawing(WIDTH, 8 * high + 16)
    counts = {
        (day, hour): section[name].n if (name := f"heat.{day}.{hour}") in section else 0
        for day in range(7)
        for hour in range(24)
    }
    # A field with one call of three is no hot spot: few calls stay light.
    most = max(*counts.values(), SMALL)
    for hour in range(24):
        _text(drawing, left + (hour + 0.5) * cell, 7 * high + 18, f"{hour}", anchor="middle")
    for day in range(7):
        y = (6 - day) * high + 12
        _text(drawing, left - 6, y + 5, str(DAYS[day]), anchor="end")
        for hour in range(24):
            count = counts[day, hour]
            # From white to a grey on which black is still read, then white on dark.
            shade = 1 - 0.85 * count / most
            fill = Color(shade, shade, shade)
            x = left + hour * cell
            drawing.add(
                _shape(Rect, x, y, cell, high, fillColor=fill, strokeColor=_MIDDLE, strokeWidth=0.4)
            )
            if count:
                ink = white if shade < 0.45 else black
                _text(drawing, x + cell / 2, y + 5, f"{count}", anchor="middle", color=ink)
    _text(drawing, left, 2, _("hour of the day, WIB; the number of calls in each field"), size=6.5)
    return drawing


# --- thirteen weeks -----------------------------------------------------------------------------


def trend(report: Report, section: Section) -> Drawing:
    """Calls for help in thirteen weeks: real, false, all others; weeks without a record as gaps."""
    left, below, high = 26.0, 38.0, 112.0
    step = (WIDTH - left) / (TREND_WEEKS + 1)
    drawing = Drawing(WIDTH, below + high + 26)
    weeks = [_week(section, back) for back in range(TREND_WEEKS, -1, -1)]
    most = max(*(sum(one) for one in weeks if one), SMALL)
    scale = high / most
    drawing.add(_shape(Line, left, below, WIDTH, below, strokeWidth=0.8))
    for place, parts in enumerate(weeks):
        x = left + place * step + step * 0.18
        wide = step * 0.64
        begin_ms = report.begin_ms - (TREND_WEEKS - place) * WEEK_MS
        day: dt.date = day_of(begin_ms)
        is_this = place == TREND_WEEKS
        middle = x + wide / 2
        _text(drawing, middle, below - 10, f"{day:%d-%m}", anchor="middle", bold=is_this, size=7)
        if parts is None:
            _text(drawing, middle, below + 4, "?", anchor="middle")
            continue
        y = below
        for count, fill in zip(parts, (_real, _hatched, _other), strict=True):
            if count:
                fill(drawing, x, y, wide, count * scale)
                y += count * scale
        _text(drawing, middle, y + 3, f"{sum(parts)}", anchor="middle", bold=is_this)
    entries: Sequence[tuple[str, Callable[..., None]]] = (
        (_("real"), _real),
        (_("false alarm or prank"), _hatched),
        (_("other"), _other),
    )
    x = left
    for words, fill in entries:
        fill(drawing, x, 4, 14, 9)
        _text(drawing, x + 18, 5, words)
        x += 28 + pdfmetrics.stringWidth(words, PLAIN, 7.5)
    _text(drawing, WIDTH, 5, _("?: no records of the whole week"), anchor="end", size=6.5)
    _text(drawing, left, below - 20, _("week that began on"), size=6.5)
    return drawing


def _week(section: Section, back: int) -> tuple[int, int, int] | None:
    calls = section.get(f"trend.{back}.calls")
    if calls is None:
        return None
    real, false = section[f"trend.{back}.real"].n, section[f"trend.{back}.false"].n
    return real, false, calls.n - real - false


def _real(drawing: Drawing, x: float, y: float, width: float, height: float) -> None:
    drawing.add(
        _shape(Rect, x, y, width, height, fillColor=black, strokeColor=black, strokeWidth=0.6)
    )


def _other(drawing: Drawing, x: float, y: float, width: float, height: float) -> None:
    drawing.add(
        _shape(Rect, x, y, width, height, fillColor=_LIGHT, strokeColor=black, strokeWidth=0.6)
    )


# --- times --------------------------------------------------------------------------------------


def times(report: Report, section: Section) -> Drawing:
    """Each call's time for each step, on an axis of tenfolds; median, percentile and target."""
    left, below, high = 128.0, 34.0, 23.0
    wide = WIDTH - left - 12
    drawing = Drawing(WIDTH, below + len(STEPS) * high + 14)
    top = below + len(STEPS) * high

    def across(ms: float) -> float:
        bounded = min(max(ms, _FROM_MS), _TO_MS)
        return left + wide * math.log(bounded / _FROM_MS) / math.log(_TO_MS / _FROM_MS)

    for tick_ms in _TICKS_MS:
        x = across(tick_ms)
        drawing.add(_shape(Line, x, below, x, top, strokeColor=_LIGHT, strokeWidth=0.6))
        _text(drawing, x, below - 10, duration(tick_ms), anchor="middle", size=7)
    for place, step in enumerate(STEPS):
        y = top - (place + 0.5) * high
        _text(drawing, left - 8, y - 3, str(STEP_WORDS[step]), anchor="end", size=7)
        drawing.add(_shape(Line, left, y, left + wide, y, strokeColor=_LIGHT, strokeWidth=0.6))
        for target_ms in _targets_ms(report, step):
            x = across(target_ms)
            drawing.add(_shape(Line, x, y - 9, x, y + 9, strokeWidth=0.9, strokeDashArray=[2, 1.6]))
        for alarm_id in section[f"time.{step}.n"].ids:
            took_ms = report.cases[alarm_id].took_ms(step)
            x = across(took_ms or 0)
            drawing.add(
                _shape(Circle, x, y, 2.1, fillColor=None, strokeColor=black, strokeWidth=0.5)
            )
        median, p90 = section[f"time.{step}.median"].value, section[f"time.{step}.p90"].value
        if median is not None:
            x = across(median)
            drawing.add(_shape(Rect, x - 1.2, y - 7, 2.4, 14, fillColor=black, strokeColor=None))
        if p90 is not None:
            _triangle(drawing, across(p90), y + 6)
    _legend(drawing, left)
    return drawing


def _legend(drawing: Drawing, left: float) -> None:
    entries: Sequence[tuple[str, Callable[[float], None]]] = (
        (_("a call"), lambda x: drawing.add(
            _shape(Circle, x, 8, 2.1, fillColor=None, strokeColor=black, strokeWidth=0.5))),
        (_("median"), lambda x: drawing.add(
            _shape(Rect, x - 1.2, 3, 2.4, 11, fillColor=black, strokeColor=None))),
        (_("90th percentile"), lambda x: _triangle(drawing, x, 7)),
        (_("target"), lambda x: drawing.add(
            _shape(Line, x, 2, x, 14, strokeWidth=0.9, strokeDashArray=[2, 1.6]))),
    )  # fmt: skip
    x = left
    for words, mark in entries:
        mark(x + 4)
        _text(drawing, x + 12, 5, words, size=7)
        x += 26 + pdfmetrics.stringWidth(words, PLAIN, 7)
    few = _("both from %(small)s calls on") % {"small": SMALL}
    _text(drawing, WIDTH, 5, few, anchor="end", size=6.5)


def _triangle(drawing: Drawing, x: float, y: float) -> None:
    """Points down at the value."""
    drawing.add(
        _shape(Polygon, [x - 3.4, y + 6, x + 3.4, y + 6, x, y], fillColor=black, strokeColor=black)
    )


def _targets_ms(report: Report, step: str) -> list[int]:
    limits = report.limits
    seconds = {
        "press_acknowledged": [limits.acknowledge_s, limits.acknowledge_late_s],
        "acknowledged_sent": [limits.dispatch_s],
        "press_on_scene": [limits.on_scene_s],
    }.get(step, [])
    return [one * 1000 for one in seconds]


# --- all of them ----------------------------------------------------------------------------------


def drawing_of(name: str, report: Report, section: Section) -> Drawing:
    """One of the plots: heat, trend, times."""
    register_fonts()
    if name == "heat":
        return heat(section)
    return trend(report, section) if name == "trend" else times(report, section)


def plot_words(name: str) -> str:
    """What a plot shows."""
    return {
        "heat": _("Calls for help by hour and weekday, in thirteen weeks"),
        "trend": _("Calls for help in thirteen weeks"),
        "times": _("How long each step took"),
    }[name]
