"""How the plain pages show times and states."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from django import template
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from mcc.people.models import User

register = template.Library()
_STATES = {
    "raised": _("raised"),
    "received": _("received"),
    "delivered": _("delivered"),
    "acknowledged": _("acknowledged"),
    "dispatched": _("unit sent"),
    "resolved": _("over"),
    "silent": _("silent"),
    "unknown": _("unknown"),
    "online": _("online"),
    "button_stuck": _("button stuck"),
    "button_wire_cut": _("wire of the button cut"),
    "button_wire_short": _("wire of the button short-circuited"),
    "button_circuit_dead": _("button's circuit dead"),
}


@register.filter
def clock(at_ms: int | None) -> str:
    """Unix milliseconds as people here read them: day, time, WIB."""
    if at_ms is None:
        return ""
    at = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(settings.TIME_ZONE))
    return f"{at:%d-%m-%Y %H:%M:%S} WIB"


@register.filter
def minute(at_ms: int | None) -> str:
    """The same where a table has little room: day, month, hour, minute."""
    if at_ms is None:
        return ""
    return f"{dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(settings.TIME_ZONE)):%d-%m %H:%M}"


@register.filter
def may_see(user: object, right: str) -> bool:
    """Whether somebody's role allows to look at something; nobody's does not."""
    return isinstance(user, User) and user.has_right(right)


@register.filter
def state_word(state: str) -> str:
    """A state in the language of the page."""
    return str(_STATES.get(state, state))
