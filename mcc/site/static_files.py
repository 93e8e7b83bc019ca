"""Scripts, styles and pictures of the pages, served by the site itself: no other server is needed.

WhiteNoise finds them and decides on caching and compression; it answers with a stream, which an
asynchronous server would read in a roundabout way. They are small: they are sent whole.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Middleware: answers what lies under STATIC_URL, before anybody is asked for an account."""

    @staticmethod
    def serve(static_file: object, request: HttpRequest) -> HttpResponse:
        """The file, or what there is to say of it (304, 206, 405)."""
        streamed = WhiteNoiseMiddleware.serve(static_file, request)
        whole = HttpResponse(b"".join(streamed.streaming_content), status=streamed.status_code)
        del whole.headers["Content-Type"]
        for name, value in streamed.items():
            whole.headers[name] = value
        streamed.close()
        return whole
