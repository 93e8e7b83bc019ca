"""The hand-over: who is on shift, what is open and whose it is, each item taken over by hand.

Plain forms, so that it works beside the console in a tab of its own; a program that asks for JSON
gets it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from mcc.cases.actions import Refused
from mcc.people import shifts
from mcc.people.address import client_address
from mcc.people.gate import needs, person
from mcc.people.models import User


@require_GET
@never_cache
@needs("console")
def shift(request: HttpRequest) -> HttpResponse:
    """The page, or the same as JSON."""
    now_ms = time.time_ns() // 1_000_000
    user = person(request)
    on = shifts.on_shift(now_ms)
    open_items = shifts.open_items(now_ms)
    shown = {
        "on_shift": [
            {"user_id": one.user_id, "name": one.user.label, "began_ms": one.began_ms} for one in on
        ],
        "is_on_shift": user.pk in {one.user_id for one in on},
        "items": [dataclasses.asdict(one) for one in open_items.items],
        "left_out": open_items.left_out,
    }
    if _wants_json(request):
        return JsonResponse(shown)
    others = [one for one in on if one.user_id != user.pk]
    page = {
        **shown,
        "others": others,
        "may_begin": user.may("shift_began"),
        "unanswered": ("raised", "received", "delivered"),
    }
    return render(request, "people/shift.html", page)


@require_POST
@needs("console")
def begin(request: HttpRequest) -> HttpResponse:
    """Begin the own shift."""
    return _do(request, lambda: shifts.begin(person(request), **_place(request)))


@require_POST
@needs("console")
def end(request: HttpRequest) -> HttpResponse:
    """End the own shift, handed to `to` (an account's number) when that is given."""
    to = request.POST.get("to", "")
    taker = User.objects.filter(pk=int(to)).first() if _is_number(to) else None
    anyway = bool(request.POST.get("anyway"))
    return _do(
        request,
        lambda: shifts.end(person(request), to=taker, anyway=anyway, **_place(request)),
    )


@require_POST
@needs("console")
def take(request: HttpRequest) -> HttpResponse:
    """Take over one item: `alarm_id` or `post`."""
    alarm_id, post = request.POST.get("alarm_id") or None, request.POST.get("post") or None
    return _do(
        request,
        lambda: shifts.take_over(person(request), alarm_id=alarm_id, post=post, **_place(request)),
    )


def _do(request: HttpRequest, what: Callable[[], Any]) -> HttpResponse:
    try:
        what()
    except Refused as error:
        if _wants_json(request):
            status = 403 if error.code == "not_allowed" else 409
            return JsonResponse({"code": error.code, "why": error.why}, status=status)
        if error.code == "not_allowed":
            return HttpResponse(error.why, status=403, content_type="text/plain; charset=utf-8")
        messages.error(request, error.why)
    if _wants_json(request):
        return JsonResponse({})
    return HttpResponseRedirect(reverse("people-shift"))


def _place(request: HttpRequest) -> dict[str, str]:
    return {"address": client_address(request), "screen": request.POST.get("screen", "")[:36]}


def _wants_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
