"""The pages of the weekly analysis: the weeks, one edition for one scope, the events of a number.

Edition 0 of a week is its draft: made anew for each look, and stored nowhere. They word and ask;
what is counted stands in `figures`, who may see what in `editions`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from reportlab.graphics.shapes import Drawing

from mcc.anev import editions as made
from mcc.anev import plots, words
from mcc.anev.figures import (
    OUTCOMES,
    SMALL,
    STEPS,
    TREND_WEEKS,
    WEEK_MS,
    Number,
    Report,
    Scope,
    Section,
    week_name,
    week_named,
    week_of,
)
from mcc.anev.models import Edition
from mcc.cases.actions import Refused
from mcc.people.gate import needs, person

WEEKS_LISTED = 14
EDITIONS_LISTED = 200
TARGETS = ("acknowledge", "acknowledge_late", "dispatch", "on_scene")
_PLOTS = ("heat", "trend", "times")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# --- the weeks ----------------------------------------------------------------------------------


@require_GET
@never_cache
@needs("anev")
def editions(request: HttpRequest) -> HttpResponse:
    """The last weeks with what was made of them, then older editions."""
    now_ms = _now_ms()
    known = Edition.objects.defer("body")[:EDITIONS_LISTED]
    by_week: dict[str, list[Edition]] = defaultdict(list)
    for one in known:
        by_week[one.week].append(one)
    begins = [week_of(now_ms) - back * WEEK_MS for back in range(WEEKS_LISTED)]
    weeks = [
        {
            "week": week_name(begin_ms),
            "days": words.days(begin_ms),
            "editions": by_week.pop(week_name(begin_ms), []),
            "is_over": begin_ms + WEEK_MS <= now_ms,
        }
        for begin_ms in begins
    ]
    older = [
        {"week": week, "days": words.days(week_named(week)), "editions": some}
        for week, some in by_week.items()
    ]
    page = {"weeks": weeks, "older": older, "may_make": person(request).has_right("anev_make")}
    return render(request, "anev/editions.html", page)


@require_POST
@needs("anev_make")
def make(request: HttpRequest) -> HttpResponse:
    """Make the next edition of a week that is over."""
    try:
        begin_ms = week_named(request.POST.get("week", ""))
        edition = made.make(settings.MCC, begin_ms, _now_ms(), person(request), lambda _made: None)
    except ValueError as error:
        messages.error(request, str(error))
    except Refused as error:
        messages.error(request, error.why)
    else:
        return HttpResponseRedirect(reverse("anev-edition", args=[edition.week, edition.number]))
    return HttpResponseRedirect(reverse("anev"))


# --- one edition --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """One report, what of it this person may see, and what the person looks at."""

    report: Report
    edition: Edition | None
    scopes: list[Scope]
    scope: Scope

    @property
    def section(self) -> Section:
        return self.report.sections[self.scope.key]

    @property
    def address(self) -> list[Any]:
        return [self.report.week, self.edition.number if self.edition else 0]


def _look(request: HttpRequest, week: str, number: int) -> _Look:
    """What was asked for.

    Raises:
        Http404: there is no such week, edition or scope, or this person may not see it.
    """
    edition = None
    if number:
        edition = Edition.objects.filter(week=week, number=number).first()
        if edition is None:
            raise Http404
        report = made.report_of(edition)
    else:
        try:
            report = made.draft(settings.MCC, week_named(week), _now_ms())
        except (ValueError, Refused) as error:
            raise Http404(str(error)) from None
    scopes = made.scopes_of(person(request), report)
    wanted = request.GET.get("scope")
    scope = next((one for one in scopes if wanted in (None, "", one.key)), None)
    if scope is None:
        raise Http404
    return _Look(report, edition, scopes, scope)


@require_GET
@never_cache
@needs("anev")
def edition(request: HttpRequest, week: str, number: int) -> HttpResponse:
    """The figures of a week for one scope."""
    look = _look(request, week, number)
    report, section, key = look.report, look.section, look.scope.key
    page = {
        "report": report,
        "edition": look.edition,
        "is_as_made": look.edition is None or made.is_as_made(look.edition),
        "made": words.moment(report.made_ms),
        "days": words.days(report.begin_ms),
        "week": report.week,
        "number": number,
        "scope": key,
        "name": words.scope_name(report, key),
        "choices": [(one.key, words.scope_name(report, one.key)) for one in look.scopes],
        "events_url": reverse("anev-events", args=look.address),
        "summary": words.summary(report, section),
        "kinds": _kinds(),
        "outcomes": [(name, words.OUTCOMES[name]) for name in OUTCOMES],
        "times": [_time(section, step) for step in STEPS],
        "targets": [_target(report, name) for name in TARGETS],
        "false_posts": _false_posts(report, section),
        "standing": sorted(name for name in section if name.startswith("posts.standing.")),
        "broken": _broken(report, section),
        "heat": _heat(section),
        "trend": _trend(report, section),
        "cases": cases_of(report, section),
        "below": [one for one in look.scopes if one.parent == key],
        "definitions": words.definitions(report.limits),
        "small": SMALL,
    }
    return render(request, "anev/edition.html", page)


def _kinds() -> list[tuple[str, str, list[str]]]:
    return [
        (f"calls.{kind}", str(said), [f"calls.{kind}.{outcome}" for outcome in OUTCOMES])
        for kind, said in words.KINDS.items()
    ]


def _time(section: Section, step: str) -> dict[str, Any]:
    """Names of the numbers of one step; the single times where there are too few."""
    names = [f"time.{step}.{place}" for place in range(1, SMALL)]
    return {
        "words": words.STEP_WORDS[step],
        "n": f"time.{step}.n",
        "median": f"time.{step}.median",
        "p90": f"time.{step}.p90",
        "is_small": section[f"time.{step}.n"].n < SMALL,
        "single": [name for name in names if name in section],
    }


def _target(report: Report, name: str) -> dict[str, Any]:
    limits = report.limits
    wanted = {
        "acknowledge": limits.acknowledge_percent,
        "acknowledge_late": limits.acknowledge_late_percent,
    }.get(name)
    return {
        "words": words.target_words(name, limits),
        "counted": f"target.{name}.counted",
        "within": f"target.{name}.within",
        "percent": f"target.{name}.percent",
        "wanted": words.value(Number(value=wanted, unit="percent")) if wanted else "",
    }


def _false_posts(report: Report, section: Section) -> list[tuple[str, str]]:
    """The posts that raised false alarms, those with the most first: label, number."""
    names = [name for name in section if name.startswith("false.post.")]
    names.sort(key=lambda name: (-section[name].n, name))
    return [(post_name(report, name.removeprefix("false.post.")), name) for name in names]


def _broken(report: Report, section: Section) -> list[tuple[str, str]]:
    """Each post with a fault at the end of the week, and which."""
    faults: dict[str, list[str]] = defaultdict(list)
    for name, number in section.items():
        if name.startswith("posts.standing."):
            for fault_id in number.ids:
                one = report.faults[fault_id]
                said = _("%(fault)s since %(when)s")
                parts = {
                    "fault": words.fault_words(one.fault),
                    "when": words.moment(one.raised_ms),
                }
                faults[one.post].append(said % parts)
    return sorted((post_name(report, post), ", ".join(some)) for post, some in faults.items())


def _heat(section: Section) -> list[dict[str, Any]]:
    return [
        {
            "day": words.DAYS[day],
            "hours": [
                f"heat.{day}.{hour}" if f"heat.{day}.{hour}" in section else None
                for hour in range(24)
            ],
        }
        for day in range(7)
    ]


def _trend(report: Report, section: Section) -> list[dict[str, Any]]:
    return [
        {
            "days": words.days(report.begin_ms - back * WEEK_MS),
            "is_known": f"trend.{back}.calls" in section,
            "names": [f"trend.{back}.{what}" for what in ("calls", "real", "false", "median")],
        }
        for back in range(TREND_WEEKS + 1)
    ]


def cases_of(report: Report, section: Section) -> list[dict[str, Any]]:
    """The calls for help of the week, with what people wrote."""
    return [case_of(report, alarm_id) for alarm_id in section["calls.panic"].ids]


def case_of(report: Report, alarm_id: str) -> dict[str, Any]:
    """One call in words."""
    case = report.cases[alarm_id]
    answered = case.took_ms("press_acknowledged")
    there = case.took_ms("press_on_scene")
    return {
        "case": case,
        "post": post_name(report, case.post),
        "at": words.moment(case.raised_ms),
        "kind": words.KINDS[case.kind],
        "outcome": words.OUTCOMES[case.ended],
        "answered": "" if answered is None else words.duration(answered),
        "there": "" if there is None else words.duration(there),
        "remarks": [(words.moment(one.at_ms), one) for one in case.remarks],
    }


def post_name(report: Report, post: str) -> str:
    """A post's name; its id where nobody has registered it."""
    known = report.posts.get(post)
    return known.name if known else post


