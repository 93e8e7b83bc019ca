"""The session's cookie: taken away by signing out, and by nothing else.

Django takes it away with every answer to a request whose session has ended. A page asks all the
time; such an answer that comes just after a log-in in another tab would take the new session's
cookie, and whoever has logged in would be out again without a word. What is left in the browser
opens nothing.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse


class Sessions(SessionMiddleware):
    """Middleware: Django's own, but an answer to an ended session leaves the cookie alone."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save what has changed."""
        # Signing out empties a session: a change. One that was not found has none.
        was_ended_here = request.session.modified
        response = super().process_response(request, response)
        held = response.cookies.get(settings.SESSION_COOKIE_NAME)
        if held is not None and not held.value and not was_ended_here:
            del response.cookies[settings.SESSION_COOKIE_NAME]
        return response
