"""The pages of signing in: password, one-time code, a new password."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from mcc.people import codes
from mcc.people.gate import before_code, before_password, owes_code, person
from mcc.people.signing import say_who


class SignIn(views.LoginView):
    """Name and password."""

    template_name = "people/sign_in.html"

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Let them in."""
        response = super().form_valid(form)
        say_who(response, person(self.request))
        return response


@method_decorator(before_code, name="dispatch")
class SignOut(views.LogoutView):
    """Ends the session; a shift goes on until it is ended."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Let them go."""
        response = super().post(request, *args, **kwargs)
        say_who(response, None)
        return response


# Django marks its own sign-out page as open to everybody; nobody is signed out by a link.
sign_in = SignIn.as_view()
sign_out = SignOut.as_view(next_page="people-sign-in")


def locked(
    request: HttpRequest, _response: HttpResponse | None, _credentials: dict[str, Any] | None
) -> HttpResponse:
    """What axes answers for an account that is shut out."""
    shown = {"minutes": settings.MCC.people.locked_minutes}
    return render(request, "people/locked.html", shown, status=429)


@before_code
@never_cache
@require_http_methods(["GET", "POST"])
def code(request: HttpRequest) -> HttpResponse:
    """A one-time code for this session."""
    user = person(request)
    if not codes.has_app(user):
        return HttpResponseRedirect(f"{reverse('people-code-app')}?{request.GET.urlencode()}")
    wrong = ""
    if request.method == "POST":
        if codes.give(request, user, _typed(request)):
            return HttpResponseRedirect(_wanted(request))
        wrong = _("This code is not right, or was used already. Wait for the next one.")
    return render(request, "people/code.html", {"wrong": wrong}, status=403 if wrong else 200)


@before_code
@never_cache
@require_http_methods(["GET", "POST"])
def code_app(request: HttpRequest) -> HttpResponse:
    """Set up an app that makes codes."""
    user = person(request)
    has_app = codes.has_app(user)
    if has_app and owes_code(request, user):
        return HttpResponseRedirect(reverse("people-code"))
    wrong = ""
    if request.method == "POST":
        if codes.set_up(request, user, _typed(request)):
            return HttpResponseRedirect(_wanted(request))
        wrong = _("This code is not right. Is the clock of the phone right?")
    key = codes.new_key(request)
    shown = {
        "wrong": wrong,
        "has_app": has_app,
        "key": codes.as_text(key),
        "picture": codes.as_picture(user, key),
    }
    return render(request, "people/code_app.html", shown, status=403 if wrong else 200)


class _OwnPassword(PasswordChangeForm):
    """The present password and the new one twice."""

    def save(self, commit: bool = True) -> Any:
        """Keep it as one that its owner chose."""
        self.user.password_given = False
        return super().save(commit)


@method_decorator([before_password, never_cache], name="dispatch")
class Password(views.PasswordChangeView):
    """A new password; every other session of the account ends."""

    template_name = "people/password.html"
    form_class = _OwnPassword

    def get_success_url(self) -> str:
        """Where the person wanted to go."""
        return _wanted(self.request)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Whether somebody else chose the present password."""
        given = person(self.request).password_given
        return super().get_context_data(password_given=given, **kwargs)


def _typed(request: HttpRequest) -> str:
    return request.POST.get("code", "").replace(" ", "")


def _wanted(request: HttpRequest) -> str:
    """The page of this site that was asked for first, or the console."""
    wanted = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else "/"
