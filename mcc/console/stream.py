"""The feed as server-sent events: one stream, what its reader may see, from where it left off.

An event's id is the number of the newest change in it, so that a browser that comes back names
what it has. Heartbeats (`pulse`) let the page know that it is live; without them it must not look
so. It reads and never writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from mcc.cases.changes import reading
from mcc.cases.models import Store
from mcc.console.hub import Hub, Pulse, Step, Steps, steps_after
from mcc.console.seen import posts_seen
from mcc.people.models import User
from process.log import log

# How often a stream asks whether its reader may still see what it sees.
CHECK_S = 30.0
RETRY_MS = 1_000

hub = Hub()


async def stream(request: HttpRequest) -> HttpResponseBase:
    """Everything that changes, as it changes, for a console or a picket's telephone."""
    user = await request.auser()
    if not isinstance(user, User) or not (user.has_right("console") or user.has_right("phone")):
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
            posts, missed = await sync_to_async(_begin)(request, after)
        except Error as error:
            log("stream_refused", level="warning", why=str(error))
            return
        # The whole picture is there for whoever is too far behind: that is what `reset` asks for.
        yield _written(missed, posts) if missed.steps is not None else _reset(missed.sequence)
        sent = missed.sequence
        check_due_s = time.monotonic() + CHECK_S
        while True:
            item = await one.take()
            if isinstance(item, str):
                return
            if isinstance(item, Pulse):
                yield _event("pulse", _pulse(item))
            elif item.sequence > sent:
                sent = item.sequence
                # A case near the border, or one with which help is asked for, widens what is seen.
                if _is_beyond(item, posts):
                    check_due_s = 0.0
                else:
                    yield _written(item, posts)
            if time.monotonic() >= check_due_s:
                before, posts = posts, await sync_to_async(_seen)(request)
                if posts != before:
                    yield _reset(sent)
                elif not check_due_s and isinstance(item, Steps):
                    yield _written(item, posts)
                check_due_s = time.monotonic() + CHECK_S
    except (_Gone, asyncio.CancelledError):
        return
    finally:
        hub.unsubscribe(one)


class _Gone(Exception):
    """The account or the session is no more."""


def _begin(request: HttpRequest, after: int) -> tuple[frozenset[str] | None, Missed]:
    """Whose posts the reader sees, and what it has missed; on a thread of Django's."""
    posts = _seen(request)
    try:
        with reading():
            store = Store.objects.first()
            newest = store.sequence if store else 0
            return posts, Missed(newest, steps_after(after, newest))
    finally:
        connections.close_all()


class Missed(msgspec.Struct, frozen=True):
    """What a stream begins with; `steps` is None when it is too much or not known any more."""

    sequence: int
    steps: tuple[Step, ...] | None


def _seen(request: HttpRequest) -> frozenset[str] | None:
    """The posts that the reader may see now; None: all.

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
        if not isinstance(user, User) or not user.is_active:
            raise _Gone
        return posts_seen(user)
    finally:
        connections.close_all()


def _written(steps: Steps | Missed, posts: frozenset[str] | None) -> bytes:
    shown = [
        b'{"kind":%b,"key":%b,"value":%b}'
        % (msgspec.json.encode(one.kind), msgspec.json.encode(one.key), one.value)
        for one in steps.steps or ()
        if posts is None or one.post is None or one.post in posts
    ]
    return _event("step", b"[" + b",".join(shown) + b"]", steps.sequence)


def _is_beyond(steps: Steps, posts: frozenset[str] | None) -> bool:
    return posts is not None and any(
        one.kind == "alarm" and one.post is not None and one.post not in posts
        for one in steps.steps
    )


def _reset(sequence: int) -> bytes:
    return _event("reset", b"{}", sequence)


def _pulse(pulse: Pulse) -> bytes:
    return msgspec.json.encode(
        {
            "sequence": pulse.sequence,
            "at_ms": time.time_ns() // 1_000_000,
            "database": pulse.database,
            "processes": pulse.processes,
            "gateways": pulse.gateways,
        }
    )


def _event(name: str, data: bytes, sequence: int | None = None) -> bytes:
    number = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%bevent: %b\ndata: %b\n\n" % (number, name.encode(), data)
