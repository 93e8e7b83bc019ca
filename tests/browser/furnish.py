"""Puts people and posts into a command centre's database, and lets people in.

`python -m tests.browser.furnish MCC.TOML` prints a JSON object: account -> session id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mcc.site import configure

# Account, role, first name, unit.
PEOPLE = (
    ("sari", "operator", "Sari", None),
    ("budi", "operator", "Budi", None),
    ("dewi", "picket", "Dewi", "polsek-lowokwaru"),
    ("agus", "picket", "Agus", "polsek-sukun"),
)
# Post, name, kelurahan, latitude, longitude; the first is the mock post of the stage.
POSTS = (
    ("mlg-lowokwaru-dinoyo-rw05", "Pos Dinoyo RW 05", "Dinoyo", -7.9440, 112.6110),
    ("mlg-lowokwaru-dinoyo-rw03", "Pos Dinoyo RW 03", "Dinoyo", -7.9432, 112.6083),
    ("mlg-klojen-kasin-rw02", "Pos Kasin RW 02", "Kasin", -7.9861, 112.6257),
    ("mlg-sukun-mulyorejo-rw04", "Pos Mulyorejo RW 04", "Mulyorejo", -7.9893, 112.5965),
    ("mlg-blimbing-purwodadi-rw01", "Pos Purwodadi RW 01", "Purwodadi", -7.9349, 112.6432),
    ("mlg-kedungkandang-buring-rw06", "Pos Buring RW 06", "Buring", -8.0110, 112.6530),
)


def furnish() -> dict[str, str]:
    """Make what is missing; a session for each account."""
    from django.test import Client

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
    ward = Kelurahan.objects.get(name="Dinoyo")
    Officer.objects.update_or_create(
        number="80010001",
        defaults={"name": "Wibowo", "rank": "Aiptu", "kelurahan": ward, "on_duty": True},
    )
    sessions = {}
    for account, role, first_name, unit in PEOPLE:
        user, _ = User.objects.update_or_create(
            username=account, defaults={"role": role, "first_name": first_name, "unit_id": unit}
        )
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        sessions[account] = client.cookies["sessionid"].value
    return sessions


if __name__ == "__main__":
    configure(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(furnish()))
