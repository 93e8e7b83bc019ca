"""What is held about one person: looked for, exported, removed, by whoever answers for it.

Whom somebody looks for travels in bodies of requests only: addresses stand in histories and logs.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from mcc.cases.actions import Refused
from mcc.cases.changes import changes
from mcc.people.address import client_address
from mcc.people.gate import needs, person
from mcc.visits import personal
from mcc.visits.record import write_down

# Rows of a page; what is ticked on one is carried to the next.
HITS_MAX = 100


@never_cache
@require_http_methods(["GET", "POST"])
@needs("visits")
def look(request: HttpRequest) -> HttpResponse:
    """The form, and what it finds; that somebody looked is in the record, and not for whom."""
    if request.method != "POST":
        return _page(request)
    try:
        found = personal.find(_needle(request))
    except Refused as error:
        messages.error(request, error.why)
        return _page(request)
    count = len(found.hits) + sum(map(len, found.kept.values()))
    with changes() as change:
        address = client_address(request)
        write_down(person(request), "person_looked_for", change.at_ms, address, rows=count)
    return _page(request, found)


@never_cache
@require_POST
@needs("visits")
def remove(request: HttpRequest) -> HttpResponse:
    """Remove what was chosen, when the box that says so is ticked."""
    try:
        if not request.POST.get("sure"):
            raise Refused("wrong", _("Tick the box: what is removed does not come back."))
        needle = _needle(request)
        done = personal.remove(
            person(request),
            needle,
            _chosen(request),
            reference=_reference(request),
            address=client_address(request),
        )
        said = _("Removed: %(count)s rows. Below is what is still there.")
        messages.success(request, said % {"count": done.total()})
        found = personal.find(needle)
    except Refused as error:
        messages.error(request, error.why)
        return _again(request)
    return _page(request, found)


@never_cache
@require_POST
@needs("visits")
def export(request: HttpRequest) -> HttpResponse:
    """What was chosen, as one file."""
    try:
        made = personal.export(
            person(request),
            _needle(request),
            _chosen(request),
            request.POST.getlist("kept"),
            reference=_reference(request),
            address=client_address(request),
        )
    except Refused as error:
        messages.error(request, error.why)
        return _again(request)
    answer = HttpResponse(made, content_type="application/zip")
    answer.headers["Content-Disposition"] = 'attachment; filename="person.zip"'
    return answer


def _needle(request: HttpRequest) -> personal.Needle:
    return personal.Needle(request.POST.get("name", ""), request.POST.get("phone", ""))


def _reference(request: HttpRequest) -> str:
    return " ".join(request.POST.get("reference", "").split())


def _chosen(request: HttpRequest) -> list[str]:
    """What is ticked on the page, and in one field what was on others: fields are bounded."""
    return request.POST.getlist("hit") + request.POST.get("elsewhere", "").split()


def _again(request: HttpRequest) -> HttpResponse:
    """The page with what was typed and chosen, after a refusal."""
    try:
        return _page(request, personal.find(_needle(request)))
    except Refused:
        return _page(request)


def _page(request: HttpRequest, found: personal.Found | None = None) -> HttpResponse:
    visits = settings.MCC.visits
    before_ms = time.time_ns() // 1_000_000 - visits.keep_days * personal.DAY_MS
    hits = found.hits if found else []
    here = Paginator(hits, HITS_MAX).get_page(request.POST.get("page"))
    chosen = set(_chosen(request))
    shown = {one.choice for one in here}
    elsewhere = [one.choice for one in hits if one.choice in chosen - shown]
    page: dict[str, Any] = {
        "found": found,
        "hits": here,
        "elsewhere": " ".join(elsewhere),
        "elsewhere_count": len(elsewhere),
        "kept": _kept(found),
        "name": request.POST.get("name", ""),
        "phone": request.POST.get("phone", ""),
        "reference": request.POST.get("reference", ""),
        "chosen": chosen,
        "chosen_kept": request.POST.getlist("kept"),
        "not_covered": personal.NOT_COVERED,
        "keep_days": visits.keep_days,
        "expired": personal.expired(before_ms).count(),
    }
    return render(request, "visits/person.html", page)


def _kept(found: personal.Found | None) -> list[dict[str, Any]]:
    """By table, with how many and why."""
    return [
        {"label": source.label, "count": len(rows), "why": source.kept}
        for source, rows in (found.kept.items() if found else ())
    ]
