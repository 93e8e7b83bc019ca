"""Whose alarms and posts a person sees: everything, or those of the own unit's area."""

from __future__ import annotations

from mcc.people.models import User
from mcc.people.roles import OWN_AREA_ONLY
from mcc.registers.area import posts_of


def posts_seen(user: User) -> frozenset[str] | None:
    """The ids of the posts; None when they are all of them."""
    if user.role not in OWN_AREA_ONLY:
        return None
    return posts_of(user.unit) if user.unit is not None else frozenset()
