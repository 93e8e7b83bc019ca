"""What a person sees of alarms and posts: everything, the own unit's area and what is near it, or
the cases of the own kelurahan and nothing beside them."""

from __future__ import annotations

from typing import NamedTuple

from mcc.cases.neighbours import neighbouring_posts
from mcc.people.models import User
from mcc.people.roles import OWN_AREA_ONLY
from mcc.registers.area import posts_of
from mcc.visits import access


class Sight(NamedTuple):
    """Who looks, at which posts (None: all of them), and whether at their cases alone."""

    user_id: int
    posts: frozenset[str] | None
    only_cases: bool


def sight_of(user: User) -> Sight:
    """What this person sees now."""
    return Sight(user.pk, posts_seen(user), user.has_right("cases"))


def posts_seen(user: User) -> frozenset[str] | None:
    """The ids of the posts; None when they are all of them."""
    if user.has_right("cases"):
        return frozenset(access.posts_of(user).values_list("post_id", flat=True))
    if user.role not in OWN_AREA_ONLY:
        return None
    if user.unit is None:
        return frozenset()
    own = posts_of(user.unit)
    return None if own is None else own | neighbouring_posts(user.unit)
