"""The poster of a post: three presses in pictures, what the lamp says, whom to call, a QR code.

Drawn in points on A4; A3 is the same, larger. Everything is black on white, and each meaning has a
shape of its own, so that a copy in black and white, or an eye without red and green, loses nothing.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import reportlab
import segno
from django.utils.translation import gettext as _
from reportlab.lib.pagesizes import A3, A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

Size = Literal["A4", "A3"]
# One file for a kecamatan; Malang's largest has some 120 RW.
POSTERS_MAX = 300
_SIZES = {"A4": A4, "A3": A3}
_WIDTH, _HEIGHT = A4
_MARGIN = 36.0
_INNER = _WIDTH - 2 * _MARGIN
# Come with reportlab and go into the file, so that it prints the same anywhere.
_PLAIN, _BOLD = "Vera", "VeraBd"


@dataclass(frozen=True)
class Poster:
    """What stands on one: the post, who answers for it, where its page is, when it practises."""

    post: str
    name: str
    place: str
    unit: str
    phone: str
    address: str
    practice: str


def posters_pdf(posters: Sequence[Poster], size: Size) -> bytes:
    """One page for each, as a PDF file."""
    for font in (_PLAIN, _BOLD):
        if font not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(font, f"{font}.ttf"))
    out = io.BytesIO()
    # Two files made of the same are the same, byte by byte.
    canvas = Canvas(out, pagesize=_SIZES[size], invariant=1)
    canvas.setTitle(_("Posters"))
    canvas.setCreator(f"reportlab {reportlab.Version}")
    scale = _SIZES[size][0] / _WIDTH
    for one in posters:
        canvas.scale(scale, scale)
        _draw(canvas, one)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _draw(canvas: Canvas, poster: Poster) -> None:
    canvas.setFillGray(0)
    canvas.rect(0, _HEIGHT - 104, _WIDTH, 104, stroke=0, fill=1)
    canvas.setFillGray(1)
    _text(canvas, _("Danger? Press 3 times"), _MARGIN, _HEIGHT - 58, 44, _INNER, bold=True)
    place = f"{poster.name} · {poster.place}" if poster.place else poster.name
    _text(canvas, place, _MARGIN, _HEIGHT - 88, 18, _INNER)
    canvas.setFillGray(0)
    _presses(canvas, _HEIGHT - 268)
    _lamps(canvas, _HEIGHT - 300)
    _numbers(canvas, poster, 250)
    _foot(canvas, poster)


def _text(
    canvas: Canvas, text: str, x: float, y: float, size: float, width: float, *, bold: bool = False
) -> None:
    """One line, made smaller until it fits."""
    font = _BOLD if bold else _PLAIN
    wide = pdfmetrics.stringWidth(text, font, size)
    canvas.setFont(font, size * min(1.0, width / wide) if wide else size)
    canvas.drawString(x, y, text)


def _paragraph(canvas: Canvas, text: str, x: float, y: float, size: float, width: float) -> float:
    """Words in lines of at most `width`, downwards; where the next line would stand."""
    line = ""
    for word in [*text.split(), ""]:
        longer = f"{line} {word}".strip()
        if word and pdfmetrics.stringWidth(longer, _PLAIN, size) <= width:
            line = longer
            continue
        if line:
            _text(canvas, line, x, y, size, width)
            y -= size * 1.3
        line = word
    return y


def _presses(canvas: Canvas, y: float) -> None:
    """Three pictures: a finger on the button, numbered."""
    gap = 14.0
    wide = (_INNER - 2 * gap) / 3
    for number in (1, 2, 3):
        x = _MARGIN + (number - 1) * (wide + gap)
        canvas.setLineWidth(2.5)
        canvas.roundRect(x, y, wide, 150, 10)
        _text(canvas, str(number), x + 12, y + 106, 40, 40, bold=True)
        middle = x + wide / 2 + 8
        # The button: a ring and a disc; the finger comes from above.
        canvas.setLineWidth(4)
        canvas.circle(middle, y + 56, 34)
        canvas.circle(middle, y + 56, 22, stroke=0, fill=1)
        canvas.setFillGray(1)
        canvas.setLineWidth(2.5)
        canvas.saveState()
        canvas.translate(middle + 4, y + 60)
        canvas.rotate(-32)
        canvas.roundRect(-9, -6, 18, 72, 9, fill=1)
        canvas.roundRect(-5, -3, 10, 14, 5)
        canvas.restoreState()
        canvas.setFillGray(0)
        _text(canvas, _("press"), x + 12, y + 10, 15, wide - 24, bold=True)


def _lamps(canvas: Canvas, y: float) -> None:
    """The lamp's four meanings, each with the rhythm in which it lights."""
    _text(canvas, _("What the lamp says"), _MARGIN, y, 19, _INNER, bold=True)
    rows = (
        (_slow, _("slow pulse"), _("The button works. It waits for you.")),
        (_fast, _("fast flashing"), _("You are calling. Wait, or press 3 times again.")),
        (_steady, _("steady, and the buzzer"), _("Somebody has answered. Help is being arranged.")),
        (_broken, _("off, or two short flashes"), _("Out of order. Call 110.")),
    )
    for number, (rhythm, name, meaning) in enumerate(rows):
        top = y - 18 - number * 43
        canvas.setLineWidth(1.5)
        canvas.rect(_MARGIN, top - 30, 130, 34)
        rhythm(canvas, _MARGIN + 6, top - 26, 118, 26)
        _text(canvas, name, _MARGIN + 142, top - 10, 15, _INNER - 142, bold=True)
        _text(canvas, meaning, _MARGIN + 142, top - 27, 13, _INNER - 142)


