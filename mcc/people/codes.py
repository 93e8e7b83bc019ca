"""One-time codes (TOTP, RFC 6238) beside the password: giving one, and setting up an app for them.

The secret of an app is kept in the session until a first code proves that the app has it. Whoever
has an app may set up another one only after a code of the old one.
"""

from __future__ import annotations

import re
from base64 import b32encode
from binascii import unhexlify

from django.db import transaction
from django.http import HttpRequest
from django_otp import login
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key

from mcc.people.models import User

_NEW_KEY = "code_key"
_DIGITS = re.compile(r"[0-9]{6}\Z")


def has_app(user: User) -> bool:
    """Whether an app of this person is known."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def give(request: HttpRequest, user: User, code: str) -> bool:
    """Take a code for this session; False when it is wrong, used, or comes too soon after one."""
    if not _DIGITS.match(code):
        return False
    with transaction.atomic():
        # Locked: a code counts once, and of many guesses at once each one slows the next.
        for device in TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True):
            if device.verify_token(code):
                login(request, device)
                return True
    return False


def new_key(request: HttpRequest) -> str:
    """The secret that is being set up in this session, in hexadecimal."""
    if _NEW_KEY not in request.session:
        request.session[_NEW_KEY] = default_key()
    return str(request.session[_NEW_KEY])


def as_text(key: str) -> str:
    """The secret as people type it into an app: base 32, in groups of four."""
    text = b32encode(unhexlify(key)).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def as_picture(user: User, key: str) -> str:
    """The secret as a QR code, a `data:` URI of an SVG picture."""
    import segno

    device = TOTPDevice(user=user, key=key)
    return str(segno.make(device.config_url, error="m").svg_data_uri(scale=5, border=4))


def set_up(request: HttpRequest, user: User, code: str) -> bool:
    """Take the app into use if this first code is right; every earlier app is forgotten."""
    key = new_key(request)
    if not _DIGITS.match(code):
        return False
    with transaction.atomic():
        device = TOTPDevice(user=user, key=key, name="app", confirmed=True)
        if not device.verify_token(code):
            # A wrong first code must leave no app behind: `verify_token` has saved its throttle.
            TOTPDevice.objects.filter(user=user, key=key).delete()
            return False
        TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
    del request.session[_NEW_KEY]
    login(request, device)
    return True


def forget(user: User) -> int:
    """Forget every app of a person whose phone is lost; how many there were."""
    return int(TOTPDevice.objects.filter(user=user).delete()[0])
