"""The feed as server-sent events: one stream, what its reader may see, from where it left off.

An event's id is the number of the newest change in it, so that a browser that comes back names
what it has. Heartbeats (`pulse`) let the page know that it is live; without them it must not look
so. It reads and never writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from mcc.cases.changes import reading
from mcc.cases.models import Store
from mcc.cases.picture import case_of
from mcc.console.hub import Hub, Pulse, Step, Steps, steps_after
from mcc.console.seen import Sight, sight_of
from mcc.people.models import User
from process.log import log

# How often a stream asks whether its reader may still see what it sees.
CHECK_S = 30.0
RETRY_MS = 1_000
_READERS = ("console", "phone", "cases")

hub = Hub()


async def stream(request: HttpRequest) -> HttpResponseBase:
    """Everything that changes, as it changes, for a console or a telephone."""
    user = await request.auser()
    if not isinstance(user, User) or not _may_read(user):
        return HttpResponse(status=403)
    after = _number(request.headers.get("Last-Event-ID") or request.GET.get("after"))
    # A stream must not keep a database connection for as long as it is open.
    await sync_to_async(connections.close_all)()
    response = StreamingHttpResponse(_events(request, after), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


async def _events(request: HttpRequest, after: int) -> AsyncIterator[bytes]:
    """The stream's bytes; ends when the hub ends it or the reader may see nothing any more."""
    one = hub.subscribe()
    if one is None:
        # The browser asks again by itself.
        yield f"retry: {RETRY_MS * 5}\n\n".encode()
        return
    try:
        yield f"retry: {RETRY_MS}\n\n".encode()
        try:
            seen, missed = await sync_to_async(_begin)(request, after)
        except Error as error:
            log("stream_refused", level="warning", why=str(error))
            return
        # The whole picture is there for whoever is too far behind: that is what `reset` asks for.
        yield _written(missed, seen) if missed.steps is not None else _reset(missed.sequence)
        sent = missed.sequence
        check_due_s = time.monotonic() + CHECK_S
        while True:
            item = await one.take()
            if isinstance(item, str):
                return
            if isinstance(item, Pulse):
                yield _event("pulse", _pulse(item, seen))
            elif item.sequence > sent:
                sent = item.sequence
                # A case near the border, or one with which help is asked for, widens what is seen;
                # and no case goes to whoever may see it no more.
                if seen.posts is not None and any(one.kind == "alarm" for one in item.steps):
                    check_due_s = 0.0
                else:
                    yield _written(item, seen)
            if time.monotonic() >= check_due_s:
                before, seen = seen, await sync_to_async(_seen)(request)
                if seen != before:
                    yield _reset(sent)
                elif not check_due_s and isinstance(item, Steps):
                    yield _written(item, seen)
                check_due_s = time.monotonic() + CHECK_S
    except (_Gone, asyncio.CancelledError):
        return
    finally:
        hub.unsubscribe(one)


class _Gone(Exception):
    """The account or the session is no more."""


def _may_read(user: User) -> bool:
    return any(user.has_right(right) for right in _READERS)


def _begin(request: HttpRequest, after: int) -> tuple[Sight, Missed]:
    """What the reader sees, and what it has missed; on a thread of Django's."""
    seen = _seen(request)
    try:
        with reading():
            store = Store.objects.first()
            newest = store.sequence if store else 0
            return seen, Missed(newest, steps_after(after, newest))
    finally:
        connections.close_all()


class Missed(msgspec.Struct, frozen=True):
    """What a stream begins with; `steps` is None when it is too much or not known any more."""

    sequence: int
    steps: tuple[Step, ...] | None


def _seen(request: HttpRequest) -> Sight:
    """What the reader may see now.

    Raises:
        _Gone: nothing at all.
    """
    try:
        if not request.session.exists(request.session.session_key or ""):
            raise _Gone
        # Its row stays until somebody clears it away.
        if request.session.get_expiry_age() <= 0:
            raise _Gone
        user = get_user(request)
        if not isinstance(user, User) or not _may_read(user):
            raise _Gone
        return sight_of(user)
    finally:
        connections.close_all()


def _written(steps: Steps | Missed, seen: Sight) -> bytes:
    shown = [
        b'{"kind":%b,"key":%b,"value":%b}'
        % (msgspec.json.encode(one.kind), msgspec.json.encode(one.key), _value(one, seen))
        for one in steps.steps or ()
        if (seen.posts is None or one.post is None or one.post in seen.posts)
        and (one.kind == "alarm" or not seen.only_cases)
    ]
    return _event("step", b"[" + b",".join(shown) + b"]", steps.sequence)


def _value(step: Step, seen: Sight) -> bytes:
    if not seen.only_cases or step.post is None:
        return step.value
    return msgspec.json.encode(case_of(msgspec.json.decode(step.value)))


def _reset(sequence: int) -> bytes:
    return _event("reset", b"{}", sequence)


def _pulse(pulse: Pulse, seen: Sight) -> bytes:
    said: dict[str, Any] = {
        "user_id": seen.user_id,
        "sequence": pulse.sequence,
        "at_ms": time.time_ns() // 1_000_000,
        "database": pulse.database,
    }
    if not seen.only_cases:
        said |= {"processes": pulse.processes, "gateways": pulse.gateways}
    return msgspec.json.encode(said)


def _event(name: str, data: bytes, sequence: int | None = None) -> bytes:
    number = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%bevent: %b\ndata: %b\n\n" % (number, name.encode(), data)
