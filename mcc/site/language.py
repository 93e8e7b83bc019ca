"""Which language a page speaks: Indonesian, unless this browser has chosen another.

A browser's own preference is not asked: that of a control room's computer is often just the
language in which it was bought.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.deprecation import MiddlewareMixin


class ChosenLanguage(MiddlewareMixin):
    """Middleware: the language of the cookie that the page's own switch sets."""

    def process_request(self, request: HttpRequest) -> None:
        """Speak the chosen language until the answer is made."""
        chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME)
        known = dict(settings.LANGUAGES)
        language = chosen if chosen in known else settings.LANGUAGE_CODE
        translation.activate(language)
        # Read by templates and forms, as with Django's own middleware.
        request.LANGUAGE_CODE = language

    def process_response(
        self, _request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Say which language it is."""
        response.headers.setdefault("Content-Language", translation.get_language() or "")
        return response
