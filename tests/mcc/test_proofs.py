"""Which posts have shown that they work: by their self-test, or by a person."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from mcc.cases import proofs
from mcc.cases.models import Alarm, PostDocument
from protocol.messages import MccPost, Selftest
from protocol.values import timestamp
from tests.mcc.people_rig import an_account, signed_in

DAY_MS = 86_400_000


def days_ago(days: float) -> str:
    return timestamp(time.time_ns() // 1_000_000 - int(days * DAY_MS))


def a_post(post: str, **test: Any) -> None:
    selftest = Selftest(ended_at=days_ago(0.1), **test) if test else None
    said = MccPost(post=post, gateway="mlg", connection="online", at=days_ago(1), selftest=selftest)
    PostDocument.objects.create(
        post=post, gateway="mlg", connection="online", body=msgspec.json.encode(said).decode()
    )


def pressed(post: str, days: float, kind: str = "panic") -> None:
    raised_ms = time.time_ns() // 1_000_000 - int(days * DAY_MS)
    Alarm.objects.create(
        alarm_id=f"{post}-{kind}",
        post=post,
        gateway="mlg",
        is_open=False,
        is_answered=True,
        kind=kind,
        state="resolved",
        raised_ms=raised_ms,
        heard_ms=raised_ms,
        body="{}",
    )


@pytest.mark.usefixtures("database", "quick_passwords")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_page_lists_what_failed_what_is_not_proven_and_what_nobody_presses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_post("proven", proven_at=days_ago(1), circuit="looped")
    pressed("proven", 100)
    a_post("broken", failed="circuit_dead", circuit="dead", proven_at=days_ago(31))
    a_post("old-button", circuit="unproven")
    pressed("old-button", 2, "test")
    a_post("never")
    PostDocument.objects.create(post="odd", gateway="mlg", connection="online", body="{")
    client = signed_in(an_account(role="technician"))
    data = client.get("/proofs/", headers={"Accept": "application/json"}).json()
    listed = {name: [one["post"] for one in data[name]] for name in data["left_out"]}
    assert listed == {
        "failed": ["broken"],
        "not_proven": ["never", "broken"],
        "not_pressed": ["broken", "never", "proven"],
        "unheard": [],
    }
    page = client.get("/proofs/").content.decode()
    assert "sirkuit tombol mati" in page
    client.cookies["django_language"] = "en"
    english = client.get("/proofs/").content.decode()
    assert "due for a walk test" in english
    monkeypatch.setattr(proofs, "LISTED_MAX", 1)
    data = client.get("/proofs/", headers={"Accept": "application/json"}).json()
    assert data["left_out"] == {"failed": 0, "not_proven": 1, "not_pressed": 2, "unheard": 0}
    assert signed_in(an_account("op")).get("/proofs/").status_code == 403
