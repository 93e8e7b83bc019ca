"""Who gets through to a page: the one-time code, the password of one's own, the role's rights.

Runs after Django's own check that somebody has signed in, for every view that is not open to
everybody. It refuses; it never lets in whom Django has not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from mcc.people.models import User

# In the session: this person has to give a code though the role asks for none.
CODE_DUE = "code_due"
View = TypeVar("View", bound=Callable[..., Any])


class SignedIn(LoginRequiredMiddleware):
    """Middleware: Django's own, but nobody is led from the log-in page to where a form was sent."""

    def handle_no_permission(
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseRedirect:
        """To the log-in page."""
        return _to("people-sign-in", request)


class Gate(MiddlewareMixin):
    """Middleware: whoever owes a code or a password of the own gets to that page and no other."""

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., Any],
        _args: tuple[Any, ...],
        _kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        """Send on to what is owed, or let through."""
        if not getattr(view, "login_required", True):
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        if owes_code(request, user):
            return None if getattr(view, "before_code", False) else _to("people-code", request)
        if user.password_given and not getattr(view, "before_password", False):
            return _to("people-password", request)
        return None


def owes_code(request: HttpRequest, user: User) -> bool:
    """Whether a one-time code is still to come in this session."""
    due = user.role in settings.MCC.people.codes or request.session.get(CODE_DUE, False)
    return bool(due) and not user.is_verified()  # type: ignore[attr-defined]


def before_code(view: View) -> View:
    """Mark a view that has to answer before the one-time code was given."""
    view.before_code = view.before_password = True  # type: ignore[attr-defined]
    return view


def before_password(view: View) -> View:
    """Mark a view that has to answer before somebody has a password of the own."""
    view.before_password = True  # type: ignore[attr-defined]
    return view


def needs(*rights: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For views: whoever's role has none of these rights is refused."""

    def guard(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not any(person(request).has_right(right) for right in rights):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return guard


def person(request: HttpRequest) -> User:
    """Whoever has signed in.

    Raises:
        PermissionDenied: nobody has.
    """
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def _to(name: str, request: HttpRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{reverse(name)}?{urlencode({'next': _wanted(request)})}")


def _wanted(request: HttpRequest) -> str:
    """Where to go when all is well: what can be asked for again, else the page with the form."""
    if request.method == "GET":
        return request.get_full_path()
    came_from = urlsplit(request.headers.get("Referer", ""))
    return came_from.path if came_from.netloc == request.get_host() and came_from.path else "/"
