"""`python -m device.drawings SETTINGS DIRECTORY`: the wiring of the post with these settings.

Writes one SVG a sheet; it never touches pins. What a sheet shows is `hardware/drawings.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from device.settings import PostFile
from hardware.drawings import Wiring, sheets
from process.settings import SettingsError, read_settings


def wiring_of(settings: PostFile) -> Wiring:
    """The lines that the firmware would claim with these settings."""
    return Wiring(
        button=settings.button.pin,
        button_nc=settings.button.nc_pin,
        cancel=settings.cancel.pin,
        tamper=settings.tamper.pin,
        mains=settings.mains.pin,
        red=settings.lamp.red,
        green=settings.lamp.green,
        blue=settings.lamp.blue,
        buzzer=settings.buzzer.pin,
        gps=settings.location.source == "gps",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; 0 done, 2 the settings, their pins or the directory are wrong."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 2:
        return _wrong("needs a settings file and a directory")
    try:
        drawn = sheets(wiring_of(read_settings(Path(given[0]), PostFile)))
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
