"""What has come from the officers' telephones, for themselves and for who supervises them.

Which visits somebody sees is `mcc.visits.access`' to say.
"""

from __future__ import annotations

from uuid import UUID

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from mcc.people.gate import needs, person
from mcc.visits.access import kelurahan_of, visits_of

_A_PAGE = 50
_PICTURES = ("photo", "signature")


@require_GET
@never_cache
@needs("visit", "visits")
def visits(request: HttpRequest) -> HttpResponse:
    """The visits that this person may see, the newest first; `kelurahan` narrows them down."""
    user = person(request)
    rows, ward = visits_of(user), request.GET.get("kelurahan", "")
    if ward:
        rows = rows.filter(kelurahan=ward)
    page = {
        "page": Paginator(rows, _A_PAGE).get_page(request.GET.get("page")),
        "wards": kelurahan_of(user).order_by("name"),
        "chosen": ward,
    }
    return render(request, "visits/visits.html", page)


@require_GET
@never_cache
@needs("visit", "visits")
def visit(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One visit with its pictures and follow-ups."""
    one = get_object_or_404(visits_of(person(request)), pk=pk)
    return render(request, "visits/visit.html", {"visit": one})


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
