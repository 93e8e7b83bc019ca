"""What officers saw of the posts themselves, beside what came here of it.

A claim silences nothing: the clock of `mcc.cases.proofs`, *not pressed by a person for so long*, is
set back by presses that came here and by nothing else. When an officer pressed and nothing came,
the post is worse than one that nobody pressed, and is listed as that.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcc.cases.models import Alarm
from mcc.visits.models import Visit

# The time of a visit is a person's word, by a telephone's clock.
PRESS_NEAR_MS = 2 * 3_600_000
_KINDS = ("panic", "test")


@dataclass(frozen=True)
class Check:
    """The latest check of a post; None: not looked at."""

    visited_ms: int
    officer: str
    pressed: bool | None
    lamp: bool | None
    poster: bool | None


def press_near(post: str, visited_ms: int) -> Alarm | None:
    """The press of this post that came here and is nearest to a visit, if one is near."""
    near = Alarm.objects.filter(
        post=post,
        kind__in=_KINDS,
        raised_ms__gte=visited_ms - PRESS_NEAR_MS,
        raised_ms__lte=visited_ms + PRESS_NEAR_MS,
    )
    return min(near, key=lambda one: abs(one.raised_ms - visited_ms), default=None)


def latest_checks() -> dict[str, Check]:
    """By post: what the latest visit that checked it says."""
    return _latest({})


def unheard(pressed_ms: dict[str, int]) -> dict[str, Check]:
    """By post: an officer says that it was pressed, and nothing came, then or since.

    `pressed_ms`: by post, the newest press that came here.
    """
    claims = _latest({"pressed": True})
    return {
        post: claim
        for post, claim in claims.items()
        if pressed_ms.get(post, -PRESS_NEAR_MS) < claim.visited_ms - PRESS_NEAR_MS
    }


def _latest(which: dict[str, bool]) -> dict[str, Check]:
    rows = Visit.objects.exclude(post="").filter(**which).order_by("visited_ms")
    said = rows.values_list("post", "visited_ms", "officer__name", "pressed", "lamp", "poster")
    return {
        post: Check(at_ms, officer, pressed, lamp, poster)
        for post, at_ms, officer, pressed, lamp, poster in said.iterator()
    }
