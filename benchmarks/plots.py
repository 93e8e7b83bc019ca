"""A plot as SVG text: bars, or curves of shares over a logarithmic axis. Pure.

Only what the page of the figures needs; the same samples always make the same bytes.
"""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from benchmarks.results import Plot

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
COLOURS = ("#b3261e", "#1f5fa8", "#4a7c2c", "#8a5a00", "#6b3fa0", "#444444")
POINTS_MAX = 200  # of one curve
BAR_HEIGHT = 26
STYLE = "font-family: sans-serif; font-size: 12px; fill: #222"


def svg(plot: Plot) -> str:
    """The picture.

    Raises:
        ValueError: there are no samples.
    """
    if not plot.series or not all(plot.series.values()):
        raise ValueError(f"{plot.name}: no samples")
    if all(len(samples) == 1 for samples in plot.series.values()):
        return _bars(plot)
    return _curves(plot)


def _bars(plot: Plot) -> str:
    names = list(plot.series)
    height = TOP + BAR_HEIGHT * len(names) + BOTTOM
    largest = max(*(samples[0] for samples in plot.series.values()), plot.limit or 0.0) or 1.0
    left = 20 + 7 * max(len(name) for name in names)
    scale = (WIDTH - left - 90) / largest
    body = []
    for place, name in enumerate(names):
        found = plot.series[name][0]
        y = TOP + BAR_HEIGHT * place
        body.append(_text(left - 8, y + 16, name, "end"))
        body.append(
            f'<rect x="{left}" y="{y + 4}" width="{max(found * scale, 1):.1f}" height="18"'
            f' fill="{COLOURS[place % len(COLOURS)]}"/>'
        )
        body.append(_text(left + found * scale + 6, y + 18, f"{found:.4g}", "start"))
    if plot.limit is not None:
        x = left + plot.limit * scale
        body.append(_line(x, TOP, x, height - BOTTOM + 6, "4 3"))
        body.append(_text(x, height - BOTTOM + 20, f"goal {plot.limit:g}", "middle"))
    return _framed(plot, height, body)


def _curves(plot: Plot) -> str:
    every = [sample for samples in plot.series.values() for sample in samples if sample > 0]
    low, high = math.log10(min(every)), math.log10(max(every))
    high = max(high, low + 0.1)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(sample: float) -> float:
        return LEFT + width * (math.log10(max(sample, 10**low)) - low) / (high - low)

    def y_of(share: float) -> float:
        return TOP + height * (1 - share)

    body = []
    for share in (0.0, 0.5, 0.99):
        body.append(_line(LEFT, y_of(share), WIDTH - RIGHT, y_of(share), "1 4"))
        body.append(_text(LEFT - 8, y_of(share) + 4, f"{share:.0%}", "end"))
    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 2, 5):
            tick = digit * 10.0**exponent
            if low <= math.log10(tick) <= high:
                body.append(_line(x_of(tick), TOP, x_of(tick), HEIGHT - BOTTOM, "1 4"))
                body.append(_text(x_of(tick), HEIGHT - BOTTOM + 16, f"{tick:g}", "middle"))
    for place, (name, samples) in enumerate(plot.series.items()):
        colour = COLOURS[place % len(COLOURS)]
        ordered = sorted(samples)
        step = max(1, len(ordered) // POINTS_MAX)
        chosen = sorted({*range(0, len(ordered), step), len(ordered) - 1})
        points = " ".join(
            f"{x_of(ordered[n]):.1f},{y_of((n + 1) / len(ordered)):.1f}" for n in chosen
        )
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x = LEFT + 10 + 200 * place
        body.append(f'<rect x="{x}" y="{HEIGHT - 20}" width="10" height="10" fill="{colour}"/>')
        body.append(_text(x + 16, HEIGHT - 11, name, "start"))
    return _framed(plot, HEIGHT, body)


def _framed(plot: Plot, height: int, body: list[str]) -> str:
    title = _text(WIDTH / 2, 22, f"{plot.title} ({plot.unit})", "middle")
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" style="{STYLE}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            title,
            *body,
            "</svg>\n",
        )
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, dashes: str) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
        f' stroke="#999999" stroke-dasharray="{dashes}"/>'
    )
