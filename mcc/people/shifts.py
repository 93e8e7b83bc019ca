"""Shifts and their hand-over: who answers for the calls, and which open items are whose.

An item is an open alarm, or a post that cannot call for help. Whoever acknowledged it or took it
over last holds it; what is held by nobody on shift is to be taken over by somebody who is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from mcc.cases.actions import Refused, act, write_shift
from mcc.cases.changes import changes
from mcc.cases.models import Alarm, Entry, PostDocument
from mcc.people.models import Shift, User
from mcc.people.roles import ACTIONS, OWN_AREA_ONLY
from mcc.registers.models import Post
from protocol.messages import MccPost
from protocol.values import wall_ms

# A shift that was begun so long ago has been forgotten and counts as ended.
SHIFT_MS_MAX = 16 * 3_600_000
# What is listed in one hand-over; the rest is counted.
ITEMS_MAX = 200
# With one of these a post that is online does not see the next call (`device.core`'s words).
DEAF_FAULTS = ("button_stuck", "button_wire_cut", "button_wire_short", "button_circuit_dead")
# In a document as it is kept; inside of a text its quotation marks would be escaped.
_DEAF = rf'"faults":\[[^]]*"({"|".join(DEAF_FAULTS)})"'
_HOLDS = ("acknowledge", "dispatch", "take_over")
# Whose shift keeps the command centre manned: those who may answer a call anywhere.
MANNING = frozenset(
    role
    for role, actions in ACTIONS.items()
    if "acknowledge" in actions and role not in OWN_AREA_ONLY
)


@dataclass(frozen=True)
class Item:
    """Something that is not over; `holder` is who answers for it, None: nobody on shift does."""

    kind: Literal["alarm", "post"]
    key: str
    post: str
    post_name: str
    since_ms: int | None
    state: str
    holder_id: int | None
    holder: str | None
    is_test: bool = False


@dataclass(frozen=True)
class Items:
    """The open items, alarms first and the oldest first; `left_out` more are not listed."""

    items: tuple[Item, ...]
    left_out: int


def on_shift(now_ms: int) -> list[Shift]:
    """The shifts that count at this moment, the oldest first."""
    rows = Shift.objects.filter(ended_ms=None, began_ms__gt=now_ms - SHIFT_MS_MAX)
    rows = rows.filter(user__is_active=True, user__role__in=MANNING)
    return list(rows.select_related("user").order_by("began_ms"))


def begin(user: User, *, address: str, screen: str = "") -> Shift:
    """Begin this person's shift; the one that runs already when there is one.

    Raises:
        Refused: the role has no shifts.
    """
    with changes() as change:
        running = Shift.objects.filter(user=user, ended_ms=None).first()
        if running is not None and running.began_ms > change.at_ms - SHIFT_MS_MAX:
            return running
        if running is not None:
            _close(running, running.began_ms + SHIFT_MS_MAX, None)
        write_shift(user, "shift_began", address=address, screen=screen)
        return Shift.objects.create(user=user, began_ms=change.at_ms)


def end(
    user: User, *, address: str, screen: str = "", anyway: bool = False, to: User | None = None
) -> Shift:
    """End this person's shift; `to` is who takes over, None: nobody in particular.

    `anyway`: also while this person still holds open alarms.

    Raises:
        Refused: there is none, or open alarms are still held by this person.
    """
    with changes() as change:
        running = Shift.objects.filter(user=user, ended_ms=None).first()
        if running is None:
            raise Refused("wrong", _("You are not on shift."))
        if to is not None and to.pk not in {one.user_id for one in on_shift(change.at_ms)}:
            raise Refused("wrong", _("Whoever takes over has to begin a shift first."))
        held = sum(one.kind == "alarm" and one.holder_id == user.pk for one in _alarms(ITEMS_MAX))
        if held and not anyway:
            words = _("%(count)s open alarms are still yours: let somebody take them over.")
            raise Refused("wrong", words % {"count": held})
        write_shift(user, "shift_ended", address=address, screen=screen)
        return _close(running, change.at_ms, to)


def _close(shift: Shift, at_ms: int, to: User | None) -> Shift:
    shift.ended_ms, shift.handed_to = at_ms, to
    shift.save()
    return shift


def take_over(
    user: User, *, alarm_id: str | None = None, post: str | None = None, address: str, screen: str
) -> Entry:
    """Take one open item over.

    Raises:
        Refused: not on shift, or the role or the item does not allow it.
    """
    with changes() as change:
        if user.pk not in {one.user_id for one in on_shift(change.at_ms)}:
            raise Refused("wrong", _("Begin your shift first."))
        return act(user, "take_over", alarm_id=alarm_id, post=post, address=address, screen=screen)


def open_items(now_ms: int) -> Items:
    """Everything that is not over, with who answers for it now."""
    manned = {one.user_id for one in on_shift(now_ms)}
    found = [*_alarms(ITEMS_MAX + 1), *_posts(ITEMS_MAX + 1)]
    count = Alarm.objects.filter(is_open=True).count() + _unwell().count()
    shown = tuple(one if one.holder_id in manned else _unheld(one) for one in found[:ITEMS_MAX])
    return Items(shown, max(0, count - len(shown)))


def _unheld(item: Item) -> Item:
    return replace(item, holder_id=None)


def _alarms(at_most: int) -> list[Item]:
    rows = list(Alarm.objects.filter(is_open=True).order_by("raised_ms")[:at_most])
    names = _names([row.post for row in rows])
    holders: dict[str, Entry] = {}
    held = Entry.objects.filter(alarm_id__in=[row.alarm_id for row in rows], action__in=_HOLDS)
    for entry in held.order_by("id"):
        holders[entry.alarm_id or ""] = entry
    return [
        Item(
            kind="alarm",
            key=row.alarm_id,
            post=row.post,
            post_name=names.get(row.post, row.post),
            since_ms=row.raised_ms,
            state=row.state,
            holder_id=holders[row.alarm_id].user_id if row.alarm_id in holders else None,
            holder=holders[row.alarm_id].operator if row.alarm_id in holders else None,
            is_test=row.kind == "test",
        )
        for row in rows
    ]


def _unwell() -> QuerySet[PostDocument]:
    return PostDocument.objects.filter(~Q(connection="online") | Q(body__regex=_DEAF))


def _posts(at_most: int) -> list[Item]:
    rows = list(_unwell().order_by("post")[:at_most])
    names = _names([row.post for row in rows])
    holders: dict[str, Entry] = {}
    held = Entry.objects.filter(post__in=[row.post for row in rows], action="take_over")
    for entry in held.filter(alarm_id=None).order_by("id"):
        holders[entry.post or ""] = entry
    return [
        Item(
            kind="post",
            key=row.post,
            post=row.post,
            post_name=names.get(row.post, row.post),
            since_ms=_last_heard_ms(row),
            state=_why_unwell(row),
            holder_id=holders[row.post].user_id if row.post in holders else None,
            holder=holders[row.post].operator if row.post in holders else None,
        )
        for row in rows
    ]


def _last_heard_ms(row: PostDocument) -> int | None:
    said = msgspec.json.decode(row.body, type=MccPost)
    return wall_ms(said.last_seen) if said.last_seen and row.connection != "online" else None


def _why_unwell(row: PostDocument) -> str:
    deaf = re.search(_DEAF, row.body) if row.connection == "online" else None
    return deaf.group(1) if deaf else row.connection


def _names(posts: list[str]) -> dict[str, str]:
    return dict(Post.objects.filter(post_id__in=posts).values_list("post_id", "name"))
