"""What a resident sees and hears, as tables. Nothing decides here.

Four meanings, because nobody reads more in panic. Steps are (red, green, milliseconds), repeated;
a single step of 0 ms is steady. An RGB lamp shows the same colours.
"""

from __future__ import annotations

from device.core import Meaning

Steps = tuple[tuple[bool, bool, int], ...]

# Fast means 2.5 flashes a second: more than three could harm (WCAG 2.2, 2.3.1).
LAMP: dict[Meaning, Steps] = {
    "armed": ((False, True, 200), (False, False, 1800)),
    "calling": ((True, False, 200), (False, False, 200)),
    "answered": ((False, True, 0),),
    "out_of_order": (
        (True, False, 100),
        (False, False, 150),
        (True, False, 100),
        (False, False, 1650),
    ),
}

# Someone has answered: (on, off) in milliseconds.
ACKNOWLEDGED: tuple[tuple[int, int], ...] = ((400, 200), (400, 200), (1000, 0))
