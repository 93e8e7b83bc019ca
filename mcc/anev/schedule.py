"""When the anev of a week is due. Pure; time is passed in."""

from __future__ import annotations

from mcc.anev.figures import HOUR_MS, WEEK_MS, week_of
from mcc.settings import AnevSettings


def due(settings: AnevSettings, now_ms: int) -> int | None:
    """The beginning of the week whose anev is to be there by now; None: none is.

    It stays due until the next one is: a command centre that was off on Monday makes it later.
    """
    if not settings.scheduled:
        return None
    return week_of(now_ms - settings.hour * HOUR_MS) - WEEK_MS
