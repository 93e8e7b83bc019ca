"""People and browsers for tests of the site's pages."""

from __future__ import annotations

import time
from typing import Any

from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from mcc.people.models import User
from mcc.people.roles import OWN_AREA_ONLY, ROLES

PASSWORD = "lonceng-kayu-di-pos-5"


def an_account(name: str = "budi", role: str = "operator", **fields: Any) -> User:
    if role in OWN_AREA_ONLY:
        fields.setdefault("unit_id", "polsek-lowokwaru")
    return User.objects.create_user(name, password=PASSWORD, role=role, **fields)


def an_app(user: User) -> TOTPDevice:
    """An app for one-time codes, taken into use."""
    return TOTPDevice.objects.create(user=user, name="app", confirmed=True)


def code_of(key: str, *, later: int = 0) -> str:
    """What an app with this secret shows `later` steps of 30 s from now."""
    app = TOTP(bytes.fromhex(key))
    app.time = time.time() + later * 30
    return f"{app.token():06d}"


def signed_in(user: User, *, address: str = "127.0.0.1") -> Client:
    """A browser in which this person has signed in, with a code where the role needs one."""
    client = Client(REMOTE_ADDR=address)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    if user.role in ("supervisor", "administrator"):
        device = TOTPDevice.objects.filter(user=user).first() or an_app(user)
        session = client.session
        session["otp_device_id"] = device.persistent_id
        session.save()
    return client


def one_of_each_role() -> dict[str, Client]:
    return {role: signed_in(an_account(f"a-{role}", role)) for role in ROLES}
