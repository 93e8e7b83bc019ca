"""The page of the figures, for supervisors: how soon calls are answered, call by call."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from mcc.alarms import AlarmRecord
from mcc.cases.models import Alarm
from mcc.escalation.figures import Answer, Figure, answer_of, figures
from mcc.people.gate import needs
from mcc.registers.models import Post

CALLS_MAX = 5_000
DAYS_MAX = 366
_DAYS = 30
_LISTED = 200
_DAY_MS = 86_400_000
_RECORD = msgspec.json.Decoder(AlarmRecord)


@require_GET
@never_cache
@needs("figures")
def shown(request: HttpRequest) -> HttpResponse:
    """The figures of the last `days` days, as a page or, when asked for, as JSON."""
    asked = request.GET.get("days", "")
    is_number = asked.isascii() and asked.isdigit() and len(asked) < 5
    days = min(max(int(asked), 1), DAYS_MAX) if is_number else _DAYS
    now_ms = time.time_ns() // 1_000_000
    rows = Alarm.objects.filter(kind="panic", raised_ms__gte=now_ms - days * _DAY_MS)
    bodies = list(rows.order_by("-raised_ms").values_list("body", flat=True)[: CALLS_MAX + 1])
    answers = [answer_of(_RECORD.decode(body)) for body in bodies[:CALLS_MAX]]
    found = figures(answers, settings.MCC.targets, now_ms)
    data: dict[str, Any] = {
        "days": days,
        "at_ms": now_ms,
        "is_cut": len(bodies) > CALLS_MAX,
        "unknown": found.unknown,
        "acknowledged": _as_object(found.acknowledged),
        "acknowledged_late": _as_object(found.acknowledged_late),
        "dispatched": _as_object(found.dispatched),
        "calls": [_call(one) for one in answers],
    }
    if "application/json" in request.headers.get("Accept", ""):
        return JsonResponse(data)
    listed = data["calls"][:_LISTED]
    names = dict(
        Post.objects.filter(post_id__in={one["post"] for one in listed}).values_list(
            "post_id", "name"
        )
    )
    for one in listed:
        one["post_name"] = names.get(one["post"], one["post"])
    return render(
        request, "escalation/figures.html", {**data, "listed": listed, "calls_max": CALLS_MAX}
    )


def _as_object(figure: Figure) -> dict[str, Any]:
    return {
        "seconds": figure.seconds,
        "within": figure.within,
        "counted": figure.counted,
        "percent": figure.percent,
        "target_percent": figure.target_percent,
        "is_missed": figure.is_missed,
    }


def _call(answer: Answer) -> dict[str, Any]:
    return {
        "alarm_id": answer.alarm_id,
        "post": answer.post,
        "pressed_ms": answer.pressed_ms,
        "answered_after_s": answer.answered_after_s,
        "sent_after_s": answer.sent_after_s,
    }
