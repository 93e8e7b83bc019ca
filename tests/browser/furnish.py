"""Puts people and posts into a command centre's database, and lets people in.

`python -m tests.browser.furnish MCC.TOML` prints a JSON object: account -> session id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mcc.site import configure
from tests.mcc.centre import PASSWORD

# Account, role, first name, unit.
PEOPLE = (
    ("sari", "operator", "Sari", None),
    ("budi", "operator", "Budi", None),
    ("dewi", "picket", "Dewi", "polsek-lowokwaru"),
    ("agus", "picket", "Agus", "polsek-sukun"),
    ("rini", "supervisor", "Rini", None),
    ("joko", "technician", "Joko", None),
    ("wati", "administrator", "Wati", None),
    ("wibowo", "bhabinkamtibmas", "Wibowo", None),
    ("hadi", "bhabinkamtibmas", "Hadi", None),
)
# Account, service number, kelurahan of a Bhabinkamtibmas; they have the password of the centre's
# administrator, to sign in by the page.
OFFICERS = (("wibowo", "80010001", "Dinoyo"), ("hadi", "80010002", "Kasin"))
BACKEND = "django.contrib.auth.backends.ModelBackend"
# Have an app for one-time codes; the sessions `owes-NAME` are theirs before a code was given.
WITH_CODES = ("rini", "wati")
# Post, name, kelurahan, latitude, longitude; the first is the mock post of the stage.
POSTS = (
    ("mlg-lowokwaru-dinoyo-rw05", "Pos Dinoyo RW 05", "Dinoyo", -7.9440, 112.6110),
    ("mlg-lowokwaru-dinoyo-rw03", "Pos Dinoyo RW 03", "Dinoyo", -7.9432, 112.6083),
    ("mlg-klojen-kasin-rw02", "Pos Kasin RW 02", "Kasin", -7.9861, 112.6257),
    ("mlg-sukun-mulyorejo-rw04", "Pos Mulyorejo RW 04", "Mulyorejo", -7.9893, 112.5965),
    ("mlg-blimbing-purwodadi-rw01", "Pos Purwodadi RW 01", "Purwodadi", -7.9349, 112.6432),
    ("mlg-kedungkandang-buring-rw06", "Pos Buring RW 06", "Buring", -8.0110, 112.6530),
    # Near each other and near the fifth.
    ("mlg-blimbing-purwodadi-rw02", "Pos Purwodadi RW 02", "Purwodadi", -7.9340, 112.6446),
    ("mlg-blimbing-purwodadi-rw03", "Pos Purwodadi RW 03", "Purwodadi", -7.9361, 112.6441),
    ("mlg-blimbing-purwodadi-rw04", "Pos Purwodadi RW 04", "Purwodadi", -7.9356, 112.6420),
    ("mlg-blimbing-purwodadi-rw05", "Pos Purwodadi RW 05", "Purwodadi", -7.9337, 112.6425),
    ("mlg-blimbing-purwodadi-rw06", "Pos Purwodadi RW 06", "Purwodadi", -7.9344, 112.6412),
    ("mlg-blimbing-purwodadi-rw07", "Pos Purwodadi RW 07", "Purwodadi", -7.9367, 112.6429),
)


def furnish() -> dict[str, str]:
    """Make what is missing; a session for each account."""
    from django.test import Client
    from django_otp.plugins.otp_totp.models import TOTPDevice

    from mcc.people.models import User
    from mcc.registers.models import Kelurahan, Officer, Post

    for post, name, kelurahan, lat, lon in POSTS:
        ward = Kelurahan.objects.get(name=kelurahan)
        number = post[-2:]
        Post.objects.update_or_create(
            post_id=post,
            defaults={
                "name": name,
                "kelurahan": ward,
                "rw": number,
                "address": f"Jl. {kelurahan} No. {int(number)}",
                "lat": lat,
                "lon": lon,
                "contacts": f"Ketua RW {number}: Pak Slamet, 0812-0000-00{number}",
            },
        )
    officers = {}
    for account, number, kelurahan in OFFICERS:
        ward = Kelurahan.objects.get(name=kelurahan)
        officers[account], _ = Officer.objects.update_or_create(
            number=number,
            defaults={
                "name": account.title(),
                "rank": "Aiptu",
                "kelurahan": ward,
                "on_duty": account == "wibowo",
            },
        )
    sessions = {}
    for account, role, first_name, unit in PEOPLE:
        user, _ = User.objects.update_or_create(
            username=account,
            defaults={
                "role": role,
                "first_name": first_name,
                "unit_id": unit,
                "officer": officers.get(account),
            },
        )
        if officers.get(account):
            user.set_password(PASSWORD)
            user.save()
        if account in WITH_CODES:
            app, _ = TOTPDevice.objects.get_or_create(user=user, name="app", confirmed=True)
            owes = Client()
            owes.force_login(user, backend=BACKEND)
            sessions[f"owes-{account}"] = owes.cookies["sessionid"].value
        client = Client()
        client.force_login(user, backend=BACKEND)
        sessions[account] = client.cookies["sessionid"].value
        if account in WITH_CODES:
            session = client.session
            session["otp_device_id"] = app.persistent_id
            session.save()
    return sessions


if __name__ == "__main__":
    configure(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(furnish()))
