"""What every answer tells the browser to refuse: scripts, styles and frames that are not ours.

Text that came over MQTT must not be able to script the page even where a template failed to
escape it. It never loosens for one view: a page that needs more is to be written differently.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


def content_policy(tiles: str | None) -> str:
    """The Content-Security-Policy; images may also come from the host of the map's tiles."""
    images = "'self' data: blob:"
    if tiles:
        parts = urlsplit(tiles)
        # `{s}` names one of several servers.
        host = parts.netloc.replace("{s}", "*")
        images += f" {parts.scheme}://{host}"
    return "; ".join(
        (
            "default-src 'self'",
            f"img-src {images}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class ContentPolicy:
    """Middleware, for synchronous and asynchronous views alike."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Take the next one in the chain."""
        self._get_response = get_response
        self._policy = content_policy(settings.MCC.map.tiles)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer with the headers put on."""
        if self._is_async:
            return self._call_async(request)
        response: HttpResponseBase = self._get_response(request)
        return self._with_headers(response)

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self._get_response(request)
        return self._with_headers(response)

    def _with_headers(self, response: HttpResponseBase) -> HttpResponseBase:
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(self)"
        return response
