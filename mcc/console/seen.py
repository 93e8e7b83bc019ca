"""Whose alarms and posts a person sees: everything, or the own unit's area and what is near it."""

from __future__ import annotations

from mcc.cases.neighbours import neighbouring_posts
from mcc.people.models import User
from mcc.people.roles import OWN_AREA_ONLY
from mcc.registers.area import posts_of


def posts_seen(user: User) -> frozenset[str] | None:
    """The ids of the posts; None when they are all of them."""
    if user.role not in OWN_AREA_ONLY:
        return None
    if user.unit is None:
        return frozenset()
    own = posts_of(user.unit)
    return None if own is None else own | neighbouring_posts(user.unit)
