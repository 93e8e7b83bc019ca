"""What a notice says: short, for a telephone at night. Indonesian, as the control room speaks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from mcc.cases.models import Alarm, Fault
from mcc.escalation.models import Notice
from mcc.registers.models import Post

# Calls that one message names; the others are counted.
NAMED_MAX = 10
_FAULTS = {
    "nobody_on_shift": gettext_noop("nobody is on shift"),
    "no_console_with_sound": gettext_noop("no console would sound a call"),
}


@dataclass(frozen=True)
class File:
    """What goes with a message."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Message:
    """A title and a body, plain text; files for targets that take some."""

    title: str
    body: str
    files: tuple[File, ...] = ()


def message(notices: Sequence[Notice], now_ms: int) -> Message:
    """One message for what was claimed together."""
    with translation.override(settings.LANGUAGE_CODE):
        alarms = [key for kind, key, *_since in _calls(notices) if kind == "alarm"]
        faults = [key for kind, key, *_since in _calls(notices) if kind == "fault"]
        lines = [_fault_line(name) for name in faults] + _alarm_lines(alarms, now_ms)
        left = len(lines) - NAMED_MAX
        if left > 0:
            lines = [*lines[:NAMED_MAX], _("and %(count)s more") % {"count": left}]
        if alarms:
            title = _("%(count)s calls for help UNANSWERED") % {"count": len(alarms)}
        else:
            title = _("The command centre would not answer a call")
        return Message(title, "\n".join(lines))


def _calls(notices: Sequence[Notice]) -> list[list[str]]:
    return [notice.call.split("/") for notice in notices]


def _fault_line(name: str) -> str:
    row = Fault.objects.filter(name=name).first()
    since = _clock(row.since_ms) if row else ""
    return f"{_(_FAULTS.get(name, name))} {since}".strip()


def _alarm_lines(alarms: Sequence[str], now_ms: int) -> list[str]:
    rows = Alarm.objects.filter(alarm_id__in=alarms).order_by("raised_ms")
    posts = {
        post.post_id: post
        for post in Post.objects.filter(post_id__in=[row.post for row in rows]).select_related(
            "kelurahan__kecamatan"
        )
    }
    return [_alarm_line(row, posts.get(row.post), now_ms) for row in rows]


def _alarm_line(row: Alarm, post: Post | None, now_ms: int) -> str:
    words = [post.name if post else row.post]
    if post is not None and post.address:
        words.append(post.address)
    if post is not None and post.kelurahan is not None:
        words.append(f"{post.kelurahan.name}, {post.kelurahan.kecamatan.name}")
    age_s = max(0, (now_ms - row.raised_ms) // 1000)
    words.append(
        _("pressed at %(clock)s, %(seconds)s s ago")
        % {"clock": _clock(row.raised_ms), "seconds": age_s}
    )
    if row.repeats:
        words.append(_("called %(times)s times") % {"times": row.repeats + 1})
    if post is not None and post.lat is not None and post.lon is not None:
        words.append(f"geo:{post.lat:.6f},{post.lon:.6f}")
    return ", ".join(words)


def _clock(at_ms: int) -> str:
    at = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(settings.TIME_ZONE))
    return f"{at:%H:%M:%S} WIB"
