"""Signing in and out: how long a session lasts, whether a code is due, what is written down.

Connected to Django's and axes' signals, so that it holds however somebody signs in.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from axes.signals import user_locked_out
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from mcc.cases.changes import changes
from mcc.cases.models import Entry
from mcc.people.address import client_address
from mcc.people.gate import CODE_DUE
from mcc.people.models import User
from process.log import log

# Who is signed in in a browser, 0 for nobody, as its pages read it also without a network: a page
# that is kept there may be that of somebody before. It opens nothing.
WHO_COOKIE = "kentongan_who"
_WHO_S = 400 * 86_400


def connect() -> None:
    """Listen from now on."""
    user_logged_in.connect(_signed_in, dispatch_uid="mcc.signed_in")
    user_logged_out.connect(_signed_out, dispatch_uid="mcc.signed_out")
    user_login_failed.connect(_refused, dispatch_uid="mcc.sign_in_refused")
    user_locked_out.connect(_locked, dispatch_uid="mcc.locked_out")


def say_who(response: HttpResponseBase, user: User | None) -> None:
    """Let the browser remember who is signed in."""
    response.set_cookie(
        WHO_COOKIE,
        str(user.pk if user else 0),
        max_age=_WHO_S,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )


def _signed_in(request: HttpRequest, user: User, **_: Any) -> None:
    hours = settings.MCC.people.hours(user.role)
    # A moment and not a span: nothing that is done in a session makes it last longer.
    request.session.set_expiry(timezone.now() + timedelta(hours=hours))
    if TOTPDevice.objects.filter(user=user, confirmed=True).exists():
        request.session[CODE_DUE] = True
    _write("signed_in", request, user)


def _signed_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        _write("signed_out", request, user)


def _write(action: str, request: HttpRequest, user: User) -> None:
    with changes() as change:
        Entry(
            at_ms=change.at_ms,
            action=action,
            operator=user.label,
            role=user.role,
            user_id=user.pk,
            address=client_address(request),
        ).save()


def _refused(request: HttpRequest | None = None, **_: Any) -> None:
    # What was typed as a name may have been a password.
    log("sign_in_refused", level="warning", address=client_address(request) if request else None)


def _locked(request: HttpRequest, username: str, **_: Any) -> None:
    known = User.objects.filter(username=username).exists()
    log(
        "account_locked_out",
        level="warning",
        account=username if known else "unknown",
        address=client_address(request),
    )