# --- the events of a number ---------------------------------------------------------------------


@require_GET
@never_cache
@needs("anev")
def events(request: HttpRequest, week: str, number: int) -> HttpResponse:
    """What is behind one number."""
    look = _look(request, week, number)
    report, name = look.report, request.GET.get("number", "")
    found = report.number(look.scope.key, name)
    if found is None:
        raise Http404
    page = {
        "report": report,
        "edition": look.edition,
        "week": report.week,
        "number": number,
        "scope": look.scope.key,
        "name": words.scope_name(report, look.scope.key),
        "days": words.days(report.begin_ms),
        "label": words.label(name, report.limits),
        "value": words.value(found),
        "events": len(found.ids),
        "alarms": [case_of(report, one) for one in found.ids] if found.of == "alarm" else [],
        "posts": _posts(report, found) if found.of == "post" else [],
        "faults": _faults(report, found) if found.of == "fault" else [],
        "visits": _visits(report, found) if found.of == "visit" else [],
    }
    return render(request, "anev/events.html", page)


def _posts(report: Report, found: Number) -> list[dict[str, Any]]:
    posts = [report.posts[one] for one in found.ids]
    return [
        {
            "post": one.post,
            "name": one.name,
            "proven": "" if one.proven_ms is None else words.moment(one.proven_ms),
            "pressed": "" if one.pressed_ms is None else words.moment(one.pressed_ms),
            "is_heard": one.is_heard,
        }
        for one in posts
    ]


