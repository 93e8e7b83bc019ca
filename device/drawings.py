"""`python -m device.drawings SETTINGS DIRECTORY`: the wiring of the post with these settings, and
the card that hangs beside its lamp.

Writes one SVG a sheet; it never touches pins. What a sheet of wiring shows is
`hardware/drawings.py`; what the lamp shows is `device/feedback.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from device.core import Meaning
from device.feedback import LAMP, Steps
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


def lamp_card() -> str:
    """The four meanings of the lamp as they are seen in four seconds; dark is grey."""
    rows = []
    for place, (meaning, (indonesian, english)) in enumerate(SAYS.items()):
        top = _ROW_PX * place
        rows.append(_timeline(LAMP[meaning], top + 24))
        for y, size, words in ((32, 20, indonesian), (50, 13, english)):
            rows.append(
                f'<text x="{_LEFT_PX + _WIDTH_PX + 20}" y="{top + y}" font-size="{size}">{words}'
                "</text>"
            )
    width, height = _LEFT_PX + _WIDTH_PX + 300, _ROW_PX * len(SAYS) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' font-family="sans-serif" font-weight="bold"><rect width="{width}" height="{height}"'
        ' fill="white"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _timeline(steps: Steps, top_px: int) -> str:
    lit = []
    at_ms, place = 0, 0
    while at_ms < _SHOWN_MS:
        red, green, lasts_ms = steps[place % len(steps)]
        lasts_ms = min(lasts_ms or _SHOWN_MS, _SHOWN_MS - at_ms)
        colour = "#d00000" if red else "#008a2e" if green else "#d8d8d8"
        x, width = (round(_WIDTH_PX * ms / _SHOWN_MS, 1) for ms in (at_ms, lasts_ms))
        lit.append(
            f'<rect x="{_LEFT_PX + x:g}" y="{top_px}" width="{width:g}" height="20"'
            f' fill="{colour}"/>'
        )
        at_ms, place = at_ms + lasts_ms, place + 1
    return "".join(lit)


def drawings(settings: PostFile) -> dict[str, str]:
    """Every sheet for a post with these settings, by file name.

    Raises:
        ValueError: a pin is no line of the header.
        ModuleNotFoundError: what draws the wiring is not installed.
    """
    return {**sheets(wiring_of(settings)), LAMP_CARD: lamp_card()}


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
