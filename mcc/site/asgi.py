"""The application that uvicorn carries: Django, and the hub that its streams hang on.

Django knows no beginning and no end of a process; the hub's task needs both.
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

_django = get_asgi_application()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or live through the process's life."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _django(scope, receive, send)


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