def _faults(report: Report, found: Number) -> list[dict[str, Any]]:
    lives = [report.faults[one] for one in found.ids]
    return [
        {
            "post": post_name(report, one.post),
            "fault": words.fault_words(one.fault),
            "raised": words.moment(one.raised_ms),
            "cleared": "" if one.cleared_ms is None else words.moment(one.cleared_ms),
        }
        for one in lives
    ]


def _visits(report: Report, found: Number) -> list[dict[str, Any]]:
    visits = [report.visits[one] for one in found.ids]
    return [
        {
            "visit": one.visit_id,
            "officer": words.scope_name(report, f"officer/{one.officer}"),
            "kelurahan": words.scope_name(report, f"kel/{one.kelurahan}") if one.kelurahan else "",
            "post": post_name(report, one.post) if one.post else "",
            "at": words.moment(one.at_ms),
        }
        for one in visits
    ]


# --- plots --------------------------------------------------------------------------------------


@require_GET
@never_cache
@needs("anev")
def plot(request: HttpRequest, week: str, number: int, name: str) -> HttpResponse:
    """A plot as SVG."""
    if name not in _PLOTS:
        raise Http404
    look = _look(request, week, number)
    drawing = drawing_of(name, look.report, look.section)
    return HttpResponse(
        plots.svg(drawing, plot_words(name)), content_type="image/svg+xml; charset=utf-8"
    )


def drawing_of(name: str, report: Report, section: Section) -> Drawing:
    """One of the plots."""
    plots.register_fonts()
    if name == "heat":
        return plots.heat(section)
    return plots.trend(report, section) if name == "trend" else plots.times(report, section)


def plot_words(name: str) -> str:
    """What a plot shows."""
    return {
        "heat": _("Calls for help by hour and weekday, in thirteen weeks"),
        "trend": _("Calls for help in thirteen weeks"),
        "times": _("How long each step took"),
    }[name]
