"""The pages of the weekly analysis: the weeks, one edition for one scope, the events of a number.

Edition 0 of a week is its draft: made anew for each look, and stored nowhere. They word and ask;
what is counted stands in `figures`, who may see what in `editions`.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from mcc.anev import editions as made
from mcc.anev import mail, plots, sheets, tables, words
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
from mcc.anev.paper import paper_of
from mcc.cases.actions import Refused
from mcc.people.gate import needs, person

View = TypeVar("View", bound=Callable[..., HttpResponse])
WEEKS_LISTED = 14
EDITIONS_LISTED = 200
_FILES = {
    "pdf": ("pdf", "application/pdf"),
    "numbers": ("csv", "text/csv; charset=utf-8"),
    "cases": ("csv", "text/csv; charset=utf-8"),
    "xlsx": ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}
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
    page = {
        "weeks": weeks,
        "older": older,
        "may_make": person(request).has_right("anev_make"),
        "is_sent": bool(mail.targets(settings.MCC.anev)),
    }
    return render(request, "anev/editions.html", page)


@require_POST
@needs("anev_make")
def make(request: HttpRequest) -> HttpResponse:
    """Make the next edition of a week that is over."""
    told = mail.put_out if request.POST.get("send") else _tell_nobody
    try:
        begin_ms = week_named(request.POST.get("week", ""))
        edition = made.make(settings.MCC, begin_ms, _now_ms(), person(request), told)
    except ValueError:
        messages.error(request, _("There is no such week; one is written like 2026-W48."))
    except Refused as error:
        messages.error(request, error.why)
    else:
        return HttpResponseRedirect(reverse("anev-edition", args=[edition.week, edition.number]))
    return HttpResponseRedirect(reverse("anev"))


def _tell_nobody(_edition: Edition) -> None:
    """It was made to be looked at."""


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
        Refused: there are too many calls for a draft.
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
        except ValueError as error:
            raise Http404(str(error)) from None
        except Refused as error:
            if error.code == "full":
                raise
            raise Http404(error.why) from None
    scopes = made.scopes_of(person(request), report)
    wanted = request.GET.get("scope")
    scope = next((one for one in scopes if wanted in (None, "", one.key)), None)
    if scope is None:
        raise Http404
    return _Look(report, edition, scopes, scope)


def _or_why_not(view: View) -> View:
    """For views of one edition: what cannot be drafted is said on the page of the weeks."""

    @wraps(view)
    def said(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Refused as error:
            messages.error(request, error.why)
            return HttpResponseRedirect(reverse("anev"))

    return said  # type: ignore[return-value]


@require_GET
@never_cache
@needs("anev")
@_or_why_not
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
        "report_section": section,
        "summary": words.summary(report, section),
        "kinds": _kinds(),
        "outcomes": [(name, words.OUTCOMES[name]) for name in OUTCOMES],
        "times": [_time(section, step) for step in STEPS],
        "targets": [_target(report, name) for name in tables.TARGETS],
        "false_posts": tables.false_posts(report, section),
        "standing": sorted(name for name in section if name.startswith("posts.standing.")),
        "broken": tables.broken_posts(report, section),
        "heat": _heat(section),
        "trend": _trend(report, section),
        "cases": tables.cases_of(report, section),
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


def _target(report: Report, name: str) -> dict[str, str]:
    return {
        "words": words.target_words(name, report.limits),
        "counted": f"target.{name}.counted",
        "within": f"target.{name}.within",
        "percent": f"target.{name}.percent",
        "wanted": tables.wanted_percent(report, name),
    }


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


# --- the events of a number ---------------------------------------------------------------------


@require_GET
@never_cache
@needs("anev")
@_or_why_not
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
        "alarms": [tables.case_of(report, one) for one in found.ids] if found.of == "alarm" else [],
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
            "post": tables.post_name(report, one.post),
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
            "post": tables.post_name(report, one.post) if one.post else "",
            "at": words.moment(one.at_ms),
        }
        for one in visits
    ]


# --- files --------------------------------------------------------------------------------------


@require_GET
@never_cache
@needs("anev")
@_or_why_not
def file(request: HttpRequest, week: str, number: int, kind: str) -> HttpResponse:
    """One scope as a PDF, as CSV (numbers or cases), or as a workbook."""
    if kind not in _FILES:
        raise Http404
    look = _look(request, week, number)
    report, key = look.report, look.scope.key
    ending, content_type = _FILES[kind]
    if kind == "pdf":
        content = paper_of(report, key, look.edition)
    elif kind == "cases":
        content = sheets.csv_file(sheets.cases(report, key))
    else:
        allowed = {scope.key for scope in look.scopes}
        scopes = [one for one in made.within(report, key) if one.key in allowed]
        is_book = kind == "xlsx"
        lines = sheets.numbers(report, scopes)
        content = sheets.workbook(report, scopes) if is_book else sheets.csv_file(lines)
    answer = HttpResponse(content, content_type=content_type)
    which = re.sub(r"[^a-z0-9.]", "-", key)
    name = f"anev-{report.week}-{number or 'draft'}-{which}-{kind}.{ending}"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


# --- plots --------------------------------------------------------------------------------------


@require_GET
@never_cache
@needs("anev")
@_or_why_not
def plot(request: HttpRequest, week: str, number: int, name: str) -> HttpResponse:
    """A plot as SVG."""
    if name not in _PLOTS:
        raise Http404
    look = _look(request, week, number)
    drawing = plots.drawing_of(name, look.report, look.section)
    return HttpResponse(
        plots.svg(drawing, plots.plot_words(name)), content_type="image/svg+xml; charset=utf-8"
    )
