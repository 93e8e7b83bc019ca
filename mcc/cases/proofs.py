"""The page of the proofs, for technicians and supervisors: which posts have shown that they work.

A post is proven by a self-test that passed and exercised its button, or by a person's presses that
came here. What is listed is overdue: a visit and a walk test (docs/technician.en.md) mend it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from mcc.cases.models import Alarm, PostDocument
from mcc.people.gate import needs
from mcc.registers.models import Post
from mcc.visits.checks import unheard
from protocol.messages import MccPost
from protocol.values import wall_ms

LISTED_MAX = 500
_DAY_MS = 86_400_000
_POST = msgspec.json.Decoder(MccPost)

FAILURES = {
    "circuit_dead": _("the button's circuit is dead"),
    "disk_failing": _("the post's memory card did not take it"),
    "missed": _("the post is heard and made no self-test"),
    "gateway_deaf": _("the gateway did not take the post's alarm"),
    "mcc_deaf": _("this command centre gave no receipt"),
    "responder_dead": _("this command centre did not answer"),
    "unconfirmed": _("the post did not confirm the answer"),
}
CIRCUITS = {
    "looped": _("pressed by the loop-back"),
    "levels": _("both contacts at rest"),
    "unproven": _("cannot be tested by itself"),
    "dead": _("dead"),
}


@require_GET
@never_cache
@needs("proofs")
def shown(request: HttpRequest) -> HttpResponse:
    """The three lists, as a page or, when asked for, as JSON."""
    now_ms = time.time_ns() // 1_000_000
    limits = settings.MCC.proofs
    posts = _posts()
    failed = [one for one in posts if one["failed"] is not None]
    not_proven = _older(posts, "proven_ms", now_ms - limits.not_proven_days * _DAY_MS)
    not_pressed = _older(posts, "pressed_ms", now_ms - limits.not_pressed_days * _DAY_MS)
    lists = {"failed": failed, "not_proven": not_proven, "not_pressed": not_pressed}
    lists["unheard"] = _unheard(posts)
    data: dict[str, Any] = {
        "at_ms": now_ms,
        "posts": len(posts),
        "not_proven_days": limits.not_proven_days,
        "not_pressed_days": limits.not_pressed_days,
        **{name: listed[:LISTED_MAX] for name, listed in lists.items()},
        "left_out": {name: max(0, len(listed) - LISTED_MAX) for name, listed in lists.items()},
    }
    if "application/json" in request.headers.get("Accept", ""):
        return JsonResponse(data)
    for one in posts:
        one["failure"] = FAILURES.get(one["failed"] or "", one["failed"])
        one["circuit_word"] = CIRCUITS.get(one["circuit"] or "", one["circuit"])
    return render(request, "cases/proofs.html", {**data, "listed_max": LISTED_MAX})


def _older(posts: Iterable[dict[str, Any]], what: str, before_ms: int) -> list[dict[str, Any]]:
    """Never, then the longest ago."""
    old = [one for one in posts if one[what] is None or one[what] < before_ms]
    return sorted(old, key=lambda one: one[what] or 0)


def _unheard(posts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where an officer says that the button was pressed, and nothing came."""
    pressed = {one["post"]: one["pressed_ms"] for one in posts if one["pressed_ms"] is not None}
    claims = unheard(pressed)
    return [
        {**one, "claimed_ms": claims[one["post"]].visited_ms, "by": claims[one["post"]].officer}
        for one in posts
        if one["post"] in claims
    ]


def _posts() -> list[dict[str, Any]]:
    """Every post that register or a gateway knows; times are Unix milliseconds."""
    names = dict(Post.objects.values_list("post_id", "name"))
    presses = Alarm.objects.filter(kind__in=("panic", "test")).values_list("post")
    pressed = dict(presses.annotate(latest=Max("raised_ms")))
    said: dict[str, MccPost] = {}
    for post, body in PostDocument.objects.values_list("post", "body").iterator():
        try:
            said[post] = _POST.decode(body)
        except (msgspec.MsgspecError, ValueError):
            continue  # its next document takes the place of this row
    return [
        _proof(post, names.get(post), said.get(post), pressed.get(post))
        for post in sorted({*names, *said})
    ]


def _proof(
    post: str, name: str | None, said: MccPost | None, pressed_ms: int | None
) -> dict[str, Any]:
    test = said.selftest if said else None
    proven = [
        _ms(test.proven_at) if test else None,
        pressed_ms,
    ]
    return {
        "post": post,
        "name": name or (said.name if said else None) or post,
        "connection": said.connection if said else None,
        "proven_ms": max((one for one in proven if one is not None), default=None),
        "pressed_ms": pressed_ms,
        "tested_ms": _ms(test.ended_at) if test else None,
        "failed": test.failed if test else None,
        "circuit": test.circuit if test else None,
        "on_disk": test.on_disk if test else None,
        "disk_ms": test.disk_ms if test else None,
        "received_ms": _ms(test.received_at) if test else None,
        "delivered_ms": _ms(test.delivered_at) if test else None,
        "answered_ms": _ms(test.answered_at) if test else None,
        "lamp": test.lamp if test else None,
        "confirmed_ms": test.confirmed_ms if test else None,
    }


def _ms(text: str | None) -> int | None:
    return None if text is None else wall_ms(text)
