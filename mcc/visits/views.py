"""What has come from the officers' telephones, for themselves and for who supervises them.

Which visits somebody sees is `mcc.visits.access`' to say.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from mcc.cases.changes import changes
from mcc.people.address import client_address
from mcc.people.gate import needs, person
from mcc.visits.access import follow_ups_of, kelurahan_of, posts_of, visits_of
from mcc.visits.activity import activity as doings
from mcc.visits.checks import press_near
from mcc.visits.coverage import places, wards
from mcc.visits.record import write_down

_A_PAGE = 50
_FOLLOW_UPS_LISTED = 300
_PICTURES = ("photo", "signature")


@require_GET
@never_cache
@needs("visit", "visits")
def visits(request: HttpRequest) -> HttpResponse:
    """The visits that this person may see, the newest first; `kelurahan` narrows them down."""
    user = person(request)
    rows, ward = visits_of(user), request.GET.get("kelurahan", "")
    known = kelurahan_of(user).order_by("name")
    if ward in {one.code for one in known}:
        rows = rows.filter(kelurahan=ward)
    page = {
        "page": Paginator(rows, _A_PAGE).get_page(request.GET.get("page")),
        "wards": known,
        "chosen": ward,
    }
    return render(request, "visits/visits.html", page)


@require_GET
@never_cache
@needs("visit", "visits")
def visit(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One visit with its pictures and follow-ups."""
    one = get_object_or_404(visits_of(person(request)), pk=pk)
    press = press_near(one.post, one.visited_ms) if one.pressed else None
    return render(request, "visits/visit.html", {"visit": one, "press": press})


@require_GET
@never_cache
@needs("visit", "visits")
def picture(request: HttpRequest, pk: UUID, which: str) -> HttpResponse:
    """The photo or the signature of a visit that this person may see."""
    one = get_object_or_404(visits_of(person(request)), pk=pk)
    file = getattr(one, which) if which in _PICTURES else None
    if not file:
        raise Http404
    try:
        with file.open("rb") as opened:
            return HttpResponse(opened.read(), content_type="image/jpeg")
    except FileNotFoundError:
        raise Http404 from None


@require_GET
@never_cache
@needs("visit", "visits")
def follow_ups(request: HttpRequest) -> HttpResponse:
    """What is still to be done, the most urgent first."""
    rows = follow_ups_of(person(request)).filter(done_ms=None)
    shown = list(rows[: _FOLLOW_UPS_LISTED + 1])
    page = {
        "follow_ups": shown[:_FOLLOW_UPS_LISTED],
        "listed_max": _FOLLOW_UPS_LISTED if len(shown) > _FOLLOW_UPS_LISTED else None,
        "today": timezone.localdate(),
    }
    return render(request, "visits/follow_ups.html", page)


@require_POST
@needs("visit", "visits")
def follow_up_done(request: HttpRequest, pk: int) -> HttpResponse:
    """Somebody has done it; whoever says so second reads that it is done."""
    user = person(request)
    one = get_object_or_404(follow_ups_of(user), pk=pk)
    with changes() as change:
        waiting = follow_ups_of(user).filter(pk=pk, done_ms=None)
        if waiting.update(done_ms=change.at_ms, done_by=user):
            said = {"visit": str(one.visit_id), "follow_up": pk}
            write_down(user, "follow_up_done", change.at_ms, client_address(request), **said)
        else:
            messages.info(request, _("This is done already."))
    return HttpResponseRedirect(reverse("visits-follow-ups"))


@require_GET
@never_cache
@needs("visit", "visits")
def coverage(request: HttpRequest) -> HttpResponse:
    """Where nobody has been for long; on a map for whoever has the console's."""
    user, now_ms = person(request), time.time_ns() // 1_000_000
    span = {"now_ms": now_ms, "not_visited_days": settings.MCC.visits.not_visited_days}
    own_wards = wards(kelurahan_of(user), **span)
    own_posts = places(posts_of(user), **span)
    page = {
        "wards": own_wards,
        "posts": own_posts,
        "due_wards": sum(one.is_due for one in own_wards),
        "due_posts": sum(one.is_due for one in own_posts),
        "days": span["not_visited_days"],
        "map": _map(own_wards, own_posts) if user.has_right("console") else None,
    }
    return render(request, "visits/coverage.html", page)


def _map(own_wards: list[Any], own_posts: list[Any]) -> dict[str, Any]:
    mcc = settings.MCC.map
    return {
        "tiles": "/map/tiles/{z}/{x}/{y}" if mcc.pmtiles else mcc.tiles,
        "attribution": mcc.attribution,
        "areas": reverse("console-areas"),
        "latitude": mcc.latitude,
        "longitude": mcc.longitude,
        "zoom": mcc.zoom,
        "wards": [asdict(one) for one in own_wards],
        "posts": [
            {"name": one.name, "lat": one.lat, "lon": one.lon, "days": one.days}
            | {"is_due": one.is_due}
            for one in own_posts
            if one.lat is not None and one.lon is not None
        ],
    }


@require_GET
@never_cache
@needs("visits")
def activity(request: HttpRequest) -> HttpResponse:
    """What each officer does, and what of the assignment is missing."""
    now_ms = time.time_ns() // 1_000_000
    page = {"activity": doings(now_ms=now_ms, today=timezone.localdate())}
    return render(request, "visits/activity.html", page)
