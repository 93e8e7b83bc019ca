"""The webhook out: every alarm that changes, in order, to each hook, until it has taken it.

A hook has a cursor in the feed of changes; it moves only after the receiver has said 2xx, so
nothing is left out and a crash in between says something twice. What is sent is the alarm as it
stands: a receiver merges by `alarm_id`. Signed with HMAC-SHA256 over time and body.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from mcc.api.models import Hook
from mcc.api.shapes import alarm_of
from mcc.cases import picture
from mcc.cases.models import Change, Store

BATCH_MAX = 50
TIMEOUT_S = 10.0
LEASE_MS = 60_000
PAUSE_MS = 2_000
PAUSE_MS_MAX = 600_000
# From so many failures on it is a fault of the command centre.
FAILURES_SHOWN = 3
FAULT = "webhook_undelivered"
SIGNATURE = "Kentongan-Signature"


@dataclass(frozen=True)
class Parcel:
    """What goes to one hook now; `upto` is its cursor once it was taken."""

    hook: Hook
    upto: int
    body: bytes


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Go nowhere else: what is sent is for this address."""
        return


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


def due(now_ms: int) -> list[int]:
    """The hooks that have something to say now."""
    store = Store.objects.first()
    rows = Hook.objects.filter(enabled=True, next_ms__lte=now_ms)
    return list(rows.filter(cursor__lt=store.sequence if store else 0).values_list("pk", flat=True))


def claim(pk: int, now_ms: int) -> Parcel | None:
    """Take what one hook is to be told; nobody else gets it until the lease is over.

    None: another worker has it, or nothing of it concerns alarms (then the cursor moves on).
    """
    hook = Hook.objects.filter(pk=pk, enabled=True, next_ms__lte=now_ms).first()
    store = Store.objects.first()
    if hook is None or store is None or hook.cursor >= store.sequence:
        return None
    rows = Change.objects.filter(sequence__gt=hook.cursor).order_by("sequence")
    lines = list(rows.values_list("sequence", "kind", "key")[: BATCH_MAX * 4])
    # The feed keeps its newest lines only: whoever was away for longer asks for the whole.
    missed = not lines or lines[0][0] != hook.cursor + 1
    upto = lines[-1][0] if lines else store.sequence
    keys = list(dict.fromkeys(key for _sequence, kind, key in lines if kind == "alarm"))[:BATCH_MAX]
    if len(keys) == BATCH_MAX:
        upto = next(number for number, kind, key in lines if kind == "alarm" and key == keys[-1])
    mine = Hook.objects.filter(pk=pk, cursor=hook.cursor, next_ms=hook.next_ms)
    if not keys and not missed:
        mine.update(cursor=upto)
        return None
    if mine.update(next_ms=now_ms + LEASE_MS) != 1:
        return None
    hook.next_ms = now_ms + LEASE_MS
    alarms = picture.alarm_pictures(keys)
    told = {
        "sequence": upto,
        "missed": missed,
        "alarms": [alarm_of(alarms[key]) for key in keys if key in alarms],
    }
    return Parcel(hook, upto, msgspec.json.encode(told))


def deliver(parcel: Parcel, now_ms: int) -> bool:
    """Send it and note what became of it; whether it was taken."""
    why = _post(parcel, now_ms)
    mine = Hook.objects.filter(
        pk=parcel.hook.pk, cursor=parcel.hook.cursor, next_ms=parcel.hook.next_ms
    )
    if why is None:
        mine.update(cursor=parcel.upto, next_ms=0, failures=0, why="")
        return True
    failures = parcel.hook.failures + 1
    pause_ms = min(PAUSE_MS_MAX, PAUSE_MS << min(failures - 1, 16))
    mine.update(failures=failures, next_ms=now_ms + pause_ms, why=why[:200])
    return False


def failing() -> str:
    """The names of the hooks that have failed for a while; empty when there is none."""
    rows = Hook.objects.filter(enabled=True, failures__gte=FAILURES_SHOWN)
    return ", ".join(rows.values_list("name", flat=True))


def _post(parcel: Parcel, now_ms: int) -> str | None:
    """None, or why it was not taken."""
    request = urllib.request.Request(
        parcel.hook.url,
        data=parcel.body,
        method="POST",
        headers={
            "Content-Type": "application/json",
            "User-Agent": "kentongan",
            SIGNATURE: signature(parcel.hook.secret, now_ms // 1000, parcel.body),
        },
    )
    try:
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def signature(secret: str, at_s: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: the HMAC-SHA256 of `SECONDS.BODY` under the hook's secret."""
    said = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={said}"


def check_url(url: str) -> None:
    """Refuse an address to which alarms would go in the clear.

    Raises:
        ValidationError: it is neither https nor this machine itself.
    """
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    host = parts.hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if parts.scheme != "http" or not is_here:
        raise ValidationError(_("Only https, or http to this machine itself."))


def newest() -> int:
    """Where the cursor of a new hook begins: with what changes from now on."""
    store = Store.objects.first()
    return store.sequence if store else 0


def wall_ms() -> int:
    """Now, Unix milliseconds."""
    return time.time_ns() // 1_000_000
