"""What is theirs: the one place that says which visits and kelurahan somebody sees.

A Bhabinkamtibmas sees the visits of the kelurahan that the register of officers assigns now, and
those written by the own account; whoever has the right `visits` sees all; nobody else sees any.
"""

from __future__ import annotations

from django.db.models import Q, QuerySet

from mcc.people.models import User
from mcc.registers.models import Kelurahan, Post
from mcc.visits.models import FollowUp, Visit


def visits_of(user: User) -> QuerySet[Visit]:
    """The visits that this person may see."""
    rows = Visit.objects.select_related("officer", "kelurahan")
    if user.has_right("visits"):
        return rows
    if not user.has_right("visit"):
        return rows.none()
    return rows.filter(Q(author=user) | Q(kelurahan__in=kelurahan_of(user)))


def follow_ups_of(user: User) -> QuerySet[FollowUp]:
    """The follow-ups of those visits."""
    rows = FollowUp.objects.select_related("visit__officer", "visit__kelurahan", "done_by")
    return rows.filter(visit__in=visits_of(user))


def kelurahan_of(user: User) -> QuerySet[Kelurahan]:
    """The kelurahan whose coverage this person sees: all, the assigned one, or none."""
    rows = Kelurahan.objects.select_related("kecamatan")
    if user.has_right("visits"):
        return rows
    officer = user.officer if user.has_right("visit") else None
    return rows.filter(pk=officer.kelurahan_id) if officer else rows.none()


def posts_of(user: User) -> QuerySet[Post]:
    """The posts of those kelurahan; those of no kelurahan only for who sees all."""
    rows = Post.objects.select_related("kelurahan")
    return rows if user.has_right("visits") else rows.filter(kelurahan__in=kelurahan_of(user))