def _slow(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    path = canvas.beginPath()
    path.moveTo(x, y)
    for step in range(1, 61):
        up = (1 - math.cos(step / 60 * 4 * math.pi)) / 2
        path.lineTo(x + width * step / 60, y + height * up)
    canvas.setLineWidth(3)
    canvas.drawPath(path)


def _fast(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    for number in range(8):
        canvas.rect(x + number * width / 8, y, width / 16, height, stroke=0, fill=1)


def _steady(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    canvas.rect(x, y, width, height, stroke=0, fill=1)


def _broken(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    for left in (0.04, 0.16):
        canvas.rect(x + left * width, y, width / 16, height, stroke=0, fill=1)
    canvas.setLineWidth(4)
    left, right = x + width * 0.55, x + width * 0.78
    canvas.line(left, y + 2, right, y + height - 2)
    canvas.line(left, y + height - 2, right, y + 2)


def _numbers(canvas: Canvas, poster: Poster, y: float) -> None:
    canvas.setLineWidth(2.5)
    canvas.rect(_MARGIN, y, _INNER, 76)
    half = _INNER * 0.66
    canvas.line(_MARGIN + half, y, _MARGIN + half, y + 76)
    _text(canvas, poster.unit, _MARGIN + 12, y + 52, 17, half - 24, bold=True)
    phone = poster.phone or "…" * 12
    _text(canvas, phone, _MARGIN + 12, y + 14, 32, half - 24, bold=True)
    _text(canvas, _("Police"), _MARGIN + half + 12, y + 52, 17, _INNER - half - 24, bold=True)
    _text(canvas, "110", _MARGIN + half + 12, y + 14, 36, _INNER - half - 24, bold=True)


def _foot(canvas: Canvas, poster: Poster) -> None:
    side = 150.0
    x = _WIDTH - _MARGIN - side
    _qr(canvas, poster.address, x, 78, side)
    _text(canvas, _("More, and in English"), x, 62, 11, side)
    width = _INNER - side - 20
    _text(canvas, _("Practice day"), _MARGIN, 212, 17, width, bold=True)
    y = _paragraph(canvas, poster.practice or "_" * 24, _MARGIN, 192, 15, width)
    y = _paragraph(
        canvas,
        _("Practise with us: in a drill, three presses are practice."),
        _MARGIN,
        y,
        12,
        width,
    )
    _text(canvas, _("Pressed by mistake?"), _MARGIN, y - 12, 17, width, bold=True)
    _paragraph(
        canvas,
        _("Stay at the post and tell the police who call or come. A mistake is no offence."),
        _MARGIN,
        y - 31,
        12,
        width,
    )
    _text(canvas, poster.address, _MARGIN, 40, 10, _INNER)
    _text(canvas, f"Kentongan · {poster.post}", _MARGIN, 26, 9, _INNER)


def _qr(canvas: Canvas, text: str, x: float, y: float, side: float) -> None:
    rows = list(segno.make(text, error="m", micro=False).matrix_iter(border=2))
    dot = side / len(rows)
    for number, row in enumerate(rows):
        for column, is_dark in enumerate(row):
            if is_dark:
                top = y + side - (number + 1) * dot
                # A hair wider than its place, so that no printer leaves lines between.
                canvas.rect(x + column * dot, top, dot * 1.02, dot * 1.02, stroke=0, fill=1)
