"""Officers, their telephones and visits for tests."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from mcc.people.models import User
from mcc.registers.models import Officer
from tests.mcc.people_rig import an_account

DINOYO, KASIN = "35.73.05.1004", "35.73.02.1001"
DAY_MS = 86_400_000


def an_officer(name: str = "wibowo", kelurahan: str = DINOYO, **fields: Any) -> User:
    """An account of a Bhabinkamtibmas with a line in the register."""
    officer = Officer.objects.create(
        name=name.title(), rank="Aiptu", number=f"8001{name}", kelurahan_id=kelurahan
    )
    return an_account(name, "bhabinkamtibmas", officer=officer, **fields)


def a_visit(user: User, *, days_ago: float = 0.0, **fields: Any) -> dict[str, Any]:
    """What a telephone sends."""
    usual: dict[str, Any] = {
        "visit_id": str(uuid.uuid4()),
        "user_id": user.pk,
        "kelurahan": DINOYO,
        "visited_ms": time.time_ns() // 1_000_000 - int(days_ago * DAY_MS),
        "kind": "household",
        "purpose": "greeting",
        "name": "Bu Sumarni",
        "phone": "0812-3456-7890",
        "address": "Jl. MT Haryono 5",
        "findings": "Lampu jalan mati",
    }
    return usual | fields


def send(
    client: Client,
    visit: dict[str, Any],
    photo: bytes | None = None,
    signature: bytes | None = None,
) -> Any:
    """Send it as a telephone does; the answer."""
    fields: dict[str, Any] = {"visit": json.dumps(visit)}
    for name, content in (("photo", photo), ("signature", signature)):
        if content is not None:
            fields[name] = SimpleUploadedFile(f"{name}.jpg", content, "image/jpeg")
    return client.post("/visits/send", fields)
