"""`python -m device.drawings SETTINGS DIRECTORY`: the wiring of the post with these settings, the
card that hangs beside its lamp, and the codes of a card that is no post yet.

Writes one SVG a sheet; it never touches pins. What a sheet of wiring shows is
`hardware/drawings.py`; what the lamp shows is `device/feedback.py` and `device/first_boot.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from device.core import Meaning
from device.feedback import LAMP, Steps
from device.first_boot import CODES, REASON_FILE, WORDS, pattern
from device.settings import PostFile
from hardware.drawings import Wiring, sheets
from process.settings import SettingsError, read_settings


def wiring_of(settings: PostFile) -> Wiring:
    """The lines that the firmware would claim with these settings."""
    return Wiring(
        button=settings.button.pin,
        button_nc=settings.button.nc_pin,
        loop=settings.button.loop_pin,
        cancel=settings.cancel.pin,
        tamper=settings.tamper.pin,
        mains=settings.mains.pin,
        red=settings.lamp.red,
        green=settings.lamp.green,
        blue=settings.lamp.blue,
        buzzer=settings.buzzer.pin,
        gps=settings.location.source == "gps",
    )


LAMP_CARD = "lamp-card.svg"
# What each light says, for a resident: large, and in two languages.
SAYS: dict[Meaning, tuple[str, str]] = {
    "armed": ("SIAGA: tekan 3 kali", "ARMED: press 3 times"),
    "calling": ("MEMANGGIL", "CALLING"),
    "answered": ("DIJAWAB", "ANSWERED"),
    "out_of_order": ("RUSAK: telepon 110", "OUT OF ORDER: call 110"),
}
_SHOWN_MS = 4000
_ROW_PX, _LEFT_PX, _WIDTH_PX = 64, 16, 400

SERVICE_CODES = "service-codes.svg"
# Long enough for the longest code and its pause.
CODES_SHOWN_MS = 9000
_CODE_ROW_PX, _CODE_LEFT_PX, CODES_WIDTH_PX = 84, 64, 700
_RED, _GREEN, _DARK = "#d00000", "#008a2e", "#d8d8d8"


def lamp_card() -> str:
    """The four meanings of the lamp as they are seen in four seconds; dark is grey."""
    rows = []
    for place, (meaning, (indonesian, english)) in enumerate(SAYS.items()):
        top = _ROW_PX * place
        rows.append(_timeline(LAMP[meaning], top + 24))
        for y, size, words in ((32, 20, indonesian), (50, 13, english)):
            rows.append(_text(_LEFT_PX + _WIDTH_PX + 20, top + y, size, words))
    return _sheet(_LEFT_PX + _WIDTH_PX + 300, _ROW_PX * len(SAYS) + 8, rows)


def service_codes() -> str:
    """Each code of a card without a post as it is seen in nine seconds, for counting."""
    rows = []
    for place, code in enumerate(CODES):
        top, words = _CODE_ROW_PX * place + 12, WORDS[code]
        rows.append(_timeline(pattern(code), top, _CODE_LEFT_PX, CODES_WIDTH_PX, CODES_SHOWN_MS))
        rows.append(_text(_LEFT_PX, top + 36, 40, str(place + 1)))
        rows.append(_text(_CODE_LEFT_PX, top + 41, 15, words.means_id))
        rows.append(_text(_CODE_LEFT_PX, top + 58, 12, words.means_en))
    height = _CODE_ROW_PX * len(CODES) + 34
    last = f"{REASON_FILE}: apa, di mana, mengapa, lakukan apa / what, where, why, what to do"
    rows.append(_text(_CODE_LEFT_PX, height - 14, 12, last))
    return _sheet(_CODE_LEFT_PX + CODES_WIDTH_PX + _LEFT_PX, height, rows)


def _sheet(width: int, height: int, rows: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' font-family="sans-serif" font-weight="bold"><rect width="{width}" height="{height}"'
        ' fill="white"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _text(x: int, y: int, size: int, words: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}">{words}</text>'


def _timeline(
    steps: Steps,
    top_px: int,
    left_px: int = _LEFT_PX,
    width_px: int = _WIDTH_PX,
    shown_ms: int = _SHOWN_MS,
) -> str:
    """What is seen, from left to right; both colours at once are one above the other."""
    lit = []
    at_ms, place = 0, 0
    while at_ms < shown_ms:
        red, green, lasts_ms = steps[place % len(steps)]
        lasts_ms = min(lasts_ms or shown_ms, shown_ms - at_ms)
        x, width = (round(width_px * ms / shown_ms, 1) for ms in (at_ms, lasts_ms))
        colours = [_RED] * red + [_GREEN] * green or [_DARK]
        for half, colour in enumerate(colours):
            height = 20 // len(colours)
            lit.append(
                f'<rect x="{left_px + x:g}" y="{top_px + half * height}" width="{width:g}"'
                f' height="{height}" fill="{colour}"/>'
            )
        at_ms, place = at_ms + lasts_ms, place + 1
    return "".join(lit)


def drawings(settings: PostFile) -> dict[str, str]:
    """Every sheet for a post with these settings, by file name.

    Raises:
        ValueError: a pin is no line of the header.
        ModuleNotFoundError: what draws the wiring is not installed.
    """
    own = {LAMP_CARD: lamp_card(), SERVICE_CODES: service_codes()}
    return {**sheets(wiring_of(settings)), **own}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; 0 done, 2 the settings, their pins or the directory are wrong."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 2:
        return _wrong("needs a settings file and a directory")
    try:
        drawn = drawings(read_settings(Path(given[0]), PostFile))
    except SettingsError as error:
        return _wrong(*error.problems)
    except ValueError as error:
        return _wrong(f"{given[0]}: {error}")
    except ModuleNotFoundError as error:
        return _wrong(f"{error.name} is not installed; install it with: pip install {error.name}")
    try:
        for name, svg in drawn.items():
            (Path(given[1]) / name).write_text(svg, encoding="utf-8")
    except OSError as error:
        return _wrong(f"{given[1]}: {error.strerror}")
    return 0


def _wrong(*problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"drawings: {problem}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
