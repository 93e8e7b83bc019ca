"""The application that uvicorn carries: Django, and the hub that its streams hang on.

Django knows no beginning and no end of a process; the hub's task needs both. It also takes a body
of any size onto the disk before a view is asked: what is too large is refused here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.core.asgi import get_asgi_application

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

# The largest that is meant to come: a photo (`mcc.registers.photos`) and what is written to it.
BODY_BYTES_MAX = 16 * 1024 * 1024

_django = get_asgi_application()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or live through the process's life."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _answer(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Django's answer, or 413 as soon as the body is known to be too large."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        await _too_large(send)
        return
    taken = 0

    async def bounded() -> Mapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES_MAX:
            await _too_large(send)
            # Django gives up on a request whose sender has gone.
            return {"type": "http.disconnect"}
        return message

    await _django(scope, bounded, send)


async def _too_large(send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"too large"})


async def _live(receive: Receive, send: Send) -> None:
    from mcc.console.stream import hub

    await receive()
    following = asyncio.create_task(hub.follow())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    hub.end()
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await send({"type": "lifespan.shutdown.complete"})
