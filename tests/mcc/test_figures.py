"""How soon calls are answered: each figure can be traced to its calls."""

from __future__ import annotations

from typing import Any

import pytest

from mcc.cases.models import Alarm
from mcc.escalation import views
from mcc.escalation.figures import Answer, figures
from mcc.settings import TargetSettings
from tests.mcc.people_rig import an_account, signed_in
from tests.mcc.rig import uid
from tests.mcc.test_actions import stored

TARGETS = TargetSettings(acknowledge_s=30, acknowledge_late_s=60, dispatch_s=60)
NOW_MS = 10_000_000


def a_call(answered_s: float | None, sent_s: float | None = None, **fields: Any) -> Answer:
    """Pressed long ago, answered so long after it, a unit sent so long after that."""
    pressed = fields.pop("pressed_ms", 1_000_000)
    answered = None if answered_s is None else 1_000_000 + int(answered_s * 1000)
    sent = None if sent_s is None or answered is None else answered + int(sent_s * 1000)
    return Answer("a", "p", pressed, answered, sent, fields.pop("is_over", False))


def test_answers_count_within_and_beyond_the_targets() -> None:
    calls = [a_call(5), a_call(30), a_call(45), a_call(90), a_call(None)]
    found = figures(calls, TARGETS, NOW_MS)
    assert (found.acknowledged.within, found.acknowledged.counted) == (2, 5)
    assert (found.acknowledged_late.within, found.acknowledged_late.percent) == (3, 60.0)
    assert found.acknowledged.is_missed


def test_a_call_that_still_has_time_is_not_counted() -> None:
    found = figures([a_call(None, pressed_ms=NOW_MS - 29_000)], TARGETS, NOW_MS)
    assert found.acknowledged.counted == 0
    assert found.acknowledged.percent is None
    assert not found.acknowledged.is_missed


def test_a_press_at_an_unknown_moment_is_counted_apart() -> None:
    found = figures([a_call(5, pressed_ms=None), a_call(5)], TARGETS, NOW_MS)
    assert (found.unknown, found.acknowledged.counted) == (1, 1)


def test_a_unit_is_counted_from_the_answer_and_one_that_was_not_needed_not_at_all() -> None:
    calls = [a_call(5, 10), a_call(5, 61), a_call(5), a_call(5, is_over=True), a_call(None)]
    found = figures(calls, TARGETS, NOW_MS).dispatched
    assert (found.within, found.counted) == (1, 3)


@pytest.mark.usefixtures("database", "quick_passwords")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_page_shows_them_to_supervisors_with_every_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored(1, "acknowledged")
    stored(2)
    stored(3, kind="test")
    client = signed_in(an_account(role="supervisor"))
    page = client.get("/figures/?days=366").content.decode()
    assert uid(1) in page
    assert uid(3) not in page
    data = client.get("/figures/?days=366", headers={"Accept": "application/json"}).json()
    assert {one["alarm_id"] for one in data["calls"]} == {uid(1), uid(2)}
    assert data["acknowledged"]["counted"] >= 1
    monkeypatch.setattr(views, "CALLS_MAX", 1)
    data = client.get("/figures/?days=9999", headers={"Accept": "application/json"}).json()
    assert (data["is_cut"], len(data["calls"]), data["days"]) == (True, 1, views.DAYS_MAX)
    assert signed_in(an_account("op")).get("/figures/").status_code == 403
    assert Alarm.objects.count() == 3
