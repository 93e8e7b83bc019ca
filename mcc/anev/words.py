"""What numbers are called and how they are written, in the language that is chosen.

Sentences say no more than the numbers do: what is few is called few.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mcc.anev.figures import (
    CITY,
    SMALL,
    STEPS,
    TREND_WEEKS,
    WEEK_MS,
    Limits,
    Number,
    Report,
    Section,
    day_of,
)

OUTCOMES = {
    "real": gettext_lazy("real"),
    "false": gettext_lazy("false"),
    "prank": gettext_lazy("prank"),
    "test": gettext_lazy("test"),
    "none": gettext_lazy("closed without an outcome"),
    "open": gettext_lazy("still open"),
}
KINDS = {
    "panic": gettext_lazy("calls for help"),
    "test": gettext_lazy("practice in a test window"),
}
STEP_WORDS = {
    "press_received": gettext_lazy("press to received"),
    "received_acknowledged": gettext_lazy("received to acknowledged"),
    "press_acknowledged": gettext_lazy("press to acknowledged"),
    "acknowledged_sent": gettext_lazy("acknowledged to unit sent"),
    "acknowledged_on_scene": gettext_lazy("acknowledged to on scene"),
    "press_on_scene": gettext_lazy("press to on scene"),
}
_PARTS = {
    "n": gettext_lazy("calls"),
    "median": gettext_lazy("median"),
    "p90": gettext_lazy("90th percentile"),
    "counted": gettext_lazy("counted"),
    "within": gettext_lazy("in time"),
    "percent": gettext_lazy("share in time"),
}
_NAMES = {
    "false.alarms": gettext_lazy("false alarms and pranks"),
    "false.counted": gettext_lazy("calls of which it is known whether they were real"),
    "false.percent": gettext_lazy("share of false alarms and pranks"),
    "time.unknown": gettext_lazy("calls whose moment of pressing nobody knows"),
    "posts.registered": gettext_lazy("posts"),
    "posts.unheard": gettext_lazy("posts that have never been heard"),
    "posts.out_of_order": gettext_lazy("posts with a fault at the end of the week"),
    "posts.silent": gettext_lazy("posts that were silent in the week"),
    "posts.silent_hours": gettext_lazy("hours of silence"),
    "gateways.silent_hours": gettext_lazy("hours in which a gateway was not heard"),
    "posts.not_proven": gettext_lazy("posts not proven"),
    "posts.not_pressed": gettext_lazy("posts whose button nobody has pressed"),
    "visits.made": gettext_lazy("visits"),
    "visits.posts": gettext_lazy("posts that were checked"),
    "visits.unheard": gettext_lazy("posts that an officer pressed and nothing came"),
    "visits.coverage": gettext_lazy("share of the posts that were checked"),
}
_TRENDS = {
    "calls": gettext_lazy("calls for help"),
    "real": gettext_lazy("real"),
    "false": gettext_lazy("false alarms and pranks"),
    "median": gettext_lazy("median, press to acknowledged"),
}
_FAULTS = {
    "button_stuck": gettext_lazy("button stuck"),
    "button_worn": gettext_lazy("button worn"),
    "button_wire_cut": gettext_lazy("wire of the button cut"),
    "button_wire_short": gettext_lazy("wire of the button short-circuited"),
    "pins_unavailable": gettext_lazy("button and lamp do not work"),
    "tamper": gettext_lazy("box opened"),
    "mains_lost": gettext_lazy("mains power lost"),
    "gps_lost": gettext_lazy("GPS lost"),
    "clock_unsynchronised": gettext_lazy("clock not synchronised"),
    "disk_failing": gettext_lazy("disk failing"),
    "disk_hanging": gettext_lazy("disk does not answer"),
    "disk_replaced": gettext_lazy("disk replaced"),
    "outbox_unusable": gettext_lazy("memory card unusable"),
    "outbox_damaged": gettext_lazy("memory card was damaged"),
    "button_circuit_dead": gettext_lazy("button's circuit dead"),
    "gateway_deaf": gettext_lazy("the gateway does not take this post's alarms"),
    "selftest_missed": gettext_lazy("no self-test, though the post is heard"),
    "selftest_unconfirmed": gettext_lazy("self-test not confirmed by the post"),
    "responder_dead": gettext_lazy("this command centre did not answer a self-test"),
    "under_voltage": gettext_lazy("supply too low"),
    "throttled": gettext_lazy("processor slowed down"),
    "too_hot": gettext_lazy("too hot"),
    "disk_full": gettext_lazy("memory card full"),
    "place_implausible": gettext_lazy("GPS says that the post has moved"),
    "restart_loop": gettext_lazy("starts again and again"),
    "firmware_old": gettext_lazy("firmware out of date"),
    "silent": gettext_lazy("silent"),
    "gateway_silent": gettext_lazy("gateway not heard"),
    "flooding": gettext_lazy("the post sends far too much"),
    "heartbeat_too_slow": gettext_lazy("heartbeat slower than its gateway allows"),
    "place_differs": gettext_lazy("the post says that it hangs elsewhere"),
}
DAYS = tuple(WEEKDAYS[day] for day in range(7))


def label(name: str, limits: Limits) -> str:
    """What a number is called."""
    if name in _NAMES:
        return str(_NAMES[name])
    family, _dot, rest = name.partition(".")
    return _FAMILIES[family](rest, limits)


def _calls(rest: str, _limits: Limits) -> str:
    kind, _dot, outcome = rest.partition(".")
    return f"{KINDS[kind]}: {OUTCOMES[outcome]}" if outcome else str(KINDS[kind])


def _false(rest: str, _limits: Limits) -> str:
    return _("false alarms of %(post)s") % {"post": rest.removeprefix("post.")}


def _time(rest: str, _limits: Limits) -> str:
    step, _dot, part = rest.partition(".")
    return f"{STEP_WORDS[step]}: {_PARTS.get(part) or _('value %(n)s') % {'n': part}}"


def _target(rest: str, limits: Limits) -> str:
    name, _dot, part = rest.partition(".")
    return f"{target_words(name, limits)}: {_PARTS[part]}"


def _posts(rest: str, _limits: Limits) -> str:
    return _("standing faults: %(fault)s") % {"fault": fault_words(rest.removeprefix("standing."))}


def _heat(rest: str, _limits: Limits) -> str:
    day, _dot, hour = rest.partition(".")
    return _("%(day)s, %(hour)s h, in thirteen weeks") % {"day": DAYS[int(day)], "hour": hour}


def _trend(rest: str, _limits: Limits) -> str:
    back, _dot, what = rest.partition(".")
    when = _("%(count)s weeks before") % {"count": back} if back != "0" else _("this week")
    return f"{when}: {_TRENDS[what]}"


_FAMILIES: dict[str, Callable[[str, Limits], str]] = {
    "calls": _calls,
    "false": _false,
    "time": _time,
    "target": _target,
    "posts": _posts,
    "heat": _heat,
    "trend": _trend,
}


def target_words(name: str, limits: Limits) -> str:
    """A target in words."""
    seconds = {
        "acknowledge": limits.acknowledge_s,
        "acknowledge_late": limits.acknowledge_late_s,
        "dispatch": limits.dispatch_s,
        "on_scene": limits.on_scene_s,
    }[name]
    if name == "dispatch":
        return _("unit sent within %(time)s of the answer") % {"time": duration(seconds * 1000)}
    if name == "on_scene":
        return _("on scene within %(time)s of the press") % {"time": duration(seconds * 1000)}
    return _("acknowledged within %(time)s of the press") % {"time": duration(seconds * 1000)}


def fault_words(fault: str) -> str:
    """A fault in the words of the pages; one without words by its name."""
    return str(_FAULTS.get(fault) or fault.replace("_", " "))


def scope_name(report: Report, key: str) -> str:
    """What figures are about, with its kind."""
    scope = report.scope(key)
    name = scope.name if scope else ""
    kind = key.partition("/")[0]
    if kind == "kec":
        return _("Kecamatan %(name)s") % {"name": name}
    if kind == "kel":
        return _("Kelurahan %(name)s") % {"name": name}
    return name if kind == "officer" else _("The whole city")


# --- values -------------------------------------------------------------------------------------


def value(number: Number) -> str:
    """A number as people read it."""
    if number.value is None:
        return _("too few") if number.n else "–"
    if number.unit == "ms":
        return duration(int(number.value))
    if number.unit == "percent":
        return f"{number_format(number.value, 1)} %"
    if number.unit == "hours":
        return f"{number_format(number.value, 1)} {_('h')}"
    return number_format(int(number.value))


def duration(ms: int) -> str:
    """A span of time: seconds, minutes or hours, whatever it takes."""
    if ms < 10_000:
        decimals = 0 if ms % 1000 == 0 else 1
        return f"{number_format(ms / 1000, decimals)} {_('s')}"
    seconds = round(ms / 1000)
    if seconds < 120:
        return f"{seconds} {_('s')}"
    minutes, left = divmod(seconds, 60)
    if minutes < 120:
        return f"{minutes} {_('min')}" + (f" {left} {_('s')}" if left else "")
    return f"{number_format(seconds / 3600, 1)} {_('h')}"


def moment(at_ms: int) -> str:
    """Day and time, WIB."""
    at = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(settings.TIME_ZONE))
    return f"{at:%d-%m-%Y %H:%M} WIB"


def short_moment(at_ms: int) -> str:
    """Day and time for where there is little room: the year and WIB stand elsewhere."""
    at = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(settings.TIME_ZONE))
    return f"{at:%d-%m %H:%M}"


def days(begin_ms: int) -> str:
    """The first and the last day of a week."""
    first, last = day_of(begin_ms), day_of(begin_ms + WEEK_MS - 1)
    return f"{_day(first)} – {_day(last)}"


def date(at_ms: int) -> str:
    """A day in words."""
    return _day(day_of(at_ms))


def _day(day: dt.date) -> str:
    return f"{day.day} {MONTHS[day.month]} {day.year}"


# --- sentences ----------------------------------------------------------------------------------


def summary(report: Report, section: Section) -> list[str]:
    """What the week was like, and how much that says."""
    said = [*_of_calls(section), *_of_targets(section, report.limits), *_of_posts(section)]
    if not report.is_over:
        said.insert(0, _("The week is not over: these figures will change."))
    return said


def _of_calls(section: Section) -> list[str]:
    calls, false, known = (
        section[name] for name in ("calls.panic", "false.alarms", "false.counted")
    )
    if not calls.n:
        said = [_("Nobody called for help.")]
    else:
        words = _("%(calls)s calls for help; %(false)s of %(known)s were false alarms or pranks.")
        said = [words % {"calls": calls.n, "false": false.n, "known": known.n}]
    before = [
        number.n
        for back in range(1, TREND_WEEKS + 1)
        if (number := section.get(f"trend.{back}.calls")) is not None
    ]
    said.append(_held_against(calls.n, before))
    if 0 < known.n < SMALL:
        few = _("Of fewer than %(small)s calls a share says little: there is none.")
        said.append(few % {"small": SMALL})
    elif 0 < known.n < 30:
        little = _("One call more or less moves the share by about %(points)s points.")
        said.append(little % {"points": round(100 / known.n)})
    return said


def _held_against(calls: int, before: list[int]) -> str:
    """Whether a week stands out: outside of all twelve others, and by more than one call."""
    if len(before) < TREND_WEEKS:
        words = _("There are records of %(weeks)s weeks before: too few to compare with.")
        return words % {"weeks": len(before)}
    low, high = min(before), max(before)
    between = {"low": low, "high": high}
    if max(calls, high) < SMALL:
        words = _("In the 12 weeks before there were %(low)s to %(high)s: too few to see a trend.")
        return words % between
    if calls > high + 1:
        return _("That is more than in any of the 12 weeks before (%(low)s to %(high)s).") % between
    if calls < low - 1:
        return _("That is less than in any of the 12 weeks before (%(low)s to %(high)s).") % between
    return _("In the 12 weeks before there were %(low)s to %(high)s: nothing unusual.") % between


def _of_targets(section: Section, limits: Limits) -> list[str]:
    said = []
    wanted = {
        "acknowledge": limits.acknowledge_percent,
        "acknowledge_late": limits.acknowledge_late_percent,
    }
    for name, percent in wanted.items():
        counted, within = section[f"target.{name}.counted"], section[f"target.{name}.within"]
        share = section[f"target.{name}.percent"].value
        if not counted.n:
            continue
        parts = {
            "within": within.n,
            "counted": counted.n,
            "target": target_words(name, limits),
            "percent": f"{number_format(percent, 1)} %",
        }
        if share is None:
            words = _(
                "%(within)s of %(counted)s calls: %(target)s; too few to hold against a target."
            )
        elif share < percent:
            words = _(
                "%(within)s of %(counted)s calls: %(target)s. The target is %(percent)s: MISSED."
            )
        else:
            words = _(
                "%(within)s of %(counted)s calls: %(target)s. The target is %(percent)s: met."
            )
        said.append(words % parts)
    return said


def _of_posts(section: Section) -> list[str]:
    posts, broken = section["posts.registered"], section["posts.out_of_order"]
    if not posts.n:
        return [_("There is no post here.")]
    words = _(
        "%(broken)s of %(posts)s posts have a fault; of %(pressed)s nobody has pressed the button"
        " for long."
    )
    parts = {
        "broken": broken.n,
        "posts": posts.n,
        "pressed": section["posts.not_pressed"].n,
    }
    said = [words % parts]
    if (unheard := section.get("visits.unheard")) and unheard.n:
        named = _(
            "An officer pressed the button of %(posts)s posts and nothing came: look there first."
        )
        said.append(named % {"posts": unheard.n})
    if (away := section.get("gateways.silent_hours")) and away.n:
        away_words = _("Gateways were not heard for %(time)s: their posts could not call.")
        said.append(away_words % {"time": value(away)})
    return said


def definitions(limits: Limits) -> list[str]:
    """How it is counted."""
    return [
        _("A week goes from Monday 00:00 to Monday 00:00 WIB. A call belongs to the week in which"
          " its button was pressed."),
        _("Median and 90th percentile are the times of real calls (nearest rank): of n calls in"
          " the order of their times, the one at place n/2 or 0.9 n, rounded up. Of fewer than"
          " %(small)s calls each time is named instead, and no share is given.") % {"small": SMALL},
        _("Practice in a test window counts for no time, no target and no share of false alarms."),
        _("A call counts for a target once it has been answered or the time for it is over; a call"
          " whose moment of pressing nobody knows counts for none."),
        _("A share of false alarms is that of false alarms and pranks among those and the real"
          " ones."),
        _("Not proven: no self-test that exercised the button and no press for %(proven)s days"
          " before the end of the week; not pressed: no press by a person for %(pressed)s days."
          " Self-tests are known as they stood when this was made.")
        % {"proven": limits.not_proven_days, "pressed": limits.not_pressed_days},
        _("Hours and weekdays: calls for help of this week and the 12 before."),
        _("An officer's calls and posts are those of the officer's kelurahan: they say what"
          " happened there, not how well the officer works."),
    ]  # fmt: skip


__all__ = [
    "CITY",
    "DAYS",
    "KINDS",
    "OUTCOMES",
    "STEPS",
    "STEP_WORDS",
    "date",
    "days",
    "definitions",
    "duration",
    "fault_words",
    "label",
    "moment",
    "scope_name",
    "summary",
    "target_words",
    "value",
]
