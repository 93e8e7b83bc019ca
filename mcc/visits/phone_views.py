"""The officer's page on a telephone, which works without a network, and what it speaks to.

The page is kept by its service worker and its visits wait in the browser (`static/visits/`); here
is what it loads and where it sends. Answers to it are JSON, also refusals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django.views.i18n import JavaScriptCatalog

from mcc.cases.actions import Refused
from mcc.people.address import client_address
from mcc.people.gate import needs, person
from mcc.people.signing import WHO_COOKIE, say_who
from mcc.registers.models import Kelurahan, Post
from mcc.visits.intake import FOLLOW_UPS_MAX, PHOTO_SIDE_PIXELS_MAX, receive
from mcc.visits.models import Visit

# What may wait on one telephone.
QUEUE_MAX = 50
# Nothing that a browser has drawn anew is larger; a file that is, is not even looked at.
FILE_BYTES_MAX = 25 * 1024 * 1024
_STATUS = {"not_allowed": 403, "already": 409, "wrong": 400, "full": 503}
_WORKER = Path(__file__).with_name("static") / "visits" / "worker.js"

words = login_not_required(JavaScriptCatalog.as_view(packages=["mcc.visits"]))


@require_GET
@never_cache
@needs("visit")
def phone(request: HttpRequest) -> HttpResponse:
    """The form and what is not sent yet."""
    user = person(request)
    own = user.officer.kelurahan if user.officer else None
    page = {
        "own": own,
        "is_officer": user.officer is not None,
        "wards": Kelurahan.objects.order_by("name"),
        "kinds": Visit.Kind.choices,
        "purposes": Visit.Purpose.choices,
        "config": _config(user.pk, user.label),
    }
    return _saying_who(request, render(request, "visits/phone.html", page))


def _config(user_id: int, name: str) -> dict[str, Any]:
    posts = Post.objects.exclude(kelurahan=None).order_by("name")
    return {
        "user_id": user_id,
        "user": name,
        "me": reverse("visits-me"),
        "send": reverse("visits-send"),
        "queue_max": QUEUE_MAX,
        "side_pixels": PHOTO_SIDE_PIXELS_MAX,
        "file_bytes_max": FILE_BYTES_MAX,
        "follow_ups_max": FOLLOW_UPS_MAX,
        "posts": [
            {"id": post, "name": name, "kelurahan": ward}
            for post, name, ward in posts.values_list("post_id", "name", "kelurahan_id")
        ],
    }


@login_not_required
@require_GET
def worker(_request: HttpRequest) -> HttpResponse:
    """What keeps the page on the telephone; its address says how far it reaches: /visits/phone/."""
    answer = HttpResponse(_WORKER.read_bytes(), content_type="text/javascript; charset=utf-8")
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@require_GET
@never_cache
@needs("visit")
def me(request: HttpRequest) -> HttpResponse:
    """Who is signed in just now, and the token that a kept page cannot know."""
    user = person(request)
    said = {"user_id": user.pk, "user": user.label, "csrf": get_token(request)}
    return _saying_who(request, JsonResponse(said))


def _saying_who(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    user = person(request)
    # An answer that comes late must not take back what a sign-out has said meanwhile.
    if request.COOKIES.get(WHO_COOKIE) != str(user.pk):
        say_who(response, user)
    return response


@require_POST
@never_cache
@needs("visit")
def send(request: HttpRequest) -> HttpResponse:
    """Keep one visit: `visit` (JSON, `intake.Sent`), `photo` and `signature` where there are any.

    Answers 200 only when it is on disk.
    """
    try:
        visit = receive(
            person(request),
            request.POST.get("visit", "").encode(),
            _file(request, "photo"),
            _file(request, "signature"),
            address=client_address(request),
        )
    except Refused as error:
        answer = {"code": error.code, "why": error.why}
        return JsonResponse(answer, status=_STATUS.get(error.code, 400))
    return JsonResponse({"kept": str(visit.pk)})


def _file(request: HttpRequest, name: str) -> Any:
    sent = request.FILES.get(name)
    return sent if isinstance(sent, UploadedFile) else None
